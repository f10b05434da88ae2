"""Work side by side: the rows of a table with bounded memory and no barrier between them, and the calls of one row."""

import asyncio
import gc
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from blackbox_kd.errors import CallError

T = TypeVar("T")
R = TypeVar("R")

BREATH = 16
"""Items after which a worker lets the others run, though it never had to wait: replies may all be there already."""


async def run_all(items: Iterable[T], work: Callable[[int, T], Awaitable[None]], window: int) -> None:
    """Works on items side by side, at most `window` at once; the first error stops the taking of new ones.

    Work that has begun is finished before the error is raised, so that what it paid for is kept.
    """
    todo = enumerate(items)
    errors: list[BaseException] = []
    workers: list[asyncio.Task[None]] = []

    async def worker() -> None:
        try:
            for number, item in todo:
                if len(workers) < window:
                    workers.append(asyncio.ensure_future(worker()))
                await work(number, item)
                if number % BREATH == 0:
                    await asyncio.sleep(0)
                if errors:
                    return
        except (Exception, asyncio.CancelledError) as error:
            errors.append(error)

    workers.append(asyncio.ensure_future(worker()))
    try:
        while running := [task for task in workers if not task.done()]:
            await asyncio.wait(running)
    except BaseException:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        raise
    if errors:
        raise errors[0]


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


async def all_of(*calls: Coroutine[Any, Any, T]) -> list[T]:
    """What the calls bring, in their order.

    No call is broken off because another one failed: it may be paid for already, and its reply will be wanted when
    the row is worked on again.

    Raises:
        CallError: of the first call that failed; an error that ends the run comes before those of the row.
    """
    found = await asyncio.gather(*calls, return_exceptions=True)
    failed = [each for each in found if isinstance(each, BaseException)]
    for error in sorted(failed, key=lambda each: isinstance(each, CallError)):
        raise error
    return [each for each in found if not isinstance(each, BaseException)]


@contextmanager
def collect_seldom() -> Iterator[None]:
    """Garbage is collected seldom: rows in flight are many, young and free of cycles (a tenth of the CPU of a call)."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
