"""Ends calls that take too long, with one timer for all of them.

A timer for each call, as `asyncio.timeout` or aiohttp's `total` set one, takes a twentieth of the call's CPU.
"""

import asyncio
from typing import Any, NamedTuple

Task = asyncio.Task[Any]


class _Due(NamedTuple):
    at: float
    cancelling: int
    """Requests to cancel the task that were there before."""


class Deadlines:
    """Deadlines of tasks that may all take equally long. For one event loop.

        task = deadlines.begin()
        try:
            ...
        except asyncio.CancelledError:
            if deadlines.is_over(task): ...
        finally:
            deadlines.end(task)

    Args:
        limit_s: seconds that each may take.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._due: dict[Task, _Due] = {}  # the earliest first
        self._late: dict[Task, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> Task:
        """Gives the running task its time, from now on; returns the task."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._due[task] = _Due(loop.time() + self._limit_s, task.cancelling())
        if self._timer is None:
            self._timer = loop.call_later(self._limit_s, self._look, loop)
        return task

    def is_over(self, task: Task) -> bool:
        """Whether a task is cancelled for its time, and for nothing else; takes that cancellation back."""
        before = self._late.pop(task, None)
        return before is not None and task.uncancel() <= before

    def end(self, task: Task) -> None:
        """Takes a task's deadline away."""
        self._due.pop(task, None)
        self._late.pop(task, None)

    def close(self) -> None:
        """Stops the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancels those whose time is up, and comes again when the next one's is."""
        self._timer = None
        now = loop.time()
        while self._due:
            task, due = next(iter(self._due.items()))
            if due.at > now:
                self._timer = loop.call_at(due.at, self._look, loop)
                return
            del self._due[task]
            self._late[task] = due.cancelling
            task.cancel()
