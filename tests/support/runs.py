"""Whole runs for tests: of a recipe given as values, and one with real training that several tests look at."""

import asyncio
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from blackbox_kd.calls.batch.jobs import Limits
from blackbox_kd.engine.progress import View
from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.models import scripted
from blackbox_kd.models.http.aliases import list_vendors
from blackbox_kd.recipe.load import load_recipe
from tests.support.tiny import tiny_model
from tests.support.warm_start import WARM_COMMAND

QUESTIONS = [{"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(6)]
KEYS = {vendor.key_env: "sk-of-nobody" for vendor in list_vendors().values()}
"""A key for each vendor, as a recipe wants that asks one of them."""
HELD_OUT = [{"instruction": f"And {n} + 2?", "reference": str(n + 2)} for n in range(40, 46)]


QUICK_BATCHES = Limits(quiet_s=0.2, first_look_s=0.1, fault_s=0.1, pause_s=0.2)
"""For servers that end a batch at the first look; what they ask to wait is waited for all the same."""


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Reads JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def execute(
    folder: Path, values: Mapping[str, Any], *, run_dir: str = "run", allow_code: bool = False, **options: Any
) -> Run:
    """Runs a recipe that stands in `folder`; `train.jsonl` and `test.jsonl` are there if it is content with ours."""
    for name, rows in (("train.jsonl", QUESTIONS), ("test.jsonl", HELD_OUT)):
        if not (folder / name).exists():
            write_rows(folder / name, rows)
    (folder / "recipe.yaml").write_text(json.dumps(values))  # yaml.dump would write aliases, which recipes may not have
    env = options.pop("env", {})
    recipe = load_recipe(folder / "recipe.yaml", allow_code=allow_code, env=env)
    places = {"cache": folder / "cache", "run_dir": folder / run_dir, "ledger": folder / "ledger.sqlite"}
    options = {"batches": QUICK_BATCHES} | options
    job = Run(recipe, RunOptions(**(places | options), env=env))
    asyncio.run(job.execute())
    return job


class Said(View):
    """A view that keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def command(folder: Path, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs `blackbox-kd` in a folder, as a process of its own, without the variables of this one that it heeds."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "BLACKBOX_", "HF_"))}
    return subprocess.run(
        [sys.executable, "-c", "from blackbox_kd.cli.main import main; main()", *map(str, arguments)],
        cwd=folder,
        env=clean | WARM_COMMAND | {"HF_HUB_OFFLINE": "1"} | env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@functools.cache
def trained() -> Run:
    """A finished run with a scripted teacher and a tiny student, trained for one step; its folder stays."""
    student = {"provider": "transformers", "model": str(tiny_model(merges=True))}
    # Replies that are written are cut off at `max_tokens`, as those of an endpoint are.
    teacher = {"provider": "scripted", "replies": {"": scripted.DEFAULT}, "price": {"input": 1, "output": 2}}
    values = {
        "name": "taught",
        "description": "Sums by one.",
        "license": "apache-2.0",
        "data": {"train": {"path": "train.jsonl"}, "test": {"path": "test.jsonl", "held_out": True}},
        "models": {"teacher": teacher, "student": student},
        "steps": [
            {"step": "generate", "model": "teacher", "prompt": "student/plain", "samples": 2, "temperature": 1.0},
            {"step": "check", "answer": "number"},
            {"step": "filter", "keep": "correct"},
            {"step": "select", "per": "instruction", "best": 1},
            {"step": "format"},
            {"step": "train", "model": "student", "max_steps": 1, "r": 4, "batch_size": 4},
            {"step": "evaluate", "input": "test", "models": ["student@base", "student", "teacher"], "max_tokens": 6},
        ],
    }
    return execute(Path(tempfile.mkdtemp(prefix="trained-run-")), values)
