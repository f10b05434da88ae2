"""The wheel as a stranger gets it: it has all that it needs, and works from an empty folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LEFT_BEHIND = shutil.ignore_patterns(".*", "__pycache__", "runs", "build", "dist", "*.sqlite*")

pytestmark = pytest.mark.slow


def run(folder: Path, *arguments: object, **env: str) -> str:
    """What a command of Python writes to stdout."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tree."""
    copy = tmp_path_factory.mktemp("build") / "blackbox-kd"
    shutil.copytree(ROOT, copy, ignore=LEFT_BEHIND)
    run(copy, "-m", "build", "--wheel", "--no-isolation")
    [built] = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which nothing but the wheel is installed."""
    target = tmp_path_factory.mktemp("installed")
    run(target, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel)
    return target


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder.parent).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_wheel_holds_every_module_recipe_prompt_and_data_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    modules = {name for name in files_of(ROOT / "blackbox_kd") if "__pycache__" not in name}
    assert {"blackbox_kd/ledger/tables.sql", "blackbox_kd/cli/main.py"} <= modules
    assert modules <= inside
    for folder in ("recipes", "prompts", "data"):
        wanted = {f"blackbox_kd/{name}" for name in files_of(ROOT / folder) if "__pycache__" not in name}
        assert wanted
        assert wanted <= inside


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = archive.namelist()
    metadata = "-".join(wheel.stem.split("-")[:2]) + ".dist-info"
    assert {name.split("/")[0] for name in inside} == {"blackbox_kd", metadata}
    assert not [name for name in inside if "test" in name.split("/") or name.endswith((".pyc", ".sqlite"))]


def test_the_installed_package_checks_and_runs_a_bundled_recipe_from_an_empty_folder(
    installed: Path, tmp_path: Path
) -> None:
    how = {"PYTHONPATH": str(installed), "OPENAI_API_KEY": "sk-of-nobody", "PYTHONSAFEPATH": "1"}
    where = run(tmp_path, "-c", "import blackbox_kd; print(blackbox_kd.__file__)", **how)
    assert Path(where.strip()).is_relative_to(installed)
    command = ("-c", "from blackbox_kd.cli.main import main; main()")
    said = run(tmp_path, *command, "check", "rationales_only", **how)
    assert "no problems" in said
    assert str(installed / "blackbox_kd" / "recipes") in said
    run(tmp_path, *command, "run", "rationales_only", "--teacher", "scripted", "--limit", "3", **how)
    assert len((tmp_path / "runs/rationales_only/dataset/train.jsonl").read_text().splitlines()) == 6
