"""Rows side by side, with bounded memory and no barrier between them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def run_all(items: Iterable[T], work: Callable[[int, T], Awaitable[None]], window: int) -> None:
    """Works on items side by side, at most `window` at once; the first error stops the taking of new ones.

    Work that has begun is finished before the error is raised, so that what it paid for is kept.
    """
    gate = asyncio.Semaphore(window)
    errors: list[BaseException] = []
    running: set[asyncio.Task[None]] = set()

    def done(task: asyncio.Task[None]) -> None:
        running.discard(task)
        gate.release()
        if not task.cancelled() and task.exception() is not None:
            errors.append(task.exception())  # type: ignore[arg-type]

    try:
        for number, item in enumerate(items):
            await gate.acquire()
            if errors:
                gate.release()
                break
            task = asyncio.ensure_future(_as_coroutine(work(number, item)))
            running.add(task)
            task.add_done_callback(done)
        while running:
            await asyncio.wait(list(running))
    except BaseException:
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        raise
    if errors:
        raise errors[0]


async def _as_coroutine(awaitable: Awaitable[None]) -> None:
    await awaitable


async def in_order(items: Iterable[T], work: Callable[[T], Awaitable[R]], window: int) -> AsyncIterator[R]:
    """Works on items side by side, at most `window` at once; results come in the order of the items.

    After an error, work that has begun is finished before the error is raised, so that what it paid for is kept.
    """
    waiting: deque[asyncio.Future[R]] = deque()
    try:
        for item in items:
            if len(waiting) >= window:
                yield await waiting.popleft()
            waiting.append(asyncio.ensure_future(work(item)))
        while waiting:
            yield await waiting.popleft()
    except (asyncio.CancelledError, GeneratorExit):
        for task in waiting:
            task.cancel()
        raise
    finally:
        await asyncio.gather(*waiting, return_exceptions=True)
