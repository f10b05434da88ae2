"""--retry-failed: rows that failed are asked for anew, all others stay as they are, and nothing is bought twice."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import TooManyFailed
from blackbox_kd.recipe.load import load_recipe
from tests.support.fake_server import FakeServer
from tests.support.runs import rows_of, write_rows

ROWS = [{"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(6)]


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer() as running:
        yield running


def values(models: dict[str, Any], temperature: float, **changes: Any) -> dict[str, Any]:
    return {
        "name": "demo",
        "max_failed_share": 1.0,
        "data": {"train": {"path": "train.jsonl"}},
        "models": models,
        "steps": [{"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": temperature}],
    } | changes


def behind(server: FakeServer) -> dict[str, Any]:
    return {"teacher": {"provider": "openai", "model": "m", "base_url": server.url}}


async def run(folder: Path, recipe: dict[str, Any], **options: Any) -> Run:
    write_rows(folder / "train.jsonl", ROWS)
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    places = {"cache": folder / "cache", "run_dir": folder / "run", "ledger": folder / "ledger.sqlite"}
    job = Run(load_recipe(folder / "recipe.yaml"), RunOptions(**places, **options))
    await job.execute()
    return job


def table(folder: Path) -> dict[str, str]:
    return {row["id"]: row["response"] for row in rows_of(folder / "run" / "tables" / "01_generate.jsonl")}


def failed(job: Run, step: int = 0) -> dict[str, int]:
    found: dict[str, int] = job.report["funnel"][step]["failed"]
    return found


def calls(job: Run) -> tuple[int, int]:
    """Calls made now, and replies of the ledger."""
    return job.report["models"][0]["calls"], job.report["models"][0]["replayed"]


async def test_a_plain_run_replays_what_failed_and_a_retry_buys_only_that(tmp_path: Path, server: FakeServer) -> None:
    server.plan = ["cut_off", "refusal"]
    recipe = values(behind(server), temperature=0)
    first = await run(tmp_path, recipe)
    assert (calls(first), failed(first)) == ((6, 0), {"refused": 1, "truncated": 1})
    before = table(tmp_path)

    plain = await run(tmp_path, recipe)
    assert (calls(plain), failed(plain)) == ((0, 6), {"refused": 1, "truncated": 1})

    again = await run(tmp_path, recipe, retry_failed=True)
    assert (calls(again), failed(again)) == ((2, 6), {})
    after = table(tmp_path)
    assert len(after) == 6
    assert {key: after[key] for key in before} == before
    assert rows_of(tmp_path / "run" / "failed.jsonl") == []

    later = await run(tmp_path, recipe)
    assert (calls(later), failed(later)) == ((0, 8), {})
    assert table(tmp_path) == after
    assert server.stats()["requests"] == 8
    assert later.report["spent"]["requests"] == 8


async def test_each_retry_buys_as_many_replies_as_a_first_try_and_all_are_kept(
    tmp_path: Path, server: FakeServer
) -> None:
    server.always = "refusal"
    recipe = values(behind(server), temperature=1.0)
    assert failed(await run(tmp_path, recipe)) == {"refused": 6}
    assert server.stats()["requests"] == 6 * 3

    again = await run(tmp_path, recipe, retry_failed=True)
    assert (calls(again), failed(again)) == ((6 * 3, 6 * 3), {"refused": 6})
    assert "6 attempts" in rows_of(tmp_path / "run" / "failed.jsonl")[0]["error"]

    plain = await run(tmp_path, recipe)
    assert (calls(plain), failed(plain)) == ((0, 6 * 6), {"refused": 6})

    server.always = "ok"
    assert (calls(await run(tmp_path, recipe, retry_failed=True)), len(table(tmp_path))) == ((6, 6 * 6), 6)
    assert calls(await run(tmp_path, recipe)) == (0, 6 * 7)


async def test_a_row_that_is_new_in_a_retry_is_tried_no_more_often_than_any_other(
    tmp_path: Path, server: FakeServer
) -> None:
    server.always = "empty"
    recipe = values(behind(server), temperature=1.0)
    await run(tmp_path, recipe, retry_failed=True)
    assert server.stats()["requests"] == 6 * 3


async def test_calls_that_brought_no_reply_are_made_again_by_any_run(tmp_path: Path, server: FakeServer) -> None:
    server.plan = ["400", "422"]
    recipe = values(behind(server), temperature=0)
    assert failed(await run(tmp_path, recipe)) == {"rejected": 2}
    plain = await run(tmp_path, recipe)
    assert (calls(plain), failed(plain)) == ((2, 4), {})


async def test_a_scripted_model_that_recovers_at_its_fourth_attempt_is_found_by_later_runs(tmp_path: Path) -> None:
    reply = "{% if attempt >= 3 %}The answer is {{ reference }}.{% endif %}"
    recipe = values({"teacher": {"provider": "scripted", "replies": [reply]}}, temperature=1.0)
    assert failed(await run(tmp_path, recipe)) == {"empty": 6}
    assert failed(await run(tmp_path, recipe, retry_failed=True)) == {}
    later = await run(tmp_path, recipe)
    assert (calls(later), failed(later)) == ((0, 6 * 4), {})
    assert set(table(tmp_path).values()) == {f"The answer is {n + 1}." for n in range(6)}


async def test_a_finished_table_step_is_run_again_for_the_rows_that_failed_in_it(
    tmp_path: Path, server: FakeServer
) -> None:
    server.plan = ["refusal"]
    evaluate = {
        "step": "evaluate",
        "input": "train",
        "models": ["teacher"],
        "answer": "number",
        "prompt": "student/plain",
    }
    recipe = values(behind(server), temperature=0, steps=[evaluate])
    first = await run(tmp_path, recipe)
    assert (failed(first), first.report["evaluations"][0]["n"]) == ({"refused": 1}, 5)
    assert calls_in_all(await run(tmp_path, recipe)) == 0

    again = await run(tmp_path, recipe, retry_failed=True)
    assert (failed(again), again.report["evaluations"][0]["n"]) == ({}, 6)
    assert server.stats()["requests"] == 7

    later = await run(tmp_path, recipe)
    assert later.report["evaluations"] == again.report["evaluations"]
    assert server.stats()["requests"] == 7


def calls_in_all(job: Run) -> int:
    return sum(entry["calls"] for entry in job.report["models"])


async def test_a_run_that_fails_too_much_says_how_to_ask_anew(tmp_path: Path, server: FakeServer) -> None:
    server.always = "refusal"
    with pytest.raises(TooManyFailed, match="--retry-failed"):
        await run(tmp_path, values(behind(server), temperature=0, max_failed_share=0.1))
