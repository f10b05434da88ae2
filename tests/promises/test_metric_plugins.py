"""A metric of somebody's own: a file with `@metric`, which sees held-out rows, and gives no more than a number."""

import re
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import RecipeError, StepMistake
from blackbox_kd.runs.report.gains import describe_evidence
from tests.support.runs import HELD_OUT, execute

ROOT = Path(__file__).parents[2]
POLITE = """
from blackbox_kd.sdk import Graded, metric


@metric
def run(rows: list[Graded]) -> float:
    return sum(row.response.endswith(%r) for row in rows) / len(rows)
"""


def recipe(**fields: Any) -> dict[str, Any]:
    return {
        "name": "own",
        "data": {"test": {"path": "test.jsonl", "held_out": True}},
        "models": {
            "base": {"provider": "scripted", "replies": ["The answer is {{ reference }}."]},
            "student": {"provider": "scripted", "replies": ["The answer is {{ reference }}. Thank you"]},
        },
        "plugins": ["polite.py"],
        "steps": [
            {"step": "evaluate", "input": "test", "models": ["base", "student"], "answer": "number",
             "metrics": ["polite"], **fields},
        ],
    }  # fmt: skip


def problems(folder: Path, values: dict[str, Any], *, allow_code: bool = True) -> list[tuple[str, str]]:
    with pytest.raises(RecipeError) as told:
        execute(folder, values, allow_code=allow_code)
    return [(problem.message, problem.fix) for problem in told.value.problems]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "polite.py").write_text(POLITE % "you")
    return tmp_path


def test_a_plugins_metric_is_told_compared_and_shown_like_ours(folder: Path) -> None:
    job = execute(folder, recipe(by=["instruction"]), allow_code=True)
    assert [entry["metrics"]["polite"] for entry in job.report["evaluations"]] == [
        {"value": 0.0, "ci95": [0.0, 0.0]},
        {"value": 1.0, "ci95": [1.0, 1.0]},
    ]
    slices = job.report["evaluations"][1]["slices"]["instruction"]
    assert {entry["metrics"]["polite"]["value"] for entry in slices.values()} == {1.0}
    [found] = [entry for entry in job.report["comparisons"] if entry.get("metric") == "polite"]
    assert (found["model"], found["against"], found["gain"], found["ci95"]) == ("student", "base", 1.0, [1.0, 1.0])
    assert any(
        "`student` is 100.0 points better than `base` in polite" in line for line in describe_evidence(job.report)
    )


def test_the_example_that_explains_metrics_runs(folder: Path) -> None:
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## A metric of your own\n")[2]
    [code] = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    (folder / "polite.py").write_text(code, encoding="utf-8")
    values = recipe(metrics=["accuracy", "polite"])
    values["models"]["student"]["replies"] = ["The answer is {{ reference }}, thank you!"]
    job = execute(folder, values, allow_code=True)
    assert [entry["metrics"]["polite"]["value"] for entry in job.report["evaluations"]] == [0.0, 1.0]


def test_a_plugins_metric_runs_only_with_allow_code(folder: Path) -> None:
    (folder / "polite.py").write_text("raise SystemExit('it ran')")
    messages = [what for what, _ in problems(folder, recipe(), allow_code=False)]
    assert "plugin 'polite.py' is Python code, which a recipe may not run by itself." in messages


def test_an_unknown_metric_is_told_with_those_that_there_are(folder: Path) -> None:
    values = recipe(metrics=["polit", "macro_f"])
    assert problems(folder, values) == [
        ("unknown metric 'polit'.", "did you mean 'polite'?"),
        ("unknown metric 'macro_f'.", "did you mean 'macro_f1'?"),
    ]


def test_a_metric_that_was_mended_measures_the_same_answers_anew(folder: Path) -> None:
    first = execute(folder, recipe(), allow_code=True)
    assert sum(entry["calls"] for entry in first.report["models"]) == 2 * len(HELD_OUT)
    (folder / "polite.py").write_text(POLITE % ".")
    again = execute(folder, recipe(), allow_code=True)
    assert sum(entry["calls"] for entry in again.report["models"]) == 0
    assert [entry["metrics"]["polite"]["value"] for entry in again.report["evaluations"]] == [1.0, 0.0]


def test_the_mistake_of_a_metric_ends_the_run_with_its_line_and_loses_no_answer(folder: Path) -> None:
    (folder / "polite.py").write_text(POLITE.replace("row.response", "row.respons") % "you")
    with pytest.raises(StepMistake) as told:
        execute(folder, recipe(), allow_code=True)
    assert "metric 'polite': AttributeError: 'Graded' object has no attribute 'respons'" in str(told.value)
    assert f"at {folder}/polite.py:7" in str(told.value)
    (folder / "polite.py").write_text(POLITE % "you")
    again = execute(folder, recipe(), allow_code=True)
    assert sum(entry["calls"] for entry in again.report["models"]) == 0


def test_a_metric_may_not_be_called_as_one_of_ours(folder: Path) -> None:
    (folder / "macro_f1.py").write_text(POLITE % "you")
    what = "plugin 'macro_f1.py': there is a metric 'macro_f1' already; a file's name is the name of its metric."
    assert what in [message for message, _ in problems(folder, recipe() | {"plugins": ["macro_f1.py"]})]


def test_a_metric_is_no_step_and_opens_no_held_out_table_to_one(folder: Path) -> None:
    messages = [what for what, _ in problems(folder, recipe() | {"steps": [{"step": "polite", "input": "test"}]})]
    assert messages[0] == "unknown step 'polite'."
    values = recipe()
    values["steps"].append({"step": "format", "input": "test"})
    assert any("is held out: only evaluate may read it" in what for what, _ in problems(folder, values))


@pytest.mark.parametrize(
    ("fields", "what", "fix"),
    [
        (
            {"metrics": ["field_f1"]},
            "metric 'field_f1' needs a kind of answer with fields, and `answer: number` has none.",
            "write answer: json, or name another metric",
        ),
        (
            {"metrics": ["macro_f1"], "answer": None},
            "metric 'macro_f1' needs answer:, which says how an answer is read.",
            "add answer: KIND, or name another metric",
        ),
        (
            {"metrics": ["rouge_l"], "answer": None, "against": "summary"},
            "reads column 'summary', which no earlier step writes.",
            "rename a column of the data (rename: {COLUMN: summary}), or name another one",
        ),
    ],
)
def test_a_metric_says_what_it_cannot_do_without(folder: Path, fields: dict[str, Any], what: str, fix: str) -> None:
    assert problems(folder, recipe(**fields) | {"plugins": []}) == [(what, fix)]
