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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blackbox_kd.errors import StepError, UserError
from blackbox_kd.privacy import open_anew
from blackbox_kd.training.artefacts import Job, Result

NO_CODE_FROM_HERE = {"PYTHONSAFEPATH": "1"}
"""`python -m` looks for modules in the working directory first: a stranger's `torch.py` there would be run."""
LAST_LINES = 12
"""Lines of the process's messages that an error shows."""


ENDED = ".ended"
"""Ending of the file beside a job in which a stage says why it could not go on."""
OUT_OF_MEMORY = (
    "training ran out of memory; it goes on from its last checkpoint with half the rows a pass, and as many an update"
)
MOST_HALVINGS = 20
"""Times that training is begun again with half the rows a pass: a stage that cannot do with less says so before."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What a stage runs on; nothing of it stands in its job.

    Args:
        gpus: the most GPUs; None for all.
        config: of `accelerate launch`, for FSDP2, DeepSpeed or several machines.
    """

    gpus: int | None = None
    config: Path | None = None


ALL = Spread()
Start = Callable[[str, Path, Spread, int], list[str]]
"""Makes the command of a stage: of its method, its job, what it runs on, and how often memory ran out."""


def list_gpus() -> list[str]:
    """The GPUs that training would see; torch is not imported for it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    listed = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, check=False)
    return [str(number) for number in range(len(listed.stdout.splitlines()))] if listed.returncode == 0 else []


def launch_command(method: str, job: Path, spread: Spread = ALL, halved: int = 0) -> list[str]:
    """The command of a stage: `accelerate launch` for several GPUs or by a config, one process elsewhere."""
    stage = [f"blackbox_kd.training.{method}", str(job), *([str(halved)] if halved else [])]
    count = len(list_gpus()[: spread.gpus])
    if spread.config is None and count < 2:
        return [sys.executable, "-m", *stage]
    # A port that is free: two trainings on one machine would else meet on the same one.
    launcher = ["-m", "accelerate.commands.launch", "--main_process_port", "0"]
    launcher += ["--multi_gpu"] if spread.config is None else ["--config_file", str(spread.config)]
    if spread.config is None or spread.gpus is not None:
        launcher += ["--num_processes", str(count if spread.config is None else spread.gpus)]
    return [sys.executable, *launcher, "-m", *stage]


def make_environment(spread: Spread) -> dict[str, str]:
    """The environment of a stage, in which it sees no GPU that it is not to use."""
    chosen = {} if spread.gpus is None else {"CUDA_VISIBLE_DEVICES": ",".join(list_gpus()[: spread.gpus])}
    return os.environ | NO_CODE_FROM_HERE | chosen


async def run_training(
    method: str,
    job: Path,
    on_event: Callable[[Mapping[str, Any]], None],
    spread: Spread = ALL,
    start: Start = launch_command,
) -> Result:
    """Runs a job to its end; where memory runs out it goes on from the last checkpoint with half the rows a pass.

    Args:
        method: the stage, a module of this folder.
        job: the job's JSON file.
        on_event: is told each event that the stage writes (`step`, `steps`, `loss`).
        spread: what it runs on.
        start: makes the command.

    Returns:
        What the stage wrote last, into `training.json`.

    Raises:
        UserError: the stage refused the rows or the settings; its message says why.
        StepError: the stage failed.
    """
    ended = job.with_suffix(ENDED)
    for halved in range(MOST_HALVINGS):
        ended.unlink(missing_ok=True)
        status, messages = await _run_process(start(method, job, spread, halved), make_environment(spread), on_event)
        why = json.loads(ended.read_text()) if status and ended.exists() else {}
        ended.unlink(missing_ok=True)
        if not why.get("out_of_memory"):
            break
        on_event({"event": "warning", "warning": OUT_OF_MEMORY})
    if "refused" in why:
        raise UserError(why["refused"])
    if status != 0:
        log = job.with_suffix(".log")
        with open_anew(log) as file:
            file.write(("\n".join(messages) + "\n").encode())
        data = Path(json.loads(job.read_text())["data"])
        raise StepError(
            f"train ({method}): the training process ended with status {status}; the rows are in {data}, "
            "a later run goes on from its last checkpoint",
            exists="\n  ".join(["last messages:", *messages]),
        )
    output = Path(Job.model_validate_json(job.read_text()).output)
    return Result.model_validate_json((output / "training.json").read_text())


async def run_benchmark(job: Path, folder: Path, on_event: Callable[[Mapping[str, Any]], None]) -> None:
    """Lets a model be asked what a job of `training.benchmark` says; what comes of it lies in the job's `output`.

    Args:
        job: the job's JSON file.
        folder: working directory: what tasks name is relative to it.
        on_event: is told what the process tells.

    Raises:
        UserError: the tasks cannot be had, or the model cannot be loaded; the message says why.
        StepError: the process failed.
    """
    command = [sys.executable, "-m", "blackbox_kd.training.benchmark", str(job.resolve())]
    status, messages = await _run_process(command, os.environ | NO_CODE_FROM_HERE, on_event, folder)
    ended = job.with_suffix(ENDED)
    why = json.loads(ended.read_text()) if status and ended.exists() else {}
    ended.unlink(missing_ok=True)
    if why:
        raise UserError(why["refused"])
    if status:
        what = f"the process that asks benchmarks ended with status {status}; its job is {job}"
        raise StepError(what, exists="\n  ".join(["last messages:", *messages]))


async def run_look(method: str, job: Path) -> None:
    """Looks at a job without doing it, see `artefacts.read_preflight`; nothing is loaded but tokenizer and configs.

    Raises:
        UserError: the rows or the settings are refused as a whole; the message says why.
        StepError: the process failed.
    """
    command = [sys.executable, "-m", "blackbox_kd.training.look", str(job), method]
    status, messages = await _run_process(command, make_environment(ALL), lambda event: None)
    if (ended := job.with_suffix(ENDED)).exists():
        raise UserError(json.loads(ended.read_text())["refused"])
    if status != 0:
        told = "\n  ".join(["last messages:", *messages])
        raise StepError(f"train ({method}): the process that looks at the rows ended with status {status}", exists=told)


async def _run_process(
    command: list[str],
    environment: Mapping[str, str],
    on_event: Callable[[Mapping[str, Any]], None],
    folder: Path | None = None,
) -> tuple[int, deque[str]]:
    """The status of a process that has ended, and its last messages."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        cwd=folder,
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
    assert process.returncode is not None
    return process.returncode, messages


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
