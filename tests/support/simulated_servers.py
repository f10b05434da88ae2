"""Servers that are simulated in virtual time: what they do with requests, and how long a limiter takes with them."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable

from blackbox_kd.calls.limits.limiter import Limiter

Serve = Callable[[], Awaitable[float | None]]
"""What a server does with a request: None for a reply, else the Retry-After of a refusal, or UNTOLD."""
UNTOLD = -1.0
"""A refusal without a Retry-After."""


def now() -> float:
    return asyncio.get_running_loop().time()


def limiter(most: int = 8, *, patience_s: float = 600, **limits: float | None) -> Limiter:
    made = Limiter("endpoint", most, patience_s=patience_s)
    made.narrow(most, limits.get("rpm"), limits.get("tpm"))
    return made


class TokenBucket:
    """Allows `per_s` requests a second and `burst` at once; says `Retry-After: 1` beyond."""

    def __init__(self, per_s: float, burst: float, latency_s: float) -> None:
        self.per_s, self.burst, self.latency_s = per_s, burst, latency_s
        self.level, self.at, self.refused = burst, now(), 0

    async def __call__(self) -> float | None:
        await asyncio.sleep(0.001)
        self.level = min(self.burst, self.level + (now() - self.at) * self.per_s)
        self.at = now()
        if self.level < 1:
            self.refused += 1
            return 1.0
        self.level -= 1
        await asyncio.sleep(self.latency_s)
        return None


class Window:
    """Allows `limit` requests in every second of its clock; says `Retry-After: 1` beyond."""

    def __init__(self, limit: int) -> None:
        self.limit, self.second, self.count, self.refused = limit, 0, 0, 0

    async def __call__(self) -> float | None:
        await asyncio.sleep(0.001)
        if self.second != int(now() + 0.4):
            self.second, self.count = int(now() + 0.4), 0
        self.count += 1
        if self.count > self.limit:
            self.refused += 1
            return 1.0
        await asyncio.sleep(0.05)
        return None


class Queue:
    """Works on `slots` requests at once and lets the others wait, as a saturated vLLM does."""

    def __init__(self, slots: int, latency_s: float) -> None:
        self.gate, self.latency_s = asyncio.Semaphore(slots), latency_s

    async def __call__(self) -> float | None:
        async with self.gate:
            await asyncio.sleep(self.latency_s)
        return None


class Lognormal:
    """Replies after times with a long tail, however many are asked for."""

    def __init__(self, mean_s: float, sigma: float) -> None:
        self.random, self.mean_s, self.sigma = random.Random(1), mean_s, sigma

    async def __call__(self) -> float | None:
        await asyncio.sleep(self.mean_s * math.exp(self.random.gauss(0, self.sigma) - self.sigma**2 / 2))
        return None


class Stretch:
    """Refuses everything for `stretch_s`, from the request on that comes after `first` others.

    Args:
        stretch_s: how long.
        first: requests that are answered before.
        latency_s: of a reply.
        refusal_s: of a refusal.
        says: the Retry-After of a refusal; UNTOLD, or None for what is left of the stretch.
    """

    def __init__(self, stretch_s: float, first: int, latency_s: float, refusal_s: float, says: float | None) -> None:
        self.stretch_s, self.first, self.latency_s, self.refusal_s, self.says = (
            stretch_s,
            first,
            latency_s,
            refusal_s,
            says,
        )
        self.asked, self.refused, self.ends_at = 0, 0, 0.0

    async def __call__(self) -> float | None:
        self.asked += 1
        if self.asked == self.first + 1:
            self.ends_at = now() + self.stretch_s
        if now() < self.ends_at:
            self.refused += 1
            left_s = self.ends_at - now()
            await asyncio.sleep(self.refusal_s)
            return left_s if self.says is None else self.says
        await asyncio.sleep(self.latency_s)
        return None


async def drive(limits: Limiter, serve: Serve, calls: int, workers: int = 256) -> float:
    """Makes all calls, those that are refused again; returns how long it took."""
    began, left = now(), iter(range(calls))

    async def work() -> None:
        for _ in left:
            again = False
            while True:
                slot = await limits.acquire(100, again=again)
                after = await serve()
                if after is None:
                    limits.note_reply(slot, {}, 100)
                    break
                limits.note_refusal(slot, None if after == UNTOLD else after)
                again = True

    await asyncio.gather(*(work() for _ in range(workers)))
    return now() - began
