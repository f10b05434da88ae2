"""The event loop of the command line: libuv's, which takes a tenth less CPU for a call, where that can be had."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

YOUNG_OBJECTS = 10_000
"""How many new objects make the garbage collector look. Python's own 700 are those of a few calls, which leave no
cycles behind: looking that often takes a thirtieth of a call's CPU."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Like `asyncio.run`."""
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    with asyncio.Runner(loop_factory=_factory()) as runner:
        return runner.run(main)


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
