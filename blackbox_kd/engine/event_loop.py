"""The event loop of a run: libuv's, which takes a tenth less CPU for a call, where that can be had."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from blackbox_kd.errors import BlackboxError

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Like `asyncio.run`."""
    with asyncio.Runner(loop_factory=_find_factory()) as runner:
        runner.get_loop().set_exception_handler(_tell_once)
        return runner.run(main)


def _tell_once(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Errors of ours that nobody waits for any more: the run has ended by one of the same kind, and told it."""
    if not isinstance(context.get("exception"), BlackboxError):
        loop.default_exception_handler(context)


def _find_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
