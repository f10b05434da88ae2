"""Processes are told apart, also when one gets the pid of another."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from blackbox_kd.ledger import processes
from blackbox_kd.ledger.processes import start_of

WAYS = [
    start_of,
    pytest.param(
        processes._start_from_ps, marks=pytest.mark.skipif(shutil.which("ps") is None, reason="ps is not installed")
    ),
]


@pytest.mark.parametrize("way", WAYS)
class TestStart:
    def test_it_is_the_same_each_time(self, way: Callable[[int], str | None]) -> None:
        assert way(os.getpid()) == way(os.getpid())
        assert way(os.getpid())

    def test_it_differs_between_processes(self, way: Callable[[int], str | None]) -> None:
        assert way(os.getpid()) != way(1)

    def test_a_process_that_has_ended_has_none(self, way: Callable[[int], str | None]) -> None:
        with subprocess.Popen([sys.executable, "-c", ""]) as child:
            child.wait()
        assert way(child.pid) is None

    def test_a_process_that_was_killed_and_not_yet_waited_for_has_none(self, way: Callable[[int], str | None]) -> None:
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
            assert way(child.pid)
            child.kill()
            while way(child.pid) is not None:
                time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only on Linux")
def test_a_name_with_blanks_and_brackets_does_not_confuse_it(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "600"]) as child:
        while (Path("/proc") / str(child.pid) / "comm").read_text().strip() != program.name:
            time.sleep(0.01)
        boot, ticks = (start_of(child.pid) or "").split("/")
        child.kill()
    assert len(boot) == 36
    assert ticks.isdigit()
