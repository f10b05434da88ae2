"""Where a training is kept: no finished one is lost to another of its name, and what speaks of it means its folder."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from blackbox_kd.engine.export import choose_version
from blackbox_kd.engine.training import _choose_folder
from blackbox_kd.runs import browse
from tests.support.runs import execute
from tests.support.tiny import tiny_model


def make_training(folder: Path, job: str, *, is_finished: bool = True) -> None:
    folder.mkdir(parents=True)
    (folder / "job.sha256").write_text(job)
    if is_finished:
        (folder / "training.json").write_text(json.dumps({"job": job}))


def choose(models: Path, job: str, *, overwrite: bool = False) -> tuple[str, list[str]]:
    """The folder for a job, and what is said of it."""
    events: list[dict[str, Any]] = []
    shared: Any = SimpleNamespace(overwrite=overwrite, on_event=events.append)
    chosen = _choose_folder(shared, models / "student@1", job)
    return chosen.name, [event["warning"] for event in events]


def test_a_training_with_other_settings_is_the_next_version_of_its_folder_until_it_may_overwrite(
    tmp_path: Path,
) -> None:
    assert choose(tmp_path, "a") == ("student@1", [])
    make_training(tmp_path / "student@1", "a", is_finished=False)
    assert choose(tmp_path, "b") == ("student@1", []), "what was begun alone gives way"
    (tmp_path / "student@1" / "training.json").write_text(json.dumps({"job": "a"}))
    assert choose(tmp_path, "a") == ("student@1", [])
    name, [warning] = choose(tmp_path, "b")
    assert name == "student@1-2"
    assert warning.startswith("models/student@1 holds a finished training with other settings or rows and stays; ")
    assert warning.endswith("is kept in models/student@1-2 (--overwrite would take its place)")
    make_training(tmp_path / "student@1-2", "b")
    make_training(tmp_path / "student@1-3", "c", is_finished=False)
    assert choose(tmp_path, "a") == ("student@1", []), "the settings of before"
    assert choose(tmp_path, "b") == ("student@1-2", [])
    assert choose(tmp_path, "c") == ("student@1-3", []), "it goes on where it was killed"
    make_training(tmp_path / "student@2", "d")
    assert choose(tmp_path, "e")[0] == "student@1-3", "no finished training is there"
    assert choose(tmp_path, "b", overwrite=True) == ("student@1-2", []), "nothing is in its way"
    assert (tmp_path / "student@1").exists()
    assert choose(tmp_path, "e", overwrite=True) == ("student@1", [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["student@1-2", "student@1-3", "student@2"]


def test_two_settings_under_one_name_are_both_kept_and_report_card_link_and_export_mean_the_later_one(
    tmp_path: Path,
) -> None:
    values: dict[str, Any] = {
        "name": "twice",
        "data": {"taught": {"rows": [{"prompt": f"say {n}", "completion": "yes"} for n in range(4)]}},
        "models": {"student": {"provider": "transformers", "model": str(tiny_model())}},
        "steps": [{"step": "train", "input": "taught", "model": "student", "max_steps": 1, "batch_size": 4, "r": 2}],
    }
    first = execute(tmp_path, values)
    models = tmp_path / "run" / "models"
    adapter = (models / "student@1" / "adapter_model.safetensors").read_bytes()
    assert "folder" not in first.report["trainings"][0]
    values["steps"][0]["r"] = 4
    later = execute(tmp_path, values)
    [training] = later.report["trainings"]
    assert (training["model"], training["folder"], training["settings"]["r"]) == ("student@1", "student@1-2", 4)
    assert (models / "student@1" / "adapter_model.safetensors").read_bytes() == adapter
    assert json.loads((models / "student@1" / "training.json").read_text())["settings"]["r"] == 2
    assert "in `models/student@1-2`" in (tmp_path / "run" / "report.md").read_text()
    passes = training["passes"]
    assert set(passes["why"]) == {"tokens", "packing", "checkpointing", "max_length", "precision", "attention"}
    assert (passes["precision"], passes["attention"], passes["max_length"] % 8) == ("float32", "sdpa", 0)
    told = "max_length 64 (the longest row, rounded up to a multiple of 8); precision float32 (what a CPU computes"
    assert told.replace("64", str(passes["max_length"])) in (tmp_path / "run" / "report.md").read_text().replace(
        "\\", ""
    )
    folder = models / "student@1-2"
    card = (folder / "README.md").read_text()
    assert "| r | 4 |" in card
    assert (models / "student").resolve() == folder.resolve()
    assert browse.find_models(tmp_path / "run") == {"student@1": folder}
    assert choose_version(tmp_path / "run", None) == ("student@1", folder.resolve())
