"""SIGKILL at random moments of a training, and inside the writing of its files; then the same command until it ends."""

import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import jobs
from tests.support.jobs import assistant, user
from tests.support.killing import TO_ITS_END, Moment, Trainings, open_trainings, read_events

WEIGHTS = "adapter_model.safetensors"
OF_A_CHECKPOINT = (
    *("adapter_config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    *("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"),
)
AT_THE_END = (
    *("adapter_config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json", "generation_config.json"),
    *("training_log.jsonl", "training.json.part"),
)
EVERY, STEPS = 2, 24


def job(folder: Path, output: str, **fields: Any) -> Path:
    """A training whose dropout draws from the generators, so that they must go on from where they were."""
    lines = [{"prompt": [user(f"say {n}")], "completion": [assistant("yes " * (1 + n % 5))]} for n in range(21)]
    fields = {"learning_rate": 1e-2, "max_steps": STEPS, "dropout": 0.1, **fields}
    return jobs.write_job(folder, "sft", lines, output, **fields)


def way(folder: Path, output: str, number: int) -> Path:
    """One of two trainings with a checkpoint every few steps: one ends with its last weights, one with its best."""
    trl = {"save_steps": EVERY}
    return (
        job(folder, output, trl=trl) if number else job(folder, output, trl=trl | {"eval_steps": EVERY}, eval_share=0.2)
    )


def read_left(path: Path) -> dict[str, bytes]:
    """All that a training has left, but when it was and how long it took."""
    files = [file for file in path.with_suffix("").iterdir() if file.is_file()]
    return {file.name: file.read_bytes() for file in files if file.name not in ("training.json", "training_log.jsonl")}


def name_next_checkpoint(output: Path) -> str:
    """The first checkpoint whose number is not there yet; the last one may be half there."""
    numbers = [int(place.name.rpartition("-")[2]) for place in output.glob("checkpoints/checkpoint-*")]
    return f"checkpoints/checkpoint-{max([0, *numbers]) + EVERY}"


def test_a_training_killed_while_it_writes_a_checkpoint_and_then_its_weights_ends_with_the_same_ones(
    tmp_path: Path,
) -> None:
    """The checkpoints of the killed one are due by time, after each step: they change nothing of what is learnt."""
    quiet, killed = job(tmp_path, "quiet", max_steps=9), job(tmp_path, "killed", max_steps=9, checkpoint_minutes=1e-9)
    output = tmp_path / "killed"
    with open_trainings() as trainings:
        assert trainings.run(quiet)
        assert not trainings.run(killed, Moment(file="checkpoints/checkpoint-6/trainer_state.json", share=0.5))
        (output / "checkpoints" / "seconds").write_text("1000")
        assert not trainings.run(killed, Moment(file=WEIGHTS, share=0.5))
        assert "checkpoint-6: was being written" in killed.with_suffix(".messages").read_text()
        assert [event["step"] for event in read_events(killed) if event["event"] == "step"] == [6, 7, 8, 9]
        assert not (output / "training.json").exists()
        assert len(read_left(killed)[WEIGHTS]) < len(read_left(quiet)[WEIGHTS])
        assert not trainings.run(killed, Moment(file="generation_config.json", share=0.5))
        assert trainings.run(killed)
    assert [event for event in read_events(killed) if event["event"] == "step"] == []
    assert read_left(killed) == read_left(quiet)
    result = json.loads((output / "training.json").read_text())
    assert (result["steps"], result["seconds"] > 1000) == (9, True)
    assert not (output / "checkpoints").exists()


def draw_moments(drawn: random.Random, longest_s: float) -> list[Moment]:
    """50 moments: 20 in the writing of a checkpoint, whose folder is named later, 10 in that of what is left at the
    end, and 20 at any time."""
    names = [*OF_A_CHECKPOINT, *OF_A_CHECKPOINT]
    inside = [Moment(file=f"*/{name}", share=drawn.choice([0, drawn.random(), 1])) for name in names]
    last = [*AT_THE_END, WEIGHTS, "adapter_config.json"]
    ends = [Moment(file=name, share=drawn.choice([0, drawn.random(), 1])) for name in last]
    ends.append(Moment(file="training.json"))  # it is put in place whole: no kill can cut it
    found = [*inside, *ends, *(Moment(seconds=drawn.uniform(0, longest_s)) for _ in range(20))]
    drawn.shuffle(found)
    return found


def kill(trainings: Trainings, path: Path, moment: Moment, quiet: dict[str, bytes]) -> bool:
    """Kills a training at a moment; false if it ended before. Only one that is whole counts as finished."""
    output = path.with_suffix("")
    if moment.file and moment.file.startswith("*/"):
        moment = moment._replace(file=moment.file.replace("*", name_next_checkpoint(output)))
    has_ended = trainings.run(path, moment)
    if (output / "training.json").exists():
        assert read_left(path) == quiet
    return not has_ended


@pytest.mark.slow
def test_fifty_kills_of_which_twenty_are_in_the_writing_of_a_checkpoint_change_no_bit_of_the_weights(
    tmp_path: Path,
) -> None:
    killed, finished = list[Moment](), 0
    with open_trainings() as trainings:
        ways = [way(tmp_path, f"quiet{number}", number) for number in range(2)]
        began = time.monotonic()
        assert all(trainings.run(path) for path in ways)
        longest_s = (time.monotonic() - began) / 2
        quiet = [read_left(path) for path in ways]
        assert quiet[0] != quiet[1]
        for moment in [*draw_moments(random.Random(15), longest_s), TO_ITS_END]:
            while True:
                number = finished % 2
                path = way(tmp_path, f"killed{number}", number)
                if kill(trainings, path, moment, quiet[number]):
                    killed.append(moment)
                    break
                assert read_left(path) == quiet[number]
                assert json.loads((path.with_suffix("") / "training.json").read_text())["steps"] == STEPS
                shutil.rmtree(path.with_suffix(""))
                finished += 1
                if moment == TO_ITS_END:
                    break
                if moment.seconds is not None:  # it was quicker than the undisturbed one
                    moment = moment._replace(seconds=0.7 * moment.seconds)
    assert len(killed) == 50
    assert sum(moment.file is not None and moment.file.startswith("*/") for moment in killed) == 20
    assert finished > 1
