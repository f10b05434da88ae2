"""Stops what calls models by hand, without a loss of what is paid for."""

import asyncio
import signal
from collections.abc import Callable
from typing import Protocol

from blackbox_kd.errors import Stopped

DRAIN_S = 30
"""Seconds that a stopped run waits for paid calls under way."""
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Ctrl-C, `kill`, and a terminal that is closed."""


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

    for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
        if signal.getsignal(number) is signal.SIG_IGN:  # `nohup` wants it so
            continue
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows: Ctrl-C raises KeyboardInterrupt there
            break
    try:
        await task
    except asyncio.CancelledError:
        raise Stopped from None
