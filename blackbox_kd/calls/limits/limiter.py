"""How many requests an endpoint gets at once, and how fast: one limiter for all models of an endpoint.

Concurrency starts at `max_concurrency`, is cut when many calls fail or replies get slower without getting more,
and grows again while replies come. The rate is what the user states, what the response headers say, and what is
learned from refusals. A Retry-After holds for the whole endpoint.
"""

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from blackbox_kd.calls.limits.circuit_breaker import Breaker
from blackbox_kd.calls.limits.rate import LearnedRate, Pace
from blackbox_kd.calls.limits.saturation import LatencyWatch
from blackbox_kd.errors import CallError, ServerFault, Stopped
from blackbox_kd.models.http import rate_limit_headers

logger = logging.getLogger(__name__)

FAULT_CUT = 0.7
FAULT_SHARE = 0.3
"""Share of faults from which on concurrency is cut: a few in a hundred are no sign of overload."""
MEMORY = 0.05
"""Weight of the latest call in running means."""
BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
WINDOW_GROWS_S = 0.01
JITTER = 0.05
"""Share by which a pause is prolonged at random, so that processes that share a limit do not return together."""


@dataclass(slots=True, eq=False)
class Slot:
    """Leave to send one request. Every slot ends in one of the limiter's methods that take one.

    Args:
        number: of the send, at its endpoint.
        sent_at: when leave was given.
        tokens: what the request was counted as against a limit on tokens.
        is_probe: whether it asks an endpoint that is out.
    """

    number: int
    sent_at: float
    tokens: float
    is_probe: bool = False


