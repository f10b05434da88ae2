"""Runs against a server that loses calls or writes nothing of use: what they have spent, and when they stop."""

import asyncio
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import BudgetReached, StepError, Stopped, TooManyFailed
from blackbox_kd.recipe.load import load_recipe
from tests.support.fake_server import FakeServer
from tests.support.runs import rows_of, write_rows
from tests.support.teachers.anthropic import FakeAnthropic

PRICE = {"input": 1000, "output": 10_000}


def made(folder: Path, server: FakeServer, *, rows: int = 100, **changes: Any) -> Run:
    write_rows(folder / "train.jsonl", [{"instruction": f"What is {n} + 1?"} for n in range(rows)])
    teacher = {"provider": "openai", "model": "m", "base_url": server.url, "price": PRICE, "timeout_s": 0.3}
    step = {"step": "generate", "model": "teacher", "prompt": "student/plain", "max_tokens": 10, "temperature": 1.0}
    values = {"name": "demo", "data": {"train": {"path": "train.jsonl"}}, "models": {"teacher": teacher}}
    (folder / "recipe.yaml").write_text(json.dumps(values | {"steps": [step]} | changes))
    places = {"cache": folder / "cache", "run_dir": folder / "run", "ledger": folder / "ledger.sqlite"}
    return Run(load_recipe(folder / "recipe.yaml"), RunOptions(**places))


async def test_calls_that_were_lost_are_on_the_bill_of_the_run_that_lost_them(tmp_path: Path) -> None:
    async with FakeServer(always="hang") as server:
        job = made(tmp_path, server, rows=4, budget={"usd": 1.0})
        with suppress(BudgetReached, TooManyFailed):
            await job.execute()
        spent, asked = job.report["spent"], server.stats()["requests"]
        assert (spent["requests"], spent["usd"], spent["doubtful"]) == (0, 0, asked)
        assert 0 < spent["doubtful_usd"] <= 1.0
        assert f"{asked} calls more were lost in flight" in (tmp_path / "run/report.md").read_text()


async def test_a_model_of_which_nothing_can_be_used_ends_the_run_early(tmp_path: Path) -> None:
    async with FakeServer(always="cut_off") as server:
        with pytest.raises(StepError) as caught:
            await made(tmp_path, server).execute()
        assert "steps[0] (generate): model 'teacher': none of its first 5" in str(caught.value)
        assert "the reply was cut off after 4 tokens; raise max_tokens" in str(caught.value)
        assert server.stats()["requests"] < 120, "a hundred rows, each asked twice"


@pytest.mark.parametrize(
    ("plan", "last", "fix"),
    [
        ([], "reasoning_extraction", "fix: write thinking: low, medium or high at the model, whose thinking is read"),
        ([], "frontier_llm", "fix: this is the vendor's policy: take another teacher"),
        (["bio", "refusal"] * 40, "frontier_llm", "fix: "),
    ],
)
async def test_a_model_that_refuses_all_ends_the_run_with_its_reason(
    tmp_path: Path, plan: list[str], last: str, fix: str
) -> None:
    async with FakeServer(plan, always=last) as server:
        with pytest.raises(StepError) as caught:
            await made(tmp_path, server).execute()
        assert re.search(r"none of its first 5\d replies can be used: the model refused", str(caught.value))
        assert fix in str(caught.value)
        assert server.stats()["requests"] < 120, "a hundred rows"


async def test_claude_that_refuses_to_write_its_reasoning_out_ends_the_run_with_the_vendors_own_remedy(
    tmp_path: Path,
) -> None:
    async with FakeAnthropic(always="refusal:reasoning_extraction") as server:
        write_rows(tmp_path / "train.jsonl", [{"instruction": f"What is {n} + 1?"} for n in range(100)])
        claude = {"provider": "anthropic", "model": "claude-haiku-5-5", "base_url": server.url, "max_concurrency": 4}
        step = {"step": "generate", "model": "teacher", "prompt": "rationale/cot"}
        tables, named = {"train": {"path": "train.jsonl"}}, {"teacher": claude}
        recipe = {"name": "demo", "data": tables, "models": named, "steps": [step]}
        (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
        places = {"cache": tmp_path / "cache", "run_dir": tmp_path / "run", "ledger": tmp_path / "ledger.sqlite"}
        with pytest.raises((StepError, TooManyFailed)) as caught:
            await Run(load_recipe(tmp_path / "recipe.yaml"), RunOptions(**places)).execute()
        assert "the model refused (reasoning_extraction)" in str(caught.value)
        assert "fix: write thinking: low, medium or high at the model" in str(caught.value)
        assert "--retry-failed" not in str(caught.value)
        assert 50 <= len(server.seen) == len(server.answered) <= 60, "nobody is asked twice"


async def test_refusals_are_counted_by_their_category(tmp_path: Path) -> None:
    async with FakeServer(["bio", "reasoning_extraction", "bio"]) as server:
        with pytest.raises(TooManyFailed) as caught:
            await made(tmp_path, server, rows=6).execute()
        report = json.loads((tmp_path / "run/report.json").read_text())
        assert report["funnel"][0]["failed"] == {"refused: bio": 2, "refused: reasoning_extraction": 1}
        assert "2 refused: bio" in (tmp_path / "run/report.md").read_text()
        assert "write thinking: low, medium or high at the model" in caught.value.fix
        assert "--retry-failed" not in caught.value.fix, "a refusal is not asked away"
        assert server.stats()["requests"] == 6
        errors = {row["error"].splitlines()[0] for row in rows_of(tmp_path / "run/failed.jsonl")}
        assert any("the model refused (reasoning_extraction): A policy forbids it." in error for error in errors)


async def test_a_recipe_that_allows_all_rows_to_fail_goes_on(tmp_path: Path) -> None:
    async with FakeServer(always="cut_off") as server:
        job = made(tmp_path, server, rows=30, max_failed_share=1.0)
        await job.execute()
        assert (job.report["funnel"][0]["failed"], server.stats()["requests"]) == ({"truncated": 30}, 60)


async def test_a_stop_ends_the_wait_for_an_endpoint_that_wants_a_pause(tmp_path: Path) -> None:
    async with FakeServer(always="429:60") as server, asyncio.timeout(20):
        job = made(tmp_path, server)
        running = asyncio.ensure_future(job.execute())
        await asyncio.sleep(1)
        assert server.stats()["requests"] > 0
        job.stop()
        with pytest.raises(Stopped):
            await running
