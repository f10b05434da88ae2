"""How far a training is, as it is told under way and written into its log."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from blackbox_kd.training.describe import take_curve
from blackbox_kd.training.progress import Progress


def test_time_left_is_guessed_from_the_steps_of_this_process_alone(tmp_path: Path) -> None:
    events: list[Any] = []
    seconds = iter([0.0, 100.0, 104.0, 104.0, 104.0])
    progress = Progress(events.append, tmp_path / "log", lambda: next(seconds))
    log = [{"loss": 2.0, "step": 80}]
    state = SimpleNamespace(global_step=90, max_steps=100, log_history=log)
    progress.on_train_begin(None, state, None)
    state.global_step = 92
    progress.on_step_end(None, state, None)
    log.append({"loss": 1.0, "step": 92})
    progress.on_log(None, state, None, {"loss": 1.0})
    assert events == [
        {"event": "step", "step": 92, "steps": 100, "seconds_left": 16.0},
        {"event": "log", "step": 92, "steps": 100, "seconds_left": 16.0, "loss": 1.0},
    ]
    lines = [json.loads(line) for line in (tmp_path / "log").open()]
    assert lines == [{"loss": 2.0, "step": 80}, {"loss": 1.0, "step": 92, "seconds_left": 16.0}]


def test_what_was_logged_behind_the_checkpoint_is_not_told_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"loss": 1.0, "step": 92}\n' * 3)
    progress = Progress(lambda event: None, log)
    progress.on_train_begin(None, SimpleNamespace(global_step=90, log_history=[{"loss": 2.0, "step": 80}]), None)
    assert [json.loads(line)["step"] for line in log.open()] == [80]


def test_a_curve_keeps_its_last_point_however_many_there_are() -> None:
    log = [{"step": step, "loss": step / 2} for step in range(1, 251)] + [{"step": 5, "eval_loss": 1.0}]
    curve = take_curve(log, "loss")
    assert (len(curve), curve[:2], curve[-1]) == (84, [[1, 0.5], [4, 2.0]], [250, 125.0])
    assert (take_curve(log, "eval_loss"), take_curve([], "loss")) == ([[5, 1.0]], [])