class Limiter:
    """The limits of one endpoint. For one event loop.

    Args:
        endpoint: its name, for messages.
        max_concurrency: the most requests in flight.
        local: the model is in this process: there is no rate to find out.
        patience_s: how long an endpoint that answers nothing, or only with refusals, is waited for.
    """

    def __init__(
        self,
        endpoint: str,
        max_concurrency: int,
        *,
        local: bool = False,
        patience_s: float = 600.0,
    ) -> None:
        self._endpoint = endpoint
        self._most = max_concurrency
        self._limit = float(max_concurrency)
        self._slow_start_below = 0.0
        self._in_flight = 0
        self._requests = Pace()
        self._tokens = Pace()
        self._learned = LearnedRate(starts_free=local)
        self._latency = LatencyWatch()
        self._breaker = Breaker(patience_s)
        self._patience_s = patience_s
        self._paused_until = 0.0
        self._suspended_at = 0.0
        self._backoff_s = BACKOFF_S
        self._refused_since: float | None = None
        self._fault_share = 0.0
        self._cut_at = 0.0
        self._mean_tokens = 0.0
        self._stopped: CallError | Stopped | None = None
        self._waiting: deque[tuple[asyncio.Future[Slot], int]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def concurrency(self) -> int:
        """The most requests in flight now."""
        return max(1, int(self._limit))

    def narrow(self, max_concurrency: int, rpm: float | None, tpm: float | None) -> None:
        """Takes in what another model of the endpoint is configured with: the stricter limits hold."""
        self._most = min(self._most, max_concurrency)
        self._limit = min(self._limit, self._most)
        self._requests.cap(rpm / 60 if rpm else math.inf)
        self._tokens.cap(tpm / 60 if tpm else math.inf)

    async def acquire(self, tokens: int, *, again: bool = False) -> Slot:
        """Waits for leave to send.

        Args:
            tokens: the most that the request can use.
            again: the request was sent before and goes first.

        Raises:
            ServerFault: the endpoint has been out for longer than `patience_s`; of kind `outage`.
            CallError: the endpoint was stopped.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._stopped is not None:
            raise _copy(self._stopped)
        if not self._waiting and self._due() <= now and self._has_room(now):
            return self._take(now, tokens)
        if self._breaker.gave_up and not self._breaker.may_probe(now):
            raise self._given_up()
        leave: asyncio.Future[Slot] = loop.create_future()
        self._waiting.insert(0 if again else len(self._waiting), (leave, tokens))
        if self._waiting[0][0] is leave:  # those before it have been looked at
            self._admit(loop)
        try:
            return await leave
        except asyncio.CancelledError:
            if leave.done() and not leave.cancelled() and leave.exception() is None:
                self.withdrawn(leave.result())
            raise

    def held_back(self, slot: Slot) -> bool:
        """Whether sending was suspended after leave was given: it would only be refused."""
        return self._stopped is not None or (slot.sent_at < self._suspended_at and not slot.is_probe)

    def replied(self, slot: Slot, headers: Mapping[str, str], used_tokens: int) -> None:
        """A reply came, with these headers and after so many tokens (0: not known)."""
        now = asyncio.get_running_loop().time()
        if self._breaker.is_open:
            logger.warning("%s answers again", self._endpoint)
        self._breaker.answered()
        self._learned.replied()
        self._refused_since, self._backoff_s = None, BACKOFF_S
        self._fault_share *= 1 - MEMORY
        if used_tokens:
            self._mean_tokens += (MEMORY if self._mean_tokens else 1) * (used_tokens - self._mean_tokens)
            self._tokens.correct(used_tokens - slot.tokens)
        if headers:
            self._heed(headers)
        if self._limit < self._most:
            step = 1.0 if self._limit < self._slow_start_below else 1 / self._limit
            self._limit = min(self._most, self._limit + step)
        changed = self._latency.observe(now, now - slot.sent_at, self._limit)
        if changed is not None:
            self._limit = min(self._most, changed)
        self._free(slot)

    def refused(self, slot: Slot, retry_after_s: float | None) -> None:
        """The endpoint said 429: nobody sends until it wants to be asked again."""
        now = asyncio.get_running_loop().time()
        pause_s = self._backoff_s if retry_after_s is None else retry_after_s
        resume_at = now + pause_s * (1 + JITTER * random.random())
        is_first = self._learned.refused(slot.number, slot.sent_at, resume_at)
        self._paused_until = max(self._paused_until, resume_at if is_first else now + pause_s)
        self._suspended_at = now
        if is_first and retry_after_s is None:
            self._backoff_s = min(LONGEST_BACKOFF_S, 2 * self._backoff_s)
            if self._learned.refusals > 1:  # the rate was cut, and it goes on: it may be a limit on concurrency
                self._cut(min(self._limit, self._in_flight))
        self._breaker.answered()
        self._refused_since = now if self._refused_since is None else self._refused_since
        if now - self._refused_since > self._patience_s:
            self._breaker.give_up(now, self._paused_until)
        self._free(slot)

    def failed(self, slot: Slot, retry_after_s: float | None = None) -> bool:
        """No answer, or one of a broken server. Returns whether the endpoint is out, not just this call."""
        now = asyncio.get_running_loop().time()
        self._fault_share += MEMORY * (1 - self._fault_share)
        was_open = self._breaker.is_open
        self._breaker.failed(slot.sent_at, now)
        if self._fault_share > FAULT_SHARE and slot.sent_at >= self._cut_at:
            self._cut_at = now  # once in a round trip: those sent before it tell nothing about the new limit
            self._cut(self._limit)
        if self._breaker.is_open and not was_open:
            out = "%s: no answer to any of the last calls; it is waited for, up to %g s, and asked now and then"
            logger.warning(out, self._endpoint, self._patience_s)
        if self._breaker.is_open:
            self._suspended_at = now
            self._limit, self._slow_start_below = 1.0, self._most / 2
        if retry_after_s is not None:
            self._paused_until = max(self._paused_until, now + min(retry_after_s, self._patience_s))
        self._free(slot)
        return self._breaker.is_open

    def rejected(self, slot: Slot) -> None:
        """The endpoint answered that the request is wrong: it is well."""
        self._breaker.answered()
        self._free(slot)

    def withdrawn(self, slot: Slot) -> None:
        """The request was not sent after all, or nobody waits for its reply any more."""
        if slot.is_probe:
            self._breaker.withdrawn()
        self._free(slot)

    def stop(self, error: CallError | Stopped) -> None:
        """Nothing more is sent: all who wait, and all who come, get the error."""
        self._stopped = error
        while self._waiting:
            leave, _ = self._waiting.popleft()
            if not leave.done():
                leave.set_exception(_copy(error))

    def _has_room(self, now: float) -> bool:
        if self._breaker.is_open:
            return self._breaker.may_probe(now)
        return self._in_flight < min(int(self._limit), self._learned.window(now))

    def _due(self) -> float:
        """When the next request may be sent, as far as it depends on the clock."""
        return max(self._paused_until, self._learned.due, self._requests.due, self._tokens.due)

    def _take(self, now: float, tokens: int) -> Slot:
        self._in_flight += 1
        guess = min(tokens, self._mean_tokens) if self._mean_tokens else tokens / 4  # bytes are about 4 to a token
        self._requests.take(now)
        self._tokens.take(now, guess)
        slot = Slot(self._learned.take(now), now, guess, self._breaker.is_open)
        if slot.is_probe:
            self._breaker.probe()
        return slot

    def _free(self, slot: Slot) -> None:
        self._in_flight -= 1
        if self._waiting:
            self._admit(asyncio.get_running_loop())

    def _admit(self, loop: asyncio.AbstractEventLoop) -> None:
        """Gives leave to those who wait, as far as there is room; sets the clock for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = loop.time()
        while self._waiting:
            leave, tokens = self._waiting[0]
            if leave.done():  # cancelled
                self._waiting.popleft()
                continue
            if self._breaker.gave_up and not self._breaker.may_probe(now):
                self._waiting.popleft()
                leave.set_exception(self._given_up())
                continue
            has_room, is_held = self._has_room(now), math.isfinite(self._learned.window(now))
            if not (has_room or is_held or self._breaker.is_open):  # until a place is free
                return
            due = max(self._due(), self._breaker.due if self._breaker.is_open else 0.0)
            if due <= now and not has_room and is_held:
                due = now + WINDOW_GROWS_S
            if due > now:
                self._timer = loop.call_at(due, self._admit, loop)
                return
            if not has_room:
                return
            self._waiting.popleft()
            leave.set_result(self._take(now, tokens))

    def _heed(self, headers: Mapping[str, str]) -> None:
        for pace, what in ((self._requests, "requests"), (self._tokens, "tokens")):
            quota = rate_limit_headers.quota(headers, what)
            if quota is not None:
                pace.heed(quota)

    def _cut(self, limit: float) -> None:
        self._limit = max(1.0, FAULT_CUT * limit)
        self._slow_start_below = 0.0

    def _given_up(self) -> ServerFault:
        return ServerFault(
            f"{self._endpoint}: no reply for more than {self._patience_s:g} s; not asked any more for now",
            kind="outage",
        )


def _copy(error: CallError | Stopped) -> CallError | Stopped:
    """Each waiter raises its own, or their tracebacks would mix."""
    if isinstance(error, Stopped):
        return Stopped(str(error))
    return type(error)(str(error), kind=error.kind, retry_after_s=error.retry_after_s)
