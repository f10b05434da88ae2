"""What the machine denies a command: descriptors, room on a disk, libraries. It is told in a line or two."""

import asyncio
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from blackbox_kd.cli.app import app, run_command
from tests.support.fake_server import FakeServer
from tests.support.runs import write_rows

COMMAND = f"exec {sys.executable} -c 'from blackbox_kd.cli.main import main; main()'"


def shell(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        ["sh", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False
    )


def write(folder: Path, rows: int, model: dict[str, Any], **step: Any) -> None:
    write_rows(folder / "train.jsonl", [{"instruction": f"What is {n} + 1?", "reference": str(n)} for n in range(rows)])
    generate = {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 1.0, **step}
    data = {"train": {"path": "train.jsonl"}}
    recipe = {"name": "demo", "data": data, "models": {"teacher": model}, "steps": [generate]}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))


async def test_with_64_descriptors_as_many_calls_run_side_by_side_as_fit(tmp_path: Path) -> None:
    async with FakeServer(latency="0.05") as server:
        write(tmp_path, 200, {"provider": "openai", "model": "m", "base_url": server.url, "max_concurrency": 200})
        done = await asyncio.to_thread(shell, tmp_path, f"ulimit -n 64; {COMMAND} run recipe.yaml")
        assert done.returncode == 0, done.stderr
        assert "200 in, 200 out" in done.stderr
        assert "teacher: at most 24 requests at once, as this process can open few files" in done.stderr
        assert server.stats()["most_in_flight"] <= 24


@pytest.mark.parametrize("full", ["--ledger full/ledger.sqlite", "own_--run-dir full/run"])
def test_a_full_disk_is_told_once_however_many_rows_are_under_way(tmp_path: Path, full: str) -> None:
    write(tmp_path, 1200, {"provider": "scripted", "replies": ["x" * 3000]}, samples=2)
    (tmp_path / "full").mkdir()
    mount = "mount -t tmpfs -o size=1m none full"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], cwd=tmp_path, capture_output=True).returncode != 0:
        pytest.skip("no file system of 1 MB can be mounted without privileges here")
    command = f"{mount} && {COMMAND.replace(chr(39), chr(34))} run recipe.yaml {full.removeprefix('own_')}"
    done = shell(tmp_path, f"exec unshare -rm sh -c '{command}'")
    assert done.returncode == 1
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "the disk is full" in error or "No space left on device" in error
    assert len(done.stderr.splitlines()) <= 5, done.stderr


LIBRARY = "libparquet.so.2300: cannot open shared object file"
DENIED = {
    "descriptors": (OSError(errno.EMFILE, "Too many open files"), "fix: raise the limit (ulimit -n 1024)"),
    "descriptors of a library": (ImportError(f"{LIBRARY}: Too many open files"), "fix: raise the limit (ulimit -n"),
    "library": (ImportError(f"{LIBRARY}: No such file or directory"), "fix: install it anew"),
    "own_disk": (OSError(errno.ENOSPC, "No space left on device", "a.jsonl"), "a.jsonl: No space left on device"),
    "own_rights": (PermissionError(errno.EACCES, "Permission denied", "a.jsonl"), "fix: give yourself the right to it"),
    "own_memory": (MemoryError(), "out of memory"),
}


@pytest.fixture
def _boom(request: pytest.FixtureRequest) -> Iterator[None]:
    def fail() -> None:
        raise DENIED[request.param][0]

    app.add_command(click.Command("boom", callback=fail))
    before = os.umask(0o077)
    yield
    os.umask(before)
    del app.commands["boom"]


@pytest.mark.parametrize("_boom", DENIED, indirect=True)
@pytest.mark.usefixtures("_boom")
def test_what_the_machine_denies_is_no_bug_and_has_a_fix(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["blackbox-kd", "boom"])
    assert run_command() == 1
    said = capsys.readouterr().err
    assert DENIED[request.node.callspec.params["_boom"]][1] in said
    assert "\n  fix: " in said
    assert "bug" not in said
