"""Trainings without the start of torch, which takes more time than most trainings of tests.

`python -m tests.support.warm_start SOCKET` loads the libraries at the first order and forks a process for each.
Nothing of the package is replaced, and nothing of the tests knows of it: whatever starts a training by its command
starts a process of its own, in which `warm/sitecustomize.py` gives the command, the working directory, the variables
and the open streams on, waits, and ends as the fork ends. Killed, it takes the fork with it; orphaned, it leaves the
fork without a parent. A command with other variables than those that the libraries were loaded with goes on by itself,
as all do with the fixture `_cold_start`.
"""

import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

VARIABLE = "TESTS_WARM_START"
"""Names the socket to `sitecustomize`."""
HEEDED = (
    "ACCELERATE_", "CUDA_", "HF_", "HOME", "KMP_", "LD_", "LOCAL_", "MASTER_", "MKL_", "OMP_", "PATH", "PYTHON",
    "PYTORCH_", "RANK", "TOKENIZERS_", "TORCH", "TRANSFORMERS_", "WORLD_",
)  # fmt: skip
"""How variables begin that libraries heed while they are loaded."""
NOT_HEEDED = {
    "HF_HUB_OFFLINE",
    "KMP_DUPLICATE_LIB_OK",
    "KMP_INIT_AT_FORK",
    "PYTHONSAFEPATH",
    "TORCHINDUCTOR_CACHE_DIR",
}
"""But for these: models of trainings lie in folders here, nothing is found in a working directory, torch sets three."""
LOOKS_EVERY_S = 0.005


@contextmanager
def open_warm_start() -> Iterator[None]:
    """The process that is to have the libraries; trainings that are started until the end are forked off it."""
    inside = os.environ.get("PYTHONPATH")
    with tempfile.TemporaryDirectory(prefix="warm-start-") as folder, socket.socket(socket.AF_UNIX) as door:
        place = f"{folder}/door"
        door.bind(place)
        door.listen(64)
        warm = str(Path(__file__).parent / "warm")
        os.environ |= {VARIABLE: place, "PYTHONPATH": os.pathsep.join([warm, *([inside] if inside else [])])}
        command = [sys.executable, __file__, str(door.fileno())]
        env = os.environ | {"PYTHONSAFEPATH": "1"}
        how: dict[str, Any] = {"pass_fds": [door.fileno()], "env": env, "stdin": subprocess.PIPE}
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, **how):  # it ends when its stdin is closed
            door.close()
            yield
    del os.environ[VARIABLE], os.environ["PYTHONPATH"]
    os.environ |= {"PYTHONPATH": inside} if inside else {}


def _serve(door: socket.socket) -> None:
    """Forks for each order until stdin is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    ours = dict(os.environ)
    while True:
        ready, _, _ = select.select([door, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        line, _ = door.accept()
        with line, suppress(OSError, ValueError):  # whoever ordered was killed before it had
            _take(line, ours)


def _take(line: socket.socket, ours: Mapping[str, str]) -> None:
    length, streams, _, _ = socket.recv_fds(line, 8, 3)
    order = json.loads(line.makefile("rb").read(int.from_bytes(length, "big")))
    theirs = order["environment"]
    _load()
    # What libraries set while they are loaded may have been set in the process that ordered, too.
    names = {name for name in ours.keys() | theirs.keys() if name.startswith(HEEDED)} - NOT_HEEDED
    if any(theirs.get(name) not in (ours.get(name), os.environ.get(name)) for name in names):
        line.sendall(b"null\n")
    elif not os.fork():
        _keep(line, order, streams, ours.keys() - theirs.keys())
    for stream in streams:
        os.close(stream)


def _load() -> None:
    """Loads all that a training needs but the modules that commands name."""
    from blackbox_kd.training import answers, dpo_trainer, overview, packing, sft_trainer, split  # noqa: F401

    gc.freeze()


def _keep(line: socket.socket, order: Mapping[str, Any], streams: list[int], unset: Iterable[str]) -> NoReturn:
    """Lets a fork work and tells how it ended; ends it when whoever ordered it has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if not (child := os.fork()):
        line.close()
        _work(order, streams, unset)
    for stream in streams:
        os.close(stream)
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if select.select([line], [], [], LOOKS_EVERY_S)[0]:
            if line.recv(16):
                os._exit(0)  # the fork loses its parent, too
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            break
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(OSError):
        line.sendall(f"{status}\n".encode())
    os._exit(0)


def _work(order: Mapping[str, Any], streams: list[int], unset: Iterable[str]) -> NoReturn:
    """Runs a module as `python -m` does, and ends as Python ends."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(order["folder"])
    for name in unset:
        del os.environ[name]
    os.environ.update(order["environment"])
    sys.argv = order["command"]
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    sys.exit()


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
