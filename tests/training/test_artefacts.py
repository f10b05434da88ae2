"""Jobs and results as types: what version 0.1 has left loads, and a job keeps the hash that names it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from blackbox_kd.training.artefacts import Job, Result, hash_job
from tests.support import jobs

LEFT = Path(__file__).parent.parent / "promises" / "left_by_0_1" / "run"
JOBS = sorted((LEFT / "work").glob("train_*.json"))
RESULTS = sorted((LEFT / "models").glob("*/training.json"))


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_a_job_that_0_1_has_left_loads_and_is_written_as_it_was(path: Path) -> None:
    job = Job.model_validate_json(path.read_text())
    assert json.dumps(job.write(), indent=1) == path.read_text()
    assert job.settings.adapter == "lora"


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.parent.name)
def test_a_result_that_0_1_has_left_loads_and_is_written_as_it_was(path: Path) -> None:
    result = Result.model_validate_json(path.read_text())
    assert result.write() == read(path)
    assert result.steps == read(path)["steps"]


def test_left_by_0_1_are_trainings_of_both_methods() -> None:
    assert len(JOBS) == len(RESULTS) > 2
    assert {bool(read(path).get("preferences")) for path in RESULTS} == {True, False}


def test_a_job_is_named_by_what_its_file_says_and_not_by_fields_that_a_release_adds(tmp_path: Path) -> None:
    path = jobs.write_job(tmp_path, "sft", [{"prompt": [], "completion": []}])
    values = read(path)
    data = hashlib.sha256(Path(values["data"]).read_bytes()).hexdigest()
    parts = {key: value for key, value in values.items() if key not in ("data", "output")}
    parts["settings"] = {key: value for key, value in values["settings"].items() if key != "given"}
    by_hand = hashlib.sha256(json.dumps(["sft", parts, [None], data], sort_keys=True).encode()).hexdigest()
    assert hash_job("sft", Job.model_validate(values)) == by_hand
    thinking, silent = (values | {"chat_template_kwargs": {"enable_thinking": thinks}} for thinks in (True, False))
    names = {hash_job("sft", Job.model_validate(each)) for each in (values, thinking, silent)}
    assert len(names) == 3, "a job of another prompt is another job"
    later = values | {"settings": values["settings"] | {"schedule": "linear"}}
    assert hash_job("sft", Job.model_validate(later)) != by_hand


@pytest.mark.parametrize("missing", ["learning_rate", "seed", "adapter"])
def test_a_job_without_a_setting_is_refused_by_its_name(tmp_path: Path, missing: str) -> None:
    values = read(jobs.write_job(tmp_path, "sft", []))
    del values["settings"][missing]
    with pytest.raises(ValidationError, match=missing):
        Job.model_validate(values)
