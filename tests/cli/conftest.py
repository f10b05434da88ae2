"""The command line in this process: a tenth of the time that a process of its own takes."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from blackbox_kd.cli.app import run_command


class Done(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def told(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)


Command = Callable[..., Done]


@pytest.fixture
def blackbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs the command line in this process, in the folder."""

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["blackbox-kd", *arguments])
        status = run_command()
        return Done(status, *capsys.readouterr())

    monkeypatch.chdir(tmp_path)
    before = os.umask(0o077)
    yield run
    os.umask(before)
