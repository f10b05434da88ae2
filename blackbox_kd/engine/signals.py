"""Stops what calls models by hand, without a loss of what is paid for."""

import _thread
import asyncio
import ctypes
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
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


Hear = Callable[[asyncio.AbstractEventLoop, Callable[[], None]], AbstractContextManager[None]]
"""Has something call the function, in the loop, for as long as its context is open."""


async def stoppable(job: Stoppable, say: Callable[[str], None], hear: Hear | None = None) -> None:
    """Runs a job; Ctrl-C and its like let paid calls under way end, a second one cuts them off.

    Args:
        job: what is run.
        say: is told what is waited for.
        hear: hears the user; None for signals, which only the main thread gets.

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

    with (hear or _hear_signals)(loop, stop):
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


class Thread:
    """A thread of its own for what has an event loop, so that it is run wherever one runs already: in a notebook."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[], None] = lambda: None
        self._unheard = 0
        self._ended = threading.Event()

    def run(self, main: Callable[[], None]) -> None:
        """Runs `main`, which is to end soon after it has heard of Ctrl-C.

        Raises:
            KeyboardInterrupt: the user has stopped it; it has ended.
            BaseException: what `main` raises.
        """
        raised: list[BaseException] = []

        def work() -> None:
            try:
                main()
            except BaseException as error:
                raised.append(error)
            finally:
                self._ended.set()

        thread = threading.Thread(target=work, name="blackbox-kd", daemon=True)
        thread.start()
        interrupted = self._wait(thread)
        if interrupted is not None:
            interrupted.add_note("everything paid for is kept; run the same again to go on")
            raise interrupted
        if raised:
            raise raised[0]

    def _wait(self, thread: threading.Thread) -> KeyboardInterrupt | None:
        """Returns when a thread has ended, and by what the user has interrupted it."""
        interrupted = None
        while True:
            try:
                loop = self._loop
                if self._unheard and loop is not None:
                    with suppress(RuntimeError):  # it was closed just now
                        loop.call_soon_threadsafe(self._hear)
                if self._ended.wait(UNHEARD_S if self._unheard else None):
                    return interrupted
                self._break_off(thread)
            except KeyboardInterrupt as error:
                interrupted = error
                self._unheard += 1

    def _hear(self) -> None:
        for _ in range(self._unheard):
            self._stop()
        self._unheard = 0

    @contextmanager
    def hear(self, loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> Iterator[None]:
        """Has Ctrl-C in the thread that waits call `stop` in the loop: see `stoppable`."""
        self._loop, self._stop = loop, stop
        loop.call_soon(self._hear)  # of what was before the loop
        try:
            yield
        finally:
            self._loop = None

    def _break_off(self, thread: threading.Thread) -> None:
        """Breaks off what has kept the loop from hearing: between two instructions of Python, as a signal would."""
        if self._unheard and self._loop is not None:
            stop = ctypes.py_object(asyncio.CancelledError)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), stop)
            self._unheard = 0
