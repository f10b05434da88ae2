"""Starts a training stage as a process of its own, follows it, and ends it with its parent."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from blackbox_kd.errors import StepError, UserError
from blackbox_kd.privacy import open_anew
from blackbox_kd.training.artefacts import Job, Result

NO_CODE_FROM_HERE = {"PYTHONSAFEPATH": "1"}
"""`python -m` looks for modules in the working directory first: a stranger's `torch.py` there would be run."""
LAST_LINES = 12
"""Lines of the process's messages that an error shows."""


def count_gpus() -> int:
    """How many GPUs training would see; torch is not imported for it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    listed = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, check=False)
    return len(listed.stdout.splitlines()) if listed.returncode == 0 else 0


def launch_command(method: str, job: Path) -> list[str]:
    """The command of a stage: `accelerate launch` where there are several GPUs, one process elsewhere."""
    module = f"blackbox_kd.training.{method}"
    count = count_gpus()
    if count > 1:
        launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(count), "-m"]
        return [sys.executable, *launcher, module, str(job)]
    return [sys.executable, "-m", module, str(job)]


async def run_training(method: str, job: Path, on_event: Callable[[Mapping[str, Any]], None]) -> Result:
    """Runs a job to its end.

    Args:
        method: the stage, a module of this folder.
        job: the job's JSON file.
        on_event: is told each event that the stage writes (`step`, `steps`, `loss`).

    Returns:
        What the stage wrote last, into `training.json`.

    Raises:
        UserError: the stage refused the rows or the settings; its message says why.
        StepError: the stage failed.
    """
    process = await asyncio.create_subprocess_exec(
        *launch_command(method, job),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | NO_CODE_FROM_HERE,
        limit=2**20,
        start_new_session=True,  # so that its whole group can be ended
    )
    assert process.stdout is not None
    assert process.stderr is not None
    messages: deque[str] = deque(maxlen=LAST_LINES)
    try:
        await asyncio.gather(_follow(process.stdout, on_event), _keep(process.stderr, messages), process.wait())
    except BaseException:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        raise
    if process.returncode == UserError.exit_status:
        raise UserError("\n".join(messages))
    if process.returncode != 0:
        log = job.with_suffix(".log")
        with open_anew(log) as file:
            file.write(("\n".join(messages) + "\n").encode())
        data = Path(json.loads(job.read_text())["data"])
        raise StepError(
            f"train ({method}): the training process ended with status {process.returncode}; the rows are in {data}, "
            "a later run goes on from its last checkpoint",
            exists="\n  ".join(["last messages:", *messages]),
        )
    output = Path(Job.model_validate_json(job.read_text()).output)
    return Result.model_validate_json((output / "training.json").read_text())


async def _follow(stream: asyncio.StreamReader, on_event: Callable[[Mapping[str, Any]], None]) -> None:
    async for line in stream:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            on_event(event)


async def _keep(stream: asyncio.StreamReader, messages: deque[str]) -> None:
    async for line in stream:
        messages.append(line.decode(errors="replace").rstrip())
