"""Trainings without the start of torch, which takes more time than most trainings of tests; and commands likewise.

A process for each of the two loads the libraries at the first order and forks another one for each order. Nothing of
the package is replaced, and nothing of it knows: whatever starts a training by its command starts a process of its own,
in which `warm/sitecustomize.py` gives the command, the working directory, the variables
and the open streams on, waits, and ends as the fork ends. Killed, it takes the fork with it; orphaned, it leaves the
fork without a parent. A command with other variables than those that the libraries were loaded with goes on by itself,
as all do with the fixture `_cold_start`. A command starts so only where nobody sends it signals: with the variable
`TESTS_WARM_COMMAND`.
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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

VARIABLE = "TESTS_WARM_START"
"""Names the folder of the sockets to `sitecustomize`."""
WARM_COMMAND = {"TESTS_WARM_COMMAND": "1"}
"""For commands that nobody sends signals."""
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
"""But for these: models of trainings lie in folders here, a fork sees to its path, and torch sets three by itself."""
LOOKS_EVERY_S = 0.005


@contextmanager
def open_warm_start() -> Iterator[None]:
    """The processes that are to have the libraries; what is started until the end is forked off them."""
    inside = os.environ.get("PYTHONPATH")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="warm-start-"))
        warm = str(Path(__file__).parent / "warm")
        os.environ |= {VARIABLE: folder, "PYTHONPATH": os.pathsep.join([warm, *([inside] if inside else [])])}
        for kind in LOADED:
            stack.enter_context(_start(kind, f"{folder}/{kind}"))
        yield
    del os.environ[VARIABLE], os.environ["PYTHONPATH"]
    os.environ |= {"PYTHONPATH": inside} if inside else {}


def _start(kind: str, place: str) -> "subprocess.Popen[bytes]":
    """A process that ends when its stdin is closed, as it is when its context ends."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(place)
        door.listen(64)
        command = [sys.executable, __file__, kind, str(door.fileno())]
        env = os.environ | {"PYTHONSAFEPATH": "1"}
        how: dict[str, Any] = {"pass_fds": [door.fileno()], "env": env, "stdin": subprocess.PIPE}
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, **how)


def _serve(load: Callable[[], None], door: socket.socket) -> None:
    """Forks for each order until stdin is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    ours = dict(os.environ)
    while True:
        ready, _, _ = select.select([door, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        line, _ = door.accept()
        with line, suppress(OSError, ValueError):  # whoever ordered was killed before it had
            _take(line, load, ours)


def _take(line: socket.socket, load: Callable[[], None], ours: Mapping[str, str]) -> None:
    length, streams, _, _ = socket.recv_fds(line, 8, 3)
    order = json.loads(line.makefile("rb").read(int.from_bytes(length, "big")))
    theirs = order["environment"]
    load()
    gc.freeze()
    # What libraries set while they are loaded may have been set in the process that ordered, too.
    names = {name for name in ours.keys() | theirs.keys() if name.startswith(HEEDED)} - NOT_HEEDED
    if any(theirs.get(name) not in (ours.get(name), os.environ.get(name)) for name in names):
        line.sendall(b"null\n")
    elif not os.fork():
        _keep(line, order, streams, ours.keys() - theirs.keys())
    for stream in streams:
        os.close(stream)


def _load_training() -> None:
    """Loads all that a training needs but the modules that commands name."""
    from blackbox_kd.training import (  # noqa: F401  # noqa: F401
        answers,
        dpo_trainer,
        kto_trainer,
        overview,
        packing,
        sft_trainer,
        split,
        teacher_trainers,
        topk_trainer,
    )


def _load_command() -> None:
    """Loads what most commands load."""
    from blackbox_kd.cli import app  # noqa: F401
    from blackbox_kd.engine import run  # noqa: F401
    from blackbox_kd.sdk.registry import Registry

    registry = Registry()
    for name in registry.names():
        registry.get(name)


LOADED = {"training": _load_training, "command": _load_command}
"""What is started warm, and what it is started with."""


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
    """Runs a module or a text as Python does, and ends as it ends."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(order["folder"])
    for name in unset:
        del os.environ[name]
    os.environ.update(order["environment"])
    how, what, *arguments = order["command"]
    if "PYTHONSAFEPATH" not in order["environment"]:
        sys.path.insert(0, "" if how == "-c" else order["folder"])
    try:
        if how == "-m":
            sys.argv = [what, *arguments]
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            sys.argv = [how, *arguments]
            exec(what, {"__name__": "__main__"})
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    sys.exit()


if __name__ == "__main__":
    _serve(LOADED[sys.argv[1]], socket.socket(fileno=int(sys.argv[2])))
