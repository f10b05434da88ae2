"""The hours that a run may take: when they are over nothing new is asked, and what is under way ends."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from blackbox_kd.errors import HoursOver

HOUR_S = 3600.0


class Hours:
    """The clock of one invocation. For one event loop.

    Args:
        most: the hours; None for no limit.
    """

    def __init__(self, most: float | None) -> None:
        self._most = most
        self._ends_at: float | None = None

    @contextmanager
    def count(self, when_over: Callable[[HoursOver], object]) -> Iterator[None]:
        """Runs the clock while the context is open; `when_over` is called once, in the event loop."""
        if self._most is None:
            yield
            return
        loop = asyncio.get_running_loop()
        self._ends_at = loop.time() + HOUR_S * self._most
        timer = loop.call_at(self._ends_at, lambda: when_over(self._explain()))
        try:
            yield
        finally:
            timer.cancel()

    def find_left_s(self) -> float:
        """Seconds that are left of them; 0 where nothing limits them."""
        return 0.0 if self._ends_at is None else max(0.0, self._ends_at - asyncio.get_running_loop().time())

    def _explain(self) -> HoursOver:
        return HoursOver(
            f"budget reached: budget.hours = {self._most:.4g} are over; what was under way has ended and is kept",
            fix="run the same command to go on: it has as many hours again; replies paid for are not bought again, and "
            "batches that were handed in are taken up",
        )
