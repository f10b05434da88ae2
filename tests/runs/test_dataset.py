"""The data set of a run: TRL's columns, what a column of mixed values becomes, and rows that teach nothing."""

import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.privacy import link_or_copy
from blackbox_kd.runs import dataset
from tests.support.fakes import rows

FRONT = "---\nconfigs:\n- config_name: default\n  data_files:\n  - {split: train, path: train.parquet}\n---\n"


def taught(ask: str, say: str) -> dict[str, Any]:
    return {"prompt": [{"role": "user", "content": ask}], "completion": [{"role": "assistant", "content": say}]}


def loaded(folder: Path) -> Any:
    """The data set as a user of the Hub would load it: by its card."""
    import datasets

    (folder / "README.md").write_text(FRONT)
    return datasets.load_dataset(str(folder), cache_dir=str(folder.parent / "cache"), split="train")


def written(folder: Path, *table: dict[str, Any], method: str | None = None) -> list[dict[str, Any]]:
    path = dataset.write_dataset(folder, rows(*table), method)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_get_trls_columns_and_keep_plain_ones_beside_them(tmp_path: Path) -> None:
    own = {"instruction": "1 + 1?", "response": "2", "score": 4, "usage": {"prompt_tokens": 3}, "text": "x"}
    assert written(tmp_path, own) == [
        {**taught("1 + 1?", "2"), "id": "r0", "instruction": "1 + 1?", "response": "2", "score": 4}
    ]


