"""Trainings that are killed at a chosen moment, among them moments in the middle of writing a file.

`python -m tests.support.killing` loads the libraries once and forks a process for each order that it reads, so that a
kill costs a second and not the start of torch. Nothing of the package is replaced: an audit hook looks at a file each
time that Python does anything of note, and once it was written it is cut where the kill would have stopped it.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn


class Moment(NamedTuple):
    """When a training is killed; never, if nothing is said.

    Args:
        seconds: after its start.
        file: that is being written then, within the folder of the training.
        share: of the file that is there by then.
    """

    seconds: float | None = None
    file: str | None = None
    share: float = 1.0


TO_ITS_END = Moment()


class Trainings:
    """Starts trainings by `sft`, one after the other, in forks of a process that has the libraries."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, job: Path, moment: Moment = TO_ITS_END) -> bool:
        """Whether a training has ended by itself; events and messages are in files beside the job."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([str(job), moment]) + "\n")
        stdin.flush()
        status = json.loads(stdout.readline())
        assert status in (0, -signal.SIGKILL), job.with_suffix(".messages").read_text()
        return bool(status == 0)


@contextmanager
def open_trainings() -> Iterator[Trainings]:
    """The process that has the libraries, until its trainings are done."""
    command = [sys.executable, "-m", "tests.support.killing"]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # threads that wait for each other take longer than tiny sums
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=one_thread) as process:
        try:
            yield Trainings(process)
        finally:
            process.kill()


def read_events(job: Path) -> list[dict[str, Any]]:
    """What the last training of a job has told."""
    return [json.loads(line) for line in job.with_suffix(".events").read_text().splitlines()]


def _work() -> None:
    import blackbox_kd.training.sft
    import blackbox_kd.training.sft_trainer  # noqa: F401  it loads all that a training needs

    for line in sys.stdin:
        job, values = json.loads(line)
        moment = Moment(*values)
        if not (child := os.fork()):
            _train(Path(job), moment)
        sys.stdout.write(f"{_wait(child, moment.seconds)}\n")
        sys.stdout.flush()


def _wait(child: int, seconds: float | None) -> int:
    began = time.monotonic()
    while seconds is not None and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() - began > seconds:
            os.kill(child, signal.SIGKILL)
            break
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _train(job: Path, moment: Moment) -> NoReturn:
    from blackbox_kd.training.job import main
    from blackbox_kd.training.sft import train

    for stream, suffix in ((1, ".events"), (2, ".messages")):
        os.dup2(os.open(job.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    status = 1
    try:
        if moment.file is not None:
            _set_trap(job.with_suffix("") / moment.file, moment.share)
        sys.argv = ["sft", str(job)]
        main("sft", train)
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _set_trap(file: Path, share: float) -> None:
    before, is_sprung = _look(file), False

    def spring(event: str, _: tuple[Any, ...]) -> None:
        nonlocal is_sprung
        found = _look(file)
        if is_sprung or not found or found == before or not found[1]:
            return
        is_sprung = True
        os.truncate(file, int(share * found[1]))
        os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(spring)


def _look(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


if __name__ == "__main__":
    _work()
