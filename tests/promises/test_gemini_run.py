"""Whole runs with Gemini, by the command line, in processes that are killed while their batches go on."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.promises import test_batch_run as batched
from tests.promises.test_batch_run import CALLS, report, run, stopped, tables
from tests.promises.test_openai_formats import ROWS, found_in, serving, write
from tests.support.fake_batches import FakeBatches
from tests.support.runs import command
from tests.support.teachers.gemini import FakeGemini


def recipe(folder: Path, server: Any, **changes: Any) -> None:
    """The recipe of `test_batch_run` with Gemini for its teacher."""
    batched.recipe(folder, server, of_teacher={"provider": "gemini"}, **changes)


@pytest.mark.slow
async def test_a_run_in_batches_has_the_rows_of_an_ordinary_one_and_of_another_vendor_at_half_the_cost(
    tmp_path: Path,
) -> None:
    ordinary, half_price, other = tmp_path / "ordinary", tmp_path / "half", tmp_path / "other"
    async with FakeGemini(batches=["partial:30", "lines:8,13"]) as server, FakeBatches() as openai:
        recipe(ordinary, server, batch=False)
        await run(ordinary)
        assert len(server.seen) == CALLS
        recipe(half_price, server)
        said = await run(half_price)
        assert server.sizes() == [80, 50, 2]
        assert "teacher: batch batches/b0 completed, 30 requests done" in said
        assert "teacher: batch batches/b2 completed, 2 requests done" in said
        batched.recipe(other, openai)
        await run(other)
        assert tables(half_price) == tables(ordinary) == tables(other)
        paid, half = report(ordinary)["spent"], report(half_price)["spent"]
        assert half["requests"] == paid["requests"] == CALLS
        assert half["usd"] == 0.5 * paid["usd"] > 0
        recipe(half_price, server, batch=False)
        await run(half_price)
        assert report(half_price)["models"][0]["replayed"] == CALLS
        assert (len(server.seen), server.sizes()) == (CALLS, [80, 50, 2])


async def test_a_run_killed_after_it_handed_in_goes_on_without_handing_in_again(tmp_path: Path) -> None:
    async with FakeGemini(batches=["never"]) as server:
        recipe(tmp_path, server)
        await stopped(tmp_path, server.desk, "look", 2)
        server.desk.release.set()
        said = await run(tmp_path)
        assert "batches/b0, handed in by an earlier process, is taken up" in said
        assert server.sizes() == [CALLS]
        assert set(server.answered.values()) == {1}
        spent = report(tmp_path)["spent"]
        assert (spent["requests"], spent["repeated"], spent["doubtful"]) == (CALLS, 0, 0)
        assert not (tmp_path / "runs/ledger.sqlite.batches").exists()


@pytest.mark.slow
async def test_a_run_killed_before_it_knew_of_its_batch_finds_it(tmp_path: Path) -> None:
    async with FakeGemini(faults={"create": ["lost_hang"]}) as server:
        recipe(tmp_path, server)
        await stopped(tmp_path, server.desk, "create", 1)
        await run(tmp_path)
        assert (server.sizes(), len(server.desk.uploads)) == ([CALLS], 1)
        spent = report(tmp_path)["spent"]
        assert (spent["requests"], spent["repeated"], spent["doubtful"]) == (CALLS, 0, 0)


@pytest.mark.slow
async def test_a_run_killed_between_upload_and_creation_hands_in_once(tmp_path: Path) -> None:
    async with FakeGemini(faults={"upload": ["lost_hang"]}) as server:
        recipe(tmp_path, server)
        await stopped(tmp_path, server.desk, "upload", 1)
        await run(tmp_path)
        assert (server.sizes(), len(server.desk.uploads)) == ([CALLS], 2)
        assert report(tmp_path)["spent"]["doubtful"] == 0


@pytest.mark.slow
async def test_a_budget_holds_for_batches_and_a_killed_one_is_counted_once(tmp_path: Path) -> None:
    async with FakeGemini(batches=["never"]) as server:
        recipe(tmp_path, server, budget={"requests": 30})
        await stopped(tmp_path, server.desk, "look", 2)
        server.desk.release.set()
        assert "budget reached" in await run(tmp_path, status=3)
        assert server.sizes() == [30]
        assert report(tmp_path)["spent"]["requests"] == 30


GEMINI = {"provider": "gemini", "model": "gemini-3.8-flash"}


def drop_costs(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [{column: value for column, value in row.items() if column != "cost_usd"} for row in rows]
        for name, rows in found.items()
    }


@pytest.mark.slow
async def test_rationales_check_and_judge_have_the_rows_of_chat_completions_and_a_second_run_asks_for_nothing(
    tmp_path: Path,
) -> None:
    ours, half_price, theirs = tmp_path / "gemini", tmp_path / "half", tmp_path / "chat"
    options = ("--plan", "503,429:0.1s,ok,MAX_TOKENS")
    async with serving("gemini", *options) as (url, _), serving("chat") as (other, _):
        write(ours, url, **GEMINI)
        write(half_price, url, **GEMINI, batch=True)
        write(theirs, other, provider="openai")
        for folder in (ours, half_price, theirs):
            said = await asyncio.to_thread(command, folder, "run", "recipe.yaml")
            assert said.returncode == 0, said.stderr
    assert found_in(ours) == found_in(theirs)
    assert drop_costs(found_in(half_price)) == drop_costs(found_in(theirs))
    said = await asyncio.to_thread(command, ours, "run", "recipe.yaml", "--run-dir", "runs/again")
    assert said.returncode == 0, said.stderr
    report = json.loads((ours / "runs/again/report.json").read_text())
    assert (report["models"][0]["replayed"], report["models"][0]["calls"]) == (4 * ROWS + 1, 0)


async def test_what_was_learnt_holds_for_another_budget_and_a_run_that_asks_for_nothing(tmp_path: Path) -> None:
    model = {"provider": "gemini", "model": "gemini-3.1-pro"}
    async with FakeGemini(always="refuse:temperature", rule="The answer is {n}.\nquality: 7") as server:
        write(tmp_path, server.url, **model)
        said = await asyncio.to_thread(command, tmp_path, "run", "recipe.yaml")
        assert said.returncode == 0, said.stderr
        refused = [body for body in server.seen if "temperature" in body.get("generationConfig", {})]
        assert 1 <= len(refused) <= ROWS * 2
        assert "takes no temperature" in said.stderr
        sent = len(server.seen)
        options = ("--run-dir", "runs/again", "--set", "budget={usd: 1}")
        said = await asyncio.to_thread(command, tmp_path, "run", "recipe.yaml", *options)
        assert said.returncode == 0, said.stderr
        assert len(server.seen) == sent


async def test_a_budget_is_not_passed_though_thoughts_are_billed_beside_the_reply(tmp_path: Path) -> None:
    async with FakeGemini(rule="The answer is {n}.\nquality: 7") as server:
        write(tmp_path, server.url, **GEMINI, thinking="low")
        sets = ("budget={usd: 0.4}", "models.teacher.price={input: 100, output: 1000}", "steps.0.max_tokens=60")
        options = [option for each in sets for option in ("--set", each)]
        said = await asyncio.to_thread(command, tmp_path, "run", "recipe.yaml", *options)
        assert said.returncode == 3, said.stderr
    report = json.loads((tmp_path / "runs/demo/report.json").read_text())
    assert 0 < report["spent"]["usd"] <= 0.4
    assert report["models"][0]["reasoning_tokens"] == 5 * report["models"][0]["calls"]
