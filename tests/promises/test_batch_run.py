"""Whole runs with `batch: true`, by the command line, in processes that are killed while their batches go on."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.fake_batches import FakeBatches

ROWS, SAMPLES = 40, 2
CALLS = ROWS * SAMPLES
COST = (7 * 1 + 4 * 10) / 1e6
"""Of an ordinary call, in USD."""


def recipe(folder: Path, server: Any, *, of_teacher: Mapping[str, Any] | None = None, **changes: Any) -> None:
    """A recipe whose window would be a share of its rows without batches; `of_teacher` are fields of its teacher."""
    folder.mkdir(exist_ok=True)
    rows = [{"instruction": f"What is the number of {n}?", "reference": str(n % 7)} for n in range(ROWS)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    teacher = {"provider": "openai", "model": "m", "base_url": server.url, "max_concurrency": 4, **(of_teacher or {})}
    values: dict[str, Any] = {
        "name": "batched",
        "seed": 1,
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": teacher | {"price": {"input": 1, "output": 10}, "batch": changes.pop("batch", True)}},
        "steps": [
            {"step": "generate", "model": "teacher", "prompt": "student/plain", "samples": SAMPLES, "temperature": 1.0},
            {"step": "check", "answer": "number"},
            {"step": "select", "per": "instruction", "best": 1, "by": "shortest"},
            {"step": "format"},
        ],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values | changes))


async def start(folder: Path) -> Process:
    code = """
import sys
from blackbox_kd.cli.main import main
try:
    main()
finally:
    print("loaded" if "openai" in sys.modules else "not loaded", "openai", file=sys.stderr)