def test_the_parquet_file_has_message_lists_as_trl_takes_them(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    written(folder, {"instruction": "1 + 1?", "response": "2"}, {"instruction": "2 + 2?", "response": "4"})
    found = loaded(folder)
    assert [{name: row[name] for name in ("prompt", "completion")} for row in found] == [
        taught("1 + 1?", "2"),
        taught("2 + 2?", "4"),
    ]


def test_where_bad_answers_are_learnt_from_each_row_says_which_it_is_by_what_was_written_last(tmp_path: Path) -> None:
    told = [
        ({"prompt": "a", "completion": "b", "label": False}, False),
        ({"prompt": "a", "completion": "c", "label": "True"}, True),
        ({"prompt": "a", "completion": "d", "kto_tag": "false"}, False),
        ({"prompt": "a", "completion": "e", "correct": True}, True),
        ({"prompt": "a", "completion": "f", "label": True, "correct": False}, True),
    ]
    found = written(tmp_path / "all", *(row for row, _ in told), method="kto")
    assert [row["label"] for row in found] == [label for _, label in told]
    [last] = rows(told[-1][0])
    path = dataset.write_dataset(tmp_path / "checked", [last], "kto", written={"completion", "correct"})
    assert json.loads(path.read_text())["label"] is False
    with pytest.raises(DataError) as caught:
        written(tmp_path / "odd", {"prompt": "a", "completion": "b", "label": "good"}, method="kto")
    assert "column 'label' says neither true nor false" in str(caught.value)
    with pytest.raises(DataError) as caught:
        written(tmp_path / "none", {"prompt": "a", "completion": "b"}, method="kto")
    assert "no column says whether the answer is good: label or kto_tag or correct" in str(caught.value)


def test_preferences_get_chosen_and_rejected(tmp_path: Path) -> None:
    [row] = written(tmp_path, {"prompt": "1 + 1?", "chosen": "2", "rejected": "3"}, method="dpo")
    assert row["chosen"] == [{"role": "assistant", "content": "2"}]
    assert row["rejected"] == [{"role": "assistant", "content": "3"}]


@pytest.mark.parametrize(
    ("values", "become"),
    [
        ([1, None, 3], [1, None, 3]),
        ([1, 2.5], [1.0, 2.5]),
        ([True, False], [True, False]),
        ([1, "two"], ["1", "two"]),
        ([True, 1], ["true", "1"]),
        ([10**30, 1], [str(10**30), "1"]),
        ([None, None], [None, None]),
        (["only", None], ["only", None]),
    ],
    ids=str,
)
def test_a_column_of_mixed_values_becomes_what_holds_them_all(
    tmp_path: Path, values: list[Any], become: list[Any]
) -> None:
    folder = tmp_path / "dataset"
    written(folder, *({"instruction": "a", "response": "b", "extra": value} for value in values))
    assert list(loaded(folder)["extra"]) == become


@pytest.mark.parametrize(
    ("values", "become"),
    [
        ([[1], {"a": 2}, "x"], ["[1]", '{"a": 2}', '"x"']),
        ([[{"role": "user", "content": [{"text": "a"}]}]], ['[{"role": "user", "content": [{"text": "a"}]}]']),
        ([[], [{"role": "user", "content": "a"}]], [[], [{"role": "user", "content": "a"}]]),
        ([[{"role": "user", "content": "a"}], "text"], ['[{"role": "user", "content": "a"}]', "text"]),
    ],
    ids=str,
)
def test_rows_of_no_known_shape_stay_as_they_are_and_what_is_not_plain_becomes_json(
    tmp_path: Path, values: list[Any], become: list[Any]
) -> None:
    folder = tmp_path / "dataset"
    table = [{"note": value, "text": "kept"} for value in values]
    assert [row["note"] for row in written(folder, *table)] == values
    found = loaded(folder)
    assert list(found["note"]) == become
    assert set(found["text"]) == {"kept"}


def test_a_column_that_first_rows_lack_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    table = [{"instruction": "a", "response": "b"}] * 1200
    written(folder, *table, {"instruction": "c", "response": "d", "late": 7})
    found = loaded(folder)
    assert len(found) == 1201
    assert found["late"][1200] == 7
    assert found["late"][0] is None


def test_rows_that_teach_nothing_stand_apart_with_their_reasons(tmp_path: Path) -> None:
    table = rows(
        {"instruction": "a"},
        {"instruction": "b", "response": ""},
        {"instruction": "c", "response": " "},
        {"instruction": "d", "response": "e"},
    )
    dataset.write_dataset(tmp_path, table, "sft")
    assert dataset.count_rows(tmp_path) == 1
    assert dataset.count_left_out(tmp_path) == {"column 'response' is missing": 1, "column 'response' is empty": 2}
    lines = [json.loads(line) for line in (tmp_path / dataset.LEFT_OUT).read_text().splitlines()]
    assert lines[0] == {"id": "r0", "reason": "column 'response' is missing", "row": {"id": "r0", "instruction": "a"}}


def test_what_an_earlier_data_set_left_out_is_forgotten(tmp_path: Path) -> None:
    dataset.write_dataset(tmp_path, rows({"instruction": "a", "response": ""}, {"instruction": "a", "response": "b"}))
    dataset.write_dataset(tmp_path, rows({"instruction": "a", "response": "b"}))
    assert dataset.count_left_out(tmp_path) == Counter()


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ([], "there are no rows to train on"),
        (
            [{"instruction": "a", "response": ""}, {"instruction": "", "response": "b"}],
            "nothing can be learnt from any of the 2 rows\n"
            "  1 times: column 'response' is empty; 1 times: column 'instruction' is empty",
        ),
        ([{"question": "a", "answer": "b"}], "the columns answer, id, question make no shape that training knows"),
        ([{"prompt": "a", "chosen": "b", "rejected": "c"}], "which method sft cannot learn from"),
    ],
    ids=["no rows", "no good rows", "no shape", "another method's"],
)
def test_training_on_nothing_is_refused_before_it_begins(
    tmp_path: Path, table: list[dict[str, Any]], says: str
) -> None:
    with pytest.raises(DataError) as caught:
        written(tmp_path, *table, method="sft")
    assert says in str(caught.value)
    assert "\n  fix: " in str(caught.value)


def test_a_data_set_without_rows_is_written_when_nothing_is_trained(tmp_path: Path) -> None:
    assert written(tmp_path) == []
    assert dataset.count_rows(tmp_path) == 0


def test_a_conversation_may_stand_in_a_column_as_json_text(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "1 + 1?"}, {"from": "gpt", "value": "2"}]
    table = [{"conversations": json.dumps(turns)}, {"conversations": str(turns)}]
    [row] = written(tmp_path, *table, method="sft")
    assert {name: row[name] for name in ("prompt", "completion")} == taught("1 + 1?", "2")
    assert dataset.count_left_out(tmp_path) == {"column 'conversations' holds text that is no JSON list of turns": 1}


def test_a_completion_that_is_json_is_text_all_the_same(tmp_path: Path) -> None:
    say = json.dumps([{"role": "user", "content": "a"}])
    [row] = written(tmp_path, {"prompt": "Write JSON.", "completion": say}, method="sft")
    assert row["completion"] == [{"role": "assistant", "content": say}]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["a link", "own_ a copy where there are no links"])
