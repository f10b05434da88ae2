"""Ctrl-C where the event loop cannot hear it at once: while a step computes, and before anything is imported."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from blackbox_kd.engine.signals import stoppable
from blackbox_kd.errors import Stopped
from tests.cli.test_main import SCRIPT, replies, serving

HANGS = """
from pathlib import Path
from blackbox_kd.sdk import StepConfig, {kind}_step
class Config(StepConfig):
    pass
def compute():
    if not Path("hanging").exists():
        Path("hanging").touch()
        while True:
            pass
@{kind}_step()
async def run({what}, config: Config, ctx):
    {body}
"""
TABLE = HANGS.format(kind="table", what="table", body="compute()\n    for row in table:\n        yield row")
ROW = HANGS.format(kind="row", what="row", body="compute()\n    return row")


class Computes:
    """Gets a signal, and computes on without a look at the event loop."""

    def __init__(self) -> None:
        self.stopped = 0
        self.is_over = False

    async def execute(self) -> None:
        signal.raise_signal(signal.SIGINT)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            pass
        self.is_over = True

    def stop(self) -> bool:
        self.stopped += 1
        return False


async def test_a_step_that_computes_is_broken_off() -> None:
    before = signal.getsignal(signal.SIGINT)
    job = Computes()
    with pytest.raises(Stopped, match="Run the same command to go on"):
        await stoppable(job, lambda text: None)
    assert not job.is_over
    assert signal.getsignal(signal.SIGINT) is before


class Heeds(Computes):
    """Gives the event loop its turn."""

    async def execute(self) -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(60)


async def test_a_job_that_gives_the_loop_its_turn_is_asked_to_stop() -> None:
    job = Heeds()
    with pytest.raises(Stopped):
        await stoppable(job, lambda text: None)
    assert job.stopped == 1


def run_until_it_hangs(folder: Path, code: str, models: dict[str, Any], steps: list[dict[str, Any]]) -> tuple[int, str]:
    """Runs a recipe with a step that computes for ever, sends it Ctrl-C then; its exit status and what it said."""
    (folder / "train.jsonl").write_text("".join(json.dumps({"instruction": f"{n}?"}) + "\n" for n in range(4)))
    (folder / "hang.py").write_text(f'"""A step."""\n{code}')
    values = {"name": "demo", "plugins": ["hang.py"], "models": models, "steps": steps}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values | {"data": {"train": {"path": "train.jsonl"}}}))
    command = [*SCRIPT, "run", "recipe.yaml", "--allow-code"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    while not (folder / "hanging").exists():
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def test_ctrl_c_ends_a_table_step_that_computes_and_the_report_says_so(tmp_path: Path) -> None:
    status, said = run_until_it_hangs(tmp_path, TABLE, {}, [{"step": "hang"}])
    assert (status, "Traceback" in said) == (130, False), said
    report = json.loads((tmp_path / "runs/demo/report.json").read_text())
    assert report["status"] == "stopped by Ctrl-C or SIGTERM"


def test_ctrl_c_on_a_row_step_that_computes_loses_no_call_that_is_under_way(tmp_path: Path) -> None:
    with serving("1") as url:
        models = {"teacher": {"provider": "openai", "model": "m", "base_url": url, "max_concurrency": 2}}
        ask = {"step": "generate", "model": "teacher", "prompt": "student/plain"}
        status, said = run_until_it_hangs(tmp_path, ROW, models, [ask, {"step": "hang"}])
    assert (status, "Traceback" in said) == (130, False), said
    ledger = tmp_path / "runs" / "ledger.sqlite"
    assert replies(ledger, "intents") == 0
    assert replies(ledger) >= 2


@pytest.mark.parametrize(
    "module",
    ["click", "blackbox_kd.errors", "blackbox_kd.cli.run", "blackbox_kd.recipe.load", "blackbox_kd.engine.run"],
)
def test_ctrl_c_while_modules_are_imported_ends_in_a_message(tmp_path: Path, module: str) -> None:
    presses = (
        "import signal, sys\n"
        "class Presses:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Presses())\n"
        "from blackbox_kd.cli.main import main\n"
        "main()\n"
    )
    (tmp_path / "train.jsonl").write_text('{"instruction": "1?"}\n')
    values = {"name": "demo", "data": {"train": {"path": "train.jsonl"}}, "steps": [{"step": "select", "rows": 1}]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    command = [sys.executable, "-c", presses, "run", "recipe.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.strip().startswith("error: stopped"), done.stderr
    assert len(done.stderr.split("\n")) <= 3, done.stderr
