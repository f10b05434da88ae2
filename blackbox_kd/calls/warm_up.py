"""Lets the first request of a prefix go out alone where its endpoint bills for writing it into a cache.

Requests that are under way at the same time find nothing in the cache, and each pays for the write. So the others wait
until the reply to the first one has come. They never wait for long: if the first one fails, the next one goes out, and
an endpoint that caches nothing, or is slow, is not waited for any more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from blackbox_kd.messages import write_plain
from blackbox_kd.models import Price
from blackbox_kd.schema import Message, Usage

T = TypeVar("T", bound="Paid")

LEAST_TOKENS = 512
"""Of a prefix that is cached, where nothing else is known of a model: no vendor caches less."""
CHARS_PER_TOKEN = 4
"""Of English text; of others more tokens are in as many characters."""
LONG_CHARS = LEAST_TOKENS * CHARS_PER_TOKEN
KEPT_S = 240.0
"""How long a prefix is taken to be in the cache after its latest reply; vendors keep it for 5 minutes at least."""
LONGEST_WAIT_S = 60.0
"""How long a request waits for another one's reply."""
FAILURES = 3
"""Requests for a prefix that may come to nothing, one after the other, until all others go out."""
IN_VAIN = 3
"""Replies to first requests of which nothing was cached, after which none is waited for."""
MOST_PREFIXES = 4096
"""That are kept in mind; of a run whose rows all begin in another way, none is asked for again."""


class Paid(Protocol):
    """What comes of a request."""

    @property
    def usage(self) -> Usage | None:
        """Its tokens."""
        ...


def has_costly_writes(price: Price | None) -> bool:
    """Whether it costs more to write a prompt into the cache than to send it, and less to read it from there."""
    if price is None or price.cache_write is None or price.cached is None:
        return False
    return price.cached < price.input < price.cache_write


def join(messages: Sequence[Message], most: int) -> str:
    """What messages begin with, as one text of so many characters at most."""
    parts: list[str] = []
    left = most
    for message in messages:
        parts.append(f"{message['role']}\n{write_plain(message)[:left]}")
        left -= len(parts[-1])
        if left <= 0:
            break
    return "".join(parts)[:most]


class WarmUp:
    """Holds requests of one model back. For one event loop.

    Args:
        least_tokens: the fewest tokens of a prefix that is cached; None if that is not known.
    """

    def __init__(self, least_tokens: int | None = None) -> None:
        self._long_chars = (least_tokens or LEAST_TOKENS) * CHARS_PER_TOKEN
        self._leading: dict[int, asyncio.Future[None]] = {}
        self._warm_until: dict[int, float] = {}
        self._failures: dict[int, int] = {}
        self._in_vain = 0

    async def buy(self, messages: Sequence[Message], buy: Callable[[], Awaitable[T]]) -> T:
        """What comes of a request, which goes out at once or after another one that begins like it."""
        beginning = join(messages, self._long_chars)
        if len(beginning) < self._long_chars:
            return await buy()
        prefix, loop = hash(beginning), asyncio.get_running_loop()
        until = loop.time() + LONGEST_WAIT_S
        while not (is_warm := self._is_warm(prefix, loop.time())):
            first, left_s = self._leading.get(prefix), until - loop.time()
            if first is None or left_s <= 0:
                break
            await asyncio.wait([first], timeout=left_s)
        came = await (buy() if is_warm or first is not None else self._lead(prefix, buy))
        self._note_warm(prefix, loop.time())
        return came

    def _is_warm(self, prefix: int, now: float) -> bool:
        """Whether nobody has to go first."""
        is_given_up = self._in_vain >= IN_VAIN or self._failures.get(prefix, 0) >= FAILURES
        return is_given_up or now < self._warm_until.get(prefix, 0.0)

    async def _lead(self, prefix: int, buy: Callable[[], Awaitable[T]]) -> T:
        """What comes of a request that others wait for."""
        done = self._leading[prefix] = asyncio.get_running_loop().create_future()
        try:
            came = await buy()
        except BaseException:
            self._failures[prefix] = self._failures.get(prefix, 0) + 1
            raise
        finally:
            self._release(prefix, done)
        self._failures.pop(prefix, None)
        usage = came.usage
        is_cached = usage is None or usage.cached_tokens or usage.cache_write_tokens
        self._in_vain = 0 if is_cached else self._in_vain + 1
        return came

    def _note_warm(self, prefix: int, now: float) -> None:
        if len(self._warm_until) >= MOST_PREFIXES:
            self._warm_until.clear()
            self._failures.clear()
        self._warm_until[prefix] = now + KEPT_S
        if (first := self._leading.get(prefix)) is not None:  # it was given up, and another one has come before it
            self._release(prefix, first)

    def _release(self, prefix: int, first: "asyncio.Future[None]") -> None:
        """Lets those go that wait for the first request of a prefix."""
        if not first.done():
            del self._leading[prefix]
            first.set_result(None)
