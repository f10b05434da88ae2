"""Checkpoints: where they are, which are whole, when one is due, and how long all processes of a training took."""

import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from blackbox_kd.errors import DataError
from blackbox_kd.training.artefacts import MARK, find_maker

BEGAN = time.monotonic()
FOLDER = "checkpoints"
SECONDS = "seconds"
"""File beside the checkpoints: how long the processes of a training have taken so far."""


def prepare_folder(output: Path, name: str, *, is_first: bool, on_gpu: bool) -> Path:
    """The folder of checkpoints, whole ones of this job alone; all processes find the same there.

    Raises:
        DataError: another job has finished in `output`, which nothing deletes.
    """
    from accelerate import PartialState

    checkpoints, mark = output / FOLDER, output / MARK
    with PartialState(cpu=not on_gpu).main_process_first():
        if is_first and output.exists() and (not mark.exists() or mark.read_text() != name):
            if find_maker(output) is not None:
                what = f"{output}: another training has finished here"
                raise DataError(what, fix="name another output, or take it away")
            sys.stderr.write(f"{output}: begun by another job; training starts anew\n")
            shutil.rmtree(output)
        checkpoints.mkdir(parents=True, exist_ok=True)
        mark.write_text(name)
        if is_first:
            _drop_halves(checkpoints)
    return checkpoints


def _drop_halves(checkpoints: Path) -> None:
    """Takes away what was being written when a process was killed: an earlier checkpoint is gone on from."""
    for folder in checkpoints.glob("checkpoint-*"):
        if not _is_whole(folder):
            sys.stderr.write(f"{folder.name}: was being written when training was stopped; passed over\n")
            shutil.rmtree(folder)


def _is_whole(folder: Path) -> bool:
    """The state is written last; a machine that lost its power can leave files without their content."""
    try:
        state = json.loads((folder / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    steps = re.fullmatch(r"checkpoint-(\d+)", folder.name)
    is_empty = any(file.is_file() and not file.stat().st_size for file in folder.iterdir())
    return steps is not None and state.get("global_step") == int(steps[1]) and not is_empty


def read_seconds(output: Path) -> float:
    """How long earlier processes of a training took, to the second before they were killed."""
    try:
        return float((output / FOLDER / SECONDS).read_text())
    except (OSError, ValueError):
        return 0.0


class Keeper(TrainerCallback):  # type: ignore[misc]
    """Asks for a checkpoint when the last one is some minutes old, and keeps the count of seconds.

    Args:
        output: the folder of the training.
        minutes: after which a checkpoint is written, beside those by steps.
        is_first: whether this process writes.
        clock: seconds, of which the process began at `BEGAN`.
    """

    def __init__(
        self, output: Path, minutes: float, *, is_first: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file, self._clock = output / FOLDER / SECONDS, clock
        self._earlier, self._is_first = read_seconds(output), is_first
        self._saved, self._kept, self._limit = clock(), 0.0, 60 * minutes

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step has ended; all processes save, or none does."""
        now = self._clock()
        if self._is_first and now - self._kept > 1:
            part = self._file.with_suffix(".part")
            part.write_text(str(self._earlier + now - BEGAN))
            part.replace(self._file)
            self._kept = now
        is_due = now - self._saved >= self._limit
        if args.world_size > 1:
            from accelerate.utils import broadcast_object_list

            [is_due] = broadcast_object_list([is_due])
        if is_due:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A checkpoint is written, for whichever reason."""
        self._saved = self._clock()
