"""`compare`: two runs row by row, as a user meets it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.support.runs import HELD_OUT, QUESTIONS, execute, trained, write_rows

TEACHER = {"provider": "scripted", "price": {"input": 1, "output": 10}}
TEACHER_SAYS = "Step by step, from what is given to what is asked.\nThe answer is {{ reference }}."
STEPS = [
    {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 1.0},
    {"step": "check", "answer": "number"},
    {"step": "filter", "keep": "len(response) > 0", "output": "kept"},
    {"step": "format"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(tmp_path / "train.jsonl", QUESTIONS)
    return tmp_path


def run(folder: Path, name: str, **changes: Any) -> None:
    values = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": TEACHER},
        "steps": STEPS,
    }
    execute(folder, values | changes, run_dir=f"runs/{name}", ledger=folder / "runs" / "ledger.sqlite")


def table(told: Any, name: str) -> Any:
    return next(entry for entry in told["tables"] if entry["table"] == name)


def test_what_changed_is_told_by_table_column_and_row(folder: Path, blackbox: Command) -> None:
    run(folder, "a")
    (folder / "train.jsonl").unlink()
    write_rows(folder / "train.jsonl", [*QUESTIONS[1:], {"instruction": "New?", "reference": "7"}])
    replies = {"What is 3": "The answer is 99.", "": TEACHER_SAYS}
    run(folder, "b", models={"teacher": {**TEACHER, "replies": replies}}, seed=1)
    told = blackbox("compare", "a", "runs/b", "--json").told
    kept = table(told, "kept")
    assert (kept["rows"], kept["same"], kept["changed"], kept["only"]) == ([6, 6], 4, 1, [1, 1])
    changed = kept["examples"][0]["columns"]
    assert changed["answer"] == ["4", "99"]
    assert changed["correct"] == [True, False]
    assert kept["columns"]["response"] == 1
    assert table(told, "train")["only"] == [1, 1]
    assert told["only_tables"] == [[], []]
    assert {change["path"]: change["values"] for change in told["recipe"]}["seed"] == [None, 1]
    assert told["cost"]["requests"] == [6, 2], "four replies were in the ledger"
    words = blackbox("compare", "a", "b").out
    assert "kept: " in words
    assert "answer: '4' -> '99'" in words
    assert "seed: (none) -> 1" in words
    assert "cost: 6 calls, " in words


def test_a_run_is_the_same_as_itself(folder: Path, blackbox: Command) -> None:
    run(folder, "a")
    shutil.copytree(folder / "runs" / "a", folder / "runs" / "b")
    told = blackbox("compare", "a", "b", "--json").told
    assert all((entry["changed"], entry["only"]) == (0, [0, 0]) for entry in told["tables"])
    assert told["recipe"] == []
    assert "the recipes are the same" in blackbox("compare", "a", "b").out


def test_recipes_of_other_steps_are_compared_by_the_tables_that_they_share(
    folder: Path,
    blackbox: Command,
) -> None:
    run(folder, "a")
    run(folder, "b", steps=[*STEPS[:2], {"step": "select", "rows": 3, "by": "first"}, *STEPS[2:]])
    told = blackbox("compare", "a", "b", "--json").told
    assert [entry["table"] for entry in told["tables"]] == ["train", "kept", "04_format / 05_format"]
    assert told["only_tables"] == [[], ["02_check", "03_select"]]
    assert table(told, "kept")["only"] == [3, 0]
    assert "only in runs/b: 02_check, 03_select" in blackbox("compare", "a", "b").out


def test_metrics_stand_beside_each_other_with_their_intervals(folder: Path, blackbox: Command) -> None:
    write_rows(folder / "test.jsonl", HELD_OUT)
    run(folder, "a")
    exam = {"step": "evaluate", "input": "test", "models": ["teacher"], "answer": "number"}
    data = {"train": {"path": "train.jsonl"}, "test": {"path": "test.jsonl", "held_out": True}}
    run(folder, "b", data=data, steps=[*STEPS, exam])
    told = blackbox("compare", "b", str(trained().path), "--json").told
    found = {(entry["model"], entry["metric"]): entry["values"] for entry in told["metrics"]}
    value, missing = found["teacher", "accuracy"]
    assert (value["value"], value["n"]) == (1.0, 6)
    assert value["ci95"][0] < 1.0
    assert missing is not None
    assert found["student", "accuracy"][0] is None
    words = blackbox("compare", "a", "b").out
    assert "teacher on test, accuracy: (none) -> 1.000 (0.610 to 1.000, n = 6)" in words


def test_a_run_that_has_not_ended_is_compared_as_far_as_it_is_there(
    folder: Path,
    blackbox: Command,
) -> None:
    run(folder, "a")
    run(folder, "b")
    (folder / "runs" / "b" / "report.json").unlink()
    (folder / "runs" / "b" / "tables" / "04_format.jsonl").unlink()
    done = blackbox("compare", "a", "b", "--json")
    assert "runs/b: no run in it has ended yet" in done.err
    assert done.told["only_tables"] == [["04_format"], []]
    assert done.told["cost"]["requests"] == [6, None]
    assert "-> not known" in blackbox("compare", "a", "b").out


def test_what_is_no_run_or_not_joined_yet_or_damaged_is_refused_with_a_fix(
    folder: Path,
    blackbox: Command,
) -> None:
    run(folder, "a")
    nowhere = blackbox("compare", "a", "nowhere")
    assert (nowhere.status, "nowhere: not a run folder\n  runs here: a" in nowhere.err) == (2, True)
    (folder / "runs" / "c" / "shards").mkdir(parents=True)
    shutil.copytree(folder / "runs" / "a", folder / "runs" / "c" / "shards" / "1-of-2")
    shards = blackbox("compare", "a", "c")
    assert (shards.status, "runs/c: there are shards, which are not joined" in shards.err) == (2, True)
    assert blackbox("compare", "a", "c/shards/1-of-2").status == 0
    (folder / "runs" / "c" / "shards" / "1-of-2" / "tables" / "04_format.jsonl").write_text('{"id": 1}\n[]\n')
    damaged = blackbox("compare", "a", "c/shards/1-of-2")
    assert (damaged.status, "a line is no row" in damaged.err) == (2, True)


@pytest.mark.parametrize("columns", [{"a": 1}, {"a": None}, {"a": [1, {"b": "\x1b[31m"}]}, {}])
def test_values_of_any_kind_are_compared_and_shown(
    folder: Path,
    blackbox: Command,
    columns: dict[str, Any],
) -> None:
    for name, rows in (("a", {"id": "x", "a": "1"}), ("b", {"id": "x", **columns})):
        (folder / "runs" / name / "tables").mkdir(parents=True)
        (folder / "runs" / name / "manifest.json").write_text("{}")
        (folder / "runs" / name / "tables" / "00_rows.jsonl").write_text(json.dumps(rows) + "\n")
    told = blackbox("compare", "a", "b", "--json").told
    assert told["tables"][0]["columns"] == {"a": 1}
    assert told["tables"][0]["examples"][0]["columns"]["a"] == ["1", columns.get("a")]
    assert "\x1b" not in blackbox("compare", "a", "b").out
