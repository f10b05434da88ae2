"""Makes what stands beside it: `python -m tests.promises.left_by_0_1.make`, with the code of version 0.1.

    data/ tiny/             the tables, and a student of random weights
    run/                    the folder of the finished run
    ledger.sqlite           the replies
    recipe.yaml prompts/ shout.py    are written by hand

It works in a folder of its own, /tmp/left_by_0_1, which stands in some of the files, and runs the command line as a
user would. The teacher and the judge are played; the first reply cannot be used, nor can one at temperature 0, whose
row fails.
"""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.fake_answers import completion_of
from tests.support.fake_server import FakeServer
from tests.support.tiny import tiny_model

HERE = Path(__file__).parent
PLACE = Path("/tmp/left_by_0_1")
BY_HAND = ("recipe.yaml", "shout.py", "prompts")
LINKS = shutil.ignore_patterns("student", "lock")
"""A link to the last version, which not every file system and archive keeps; and a lock."""
TEACHER = "It is {n}."
ROWS = 12
SAMPLED = 2 * ROWS + 1
"""Calls of the teacher before the first at temperature 0, with the one that is made again."""


def questions(start: int, count: int) -> Iterator[dict[str, Any]]:
    """Questions; to every other one the teacher knows the answer."""
    for number in range(start, start + count):
        question = f"What is the größte number of {number}, \u2028 \u6570 \U0001f600?"
        said = completion_of("ok", {"messages": [{"role": "user", "content": question}]}, TEACHER)
        answer = str(said["choices"][0]["message"]["content"]).strip("It is.")
        parity = "odd" if number % 2 else "even"
        beside = {"share": number / 8, "tiny": 1e-7, "tags": ["ü", None, {"b": 1, "a": True}], "whole": 10**17 + number}
        yield {"question": question, "reference": str(int(answer) + number % 2), "parity": parity, **beside}


async def main() -> None:
    """Runs the recipe, and keeps what it leaves."""
    shutil.rmtree(PLACE, ignore_errors=True)
    (PLACE / "data").mkdir(parents=True)
    for name in BY_HAND:
        copy = shutil.copytree if (HERE / name).is_dir() else shutil.copy
        copy(HERE / name, PLACE / name)
    for name, start, count in (("train", 0, ROWS), ("dev", 100, 4), ("test", 200, 6)):
        rows = questions(start, count)
        (PLACE / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copytree(tiny_model(), PLACE / "tiny")
    command = [sys.executable, "-c", "from blackbox_kd.cli.main import main; main()", "run", "recipe.yaml"]
    options = ["--run-dir", "run", "--ledger", "ledger.sqlite", "--allow-code"]
    plan = ["empty", *["ok"] * (SAMPLED - 1), "refusal"]
    async with FakeServer(plan, rule=TEACHER, port=8397), FakeServer(rule="Hm.\nresult: {n}", port=8398):
        env = os.environ | {"XDG_CACHE_HOME": str(PLACE / "cache")}
        done = await asyncio.create_subprocess_exec(*command, *options, cwd=PLACE, env=env)
        if await done.wait():
            sys.exit(f"the run ended with status {done.returncode}")
    for name in ("data", "tiny", "run"):
        shutil.rmtree(HERE / name, ignore_errors=True)
        shutil.copytree(PLACE / name, HERE / name, ignore=LINKS)
    shutil.copy(PLACE / "ledger.sqlite", HERE)


if __name__ == "__main__":
    asyncio.run(main())
