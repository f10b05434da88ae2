"""What an earlier version has left, a ledger and a finished run folder, is taken up: no call, no training, the same.

`left_by_VERSION/` was made by the code of that version, see its `make.py`, and is never made anew: users have such
folders. Its one file that follows the code is the plugin, whose imports `check` tells users to change.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import command

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LEFT = sorted(HERE.glob("left_by_*"))
AGAIN = ("run", "recipe.yaml", "--run-dir", "run", "--ledger", "ledger.sqlite", "--allow-code")


@pytest.fixture(params=LEFT, ids=lambda folder: folder.name)
def left(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of what a version has left, at another place than where it was made."""
    return Path(shutil.copytree(request.param, tmp_path / "left", ignore=shutil.ignore_patterns("*.pyc", "make.py")))


def resumed(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs the same command once more, in a process that may neither connect to anybody nor start another process."""
    path = os.pathsep.join(map(str, (HERE / "refusing", ROOT)))
    env = {"PYTHONPATH": path, "REFUSED": str(folder / "refused.log"), "XDG_CACHE_HOME": str(folder.parent / "cache")}
    return command(folder, *AGAIN, *arguments, **env)


def refused(folder: Path) -> list[str]:
    return (folder / "refused.log").read_text().splitlines()


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run" / "report.json").read_text())
    return found


def stages(folder: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((folder / "run" / "manifest.json").read_text())["stages"]
    return found


def rows(folder: Path) -> dict[str, list[bytes]]:
    files = [*(folder / "run" / "tables").glob("*.jsonl"), *(folder / "run").glob("*.jsonl")]
    return {file.name: file.read_bytes().splitlines() for file in files}


def assert_same_rows(before: Path, folder: Path) -> None:
    """All files hold what they held; what a step has written anew under a table's name holds what the old file did."""
    old, new = rows(before), rows(folder)
    assert {name: new[name] for name in old} == old
    for name in new.keys() - old.keys():
        [unnamed] = [other for other in old if name.startswith(f"{other.removesuffix('.jsonl')}_")]
        assert new[name] == old[unnamed]


def assert_data_set_trained_the_student(folder: Path) -> None:
    """The data set is what trained the version that the loop restored, also where the last training wrote another."""
    [loop] = report(folder)["loops"]
    assert (loop["restored"], loop["best_round"]) == ("student@3", 1)
    taught = rows(folder)["17_round1_03_mix.jsonl"]
    written = (folder / "run" / "dataset" / "train.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["id"] for line in written] == [json.loads(line)["id"] for line in taught]


def bytes_of_models(folder: Path) -> dict[str, bytes]:
    files = [file for file in (folder / "run" / "models").glob("*@*/*") if file.name != "README.md"]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def evidence(folder: Path) -> list[tuple[Any, ...]]:
    """What the evaluations found, of which version on which rows."""
    names = ("table", "model", "version", "round", "n", "right", "read")
    return [tuple(entry.get(name) for name in names) for entry in report(folder)["evaluations"]]


def balances(folder: Path) -> list[tuple[Any, ...]]:
    names = ("step", "round", "in", "added", "out", "dropped", "failed")
    return [tuple(entry.get(name) for name in names) for entry in report(folder)["funnel"]]


def trainings(folder: Path) -> list[tuple[Any, ...]]:
    return [tuple(entry[name] for name in ("model", "steps", "last_loss")) for entry in report(folder)["trainings"]]


def calls(folder: Path) -> dict[str, tuple[int, int]]:
    """How often each model was asked, and how often the ledger answered."""
    return {entry["name"]: (entry["calls"], entry["replayed"]) for entry in report(folder)["models"]}


def assert_nothing_changed(before: Path, folder: Path) -> None:
    """What a resumed run leaves as it was."""
    assert report(folder)["status"] == report(before)["status"] == "complete"
    assert_same_rows(before, folder)
    assert_data_set_trained_the_student(folder)
    assert bytes_of_models(folder) == bytes_of_models(before)
    for told in (trainings, evidence, balances):
        assert len(told(before)) > 0
        assert told(folder) == told(before)
    assert report(folder)["spent"] == report(before)["spent"]


def forget(folder: Path, trainings: bool) -> None:
    """Takes either the trainings or all other finished steps out of the manifest."""
    manifest = json.loads((folder / "run" / "manifest.json").read_text())
    manifest["stages"] = {name: stage for name, stage in stages(folder).items() if bool(stage["trained"]) != trainings}
    (folder / "run" / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def before(left: Path, tmp_path: Path) -> Path:
    """The same once more, to compare with; the reports are taken out of the first, to see that they are written."""
    copy = Path(shutil.copytree(left, tmp_path / "before"))
    for name in ("report.json", "report.md"):
        (left / "run" / name).unlink()
    return copy


def test_a_finished_run_is_taken_over_without_a_call_a_training_or_a_step_run_again(left: Path, before: Path) -> None:
    files = [left / "run" / table["path"] for stage in stages(left).values() for table in stage["tables"]]
    written = [file.stat().st_ino for file in files]
    done = resumed(left)
    assert (done.returncode, refused(left)) == (0, []), done.stderr
    assert_nothing_changed(before, left)
    assert len(files) > 10
    assert [file.stat().st_ino for file in files] == written, "a table that is written again is a new file"
    assert len(calls(left)) > 1
    assert all(bought == 0 < replayed for bought, replayed in calls(left).values())
    assert trainings(before)[-1][0] in (left / "run" / "report.md").read_text()


def test_every_reply_is_found_by_table_steps_that_are_run_again(left: Path, before: Path) -> None:
    forget(left, trainings=False)
    done = resumed(left)
    assert (done.returncode, refused(left)) == (0, []), done.stderr
    assert_nothing_changed(before, left)
    assert calls(left) == {name: (0, bought) for name, (bought, _) in calls(before).items()}


def test_a_training_would_be_seen(left: Path) -> None:
    forget(left, trainings=True)
    assert resumed(left).returncode != 0
    [tried] = refused(left)
    assert tried.startswith(("process ", "subprocess.Popen "))
    assert "training" in tried


def test_a_call_would_be_seen(left: Path) -> None:
    assert resumed(left, "--set", "steps.0.temperature=0.9").returncode != 0
    assert {tried.partition(" ")[0] for tried in refused(left)} == {"socket.connect"}
    assert "8397" in refused(left)[0]
