"""`require`: a run ends with the evidence where a model is not good enough, before anything large is paid."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import RecipeError, StepError
from blackbox_kd.recipe.load import load_recipe
from tests.support.fake_server import FakeServer
from tests.support.runs import execute, write_rows

DEV = [{"instruction": f"What is {n}?", "reference": "7" if n < 15 else "8"} for n in range(20)]
REQUIRE = {"metric": "accuracy", "at_least": 0.7}


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer() as running:
        yield running


def values(**require: Any) -> dict[str, Any]:
    exam = {"step": "evaluate", "input": "dev", "models": ["teacher"], "prompt": "exam", "answer": "number"}
    return {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}, "dev": {"path": "dev.jsonl", "held_out": True}},
        "models": {"teacher": {"provider": "scripted", "replies": ["The answer is 7."]}},
        "steps": [
            {**exam, "require": {**REQUIRE, **require}},
            {"step": "generate", "input": "train", "model": "teacher", "prompt": "student/plain"},
        ],
    }


async def run(folder: Path, server: FakeServer, prompt: str = "Briefly: {{ instruction }}", **options: Any) -> Run:
    recipe = values()
    recipe["models"]["teacher"] = {"provider": "openai", "model": "m", "base_url": server.url}
    (folder / "exam.jinja").write_text(prompt)
    write_rows(folder / "train.jsonl", [{"instruction": "Say something."}])
    write_rows(folder / "dev.jsonl", DEV)
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    places = {"cache": folder / "cache", "run_dir": folder / "run", "ledger": folder / "ledger.sqlite"}
    job = Run(load_recipe(folder / "recipe.yaml"), RunOptions(**places, **options))
    await job.execute()
    return job


def report(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "run" / "report.json").read_text()))


async def test_a_run_ends_with_the_evidence_where_a_model_is_below_and_goes_on_after_a_better_prompt(
    tmp_path: Path, server: FakeServer
) -> None:
    server.rule = "The answer is 8."
    with pytest.raises(StepError) as told:
        await run(tmp_path, server)
    assert told.value.exit_status == 1
    assert str(told.value) == (
        "steps[0] (evaluate): 'teacher' reaches 25.0 % accuracy on 'dev' (95 % interval 11.2 % to 46.9 %); "
        "70.0 % is required\n"
        f"  what was answered: {tmp_path}/run/report.md\n"
        "  fix: mend its prompt or take another model, then run the same command: what is paid for is kept; "
        "or lower require.at_least"
    )
    assert len(server.seen) == 20, "the step behind it has asked nothing"
    found = report(tmp_path)
    assert (found["ended"], found["evaluations"][0]["right"]) == ("error", 5)
    [required] = found["requirements"]
    assert {key: required[key] for key in ("model", "table", "metric", "at_least", "value", "n", "is_met")} == {
        "model": "teacher", "table": "dev", "metric": "accuracy", "at_least": 0.7, "value": 0.25, "n": 20,
        "is_met": False,
    }  # fmt: skip
    text = (tmp_path / "run" / "report.md").read_text()
    assert "**The run is not complete: steps[0] (evaluate): 'teacher' reaches 25.0 % accuracy" in text
    assert (
        "`teacher` had to reach 70.0 % accuracy on `dev`: it reaches 25.0 % (95 % interval 11.2 % to 46.9 %; 20 rows). "
        "The run has ended there." in text
    )
    assert (tmp_path / "run" / "tables" / "01_evaluate.jsonl").exists()

    with pytest.raises(StepError, match=r"25\.0 % accuracy"):
        await run(tmp_path, server)
    assert len(server.seen) == 20, "the same prompt is not paid for twice"

    server.rule = "The answer is 7."
    again = await run(tmp_path, server, prompt="Think first: {{ instruction }}")
    assert len(server.seen) == 20 + 20 + 1
    assert (again.report["ended"], again.report["requirements"][0]["is_met"]) == ("complete", True)
    assert "it reaches 75.0 %" in (tmp_path / "run" / "report.md").read_text()
    assert "It is the ceiling" in (tmp_path / "run" / "report.md").read_text()
    later = await run(tmp_path, server, prompt="Think first: {{ instruction }}")
    assert len(server.seen) == 41
    assert later.report["requirements"] == again.report["requirements"], "also where the step is taken over"


def write_files(folder: Path, rows: int = 20) -> None:
    write_rows(folder / "dev.jsonl", DEV[:rows])
    (folder / "exam.jinja").write_text("{{ instruction }}")


def test_a_script_passes_and_the_report_says_that_it_measures_nobody(tmp_path: Path) -> None:
    write_files(tmp_path)
    job = execute(tmp_path, values(at_least=0.99))
    [required] = job.report["requirements"]
    assert (required["value"], required["is_met"]) == (0.75, None)
    assert (
        "`teacher` had to reach 99.0 % accuracy on `dev`: not measured, as a script or too few rows (20) tell nothing "
        "of it." in (job.path / "report.md").read_text()
    )


async def test_a_trial_of_a_few_rows_measures_nobody(tmp_path: Path, server: FakeServer) -> None:
    server.rule = "The answer is 8."
    job = await run(tmp_path, server, limit=3)
    assert [(entry["n"], entry["is_met"]) for entry in job.report["requirements"]] == [(3, None)]


async def test_a_run_ends_where_too_few_rows_were_answered_to_say(tmp_path: Path, server: FakeServer) -> None:
    server.plan, server.rule = ["refusal"], "The answer is 7."
    with pytest.raises(StepError) as told:
        await run(tmp_path, server)
    assert "only 19 rows of 'dev' tell what 'teacher' can do" in str(told.value)
    server.plan = []
    again = await run(tmp_path, server, retry_failed=True)
    assert again.report["requirements"][0]["is_met"] is True


def problems(folder: Path, recipe: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(RecipeError) as told:
        execute(folder, recipe)
    return [(problem.message, problem.fix) for problem in told.value.problems]


@pytest.mark.parametrize("rows", [1, 19])
def test_a_table_of_few_rows_is_refused_before_anything_is_paid(tmp_path: Path, rows: int) -> None:
    write_files(tmp_path, rows)
    what = f"require: 'dev' has {rows} rows, by which nobody can tell whether a model is good enough."
    assert problems(tmp_path, values()) == [(what, "name a table of 20 rows or more, or take require: out")]


def test_a_table_of_which_few_rows_are_taken_is_refused_likewise(tmp_path: Path) -> None:
    write_files(tmp_path)
    recipe = values()
    recipe["data"]["dev"]["limit"] = 5
    assert problems(tmp_path, recipe)[0][0].startswith("require: 'dev' has 5 rows")


def test_a_column_that_a_script_has_written_measures_nobody(tmp_path: Path) -> None:
    write_files(tmp_path)
    recipe = values(at_least=0.99)
    exam = recipe["steps"][0]
    recipe["steps"].insert(0, {"step": "generate", "input": "dev", "model": "teacher", "prompt": "exam", "as": "said"})
    exam |= {"of": "said", "models": []}
    del exam["input"], exam["prompt"]
    [required] = execute(tmp_path, recipe).report["requirements"]
    assert (required["model"], required["value"], required["is_met"]) == ("said", 0.75, None)


def test_rows_that_are_made_on_the_way_are_counted_when_they_are_there(tmp_path: Path) -> None:
    write_files(tmp_path, 5)
    recipe = values()
    recipe["steps"].insert(
        0, {"step": "map", "input": "dev", "each": "split('a b c d' + instruction[99:], ' ')", "as": "x", "output": "m"}
    )
    recipe["steps"][1]["input"] = "m"
    job = execute(tmp_path, recipe)
    assert [(entry["table"], entry["n"]) for entry in job.report["requirements"]] == [("m", 20)]


def test_any_metric_that_is_measured_may_be_required(tmp_path: Path) -> None:
    write_files(tmp_path)
    recipe = values(metric="macro_f1")
    assert problems(tmp_path, recipe) == [
        ("require: 'macro_f1' is not measured here.", "add it to metrics:, or require one of accuracy"),
    ]
    recipe["steps"][0]["metrics"] = ["macro_f1"]
    [required] = execute(tmp_path, recipe).report["requirements"]
    assert required["value"] == pytest.approx((2 * 15 / 35) / 2)


def test_a_model_that_nothing_is_learnt_from_is_no_ceiling(tmp_path: Path) -> None:
    write_files(tmp_path)
    recipe = values()
    recipe["models"]["rival"] = recipe["models"]["teacher"]
    recipe["steps"][0]["models"].append("rival")
    found = execute(tmp_path, recipe).report["requirements"]
    assert [(entry["model"], entry["is_ceiling"]) for entry in found] == [("teacher", True), ("rival", False)]
