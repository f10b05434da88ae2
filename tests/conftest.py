"""What holds for every test."""

import signal
from collections.abc import Iterator

import pytest


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
