"""The clients that are compared, each in a process of its own: `python -m benchmarks.clients KIND URL CALLS FLIGHT`.

bare: a loop over aiohttp and nothing else. openai: AsyncOpenAI as it comes. ours: a whole run of blackbox-kd with its
ledger, a budget and a price, so that money is reserved and settled for each call. Prints as JSON the seconds and the
CPU seconds of the calls alone, what is imported before them left out in all three, and the peak memory.
"""

import asyncio
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from blackbox_kd.engine import event_loop

QUESTION = "A box holds {n} red and 7 blue balls. How many balls are in three boxes? Answer in short steps. " * 3


def body(number: int) -> dict[str, object]:
    return {"model": "stub", "messages": [{"role": "user", "content": QUESTION.format(n=number)}], "max_tokens": 256}


Spent = tuple[float, float]
"""Seconds and CPU seconds."""


def clock() -> Spent:
    return time.perf_counter(), time.process_time()


def since(began: Spent, ended: Spent) -> Spent:
    return ended[0] - began[0], ended[1] - began[1]


async def side_by_side(calls: int, flight: int, call: Callable[[int], Awaitable[None]]) -> Spent:
    numbers = iter(range(calls))

    async def worker() -> None:
        for number in numbers:
            await call(number)

    began = clock()
    await asyncio.gather(*(worker() for _ in range(flight)))
    return since(began, clock())


async def bare(url: str, calls: int, flight: int) -> Spent:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=flight)) as session:

        async def call(number: int) -> None:
            async with session.post(f"{url}/chat/completions", json=body(number)) as answer:
                json.loads(await answer.read())["choices"][0]["message"]["content"]

        return await side_by_side(calls, flight, call)


async def openai(url: str, calls: int, flight: int) -> Spent:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=url, api_key="EMPTY") as client:

        async def call(number: int) -> None:
            await client.chat.completions.create(**body(number))  # type: ignore[call-overload]

        return await side_by_side(calls, flight, call)


async def ours(url: str, calls: int, flight: int) -> Spent:
    import aiohttp  # noqa: F401 - loaded before the clock runs, as the bare loop does

    from blackbox_kd.engine.progress import View
    from blackbox_kd.engine.run import Run, RunOptions
    from blackbox_kd.recipe.load import load_recipe

    class _Watch(View):
        """When the segment began, and when its last row was in its table."""

        began = ended = (0.0, 0.0)

        def begin(self, *_: object) -> None:
            self.began = clock()

        def step_done(self, account: object) -> None:
            self.ended = clock()

    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    try:
        with (folder / "train.jsonl").open("w") as file:
            for number in range(calls):
                file.write(json.dumps({"instruction": QUESTION.format(n=number)}) + "\n")
        teacher = {"provider": "openai", "model": "stub", "base_url": url, "max_concurrency": flight}
        teacher["price"] = {"input": 1, "output": 2}
        recipe = {
            "name": "bench",
            "data": {"train": {"path": "train.jsonl"}},
            "models": {"teacher": teacher},
            "budget": {"usd": 1000},
            "steps": [{"step": "generate", "model": "teacher", "prompt": "student/plain", "max_tokens": 256}],
        }
        (folder / "recipe.yaml").write_text(json.dumps(recipe))
        watch = _Watch()
        options = RunOptions(cache=folder, run_dir=folder / "run", ledger=folder / "ledger.sqlite", view=watch)
        run = Run(load_recipe(folder / "recipe.yaml"), options)
        await run.execute()
        if run.report["funnel"][0]["out"] != calls:
            raise SystemExit(f"only {run.report['funnel'][0]['out']} of {calls} rows")
        return since(watch.began, watch.ended)
    finally:
        shutil.rmtree(folder)


def main(kind: str, url: str, calls: str, flight: str) -> None:
    of_kind = {"bare": bare, "openai": openai, "ours": ours}[kind]
    run = event_loop.run if kind == "ours" else asyncio.run  # the others as they come, ours as the command line does
    seconds, cpu_s = run(of_kind(url, int(calls), int(flight)))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "peak_mb": peak_mb}))


if __name__ == "__main__":
    main(*sys.argv[1:])