def test_a_file_stands_at_a_second_place_and_replaces_what_was_there(tmp_path: Path, elsewhere: bool) -> None:
    source = (Path(tempfile.mkdtemp(dir="/dev/shm")) if elsewhere else tmp_path) / "source"
    if elsewhere and source.parent.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system")
    source.write_text("new")
    (tmp_path / "kept").write_text("old")
    os.link(tmp_path / "kept", tmp_path / "target")
    for _ in range(2):
        link_or_copy(source, tmp_path / "target")
    assert (tmp_path / "target").read_text() == "new"
    assert (tmp_path / "target").samefile(source) != elsewhere
    assert (tmp_path / "kept").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} <= {"kept", "target", "source"}


def test_objects_and_lists_of_other_columns_are_kept_as_json_text(tmp_path: Path) -> None:
    found = {"invoice": {"total": 3, "note": None}, "tags": ["a", "b"], "page": 4, "usage": {"prompt_tokens": 3}}
    [row] = written(tmp_path / "dataset", {"instruction": "q", "response": "a", **found})
    assert (row["invoice"], row["tags"], row["page"]) == ('{"total": 3, "note": null}', '["a", "b"]', 4)
    assert "usage" not in row
    table = loaded(tmp_path / "dataset")
    assert (table[0]["invoice"], table[0]["tags"]) == (row["invoice"], row["tags"])


def test_turns_that_have_become_messages_are_not_kept_a_second_time(tmp_path: Path) -> None:
    turns = [{"from": "Human", "value": "q"}, {"from": "GPT", "value": "a"}]
    [row] = written(tmp_path, {"conversations": turns, "meta": [1]})
    assert row == {**taught("q", "a"), "id": "r0", "meta": "[1]"}


def test_pairs_that_stand_there_twice_with_their_sides_swapped_are_told_with_their_number(tmp_path: Path) -> None:
    pair = {"prompt": "q", "chosen": "good", "rejected": "poor"}
    swapped = pair | {"chosen": "poor", "rejected": "good"}
    said: list[str] = []
    dataset.write_dataset(tmp_path, rows(pair, swapped, pair, pair | {"prompt": "p"}), say=said.append)
    assert said[0] == "2 of 4 rows: the same pair stands in an earlier row with its sides swapped"


@pytest.mark.parametrize(("weight", "kept"), [(0.5, 0.5), ("0.5", 0.5), (None, None), (0, "is 0"), ("much", "number")])
def test_a_weight_of_the_data_counts_beside_a_prompt_that_a_step_has_written(
    tmp_path: Path, weight: Any, kept: float | str | None
) -> None:
    table = rows({**taught("a", "b"), "weight": weight}, taught("c", "d"))
    path = dataset.write_dataset(tmp_path, table, "sft", written={"prompt", "completion"})
    [first, *_] = [json.loads(line) for line in path.read_text().splitlines()]
    if isinstance(kept, str):
        [reason] = dataset.count_left_out(tmp_path)
        assert kept in reason
        assert first["id"] == "r1"
    else:
        assert first["weight"] == kept


def test_columns_that_are_not_used_are_named(tmp_path: Path) -> None:
    said: list[str] = []
    row = {"instruction": "a", "response": "b", "topic": "sums", "reasoning": "c", "empty": None}
    dataset.write_dataset(tmp_path, rows(row), "sft", say=said.append)
    assert said == ["columns that are not used: topic, reasoning"]


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("finish_reason", "length", "length"),
        ("stop_reason", "max_tokens", "max_tokens"),
        ("finishReason", "MAX_TOKENS", "max_tokens"),
        ("done_reason", "length", "length"),
        ("finish_reasons", ["stop", "length"], "length"),
        ("finish_reason", "stop", None),
        ("finish_reason", None, None),
        ("stop_reason", "end_turn", None),
        ("finish_reasons", [], None),
    ],
)
def test_an_answer_that_its_maker_says_was_cut_off_is_told(
    tmp_path: Path, column: str, value: Any, told: str | None
) -> None:
    said: list[str] = []
    cut = {"prompt": "q", "completion": "a", column: value}
    dataset.write_dataset(tmp_path, rows(cut, {"prompt": "q", "completion": "b"}), say=said.append)
    reason = f"{column} says that the answer was cut off ({told}): the student would learn to stop there"
    assert [line for line in said if "cut off" in line] == ([f"1 of 2 rows: {reason}"] if told else [])
    own: list[str] = []
    dataset.write_dataset(tmp_path, rows(cut), written={column}, say=own.append)
    assert not [line for line in own if "cut off" in line], "a recipe has decided what becomes of it"
