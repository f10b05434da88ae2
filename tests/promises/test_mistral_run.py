"""Whole runs with Mistral's jobs, by the command line, in processes that are killed while their jobs go on."""

from pathlib import Path
from typing import Any

import pytest

from tests.promises import test_batch_run as batched
from tests.promises.test_batch_run import CALLS, report, run, stopped, tables
from tests.support.fake_batches import FakeBatches
from tests.support.teachers.mistral import FakeMistral


def recipe(folder: Path, server: Any, **changes: Any) -> None:
    """The recipe of `test_batch_run` with Mistral for its teacher."""
    batched.recipe(folder, server, of_teacher={"provider": "mistral"}, **changes)


@pytest.mark.slow
async def test_a_run_in_jobs_has_the_rows_of_an_ordinary_one_and_of_another_vendor_at_half_the_cost(
    tmp_path: Path,
) -> None:
    ordinary, jobs, other = tmp_path / "ordinary", tmp_path / "jobs", tmp_path / "other"
    async with FakeMistral(batches=["late:30", "statuses:429,500"]) as server, FakeBatches() as openai:
        recipe(ordinary, server, batch=False)
        await run(ordinary)
        assert server.requests["chat"] == CALLS
        recipe(jobs, server)
        said = await run(jobs)
        assert server.sizes() == [80, 50, 2]
        assert "teacher: batch job-0 expired, 30 requests done" in said
        assert "teacher: batch job-2 completed, 2 requests done" in said
        batched.recipe(other, openai)
        await run(other)
        assert tables(jobs) == tables(ordinary) == tables(other)
        paid, half = report(ordinary)["spent"], report(jobs)["spent"]
        assert half["requests"] == paid["requests"] == CALLS
        assert half["usd"] == 0.5 * paid["usd"] > 0
        recipe(jobs, server, batch=False)
        await run(jobs)
        assert report(jobs)["models"][0]["replayed"] == CALLS
        assert (server.requests["chat"], server.sizes()) == (CALLS, [80, 50, 2])


async def test_a_run_killed_after_it_handed_in_goes_on_without_handing_in_again(tmp_path: Path) -> None:
    async with FakeMistral(batches=["never"]) as server:
        recipe(tmp_path, server)
        await stopped(tmp_path, server, "look", 2)
        server.release.set()
        said = await run(tmp_path)
        assert "job-0, handed in by an earlier process, is taken up" in said
        assert server.sizes() == [CALLS]
        assert set(server.answered.values()) == {1}
        spent = report(tmp_path)["spent"]
        assert (spent["requests"], spent["repeated"], spent["doubtful"]) == (CALLS, 0, 0)
        assert not (tmp_path / "runs/ledger.sqlite.batches").exists()


@pytest.mark.slow
async def test_a_run_killed_before_it_knew_of_its_job_finds_it(tmp_path: Path) -> None:
    async with FakeMistral(faults=["lost_hang"]) as server:
        recipe(tmp_path, server)
        await stopped(tmp_path, server, "create", 1)
        await run(tmp_path)
        assert (server.sizes(), len(server.uploads)) == ([CALLS], 1)
        spent = report(tmp_path)["spent"]
        assert (spent["requests"], spent["repeated"], spent["doubtful"]) == (CALLS, 0, 0)


@pytest.mark.slow
async def test_a_budget_holds_for_jobs_and_a_killed_one_is_counted_once(tmp_path: Path) -> None:
    async with FakeMistral(batches=["never"]) as server:
        recipe(tmp_path, server, budget={"requests": 30})
        await stopped(tmp_path, server, "look", 2)
        server.release.set()
        assert "budget reached" in await run(tmp_path, status=3)
        assert server.sizes() == [30]
        assert report(tmp_path)["spent"]["requests"] == 30