"""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, "run", "recipe.yaml", cwd=folder, stdout=DEVNULL, stderr=PIPE
    )


async def run(folder: Path, status: int = 0) -> str:
    """Runs the command to its end; what it said."""
    process = await start(folder)
    _, said = await process.communicate()
    assert process.returncode == status, said.decode()
    return said.decode()


async def stopped(folder: Path, server: Any, kind: str, number: int, by: int = signal.SIGKILL) -> None:
    """Starts the command and ends it by a signal when the server has seen so many requests of a kind."""
    process = await start(folder)
    said = asyncio.ensure_future(process.communicate())
    seen = asyncio.ensure_future(server.until(kind, number))
    await asyncio.wait([said, seen], return_when=asyncio.FIRST_COMPLETED)
    assert not said.done(), said.result()[1].decode()
    os.kill(process.pid, by)
    await said


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "runs/batched/report.json").read_text())
    return found


def tables(folder: Path) -> dict[str, list[Any]]:
    """All rows of a run but for what they cost, by file."""

    def free(value: dict[str, Any]) -> dict[str, Any]:
        return {name: inner for name, inner in value.items() if name != "cost_usd"}

    found = {
        path.name: [json.loads(line, object_hook=free) for line in path.read_text().splitlines()]
        for path in (folder / "runs/batched").glob("**/*.jsonl")
    }
    assert len(found["04_format.jsonl"]) == ROWS
    return found


async def test_a_run_in_batches_equals_an_ordinary_one_at_half_the_cost(tmp_path: Path) -> None:
    async with FakeBatches() as server:
        ordinary, batched = tmp_path / "ordinary", tmp_path / "batched"
        recipe(ordinary, server, batch=False)
        assert "not loaded openai" in await run(ordinary)
        assert server.requests["chat"] == CALLS
        recipe(batched, server)
        said = await run(batched)
        assert server.sizes() == [CALLS]
        assert "teacher: batch batch_0 handed in, 80 requests" in said
        assert "teacher: batch batch_0 completed, 80 requests done" in said
        assert tables(batched) == tables(ordinary)
        paid, half = report(ordinary)["spent"], report(batched)["spent"]
        assert half["requests"] == paid["requests"] == CALLS
        assert half["usd"] == 0.5 * paid["usd"] > 0
        assert report(batched)["models"][0]["cost_usd"] == half["usd"]

        recipe(batched, server, batch=False)
        await run(batched)
        assert report(batched)["models"][0]["replayed"] == CALLS
        assert (server.requests["chat"], server.sizes()) == (CALLS, [CALLS])


async def test_batches_that_expire_or_come_back_in_part_are_completed(tmp_path: Path) -> None:
    async with FakeBatches(["expire:30", "lines:429,500"]) as server:
        recipe(tmp_path, server)
        await run(tmp_path)
        assert server.sizes() == [80, 50, 2]
        assert set(server.answered.values()) == {1}
        found = report(tmp_path)
        assert (found["spent"]["requests"], found["spent"]["doubtful"]) == (CALLS, 0)
        assert found["funnel"][0]["out"] == CALLS
        assert found["models"][0]["faults"] == {"batch_expired": 50, "rate_limit": 1, "server_error": 1}


async def test_a_run_killed_after_it_handed_in_goes_on_without_handing_in_again(tmp_path: Path) -> None:
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    async with FakeBatches() as server:
        recipe(quiet, server)
        await run(quiet)
        alone = server.requests["look"]
        server.plan = ["never"]
        recipe(killed, server)
        await stopped(killed, server, "look", alone + 2)
        server.release.set()
        said = await run(killed)
        assert "batch_1, handed in by an earlier process, is taken up" in said
        assert server.sizes() == [CALLS, CALLS]
        assert tables(killed) == tables(quiet)
        spent, before = report(killed)["spent"], report(quiet)["spent"]
        assert (spent["requests"], spent["usd"]) == (CALLS, before["usd"])
        assert (spent["repeated"], spent["doubtful"]) == (0, 0)
        assert not (killed / "runs/ledger.sqlite.batches").exists()


async def test_a_run_killed_before_it_knew_of_its_batch_finds_it(tmp_path: Path) -> None:
    async with FakeBatches(faults={"create": ["lost_hang"]}) as server:
        recipe(tmp_path, server)
        await stopped(tmp_path, server, "create", 1)
        await run(tmp_path)
        assert (server.sizes(), len(server.uploads)) == ([CALLS], 1)
        spent = report(tmp_path)["spent"]
        assert (spent["requests"], spent["repeated"], spent["doubtful"]) == (CALLS, 0, 0)


async def test_a_run_killed_between_upload_and_creation_hands_in_once(tmp_path: Path) -> None:
    async with FakeBatches(faults={"upload": ["lost_hang"]}) as server:
        recipe(tmp_path, server)
        await stopped(tmp_path, server, "upload", 1)
        await run(tmp_path)
        assert (server.sizes(), len(server.uploads)) == ([CALLS], 2)
        spent = report(tmp_path)["spent"]
        assert (spent["requests"], spent["repeated"], spent["doubtful"]) == (CALLS, 0, 0)


async def test_a_run_stopped_by_hand_leaves_its_batch_to_the_next(tmp_path: Path) -> None:
    async with FakeBatches(["never"]) as server:
        recipe(tmp_path, server)
        await stopped(tmp_path, server, "look", 2, by=signal.SIGINT)
        assert report(tmp_path)["status"] != "complete"
        await stopped(tmp_path, server, "look", server.requests["look"] + 1, by=signal.SIGINT)
        server.release.set()
        await run(tmp_path)
        assert server.sizes() == [CALLS]
        assert report(tmp_path)["spent"]["requests"] == CALLS


async def test_a_budget_holds_for_batches_and_a_killed_one_is_counted_once(tmp_path: Path) -> None:
    async with FakeBatches(["never"]) as server:
        recipe(tmp_path, server, budget={"requests": 30})
        await stopped(tmp_path, server, "look", 2)
        assert server.sizes() == [30]
        server.release.set()
        assert "budget reached" in await run(tmp_path, status=3)
        assert server.sizes() == [30]
        assert report(tmp_path)["spent"]["requests"] == 30

        usd = 0.5 * CALLS * COST * 1.2  # what the run costs and a little more: far less than it could cost
        recipe(tmp_path, server, budget={"usd": usd})
        await run(tmp_path, status=3)
        assert report(tmp_path)["spent"]["usd"] <= usd
        assert sum(server.sizes()) == report(tmp_path)["spent"]["requests"]
