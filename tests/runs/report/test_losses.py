"""What a run says of a step that dropped most of its rows, and of replies that nobody could read."""

import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine.progress import write_account
from blackbox_kd.runs import examples
from blackbox_kd.runs.accounts import Account
from tests.support.runs import Said, command, execute, write_rows

ASK = {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 0}
CHECK = {"step": "check", "answer": "number"}
KEEP = {"step": "filter", "keep": "correct"}
SILENT, RIGHT = "No idea, sorry.", "The answer is {{ reference }}."
"""Replies of the teacher to the questions whose number is below another one, and to all others."""


def values(*steps: dict[str, Any], silent: int) -> dict[str, Any]:
    replies = {f"What is {n} + 1": SILENT for n in range(silent)} | {"": RIGHT}
    teacher = {"provider": "scripted", "replies": replies}
    return {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": teacher},
        "steps": list(steps),
    }


def run(folder: Path, *steps: dict[str, Any], silent: int = 0) -> tuple[dict[str, Any], list[str]]:
    """The report of a run on ten questions, and the warnings that were on the screen."""
    rows = [{"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(10)]
    write_rows(folder / "train.jsonl", rows)
    view = Said()
    report = execute(folder, values(*steps, silent=silent), view=view).report
    return report, [line.removeprefix("warning: ") for line in view.lines if line.startswith("warning: ")]


def test_most_rows_that_were_dropped_for_one_reason_are_told_with_an_example(tmp_path: Path) -> None:
    report, told = run(tmp_path, ASK, CHECK, KEEP, silent=7)
    [loss] = report["losses"]
    assert {key: loss[key] for key in ("step", "reason", "rows", "of")} == {
        "step": "steps[2] (filter)",
        "reason": "not (correct)",
        "rows": 7,
        "of": 10,
    }
    assert loss["example"]["response"] == SILENT
    assert told[0].startswith("steps[2] (filter) dropped 7 of 10 rows (70.0 %) for one reason: not (correct); such as")
    assert told[0].endswith(f'response "{SILENT}", reference "1", no answer could be read')
    assert told[1] == "in 7 of 10 rows steps[1] (check) could read no answer"
    assert "dropped 7 of 10 rows" in (tmp_path / "run/report.md").read_text()


def test_the_same_is_told_again_where_the_step_is_taken_from_an_earlier_run(tmp_path: Path) -> None:
    new = {"step": "filter", "novelty": {"max": 0.3}}
    first, second = (run(tmp_path, ASK, new) for _ in range(2))
    assert first == (second[0] | {"written_at": first[0]["written_at"], "models": first[0]["models"]}, second[1])
    assert second[0]["losses"][0]["reason"] == "too similar"
    assert second[0]["losses"][0]["example"]["similarity"] > 0.3


def test_half_of_the_rows_or_fewer_are_no_warning_but_the_share_that_was_not_read_is_told(tmp_path: Path) -> None:
    report, told = run(tmp_path, ASK, CHECK, KEEP, silent=5)
    assert (report["losses"], told) == ([], [])
    assert report["funnel"][1]["counts"] == {"unread": 5}
    assert "steps[1] (check): no answer could be read in 5 of 10 (50.0 %)." in (tmp_path / "run/report.md").read_text()


@pytest.mark.parametrize(
    "step",
    [
        {"step": "select", "rows": 2},
        {"step": "select", "per": "source", "best": 1},
        {"step": "filter", "share": {"of": "source", "max": 0.1}},
    ],
    ids=["a budget", "the best", "a share"],
)
def test_rows_in_whose_place_others_were_taken_are_no_loss(tmp_path: Path, step: dict[str, Any]) -> None:
    write_rows(tmp_path / "train.jsonl", [{"instruction": f"q{n}", "source": "one"} for n in range(10)])
    view = Said()
    recipe = values({"step": "filter", "keep": "len(instruction) > 1"}, step, silent=0) | {"models": {}}
    report = execute(tmp_path, recipe, view=view).report
    assert sum(report["funnel"][1]["dropped"].values()) > 5
    assert report["losses"] == []


def test_own_an_answer_that_was_read_everywhere_is_not_spoken_of() -> None:
    assert write_account(Account("steps[1] (check)", 10, 0, 10)) == "steps[1] (check): 10 in, 10 out"
    some = Account("steps[1] (check)", 10, 0, 10)
    some.counts["unread"] = 4
    assert write_account(some) == "steps[1] (check): 10 in, 10 out; no answer could be read in 4 of 10 (40.0 %)"


def test_own_a_long_text_is_shown_by_its_begin_and_its_end() -> None:
    shown = examples.describe_example({"id": "a", "response": "b" * 100 + "\n" + "m" * 500 + "The answer is 7."})
    assert shown.startswith(f"row 'a': response \"{'b' * 80} [...] ")
    assert shown.endswith('mThe answer is 7."')
    assert len(shown) < 200


def test_show_tells_the_evidence_and_what_was_lost_on_the_screen(tmp_path: Path) -> None:
    exam = {"step": "evaluate", "input": "test", "models": ["teacher"], "answer": "number"}
    write_rows(tmp_path / "test.jsonl", [{"instruction": f"And {n} + 9?", "reference": str(n + 9)} for n in range(4)])
    rows = [{"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(10)]
    write_rows(tmp_path / "train.jsonl", rows)
    recipe = values(ASK, CHECK, KEEP, exam, silent=9)
    recipe["data"]["test"] = {"path": "test.jsonl", "held_out": True}
    execute(tmp_path, recipe)
    said = command(tmp_path, "show", "run").stdout
    assert (
        "teacher on test: 4 of 4 right (100.0 %, 95 % interval 51.0 % to 100.0 %); an answer could be read in 4" in said
    )
    assert "steps[2] (filter) dropped 9 of 10 rows (90.0 %) for one reason: not (correct); such as row " in said
    found = json.loads(command(tmp_path, "show", "run", "--json").stdout)
    assert (found["evaluations"][0]["read"], found["losses"][0]["rows"]) == (4, 9)
