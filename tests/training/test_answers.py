"""What the student answers under way: said by the model as it is then, as it is served, and without a trace in it."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.training import answers, dpo, sft
from blackbox_kd.training.artefacts import Job, find_answers
from blackbox_kd.training.machine import Machines
from tests.support import jobs
from tests.support.jobs import assistant, said, user

TRAIN = {"sft": sft.train, "dpo": dpo.train}


@pytest.fixture(autouse=True)
def all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """How loaded a machine is decides nothing here."""
    monkeypatch.setattr(answers, "LEAST_S", 1e6)
    monkeypatch.setattr(answers, "EACH_S", 1e6)


def row(number: int) -> dict[str, Any]:
    say = "".join(random.Random(number).choices("abc", k=4))
    return {"prompt": [user(f"say a {number}")], "completion": [assistant(say)]}


def train(folder: Path, method: str, rows: list[dict[str, Any]], output: str, **fields: Any) -> list[dict[str, Any]]:
    """Trains in this process; returns what was answered under way."""
    job = Job.model_validate_json(jobs.write_job(folder, method, rows, output, **fields).read_text())
    TRAIN[method](job, "job", Machines(), lambda event: None)
    return [json.loads(line) for line in find_answers(job.data).open()]


async def test_the_student_is_asked_at_each_evaluation_and_learns_the_same_as_if_it_were_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(3), *(row(number) for number in range(10, 26))]
    fields: dict[str, Any] = {"eval_share": 0.25, "dropout": 0.2, "max_steps": 6, "batch_size": 4}
    fields["trl"] = {"eval_steps": 2, "save_steps": 2, "load_best_model_at_end": False}
    told = train(tmp_path, "sft", rows, "asked", **fields)
    assert [one["step"] for one in told] == [2, 2, 2, 4, 4, 4, 6, 6, 6]
    assert [one["prompt"] for one in told[:3]] == [one["prompt"] for one in told[6:]]
    assert all(one in rows for one in ({"prompt": t["prompt"], "completion": t["reference"]} for t in told))
    monkeypatch.setattr(answers, "COUNT", 0)
    assert train(tmp_path, "sft", rows, "unasked", **fields) == []
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("asked", "unasked")]
    assert weights[0] == weights[1]


async def test_without_evaluations_it_is_asked_at_checkpoints_and_says_what_it_says_when_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "LEARNT", 1e6)
    rows = [{"prompt": [user(f"say a {n}")], "completion": [assistant("yes yes yes")]} for n in range(3, 11)]
    (tmp_path / "out.answers.jsonl").write_text('{"step": 1, "answer": "of another training"}\n')
    told = train(tmp_path, "sft", rows, "out", max_steps=40, trl={"save_steps": 40}, learning_rate=3e-2)
    assert [one["step"] for one in told] == [40, 40, 40]
    assert [one["prompt"] for one in told] == [row["prompt"] for row in rows[:3]]
    assert told[0]["answer"][:14] == (await said(tmp_path, tmp_path / "out"))[:14]


def test_preferences_are_asked_for_with_the_chosen_text_beside_them(tmp_path: Path) -> None:
    pairs = [
        {"prompt": [user(f"say {n}")], "chosen": [assistant(f"yes {n}")], "rejected": [assistant("no")]}
        for n in range(12)
    ]
    told = train(tmp_path, "dpo", pairs, "out", max_steps=2, eval_share=0.25, trl={"eval_steps": 2, "save_steps": 2})
    assert [one["step"] for one in told] == [2, 2, 2]
    chosen = {str(pair["prompt"]): pair["chosen"] for pair in pairs}
    assert all(chosen[str(one["prompt"])] == one["reference"] for one in told)
