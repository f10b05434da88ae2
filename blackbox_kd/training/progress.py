"""How far a training is: told of each step and each log, kept in training_log.jsonl, and not gone beyond its end."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainerCallback, TrainerState
from transformers.trainer_utils import get_last_checkpoint

LOG = "training_log.jsonl"
"""File of a training's folder with its losses."""
Tell = Callable[[Mapping[str, Any]], None]


class Progress(TrainerCallback):  # type: ignore[misc]
    """Tells of each step and each log, and ends the process when its parent has died.

    Args:
        tell: is told.
        log: the file of all logs, of earlier processes too; None for a process that writes nothing.
        clock: tells seconds.
    """

    def __init__(self, tell: Tell, log: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._log, self._clock, self._parent = tell, log, clock, os.getppid()
        self._began, self._first = clock(), 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Training begins, or goes on from a checkpoint: what was logged behind it is logged anew."""
        self._began, self._first = self._clock(), state.global_step
        self._write("w", *state.log_history)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step has ended."""
        if os.getppid() != self._parent:
            os._exit(1)
        self._tell({"event": "step", **self._place(state)})

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """The trainer has logged losses."""
        entry = state.log_history[-1]
        entry |= {name: value for name, value in self._place(state).items() if name == "seconds_left"}
        self._write("a", entry)
        self._tell({"event": "log", **self._place(state), **(logs or {})})

    def _place(self, state: Any) -> dict[str, Any]:
        """The step, of how many, and the seconds left by the pace of this process: earlier ones trained elsewhen."""
        place = {"step": state.global_step, "steps": state.max_steps}
        if (done := state.global_step - self._first) <= 0:
            return place
        pace = (self._clock() - self._began) / done
        return place | {"seconds_left": round(pace * (state.max_steps - state.global_step), 1)}

    def _write(self, mode: str, *entries: Mapping[str, Any]) -> None:
        if self._log is not None:
            with self._log.open(mode) as file:
                file.writelines(json.dumps(entry) + "\n" for entry in entries)


def train(trainer: Any) -> None:
    """Trains, or goes on from the last checkpoint; where training has ended by that one, no step is added to it."""
    trainer.remove_callback(PrinterCallback)
    last = get_last_checkpoint(trainer.args.output_dir)
    before = TrainerState.load_from_json(str(Path(last, "trainer_state.json"))) if last else None
    if before is None or not before.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]:
        trainer.train(resume_from_checkpoint=last)
        return
    # The loop looks behind each step whether to stop, so that it would train another one.
    planned = trainer.args.max_steps, trainer.args.num_train_epochs
    trainer.args.max_steps, trainer.args.num_train_epochs = -1, 0
    trainer.train(resume_from_checkpoint=last)
    trainer.args.max_steps, trainer.args.num_train_epochs = planned
    trainer.state.max_steps = before.max_steps
