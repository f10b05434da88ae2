"""Entries of `data:`: what they read, how rows get their ids, and what they say about files that are wrong."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from blackbox_kd.errors import DataError, SetupError
from blackbox_kd.schema import digest
from blackbox_kd.tables.sources import TableSource, find_columns, make_rows, read

ROWS = [{"question": "1 + 1?", "answer": "2"}, {"question": "2 + 2?", "answer": "4"}]


def written(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    path = folder / name
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".csv":
        lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
        path.write_text("\n".join(",".join(line) for line in lines))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)


def rows_of(folder: Path, path: str, **fields: Any) -> list[dict[str, Any]]:
    return list(read(TableSource(path=path, **fields), folder))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.parquet"])
def test_every_kind_of_file_has_the_same_rows(tmp_path: Path, name: str) -> None:
    written(tmp_path, name, ROWS)
    assert rows_of(tmp_path, name) == ROWS
    assert find_columns(TableSource(path=name), tmp_path) == ["id", "question", "answer"]


def test_a_glob_reads_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    written(tmp_path, "b.jsonl", ROWS[1:])
    written(tmp_path, "a.csv", ROWS[:1])
    assert rows_of(tmp_path, "*.*") == ROWS


def test_a_file_whose_name_looks_like_a_glob_is_read(tmp_path: Path) -> None:
    written(tmp_path, "rows[1].jsonl", ROWS)
    assert rows_of(tmp_path, "rows[1].jsonl") == ROWS


def test_limits_take_the_first_rows_and_read_no_more(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"q": 1}\n{"q": 2}\nnot JSON\n')
    assert rows_of(tmp_path, "rows.jsonl", limit=2) == [{"q": 1}, {"q": 2}]
    assert list(read(TableSource(path="rows.jsonl", limit=2), tmp_path, limit=1)) == [{"q": 1}]


def test_columns_of_all_first_rows_are_found(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"q": 1}\n{"q": 2, "hint": "x", "id": "a"}\n')
    source = TableSource(path="rows.jsonl", rename={"q": "instruction"})
    assert find_columns(source, tmp_path) == ["id", "instruction", "hint", "source_id"]


def test_a_column_to_rename_that_is_not_there_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    written(tmp_path, "rows.jsonl", ROWS)
    with pytest.raises(DataError, match="no column 'qestion'\n  columns: question, answer"):
        find_columns(TableSource(path="rows.jsonl", rename={"qestion": "instruction"}), tmp_path)


def test_a_renamed_column_hides_no_other(tmp_path: Path) -> None:
    written(tmp_path, "rows.jsonl", ROWS)
    with pytest.raises(DataError, match="'question' would hide the column 'answer'"):
        find_columns(TableSource(path="rows.jsonl", rename={"question": "answer"}), tmp_path)
    swapped = TableSource(path="rows.jsonl", rename={"question": "answer", "answer": "question"})
    assert find_columns(swapped, tmp_path) == ["id", "answer", "question"]


def test_a_file_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    written(tmp_path, "train.jsonl", ROWS)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError) as error:
        rows_of(tmp_path, "trian.jsonl")
    assert str(error.value) == "no file 'trian.jsonl'\n  files there: train.jsonl\n  fix: did you mean 'train.jsonl'?"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        rows_of(tmp_path, "data/train.jsonl")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'\.' is a folder"):
        rows_of(tmp_path, ".")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv"])
def test_an_empty_file_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=f"{name} has no rows"):
        rows_of(tmp_path, name)


def test_an_empty_file_among_others_is_fine(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    written(tmp_path, "b.jsonl", ROWS)
    assert rows_of(tmp_path, "*.jsonl") == ROWS


def test_ids_are_made_from_the_content_before_renaming() -> None:
    row = {"question": "1 + 1?", "answer": "2"}
    (plain,) = make_rows([row], {})
    (renamed,) = make_rows([row], {"question": "instruction"})
    assert plain.id == renamed.id == digest(row, 16)
    assert renamed == {"id": plain.id, "instruction": "1 + 1?", "answer": "2"}


def test_equal_rows_are_numbered() -> None:
    ids = [row.id for row in make_rows([{"q": 1}, {"q": 1}, {"q": 2}, {"q": 1}], {})]
    assert [name.partition("-")[2] for name in ids] == ["", "2", "", "3"]
    assert len(set(ids)) == 4


def test_the_datas_own_id_is_kept() -> None:
    (row,) = make_rows([{"id": "a7", "q": 1}], {})
    assert (row["source_id"], row.id) == ("a7", digest({"id": "a7", "q": 1}, 16))


def test_the_rows_of_an_earlier_run_keep_their_source_id() -> None:
    (row,) = make_rows([{"id": "0123456789abcdef", "source_id": "a7"}], {})
    assert row["source_id"] == "a7"


def test_the_datas_own_id_may_be_renamed() -> None:
    (row,) = make_rows([{"id": "a7", "q": 1}], {"id": "number"})
    assert (row["number"], "source_id" in row) == ("a7", False)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "fix: give one of path:, rows:, hub:, generator:"),
        ({"path": "a.csv", "hub": "x/y"}, "fix: give one of path:, rows:, hub:, generator:"),
        ({"generator": "reasoning_gym"}, "needs task: NAME"),
        ({"path": "a.csv", "split": "test"}, "split: goes with hub:, not with path:"),
        ({"hub": "x/y", "size": 3}, "size: goes with generator:, not with hub:"),
        ({"path": "a.csv", "rename": {"a": "c", "b": "c"}}, "two columns would be called 'c'"),
        ({"path": "a.csv", "rename": {"a": "id"}}, "'id' is made from a row's content"),
        ({"path": "a.csv", "limit": 0}, "greater than or equal to 1"),
        ({"pth": "a.csv"}, "Extra inputs"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TableSource(**fields)


def test_a_data_set_in_a_folder_is_read_as_from_the_hub(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    written(tmp_path, "train.jsonl", ROWS)
    assert list(read(TableSource(hub=str(tmp_path)), tmp_path)) == ROWS
    assert find_columns(TableSource(hub=str(tmp_path)), tmp_path) is None


def test_an_unknown_split_of_the_hub_is_named_with_those_there_are(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    written(tmp_path, "train.jsonl", ROWS)
    with pytest.raises(DataError, match=r"split 'tset'\) cannot be loaded: Bad split: tset.*train"):
        list(read(TableSource(hub=str(tmp_path), split="tset"), tmp_path))


def test_a_generator_makes_rows_with_what_its_verifier_needs(tmp_path: Path) -> None:
    pytest.importorskip("reasoning_gym")
    fields: dict[str, Any] = {"generator": "reasoning_gym", "task": "chain_sum", "seed": 3}
    source = TableSource(**fields, size=4, options={"min_terms": 2, "max_terms": 3})
    rows = list(read(source, tmp_path))
    assert [list(row) for row in rows] == [["instruction", "reference", "task", "metadata"]] * 4
    assert rows == list(read(source, tmp_path))
    assert rows[0]["metadata"]["task_options"] == {"min_terms": 2, "max_terms": 3}
    assert json.loads(json.dumps(rows)) == rows
    assert find_columns(source, tmp_path) == ["id", "instruction", "reference", "task", "metadata"]


def test_a_task_without_one_right_answer_has_an_empty_reference(tmp_path: Path) -> None:
    pytest.importorskip("reasoning_gym")
    source = TableSource(generator="reasoning_gym", task="graph_color", size=1)
    assert next(read(source, tmp_path))["reference"] == ""


@pytest.mark.parametrize(
    ("task", "options", "says"),
    [
        ("chain_som", {}, "no task 'chain_som'\n  fix: did you mean 'chain_sum'"),
        ("chain_sum", {"terms": 3}, "unexpected keyword argument 'terms'"),
        ("chain_sum", {"min_terms": -1}, "min_terms"),
    ],
)
def test_what_a_generator_cannot_make_is_said(tmp_path: Path, task: str, options: dict[str, Any], says: str) -> None:
    pytest.importorskip("reasoning_gym")
    with pytest.raises(DataError, match=says):
        list(read(TableSource(generator="reasoning_gym", task=task, options=options), tmp_path))


@pytest.mark.parametrize(
    ("fields", "package", "extra"),
    [
        ({"hub": "x/y"}, "datasets", "hub"),
        ({"generator": "reasoning_gym", "task": "chain_sum"}, "reasoning_gym", "reasoning-gym"),
    ],
)
def test_a_missing_package_is_said_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], package: str, extra: str
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, package, raising=False)
    with pytest.raises(SetupError, match=rf"pip install 'blackbox-kd\[{extra}\]'"):
        find_columns(TableSource(**fields), tmp_path)
