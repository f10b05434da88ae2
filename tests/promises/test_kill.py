"""SIGKILL at random moments of a whole run against a server that counts what it answered; then the same command."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROWS = 150


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a counting server that takes its time, in a process of its own."""
    latency = getattr(request, "param", "lognormal:0.15,0.8")
    command = [sys.executable, "-m", "tests.support.fake_server", "--latency", latency, "--fault-share", "0.02"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.kill()
    process.wait()


def stats(server: str) -> dict[str, Any]:
    with urllib.request.urlopen(server.removesuffix("/v1") + "/stats") as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def recipe(folder: Path, server: str) -> None:
    rows = [{"instruction": f"What is the number of {n}?", "reference": str(n % 7)} for n in range(ROWS)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {
        "name": "killed",
        "seed": 1,
        "budget": {"requests": 2 * ROWS},  # exactly what is needed: calls that a kill loses take none of it
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": {"provider": "openai", "model": "fake", "base_url": server, "max_concurrency": 16}},
        "steps": [
            {"step": "generate", "model": "teacher", "prompt": "student/plain", "samples": 2, "temperature": 1.0},
            {"step": "check", "answer": "number"},
            {"step": "select", "per": "instruction", "best": 1, "by": "shortest"},
            {"step": "format"},
        ],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))


def command(folder: Path) -> list[str]:
    return [sys.executable, "-c", "from blackbox_kd.cli.main import main; main()", "run", str(folder / "recipe.yaml")]


def killed_run(folder: Path, seed: int, most: int = 6) -> int:
    """Starts the run again and again, and kills it at a random moment each time until it ends; the kills."""
    rng = random.Random(seed)
    kills = 0
    while True:
        process = subprocess.Popen(command(folder), cwd=folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            status = process.wait(timeout=rng.uniform(0.9, 1.6) if kills < most else 120)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        assert status == 0
        return kills


def tables(folder: Path) -> dict[str, bytes]:
    paths = (folder / "runs" / "killed").glob("**/*.jsonl")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_killed_run_goes_on_without_paying_twice_and_ends_with_the_same_tables(tmp_path: Path, server: str) -> None:
    assert kill_and_compare(tmp_path, server, seed=5, most=6) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("server", ["lognormal:0.3,0.8"], indirect=True)
@pytest.mark.parametrize("seed", range(10))
def test_ten_kills_each_of_ten_runs_change_nothing_and_cost_only_what_was_in_flight(
    tmp_path: Path, server: str, seed: int
) -> None:
    assert kill_and_compare(tmp_path, server, seed, most=10) >= 5


def kill_and_compare(tmp_path: Path, server: str, seed: int, most: int) -> int:
    """Runs undisturbed, then with kills, and holds one against the other; the number of kills."""
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    for folder in (quiet, killed):
        folder.mkdir()
        recipe(folder, server)
    subprocess.run(command(quiet), cwd=quiet, check=True, capture_output=True)
    alone = stats(server)["answered"]
    assert alone == 2 * ROWS

    kills = killed_run(killed, seed, most)
    answered = stats(server)["answered"] - alone
    report = json.loads((killed / "runs" / "killed" / "report.json").read_text())
    assert tables(killed) == tables(quiet)
    repeated = report["spent"]["repeated"]
    assert report["spent"]["requests"] == 2 * ROWS
    assert 2 * ROWS <= answered <= 2 * ROWS + repeated
    assert repeated <= 16 * kills
    return kills


class Pair:
    """Two runs of one recipe in folders of their own, with one ledger."""

    def __init__(self, place: Path, server: str) -> None:
        self.folders = [place / "one", place / "two"]
        self._ledger = place / "ledger.sqlite"
        for folder in self.folders:
            folder.mkdir()
            recipe(folder, server)

    def start(self, folder: Path) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [*command(folder), "--ledger", str(self._ledger)],
            cwd=folder,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def spent(self, what: str) -> int:
        reports = [folder / "runs" / "killed" / "report.json" for folder in self.folders]
        return sum(json.loads(report.read_text())["spent"][what] for report in reports)


def test_two_runs_that_ask_the_same_at_the_same_time_pay_once(tmp_path: Path, server: str) -> None:
    pair = Pair(tmp_path, server)
    runs = [pair.start(folder) for folder in pair.folders]
    assert [run.wait(120) for run in runs] == [0, 0]
    one, two = pair.folders
    assert tables(one) == tables(two)
    assert stats(server)["answered"] == pair.spent("requests") == 2 * ROWS


@pytest.mark.slow
@pytest.mark.parametrize("server", ["lognormal:0.3,0.8"], indirect=True)
@pytest.mark.parametrize("seed", range(5))
def test_two_such_runs_of_which_now_one_and_now_the_other_is_killed(tmp_path: Path, server: str, seed: int) -> None:
    pair, rng, kills = Pair(tmp_path, server), random.Random(seed), 0
    runs = {folder: pair.start(folder) for folder in pair.folders}
    for _ in range(8):
        time.sleep(rng.uniform(0.5, 1.2))
        folder = rng.choice(pair.folders)
        if runs[folder].poll() is None:
            runs[folder].kill()
            runs[folder].wait()
            kills += 1
            runs[folder] = pair.start(folder)
    assert [run.wait(120) for run in runs.values()] == [0, 0]
    assert kills >= 3
    one, two = pair.folders
    assert tables(one) == tables(two)
    answered, repeated = stats(server)["answered"], pair.spent("repeated")
    assert pair.spent("requests") == 2 * ROWS
    assert 2 * ROWS <= answered <= 2 * ROWS + repeated
    assert repeated <= 16 * kills
