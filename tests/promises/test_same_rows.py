"""One recipe (rationales, check, judge, all in batches) through the APIs of four vendors: the same rows from each."""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.promises.test_openai_formats import ROWS, RULE, found_in, write
from tests.support.fake_batches import FakeBatches
from tests.support.runs import command
from tests.support.teachers.anthropic import FakeAnthropic
from tests.support.teachers.gemini import FakeGemini
from tests.support.teachers.mistral import FakeMistral

VENDORS: Mapping[str, Callable[..., Any]] = {
    "openai": FakeBatches,
    "anthropic": FakeAnthropic,
    "gemini": FakeGemini,
    "mistral": FakeMistral,
}
CALLS = 4 * ROWS


async def run(folder: Path, fake: Callable[..., Any], vendor: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of a run, without what they cost: some vendors keep what comes again."""
    async with fake(rule=RULE) as server:
        write(folder, server.url, provider=vendor, model="m", batch=True)
        said = await asyncio.to_thread(command, folder, "run", "recipe.yaml")
        assert said.returncode == 0, said.stderr
        assert sum(server.sizes()) == CALLS, "each is asked in a batch, and once"
    teacher = json.loads((folder / "runs/demo/report.json").read_text())["models"][0]
    assert (teacher["calls"], teacher["replayed"]) == (CALLS, 0)
    free = {"usage", "cost_usd"}
    tables = found_in(folder).items()
    return {name: [{key: row[key] for key in row.keys() - free} for row in rows] for name, rows in tables}


async def test_the_same_rows_come_from_all_vendors(tmp_path: Path) -> None:
    running = (run(tmp_path / vendor, fake, vendor) for vendor, fake in VENDORS.items())
    first, *others = await asyncio.gather(*running)
    (name, rows), *_ = reversed(first.items())
    assert (name.endswith("format.jsonl"), len(rows)) == (True, 2 * ROWS)
    assert {row["score"] for row in rows} == {7.0}
    assert all(each == first for each in others)
