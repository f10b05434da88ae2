"""Stops what calls models by hand, without a loss of what is paid for."""

import _thread
import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from blackbox_kd.errors import Stopped

DRAIN_S = 30
"""Seconds that a stopped run waits for paid calls under way."""
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Ctrl-C, `kill`, and a terminal that is closed."""
UNHEARD_S = 2.0
"""Seconds after which a signal breaks off what keeps the event loop from hearing it: longer than a module takes to
load on a busy machine, as what is broken off might be a call's."""


class Stoppable(Protocol):
    """What can be stopped."""

    async def execute(self) -> None:
        """Does it all."""
        ...

    def stop(self) -> bool:
        """Lets no new call begin; whether paid calls are under way, whose replies are worth waiting for."""
        ...


async def stoppable(job: Stoppable, say: Callable[[str], None]) -> None:
    """Runs a job; Ctrl-C and its like let paid calls under way end, a second one cuts them off.

    Raises:
        Stopped: it was stopped.
    """
    task = asyncio.ensure_future(job.execute())
    loop = asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if stopped or not job.stop():
            task.cancel()
            return
        stopped = True
        say(f"waiting up to {DRAIN_S} s for the calls under way; Ctrl-C again stops at once")
        loop.call_later(DRAIN_S, task.cancel)

    with _hear_signals(loop, stop):
        try:
            await task
        except asyncio.CancelledError:
            raise Stopped from None


@contextmanager
def _hear_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> Iterator[None]:
    """Has signals call `stop` in the loop, also where a step computes for minutes without giving the loop its turn.

    A handler of the loop's own would wait for such a step. Python runs this one between two of the step's
    instructions: what still keeps the loop busy after `UNHEARD_S` is cancelled there, as its task would have been.
    """
    unheard_since: float | None = None

    def hear() -> None:
        nonlocal unheard_since
        unheard_since = None
        stop()

    def break_off(number: signal.Signals) -> None:
        if unheard_since is not None:
            _thread.interrupt_main(number)

    def on_signal(number: int, _: object) -> None:
        nonlocal unheard_since
        now = time.monotonic()
        if unheard_since is None:
            unheard_since = now
            loop.call_soon_threadsafe(hear)
            timer = threading.Timer(UNHEARD_S, break_off, [signal.Signals(number)])
            timer.daemon = True
            timer.start()
        elif now - unheard_since >= UNHEARD_S:
            raise asyncio.CancelledError

    before = {}
    for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` wants it so
            before[number] = signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
