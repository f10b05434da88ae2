"""`--extend`: more rows of the same recipe. What is there keeps its ids and its replies; a stopped run goes on."""

import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine.run import Run
from blackbox_kd.errors import BudgetReached, UserError
from blackbox_kd.runs.manifest import read_manifest
from tests.support.runs import Said, execute, rows_of, write_rows
from tests.support.tiny import tiny_model

TEACHER = {"provider": "scripted", "price": {"input": 1, "output": 1}}
GENERATE = {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 1.0}
MANY = [{"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(40)]


def recipe(**changes: Any) -> dict[str, Any]:
    values = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": TEACHER},
        "steps": [{**GENERATE, "rows": 10}, {"step": "check", "answer": "number"}],
    }
    return values | changes


LIMITED = recipe(data={"train": {"path": "train.jsonl", "limit": 10}}, steps=[GENERATE])


def calls(job: Run) -> tuple[int, int]:
    """Calls that were made, and those whose replies the ledger had."""
    entry = job.report["models"][0]
    return entry["calls"], entry["replayed"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(tmp_path / "train.jsonl", MANY)
    return tmp_path


@pytest.mark.parametrize(
    ("values", "file"), [(recipe(), "02_check"), (LIMITED, "01_generate")], ids=["rows that are drawn", "a limit"]
)
def test_rows_that_are_there_stay_and_nothing_is_asked_again(folder: Path, values: dict[str, Any], file: str) -> None:
    first = execute(folder, values)
    table = first.path / "tables" / f"{file}.jsonl"
    before = {row["id"]: row for row in rows_of(table)}
    said = Said()
    more = execute(folder, values, extend=5, view=said)
    after = {row["id"]: row for row in rows_of(table)}
    assert (calls(first), calls(more)) == ((10, 0), (5, 10))
    assert {name: after[name] for name in before} == before
    assert len(after) == 15
    assert any("15 rows, 5 more than in the recipe" in line for line in said.lines)


def test_the_next_run_takes_as_many_without_being_told_and_another_extension_adds_to_it(folder: Path) -> None:
    for extend, rows in ((None, 10), (5, 15), (None, 15), (5, 20), (0, 10), (None, 10)):
        job = execute(folder, recipe(), extend=extend)
        assert len(rows_of(job.path / "tables" / "02_check.jsonl")) == rows
    assert read_manifest(job.path).extension is None


def test_an_extension_that_was_stopped_is_gone_on_with_by_the_same_command_and_by_a_plain_one(folder: Path) -> None:
    execute(folder, recipe())
    tight = recipe(budget={"requests": 12})
    for extend in (5, None, 5):
        with pytest.raises(BudgetReached):
            execute(folder, tight, extend=extend)
    said = Said()
    job = execute(folder, recipe(), extend=5, view=said)
    assert calls(job) == (3, 12)
    assert any("(goes on with what was begun)" in line for line in said.lines)
    assert calls(execute(folder, recipe(), extend=5)) == (5, 15)


def test_one_of_another_size_takes_the_place_of_one_that_was_stopped(folder: Path) -> None:
    execute(folder, recipe())
    with pytest.raises(BudgetReached):
        execute(folder, recipe(budget={"requests": 12}), extend=20)
    assert len(rows_of(execute(folder, recipe(), extend=5).path / "tables" / "02_check.jsonl")) == 15


def test_a_shorter_run_of_an_extended_one_has_its_rows_and_a_trial_those_of_the_recipe(folder: Path) -> None:
    execute(folder, recipe(), extend=None)
    execute(folder, recipe(), extend=5)
    shorter = execute(folder, recipe(), until="generate")
    assert (shorter.path.name, calls(shorter)) == ("until_generate", (0, 15))
    assert execute(folder, recipe(), limit=3).path.name == "trial"
    manifest = read_manifest(folder / "run").extension
    assert manifest is not None
    assert (manifest.rows, manifest.finished) == (5, True)


def test_the_student_is_trained_anew_on_the_longer_table_and_that_is_said(folder: Path) -> None:
    student = {"provider": "transformers", "model": str(tiny_model())}
    train = {"step": "train", "model": "student", "max_steps": 1, "r": 4, "batch_size": 4}
    values = recipe(
        models={"teacher": TEACHER, "student": student}, steps=[*recipe()["steps"], {"step": "format"}, train]
    )
    execute(folder, values)
    said = Said()
    job = execute(folder, values, extend=5, view=said)
    assert "student: trained anew, on the longer table" in said.lines
    assert job.report["trainings"][0]["rows"] == 15
    assert calls(job) == (5, 10)


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (recipe(steps=[GENERATE]), {}, "--extend 5: the recipe takes all rows of data.train"),
        (recipe(), {"limit": 3}, "it does not go with --limit"),
        (recipe(), {"until": "generate"}, "it does not go with --until"),
        (
            recipe(data={"train": {"path": "train.jsonl", "limit": 40}}, steps=[GENERATE]),
            {},
            "--extend 5: data.train has no more than the 40 rows that are taken of it",
        ),
        (
            recipe(steps=[{"loop": {"rounds": 2, "steps": [{**GENERATE, "rows": 5, "input": "train"}]}}]),
            {},
            "draws its rows anew in each round",
        ),
    ],
)
def test_where_no_number_of_rows_can_be_raised_it_is_said_what_to_do(
    folder: Path, values: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    execute(folder, values)
    with pytest.raises(UserError) as found:
        execute(folder, values, extend=5, **options)
    assert said in found.value.what
    assert found.value.fix


def test_without_a_run_there_is_nothing_to_extend(folder: Path) -> None:
    with pytest.raises(UserError, match=r"there is no run in .*\n  fix: run the recipe without --extend first"):
        execute(folder, recipe(), extend=5)


def test_a_prompt_that_shows_the_table_which_grows_may_be_asked_anew_and_that_is_said(folder: Path) -> None:
    shows = {"table": "train", "count": 2, "choose": "random"}
    (folder / "shots.jinja").write_text("{% for row in examples %}{{ row.instruction }} {% endfor %}{{ instruction }}")
    step = {**GENERATE, "prompt": "shots", "examples": shows}
    values = recipe(data={"train": {"path": "train.jsonl", "limit": 10}}, steps=[step])
    execute(folder, values)
    said = Said()
    execute(folder, values, extend=5, view=said)
    assert any("looks at train, which grows" in line for line in said.lines)


def test_an_earlier_manifest_without_the_field_is_read(folder: Path) -> None:
    job = execute(folder, recipe())
    manifest = json.loads((job.path / "manifest.json").read_text())
    assert "extension" not in manifest
    assert calls(execute(folder, recipe(), extend=2)) == (2, 10)
