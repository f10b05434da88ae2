"""The table of EXPERIMENTS.md says what the kept reports say."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.__main__ import PAGE, keep
from experiments.table import HEAD, REPORTS, rewrite, tabulate


def evaluate(model: str, accuracy: float, **more: Any) -> dict[str, Any]:
    entry = {"model": model, "table": "test", "n": 20, "accuracy": accuracy, "ci95": [accuracy / 2, (1 + accuracy) / 2]}
    return {**entry, **more}


def compare(against: str, gain: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    about = {"model": "student", "table": "test", "against": against}
    return {**about, "gain": gain, "ci95": [low, high], "p_value": 0.01, **more}


def train(model: str, **more: Any) -> dict[str, Any]:
    return {"model": f"{model}@1", **more}


def write(folder: Path, **lists: list[dict[str, Any]]) -> list[str]:
    """The cells of the line that a report with these lists gets."""
    lists = {"evaluations": [], "comparisons": [], "arms": [], "trainings": []} | lists
    path = folder / "one.json"
    path.write_text(json.dumps({"recipe": "one", **lists}), "utf-8")
    line = tabulate([path]).removeprefix(HEAD).strip()
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_holds_the_table_that_its_reports_make() -> None:
    page = PAGE.read_text("utf-8")
    assert rewrite(page) == page
    names = {path.stem for path in REPORTS.glob("*.json")}
    assert {json.loads(path.read_text("utf-8"))["recipe"] for path in REPORTS.glob("*.json")} == names
    recipes = {path.stem for path in (PAGE.parent / "recipes").glob("*.yaml")}
    assert names <= recipes


@pytest.mark.parametrize(
    ("gain", "p_value", "word"),
    [
        ((0.3, 0.1, 0.5), 0.01, "better"),
        ((0.3, 0.1, 0.5), 0.2, "may be chance"),
        ((0.0, 0.0, 0.0), 1.0, "may be chance"),
        ((-0.3, -0.5, -0.1), 0.01, "worse"),
        ((0.1, -0.1, 0.3), 0.01, "may be chance"),
    ],
)
def test_no_gain_reads_as_no_gain(tmp_path: Path, gain: tuple[float, float, float], p_value: float, word: str) -> None:
    exam = [evaluate("student@base", 0.2), evaluate("student", 0.2 + gain[0])]
    compared = [compare("student@base", *gain, p_value=p_value)]
    cells = write(tmp_path, evaluations=exam, comparisons=compared, trainings=[train("student")])
    assert cells[1] == "20 of `test`"
    assert cells[2] == "20.0 % (10.0 % to 60.0 %)"
    assert cells[4].endswith(f"), {word}")
    assert cells[5] == "none"


def test_controls_are_models_of_the_run_and_arms_seen_from_the_student(tmp_path: Path) -> None:
    exam = [evaluate("teacher", 0.9), evaluate("control", 0.4), evaluate("student", 0.5, arm="main")]
    compared = [compare("control", 0.1, -0.1, 0.3), compare("teacher", -0.4, -0.6, -0.2)]
    arm = compare("main", 0.25, 0.1, 0.4, arm="gold", metric="accuracy")
    cells = write(
        tmp_path,
        evaluations=[*exam, evaluate("student", 0.75, arm="gold")],
        comparisons=compared,
        arms=[arm, compare("student@base", 0.5, 0.3, 0.7, arm="gold", metric="accuracy")],
        trainings=[train("student"), train("control"), train("student", arm="gold")],
    )
    assert cells[3] == "50.0 % (25.0 % to 75.0 %)"
    assert cells[4] == "-"
    assert cells[5] == "control: +10.0 (-10.0 to +30.0), may be chance; gold: -25.0 (-40.0 to -10.0), worse"


def test_the_exam_of_a_round_is_not_that_of_the_end_and_a_run_without_a_student_says_so(tmp_path: Path) -> None:
    exam = [evaluate("student", 0.3), evaluate("student", 0.9, round=2), evaluate("student@1", 0.8)]
    assert write(tmp_path, evaluations=exam, trainings=[train("student")])[3] == "30.0 % (15.0 % to 65.0 %)"
    assert "no student was examined" in write(tmp_path, evaluations=[evaluate("teacher", 0.3)])


def test_what_is_kept_of_a_run_tells_nothing_of_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = {"recipe": "mine", "environment": {"host": "here"}, "evaluations": [evaluate("student", 0.5)]}
    (tmp_path / "report.json").write_text(json.dumps(report), "utf-8")
    monkeypatch.setattr("experiments.__main__.REPORTS", tmp_path)
    kept = json.loads(keep(tmp_path).read_text("utf-8"))
    assert kept["evaluations"] == report["evaluations"]
    assert "environment" not in kept
