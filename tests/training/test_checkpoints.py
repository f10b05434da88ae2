"""Checkpoints: which are whole, when one is due, and how long all processes of a training took."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.training.checkpoints import BEGAN, Keeper, prepare_folder, read_seconds

ALONE = SimpleNamespace(world_size=1)


class Clock:
    """Seconds since the process began, as the test says them."""

    now = 0.0

    def __call__(self) -> float:
        return BEGAN + self.now


def end_step(keeper: Keeper, clock: Clock, now: float) -> bool:
    """Whether a checkpoint is asked for at the end of a step."""
    clock.now = now
    control = SimpleNamespace(should_save=False)
    keeper.on_step_end(ALONE, None, control)
    return bool(control.should_save)


def start_keeper(output: Path, minutes: float = 10, *, began: float = 0.0) -> tuple[Keeper, Clock]:
    (output / "checkpoints").mkdir(parents=True, exist_ok=True)
    clock = Clock()
    clock.now = began
    return Keeper(output, minutes, is_first=True, clock=clock), clock


def test_a_checkpoint_is_due_minutes_after_the_last_one_for_whichever_reason_that_was_written(tmp_path: Path) -> None:
    keeper, clock = start_keeper(tmp_path, minutes=2, began=30)
    assert [end_step(keeper, clock, now) for now in (31, 149.9, 150, 151)] == [False, False, True, True]
    keeper.on_save(ALONE, None, None)
    assert [end_step(keeper, clock, now) for now in (152, 270, 271)] == [False, False, True]
    clock.now = 300
    keeper.on_save(ALONE, None, None)  # by steps
    assert [end_step(keeper, clock, now) for now in (391, 419, 420)] == [False, False, True]


def test_seconds_are_those_of_all_processes_to_the_last_step_before_each_was_killed(tmp_path: Path) -> None:
    for began, last, total in ((5, 40.0, 40.0), (6, 25.0, 65.0), (0, 0.5, 65.5), (3, 100.0, 165.5)):
        keeper, clock = start_keeper(tmp_path, began=began)
        end_step(keeper, clock, last)
        assert read_seconds(tmp_path) == pytest.approx(total)
    keeper, clock = start_keeper(tmp_path)
    written = [(end_step(keeper, clock, now), read_seconds(tmp_path)) for now in (10.0, 10.9, 11.1)]
    assert [seconds for _, seconds in written] == pytest.approx([175.5, 175.5, 176.6]), "once a second is enough"
    (tmp_path / "checkpoints" / "seconds").write_text("17")
    other = Keeper(tmp_path, 10, is_first=False, clock=clock)
    end_step(other, clock, 50.0)
    assert read_seconds(tmp_path) == 17, "one process writes"
    (tmp_path / "checkpoints" / "seconds").write_text("")
    assert read_seconds(tmp_path) == 0.0


def make_checkpoint(output: Path, number: int, *, step: int | None = None, state: str | None = None) -> Path:
    folder = output / "checkpoints" / f"checkpoint-{number}"
    folder.mkdir(parents=True)
    (folder / "optimizer.pt").write_bytes(b"PK")
    told = json.dumps({"global_step": number if step is None else step}) if state is None else state
    (folder / "trainer_state.json").write_text(told)
    return folder


def prepare(output: Path, name: str = "job") -> list[str]:
    folder = prepare_folder(output, name, is_first=True, on_gpu=False)
    return sorted(place.name for place in folder.iterdir())


def test_half_written_checkpoints_are_taken_away_and_whole_ones_stay(tmp_path: Path) -> None:
    prepare(tmp_path)
    make_checkpoint(tmp_path, 10)
    make_checkpoint(tmp_path, 20)
    (make_checkpoint(tmp_path, 30) / "trainer_state.json").unlink()
    (make_checkpoint(tmp_path, 40) / "optimizer.pt").write_bytes(b"")
    make_checkpoint(tmp_path, 50, state='{"global_')
    make_checkpoint(tmp_path, 60, step=50)
    (tmp_path / "checkpoints" / "checkpoint-70").mkdir()
    assert prepare(tmp_path) == ["checkpoint-10", "checkpoint-20"]


def test_what_another_job_has_begun_is_taken_away_and_what_it_has_finished_is_not(tmp_path: Path) -> None:
    prepare(tmp_path)
    make_checkpoint(tmp_path, 10)
    assert prepare(tmp_path, "another") == []
    make_checkpoint(tmp_path, 10)
    (tmp_path / "training.json").write_text(json.dumps({"job": "another"}))
    with pytest.raises(DataError, match="another training has finished here"):
        prepare(tmp_path, "third")
    assert prepare(tmp_path, "another") == ["checkpoint-10"]
