"""SIGKILL at random moments of a loop that trains; then the same command, until it ends as if nothing had been."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.promises.test_kill import command, server, stats
from tests.support.runs import rows_of, write_rows
from tests.support.tiny import tiny_model

__all__ = ["server"]

ROWS = 24
IN_FLIGHT = 4


def recipe(folder: Path, url: str) -> None:
    """Two rounds of teaching, training, and an exam whose mistakes are the next round's questions."""
    for name, start in (("train", 0), ("dev", 100), ("test", 200)):
        rows = [
            {"instruction": f"What is the number of {n}?", "reference": str(n % 7)} for n in range(start, start + ROWS)
        ]
        write_rows(folder / f"{name}.jsonl", rows)
    student = {"model": "student", "prompt": "student/plain", "max_tokens": 4, "accept_truncated": True}
    exam = {"step": "evaluate", "answer": "number", "models": ["student"], "max_tokens": 4}
    body = [
        {"step": "generate", "input": "train", "model": "teacher", "prompt": "student/plain", "temperature": 1.0},
        {"step": "format", "output": "taught"},
        {"step": "mix", "tables": {"taught": 1}, "replay": {"table": "seen", "share": 0.2}},
        {"step": "train", "model": "student", "max_steps": 12, "batch_size": 4, "r": 4, "learning_rate": 1e-2},
        {"step": "mix", "tables": {"seen": 1, "taught": 1}, "shuffle": False, "output": "seen"},
        {"step": "generate", "input": "train", **student, "as": "student_response", "temperature": 0.7, "samples": 2},
        {"step": "check", "answer": "number", "of": "student_response"},
        {"step": "filter", "keep": "not correct"},
        {"step": "select", "per": "instruction", "best": 1, "output": "train"},
        {**exam, "input": "dev"},
    ]
    until = {"metric": "accuracy", "model": "student", "on": "dev", "patience": 2}
    values = {
        "name": "killed",
        "seed": 1,
        "data": {
            "train": {"path": "train.jsonl"},
            "dev": {"path": "dev.jsonl", "held_out": True},
            "test": {"path": "test.jsonl", "held_out": True},
        },
        "models": {
            "teacher": {"provider": "openai", "model": "fake", "base_url": url, "max_concurrency": IN_FLIGHT},
            "student": {"provider": "transformers", "model": str(tiny_model())},
        },
        "steps": [
            {"loop": {"rounds": 2, "until": until, "steps": body}},
            {**exam, "input": "test", "models": ["student@base", "student@1", "student"]},
        ],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))


def killed_run(folder: Path, rng: random.Random, most: int, longest_s: float) -> list[float]:
    """Starts the run again and again, and kills it at a random moment each time until it ends; the moments."""
    moments: list[float] = []
    while True:
        process = subprocess.Popen(command(folder), cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        moment = rng.uniform(1.0, longest_s) if len(moments) < most else 240.0
        try:
            _, said = process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            moments.append(moment)
            continue
        assert process.returncode == 0, said.decode()
        return moments


def outcome(folder: Path) -> dict[str, Any]:
    """What a run has left: its tables, and what its report says of models and rows."""
    run = folder / "runs" / "killed"
    report = json.loads((run / "report.json").read_text())
    files = [*(run / "tables").glob("*.jsonl"), run / "dataset" / "train.jsonl"]
    adapters = (run / "models").glob("student@*/adapter_model.safetensors")
    return {
        "tables": {file.name: rows_of(file) for file in files},
        "adapters": {file.parent.name: file.read_bytes() for file in adapters},
        **{name: report[name] for name in ("evaluations", "comparisons", "loops", "funnel")},
    }


def run_undisturbed_and_killed(folder: Path, url: str, seed: int, most: int) -> int:
    quiet, killed = folder / "quiet", folder / "killed"
    for each in (quiet, killed):
        each.mkdir()
        recipe(each, url)
    began = time.monotonic()
    done = subprocess.run(command(quiet), cwd=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    longest_s, alone = time.monotonic() - began, stats(url)["answered"]
    kills = len(killed_run(killed, random.Random(seed), most, longest_s * 0.35))
    assert outcome(killed) == outcome(quiet)
    report = json.loads((killed / "runs" / "killed" / "report.json").read_text())
    answered = stats(url)["answered"] - alone
    assert alone <= answered <= alone + report["spent"]["repeated"]
    assert answered - alone <= IN_FLIGHT * kills
    return kills


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_loop_that_is_killed_goes_on_where_it_was(tmp_path: Path, server: str) -> None:
    assert run_undisturbed_and_killed(tmp_path, server, seed=3, most=2) >= 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_loop_that_is_killed_ten_times_ends_as_if_nothing_had_been(tmp_path: Path, server: str) -> None:
    assert run_undisturbed_and_killed(tmp_path, server, seed=8, most=10) >= 8
