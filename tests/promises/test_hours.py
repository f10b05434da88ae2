"""`budget: {hours: N}`: a night run ends at its hour, keeps what it has, and the same command goes on."""

import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import HoursOver
from blackbox_kd.recipe.load import load_recipe
from tests.promises.test_batch_run import CALLS, recipe, report
from tests.promises.test_batch_run import run as run_command
from tests.support.fake_batches import FakeBatches
from tests.support.fake_server import FakeServer
from tests.support.tiny import tiny_model

ROWS = 30
MOMENT = 1e-9
"""Hours that are over before anything is asked."""


async def run(folder: Path, url: str, hours: float | None, **changes: Any) -> Run:
    if not (folder / "train.jsonl").exists():
        rows = [{"instruction": f"What is {n}?", "reference": str(n)} for n in range(ROWS)]
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    teacher = {"provider": "openai", "model": "m", "base_url": url, "max_concurrency": 2}
    values: dict[str, Any] = {
        "name": "night",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": teacher | {"price": {"input": 1, "output": 10}}},
        "steps": [{"step": "generate", "model": "teacher", "prompt": "student/plain"}, {"step": "format"}],
    }
    values |= changes | ({} if hours is None else {"budget": {"hours": hours}})
    (folder / "recipe.yaml").write_text(json.dumps(values))
    options = RunOptions(cache=folder, run_dir=folder / "run", ledger=folder / "ledger.sqlite", env={})
    job = Run(load_recipe(folder / "recipe.yaml"), options)
    await job.execute()
    return job


def written(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run/report.json").read_text())
    return found


async def test_nothing_new_is_asked_after_the_hour_and_what_is_under_way_is_kept(tmp_path: Path) -> None:
    async with FakeServer(latency="0.25") as server:
        with pytest.raises(HoursOver) as caught:
            await run(tmp_path, server.url, 1.5 / 3600)
        asked = server.stats()["requests"]
        assert caught.value.exit_status == 3
        assert caught.value.what.startswith("budget reached: budget.hours = 0.0004167 are over")
        assert caught.value.fix.startswith("run the same command to go on")
        ended = written(tmp_path)
        assert ended["status"] == caught.value.what
        assert 0 < asked < ROWS
        spent = ended["spent"]
        assert (spent["requests"], spent["doubtful"], spent["repeated"]) == (asked, 0, 0)

        await run(tmp_path, server.url, 8)
        assert written(tmp_path)["status"] == "complete"
        assert (server.stats()["requests"], server.stats()["distinct"]) == (ROWS, ROWS)


async def test_the_hours_of_a_run_are_those_of_each_invocation(tmp_path: Path) -> None:
    async with FakeServer(latency="0.25") as server:
        asked = []
        for _ in range(2):
            with pytest.raises(HoursOver):
                await run(tmp_path, server.url, 1 / 3600)
            asked.append(server.stats()["requests"])
        assert 0 < asked[0] < asked[1] < ROWS


async def test_what_is_in_the_ledger_needs_no_time(tmp_path: Path) -> None:
    async with FakeServer() as server:
        with pytest.raises(HoursOver):
            await run(tmp_path, server.url, MOMENT)
        assert server.stats()["requests"] == 0
        await run(tmp_path, server.url, None)
        (tmp_path / "run").rename(tmp_path / "before")
        await run(tmp_path, server.url, MOMENT)
        assert written(tmp_path)["status"] == "complete"
        assert server.stats()["requests"] == ROWS


async def test_a_pause_is_broken_off_by_the_hour(tmp_path: Path) -> None:
    async with FakeServer(always="429:500") as server:
        with pytest.raises(HoursOver):
            await run(tmp_path, server.url, 1.5 / 3600)
        assert server.stats()["requests"] <= 2


async def test_a_training_is_not_begun_after_the_hour(tmp_path: Path) -> None:
    student = {"provider": "transformers", "model": str(tiny_model())}
    async with FakeServer() as server:
        teacher = {"provider": "openai", "model": "m", "base_url": server.url, "price": {"input": 1, "output": 10}}
        steps: list[dict[str, Any]] = [
            {"step": "generate", "model": "teacher", "prompt": "student/plain"},
            {"step": "format"},
        ]
        await run(tmp_path, server.url, None, steps=steps)
        steps.append({"step": "train", "model": "student", "max_steps": 1, "r": 4, "batch_size": 4})
        with pytest.raises(HoursOver):
            await run(tmp_path, server.url, MOMENT, steps=steps, models={"teacher": teacher, "student": student})
    assert not list((tmp_path / "run/models").iterdir())
    assert len((tmp_path / "run/dataset/train.jsonl").read_text().splitlines()) == ROWS


@pytest.mark.slow
async def test_a_batch_that_is_under_way_at_the_hour_is_taken_up_by_the_next_run(tmp_path: Path) -> None:
    async with FakeBatches(["never"]) as server:
        recipe(tmp_path, server, budget={"hours": 8 / 3600})
        assert "budget.hours" in await run_command(tmp_path, status=3)
        assert server.sizes() == [CALLS]
        assert report(tmp_path)["status"].startswith("budget reached: budget.hours = ")
        assert report(tmp_path)["spent"]["requests"] == 0

        recipe(tmp_path, server, budget={"hours": 3 / 3600})
        assert "taken up" in await run_command(tmp_path, status=3)
        assert report(tmp_path)["status"].startswith("budget reached: budget.hours = ")

        server.release.set()
        recipe(tmp_path, server, budget={"hours": 8})
        await run_command(tmp_path, status=0)
        assert server.sizes() == [CALLS]
        spent = report(tmp_path)["spent"]
        assert (spent["requests"], spent["doubtful"]) == (CALLS, 0)
