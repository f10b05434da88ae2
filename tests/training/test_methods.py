"""Methods of training as jobs: what each leaves, and that a killed one goes on to the same adapter."""

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import UserError
from blackbox_kd.training import kto, launch
from blackbox_kd.training.artefacts import Job, read_preflight
from tests.support import jobs
from tests.support.jobs import assistant, user
from tests.support.tiny import byte_tokenizer, tiny_model

METHODS = ("kto", "distill", "gkd", "gold", "topk")
A = byte_tokenizer(512).encode("a")[0]
TOLD = json.dumps({"tokens": [A] * 30, "top": [[A, A + 1]] * 30, "logprobs": [[math.log(0.7), math.log(0.2)]] * 30})


def write(folder: Path, method: str, output: str = "out", **fields: Any) -> Path:
    """A job of a method, whose rows have what any of them reads."""
    rows = [
        {"prompt": [user(f"say {n}")], "completion": [assistant("a" * 30)], "label": n % 2 == 0, "top_logprobs": TOLD}
        for n in range(16)
    ]
    if method in ("distill", "gkd", "gold"):
        fields |= {"teacher": tiny_model(merges=method == "gold"), "max_tokens": 8}
    return jobs.write_job(folder, method, rows, output, **{"max_steps": 6, **fields})


def read_adapter(folder: Path, output: str) -> bytes:
    return (folder / output / "adapter_model.safetensors").read_bytes()


async def test_a_killed_training_on_what_the_student_writes_goes_on_to_the_same_adapter(tmp_path: Path) -> None:
    """What is written is drawn: the generators must go on from where they were."""
    await kill_and_compare(tmp_path, "gold", steps=4)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
async def test_a_killed_training_goes_on_to_the_same_adapter(tmp_path: Path, method: str) -> None:
    await kill_and_compare(tmp_path, method, steps=12)


async def kill_and_compare(folder: Path, method: str, steps: int) -> None:
    how: dict[str, Any] = {"max_steps": steps, "trl": {"save_steps": 2}}
    whole, _ = await jobs.run(method, write(folder, method, "quiet", **how))
    path = write(folder, method, "killed", **how)
    await asyncio.to_thread(jobs.kill_at, 3, method, path)
    result, events = await jobs.run(method, path)
    steps_told = [event["step"] for event in events if event["event"] == "step"]
    assert steps_told[0] > 2
    assert (result["steps"], steps_told[-1]) == (steps, steps)
    assert result["last_loss"] == whole["last_loss"]
    assert read_adapter(folder, "quiet") == read_adapter(folder, "killed")
    assert result["rows"] == 16
    if method == "topk":
        assert result["tokens_with_probabilities"] == pytest.approx(30 / 32, abs=1e-3)
    if method == "kto":
        assert result["completion_tokens"] == {"desirable": 8 * 32, "undesirable": 8 * 32}
        assert result["preferences"]["margin"]["last"] != 0


@pytest.mark.parametrize(
    ("method", "message"),
    [("gkd", "the teacher's tokens are not those of the student"), ("topk", "no row has anything")],
)
async def test_what_training_would_refuse_is_seen_without_it(tmp_path: Path, method: str, message: str) -> None:
    path = write(tmp_path, method)
    values = json.loads(path.read_text())
    if method == "gkd":
        values["teacher"] = str(tiny_model(merges=True))
    else:
        values["settings"]["top"] = "nothing"
    path.write_text(json.dumps(values))
    with pytest.raises(UserError) as caught:
        await launch.run_look(method, path)
    assert message in str(caught.value)


async def test_a_teacher_takes_memory_beside_the_student(tmp_path: Path) -> None:
    sizes = []
    for method in ("topk", "gkd"):
        path = write(tmp_path, method, method)
        await launch.run_look(method, path)
        seen = read_preflight(Job.model_validate_json(path.read_text()))["preflight"]
        sizes.append((seen["memory"]["weights_mb"], seen["memory"]["parameters"] * 4 / 2**20))
    (alone, _), (beside, base) = sizes
    assert beside - alone == pytest.approx(base, abs=0.2)


def test_labels_that_outweigh_each_other_or_are_all_alike_are_told() -> None:
    job = Job.model_validate(
        {"model": "m", "data": "d", "output": "o", "settings": {**jobs.settings("kto"), "trl": {}}}
    )

    def warn(*labels: bool, **weights: float) -> list[str]:
        settings = job.settings.model_copy(update={"trl": weights})
        return list(
            kto.find_warnings(job.model_copy(update={"settings": settings}), [{"label": one} for one in labels])
        )

    assert warn(True, False) == []
    assert warn(True, True, True, True, False, False, False) == []
    [told] = warn(True, True, True, False)
    assert "3 rows have the label true and 1 false" in told
    assert "trl: {undesirable_weight: 3.00} evens them" in told
    assert warn(True, True, True, False, undesirable_weight=3.0) == []
    assert warn(True, True) == ["all 2 rows have the label true: there is nothing to tell apart"]
