"""What `show` and `steps` tell of a run and of the steps."""

import json
from pathlib import Path

import pytest

from blackbox_kd.errors import UserError
from blackbox_kd.runs import browse
from blackbox_kd.sdk import docs
from blackbox_kd.sdk.registry import Registry
from tests.support.runs import write_rows


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "tables").mkdir()
    for name, count in (("00_train", 3), ("02_check", 2), ("10_train", 1)):
        write_rows(tmp_path / f"tables/{name}.jsonl", ({"id": f"{name}{n}"} for n in range(count)))
    write_rows(tmp_path / "dropped.jsonl", [{"id": "lost"}])
    return tmp_path


def test_tables_are_listed_in_the_order_in_which_they_were_written(run: Path) -> None:
    found = [(entry["table"], entry["rows"]) for entry in browse.list_tables(run)]
    assert found == [("00_train", 3), ("02_check", 2), ("10_train", 1), ("dropped", 1)]


def test_what_the_latest_run_has_not_come_to_is_an_earlier_runs(run: Path) -> None:
    assert browse.find_dataset(run) is None
    (run / "dataset").mkdir()
    write_rows(run / "dataset/train.jsonl", [{"prompt": "p", "completion": "c"}])
    assert all(entry["current"] for entry in [*browse.list_tables(run), browse.find_dataset(run)] if entry)
    (run / "report.json").write_text(json.dumps({"tables": ["00_train", "02_check"], "dataset": None}))
    assert [entry["table"] for entry in browse.list_tables(run) if not entry["current"]] == ["10_train"]
    assert browse.find_dataset(run) == {"path": str(run / "dataset"), "rows": 1, "current": False}


@pytest.mark.parametrize(
    ("name", "first"),
    [("00_train", "00_train0"), ("train", "10_train0"), ("check", "02_check0"), ("dropped", "lost")],
)
def test_a_table_is_found_by_its_name_or_the_last_one_by_a_part_of_it(run: Path, name: str, first: str) -> None:
    assert browse.read_rows(run, name, 1) == [{"id": first}]


@pytest.mark.parametrize(("count", "rows"), [(2, 2), (9, 3), (0, 0), (-1, 0)])
def test_as_many_rows_as_wanted_are_shown(run: Path, count: int, rows: int) -> None:
    assert len(browse.read_rows(run, "00_train", count)) == rows


def test_a_table_that_is_not_there_is_an_error_with_those_that_are(run: Path) -> None:
    with pytest.raises(UserError, match="has no table 'chek'\n  tables: 00_train, 02_check, 10_train, dropped"):
        browse.read_rows(run, "chek", 1)


@pytest.mark.parametrize("name", Registry().names())
def test_a_step_is_told_with_all_its_fields(name: str) -> None:
    step = Registry().get(name)
    text = docs.describe_step(name)
    assert text.startswith(f"{name} ({step.kind} step)\n")
    fields = {form: {e.alias or f for f, e in form.model_fields.items()} for form in step.all_forms}
    for field in set().union(*fields.values()):
        assert f"\n  {field} (" in text
    [told] = docs.document_steps(name)
    schema = told["schema"]
    schemas = [schema["$defs"][part["$ref"].rpartition("/")[2]] for part in schema.get("oneOf", ())] or [schema]
    assert [part["properties"].keys() for part in schemas] == list(fields.values())
    json.dumps(told)


def test_a_step_that_does_not_exist_is_an_error_with_a_guess() -> None:
    with pytest.raises(UserError, match="did you mean 'generate'"):
        docs.describe_step("genrate")
