"""The clients that are compared, each in a process of its own: `python -m benchmarks.clients KIND URL CALLS FLIGHT`.

bare: a loop over aiohttp and nothing else. openai: AsyncOpenAI as it comes. ours: a whole run of blackbox-kd with its
ledger. Prints seconds, CPU seconds and peak memory of the calls as JSON.
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

QUESTION = "A box holds {n} red and 7 blue balls. How many balls are in three boxes? Answer in short steps. " * 3


def body(number: int) -> dict[str, object]:
    return {"model": "stub", "messages": [{"role": "user", "content": QUESTION.format(n=number)}], "max_tokens": 256}


async def side_by_side(calls: int, flight: int, call: Callable[[int], Awaitable[None]]) -> None:
    numbers = iter(range(calls))

    async def worker() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(worker() for _ in range(flight)))


async def bare(url: str, calls: int, flight: int) -> float:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=flight)) as session:

        async def call(number: int) -> None:
            async with session.post(f"{url}/chat/completions", json=body(number)) as answer:
                json.loads(await answer.read())["choices"][0]["message"]["content"]

        began = time.perf_counter()
        await side_by_side(calls, flight, call)
        return time.perf_counter() - began


async def openai(url: str, calls: int, flight: int) -> float:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=url, api_key="EMPTY") as client:

        async def call(number: int) -> None:
            await client.chat.completions.create(**body(number))  # type: ignore[call-overload]

        began = time.perf_counter()
        await side_by_side(calls, flight, call)
        return time.perf_counter() - began


async def ours(url: str, calls: int, flight: int) -> float:
    import aiohttp  # noqa: F401 - loaded before the clock runs, as the bare loop does

    from blackbox_kd import recipe as recipes
    from blackbox_kd.live import View
    from blackbox_kd.runner import Options, Run

    class _Watch(View):
        """When the segment began, and when its last row was in its table."""

        began = ended = 0.0

        def begin(self, *_: object) -> None:
            self.began = time.perf_counter()

        def step_done(self, account: object) -> None:
            self.ended = time.perf_counter()

    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    try:
        with (folder / "train.jsonl").open("w") as file:
            for number in range(calls):
                file.write(json.dumps({"instruction": QUESTION.format(n=number)}) + "\n")
        recipe = {
            "name": "bench",
            "data": {"train": {"path": "train.jsonl"}},
            "models": {"teacher": {"provider": "openai", "model": "stub", "base_url": url, "max_concurrency": flight}},
            "steps": [{"step": "generate", "model": "teacher", "prompt": "student/plain", "max_tokens": 256}],
        }
        (folder / "recipe.yaml").write_text(json.dumps(recipe))
        watch = _Watch()
        options = Options(cache=folder, run_dir=folder / "run", ledger=folder / "ledger.sqlite", view=watch)
        run = Run(recipes.load(folder / "recipe.yaml"), options)
        await run.execute()
        if run.report["funnel"][0]["out"] != calls:
            raise SystemExit(f"only {run.report['funnel'][0]['out']} of {calls} rows")
        return watch.ended - watch.began
    finally:
        shutil.rmtree(folder)


def main(kind: str, url: str, calls: str, flight: str) -> None:
    seconds = asyncio.run({"bare": bare, "openai": openai, "ours": ours}[kind](url, int(calls), int(flight)))
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {"seconds": seconds, "cpu_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
