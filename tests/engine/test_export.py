"""What is exported of a run: the version that its last evaluation was about."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine.export import choose_version, name_repository
from blackbox_kd.errors import UserError
from blackbox_kd.runs.manifest import read_manifest


def make_run(folder: Path, *versions: str, **report: Any) -> Path:
    for version in versions:
        (folder / "models" / version).mkdir(parents=True)
    told = {"trainings": [{"model": version} for version in versions], **report}
    (folder / "report.json").write_text(json.dumps(told))
    return folder


def test_the_last_version_of_a_model_is_meant_or_the_one_that_a_loop_has_restored(tmp_path: Path) -> None:
    values = [{"version": "student@1"}, {"version": "student@2"}]
    loop = {"restored": "student@1", "values": values}
    run = make_run(tmp_path / "run", "student@1", "student@2", loops=[loop])
    assert choose_version(run, "student")[0] == "student@1"
    assert choose_version(run, None)[0] == "student@1"
    assert choose_version(run, "student@2")[0] == "student@2", "it was asked for by its very name"
    later = make_run(tmp_path / "later", "student@1", "student@2", "student@3", loops=[loop])
    assert choose_version(later, None) == ("student@3", (later / "models/student@3").resolve())
    worse = make_run(tmp_path / "worse", "student@1", loops=[{"restored": "student@base", "values": values}])
    assert choose_version(worse, None)[0] == "student@1", "the base itself was not trained"


def test_a_training_beside_an_earlier_one_of_its_name_is_the_one_that_is_meant(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "student@1", "student@2")
    stages = {
        "04_train": {"trained": [["student", "models/student@1-2"]]},
        "04_train.random": {"trained": [["student", "models.random/student@1"]]},
        "06_train": {"trained": [["student", "models/student@2"]]},
    }
    account = {"step": "steps[4] (train)", "in": 1, "added": 0, "out": 1, "dropped": {}, "failed": {}}
    rest = {"fingerprint": "0", "tables": [], "account": account, "report": {}}
    (run / "manifest.json").write_text(
        json.dumps({"blackbox_kd": "0.1.0", "stages": {k: rest | v for k, v in stages.items()}, "tables": {}})
    )
    for folder in ("models/student@1-2", "models.random/student@1"):
        (run / folder).mkdir(parents=True)
    assert len(read_manifest(run).stages) == 3
    assert choose_version(run, "student@1") == ("student@1", (run / "models/student@1-2").resolve())
    assert choose_version(run, None) == ("student@2", (run / "models/student@2").resolve())
    (run / "trial").mkdir()
    shutil.copyfile(run / "report.json", run / "trial/report.json")
    assert choose_version(run / "trial", "student@1")[1] == (run / "models/student@1-2").resolve()


@pytest.mark.parametrize(
    ("versions", "model", "told"),
    [
        ((), None, "the run has trained no model\n  fix: run a recipe with a step train"),
        (("a@1", "b@1"), None, "the run has trained several models\n  models: a, b\n  fix: --model NAME"),
        (("student@1",), "studnet", "no 'studnet'\n  models: student@1\n  fix: did you mean 'student'?"),
    ],
)
def test_a_model_that_is_not_there_is_told(
    tmp_path: Path, versions: tuple[str, ...], model: str | None, told: str
) -> None:
    with pytest.raises(UserError) as caught:
        choose_version(make_run(tmp_path / "run", *versions) if versions else make_run(tmp_path), model)
    assert told in str(caught.value)


def test_gguf_files_have_a_repository_of_their_own() -> None:
    assert name_repository("me/it", Path("export/student@1")) == "me/it"
    assert name_repository("me/it", Path("export/student@1-GGUF")) == "me/it-GGUF"
    assert name_repository("me/it-GGUF", Path("export/student@1-GGUF")) == "me/it-GGUF"
