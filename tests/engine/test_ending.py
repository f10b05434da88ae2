"""What a run ends in when its last files cannot be written: never in that, if it has stopped for another reason."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import BlackboxError, BudgetReached, StepError, TooManyFailed
from blackbox_kd.runs.report.ending import Ending, Status
from tests.engine.test_run import recipe_values, run
from tests.support.runs import Said

CUT_OFF = {"provider": "scripted", "replies": [{"text": "It is", "finish_reason": "length"}]}
FILES = ["report.md", "report.json", "failed.jsonl"]


def block(folder: Path, name: str) -> None:
    """Has a folder stand where a file is to be written: nobody can write there, not even root."""
    (folder / "run" / name / "in the way").mkdir(parents=True)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("changes", "error"),
    [({"budget": {"requests": 7}}, BudgetReached), ({"models": {"teacher": CUT_OFF}}, TooManyFailed)],
    ids=["budget", "failures"],
)
async def test_a_file_that_cannot_be_written_does_not_hide_why_a_run_has_stopped(
    tmp_path: Path, changes: dict[str, Any], error: type[BlackboxError], name: str
) -> None:
    block(tmp_path, name)
    view = Said()
    values = recipe_values(tmp_path, **changes)
    values["steps"][0] |= {"samples": 1, "temperature": 0}  # or else the first fifty replies end the run
    with pytest.raises(error):
        await run(tmp_path, values, view=view)
    [warning] = [line for line in view.lines if line.startswith("warning: ")]
    assert f"{name}" in warning
    assert "cannot be written" in warning


@pytest.mark.parametrize("name", FILES)
async def test_a_complete_run_whose_file_cannot_be_written_says_so(tmp_path: Path, name: str) -> None:
    block(tmp_path, name)
    with pytest.raises(StepError, match=rf"{name}.*cannot be written"):
        await run(tmp_path, recipe_values(tmp_path))


async def test_the_report_is_known_though_it_cannot_be_written(tmp_path: Path) -> None:
    from blackbox_kd.engine.run import Run, RunOptions
    from blackbox_kd.recipe.load import load_recipe

    block(tmp_path, "report.json")
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe_values(tmp_path, budget={"requests": 7})))
    places = {"cache": tmp_path / "cache", "run_dir": tmp_path / "run", "ledger": tmp_path / "ledger.sqlite"}
    job = Run(load_recipe(tmp_path / "recipe.yaml"), RunOptions(**places))
    with pytest.raises(BudgetReached):
        await job.execute()
    assert (job.report["ended"], job.report["spent"]["requests"]) == ("budget", 7)


@pytest.mark.parametrize(
    ("error", "status", "why"),
    [
        (BudgetReached("budget reached: 2 of 2\n  fix: more"), Status.BUDGET, "budget reached: 2 of 2"),
        (StepError("the disk is full"), Status.ERROR, "the disk is full"),
        (AssertionError(), Status.ERROR, "AssertionError"),
        (asyncio.CancelledError(), Status.STOPPED, "stopped by Ctrl-C or SIGTERM"),
    ],
)
def test_an_error_makes_an_end_of_a_kind_with_a_reason_in_a_line(
    error: BaseException, status: Status, why: str
) -> None:
    assert Ending.of(error) == Ending(status, why)
