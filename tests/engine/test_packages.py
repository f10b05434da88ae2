"""Where torch and its kin are not installed, that is found before anything is bought, and what needs none goes on."""

import json
import os
import sqlite3
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from blackbox_kd.engine.packages import is_installed
from blackbox_kd.steps import train
from blackbox_kd.training.describe import PACKAGES
from tests.support.runs import HELD_OUT, QUESTIONS, write_rows

ROOT = Path(__file__).parents[2]
RECIPE = """
name: demo
data: {train: {path: train.jsonl}, test: {path: test.jsonl, held_out: true}}
models: {teacher: {provider: scripted}, student: {provider: transformers, model: some/model}}
steps:
  - {step: generate, model: teacher, prompt: student/plain}
  - {step: format}
  - {step: train, model: student}
  - {step: evaluate, input: test, models: [student], answer: number}
"""
EXTRAS = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "gguf", "math_verify"}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what is installed, without the packages that extras bring."""
    folder = tmp_path_factory.mktemp("bare")
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if path.name.partition("-")[0].partition(".")[0] not in EXTRAS and path.suffix != ".pth":
            (folder / path.name).symlink_to(path)
    return folder


def command(bare: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "BLACKBOX_", "HF_"))}
    return subprocess.run(
        [sys.executable, "-S", "-P", "-c", "from blackbox_kd.cli.main import main; main()", *arguments],
        cwd=folder,
        env=clean | {"PYTHONPATH": f"{ROOT}{os.pathsep}{bare}", "OPENAI_API_KEY": "sk-of-nobody"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_a_training_names_what_is_missing_and_what_to_do_before_anything_is_asked(bare: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", QUESTIONS)
    write_rows(tmp_path / "test.jsonl", HELD_OUT)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    said = (
        "error: recipe.yaml:8: steps[2] (train): the step needs packages that are not installed: torch, transformers, "
        "trl, peft, datasets, accelerate.\n"
        "  fix: pip install 'blackbox-kd[train]', or end the run before steps[2] (train): --until 1\n\n"
        "recipe.yaml:9: steps[3] (evaluate): model 'student' needs packages that are not installed: torch, "
        "transformers.\n"
        "  fix: pip install 'blackbox-kd[train]', or end the run before steps[2] (train): --until 1\n"
    )
    for name in ("check", "run"):
        done = command(bare, tmp_path, name, "recipe.yaml")
        assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    told = json.loads(command(bare, tmp_path, "check", "recipe.yaml", "--json").stdout)
    assert [problem["path"] for problem in told["problems"]] == ["steps[2] (train)", "steps[3] (evaluate)"]
    with sqlite3.connect(tmp_path / "runs/ledger.sqlite") as ledger:
        assert ledger.execute("select count(*) from replies").fetchone() == (0,)
    assert command(bare, tmp_path, "run", "recipe.yaml", "--until", "1").returncode == 0


def test_the_quickstart_says_so_at_once_and_books_nothing(bare: Path, tmp_path: Path) -> None:
    for name in ("check", "run"):
        done = command(bare, tmp_path, name, "quickstart")
        assert done.returncode == 2
        assert "steps[4] (train): the step needs packages that are not installed: torch, transformers" in done.stderr
        assert "model 'student' needs packages that are not installed: torch, transformers, gguf." in done.stderr
        assert "Traceback" not in done.stderr
    booked = json.loads(command(bare, tmp_path, "ledger", "--json").stdout)
    assert (booked["bought"], booked["unanswered"], booked["abandoned"]) == ([], [], [])


def test_the_step_names_what_the_training_process_looks_for() -> None:
    assert tuple(train.Config(step="train", model="student").needs()) == PACKAGES


def test_a_folder_that_an_uninstallation_left_behind_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "left_over_package" / "__pycache__").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    assert not is_installed("left_over_package")
    assert is_installed("json")
