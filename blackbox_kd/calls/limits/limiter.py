"""How many requests an endpoint gets at once, and how fast: one limiter for all models of an endpoint.

Requests wait in a queue until four things let the first of them go: the concurrency (`concurrency`), the rate that
the user states, that the response headers report, or that is learned from refusals (`rate`), a pause that the endpoint
asked for, which holds for all of its models, and whether it answers at all (`circuit_breaker`).
"""

import asyncio
import copy
import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from blackbox_kd.calls.limits.circuit_breaker import Breaker
from blackbox_kd.calls.limits.concurrency import AdaptiveLimit
from blackbox_kd.calls.limits.notice import Notice
from blackbox_kd.calls.limits.rate import LearnedRate, Pace, Refusal
from blackbox_kd.errors import BudgetReached, CallError, ServerFault, Stopped
from blackbox_kd.models.http import rate_limit_headers

MEMORY = 0.05
"""Weight of the latest call in the running mean of tokens."""
BACKOFF_S = 0.5
BACKOFF_GROWTH = 1.5
"""Pauses that grow so end at the latest half as long after the endpoint is back as it was away."""
LONGEST_BACKOFF_S = 30.0
WINDOW_GROWS_S = 0.01
TELL_AFTER_S = 10.0
"""Refusals that last so long are told; shorter ones are everyday life at a rate limit."""
LOOKS = 16
"""The first replies of an endpoint are looked at for what their headers say of limits; if nothing, each so many."""
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
        self._notice = Notice(endpoint, patience_s)
        self._concurrency = AdaptiveLimit(max_concurrency)
        self._in_flight = 0
        self._requests = Pace()
        self._tokens = Pace()
        self._learned = LearnedRate(starts_free=local)
        self._breaker = Breaker(patience_s)
        self._patience_s = patience_s
        self._paused_until = 0.0
        self._suspended_at = 0.0
        self._backoff_s = BACKOFF_S
        self._refused_since: float | None = None
        self._mean_tokens = 0.0
        self._stopped: CallError | BudgetReached | Stopped | None = None
        self._waiting: deque[tuple[asyncio.Future[Slot], int]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._said = ""
        self._tells = False

    @property
    def concurrency(self) -> int:
        """The most requests in flight now."""
        return self._concurrency.now

    def narrow(self, max_concurrency: int, rpm: float | None, tpm: float | None) -> None:
        """Takes in what another model of the endpoint is configured with: the stricter limits hold."""
        self._concurrency.narrow(max_concurrency)
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
            raise copy.copy(self._stopped)  # each has its own, or their tracebacks would mix
        if not self._waiting and self._find_due() <= now and self._has_room(now):
            return self._take(now, tokens)
        if self._breaker.has_given_up and not self._breaker.may_probe(now):
            raise self._explain_outage()
        leave: asyncio.Future[Slot] = loop.create_future()
        self._waiting.insert(0 if again else len(self._waiting), (leave, tokens))
        if self._waiting[0][0] is leave:  # those before it have been looked at
            self._admit(loop)
        try:
            return await leave
        except asyncio.CancelledError:
            if leave.done() and not leave.cancelled() and leave.exception() is None:
                self.withdraw(leave.result())
            raise

    def is_held_back(self, slot: Slot) -> bool:
        """Whether sending was suspended after leave was given: it would only be refused.

        Between leave and sending a call waits for the budget and for the ledger's commit; a refusal may come just then.
        """
        return self._stopped is not None or (slot.sent_at < self._suspended_at and not slot.is_probe)

    def note_reply(self, slot: Slot, headers: Mapping[str, str], used_tokens: int) -> None:
        """A reply came, with these headers and after so many tokens (0: not known)."""
        now = asyncio.get_running_loop().time()
        if self._breaker.is_open:
            self._notice.tell_back()
        self._breaker.note_answer()
        if self._learned.note_reply(slot.number):
            self._refused_since, self._backoff_s = None, BACKOFF_S
        if used_tokens:
            # What a request takes of a limit on tokens is known only now. It was guessed by the mean when it was sent,
            # since by the most that it can use far too few would be; what the guess missed moves the next one's time.
            self._mean_tokens += (MEMORY if self._mean_tokens else 1) * (used_tokens - self._mean_tokens)
            self._tokens.correct(used_tokens - slot.tokens)
        if headers and (self._tells or slot.number % LOOKS == 0 or slot.number < LOOKS):
            self._heed(headers, now)
        self._concurrency.note_reply(now, now - slot.sent_at)
        self._free()

    def note_refusal(self, slot: Slot, retry_after_s: float | None, said: str = "") -> None:
        """The endpoint said 429, in these words: nobody sends until it wants to be asked again.

        Many requests that were in flight together are refused together. Only the first of them says something about the
        rate and the concurrency; the others may only make the pause longer.
        """
        now = asyncio.get_running_loop().time()
        pause_s = self._backoff_s if retry_after_s is None else retry_after_s
        resume_at = now + pause_s * (1 + JITTER * random.random())
        refusal = self._learned.note_refusal(slot.number, slot.sent_at, now, resume_at)
        self._paused_until = max(self._paused_until, now + pause_s if refusal is Refusal.OLD else resume_at)
        self._suspended_at = now
        if refusal is Refusal.FIRST:
            self._refused_since, self._backoff_s = now, BACKOFF_S
            if retry_after_s is None and self._learned.refusals > 1:
                self._concurrency.note_refusal(self._in_flight)  # it may be a limit on concurrency
        if refusal is not Refusal.OLD and retry_after_s is None:
            self._backoff_s = min(LONGEST_BACKOFF_S, BACKOFF_GROWTH * self._backoff_s)
        self._breaker.note_answer()  # a server that refuses is there
        self._refused_since = now if self._refused_since is None else self._refused_since
        if pause_s > self._patience_s:  # it was named and found bearable: patience begins anew when it is over
            self._refused_since = now + pause_s
        if now - self._refused_since > self._patience_s:
            self._breaker.give_up(now, self._paused_until)
        elif max(now - self._refused_since, pause_s) >= TELL_AFTER_S:
            self._notice.tell("it refuses all calls", now, said)
        self._said = said
        self._free()

    def note_fault(self, slot: Slot, retry_after_s: float | None = None, said: str = "") -> bool:
        """No answer, or one of a broken server, in these words. Returns whether the whole endpoint is out."""
        now = asyncio.get_running_loop().time()
        was_open = self._breaker.is_open
        self._breaker.note_fault(slot.sent_at, now)
        self._concurrency.note_fault(slot.sent_at, now)
        self._said = said
        if self._breaker.is_open and not was_open:
            self._notice.tell("no answer to any of the last calls", now, said, at_once=True)
        if self._breaker.is_open:
            self._suspended_at = now
            self._concurrency.start_over()
        if retry_after_s is not None:
            self._paused_until = max(self._paused_until, now + min(retry_after_s, self._patience_s))
        self._free()
        return self._breaker.is_open

    def note_rejection(self, slot: Slot) -> None:
        """The endpoint answered that the request is wrong: it is well."""
        self._breaker.note_answer()
        self._free()

    def withdraw(self, slot: Slot) -> None:
        """The request was not sent after all, or nobody waits for its reply any more."""
        if slot.is_probe:
            self._breaker.withdraw()
        self._learned.withdraw(slot.number)
        self._free()

    def stop(self, error: CallError | BudgetReached | Stopped) -> None:
        """Nothing more is sent: all who wait, and all who come, get the error."""
        self._stopped = error
        while self._waiting:
            leave, _ = self._waiting.popleft()
            if not leave.done():
                leave.set_exception(copy.copy(error))

    def _has_room(self, now: float) -> bool:
        if self._breaker.is_open:
            return self._breaker.may_probe(now)
        return self._in_flight < min(self._concurrency.now, self._learned.window(now))

    def _find_due(self) -> float:
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

    def _free(self) -> None:
        self._in_flight -= 1
        if self._waiting:
            self._admit(asyncio.get_running_loop())

    def _admit(self, loop: asyncio.AbstractEventLoop) -> None:
        """Gives leave to those who wait, as far as there is room; sets the clock for the next.

        Comes again when a place gets free (`_free`), when one who waits becomes the first (`acquire`), and by the one
        timer, for what depends on the clock alone: nobody else would wake those who wait.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = loop.time()
        while self._waiting:
            leave, tokens = self._waiting[0]
            if leave.done():  # cancelled
                self._waiting.popleft()
                continue
            if self._breaker.has_given_up and not self._breaker.may_probe(now):
                self._waiting.popleft()
                leave.set_exception(self._explain_outage())
                continue
            # The window of a new endpoint opens as time passes, and a breaker lets the next probe through at its time:
            # without room, these two need the clock. All other room comes with a call that ends.
            has_room, grows = self._has_room(now), math.isfinite(self._learned.window(now))
            if not (has_room or grows or self._breaker.is_open):
                return
            due = max(self._find_due(), self._breaker.due if self._breaker.is_open else 0.0)
            if due <= now and not has_room and grows:
                due = now + WINDOW_GROWS_S
            if due > now:
                self._timer = loop.call_at(due, self._admit, loop)
                return
            if not has_room:  # the endpoint is out, and its probe is under way
                return
            self._waiting.popleft()
            leave.set_result(self._take(now, tokens))

    def _heed(self, headers: Mapping[str, str], now: float) -> None:
        self._tells = self._tells or rate_limit_headers.has_any(headers)
        if not self._tells:
            return
        if (pause_s := rate_limit_headers.find_pause(headers)) is not None:
            self._paused_until = max(self._paused_until, now + pause_s)
        for pace, what in ((self._requests, "requests"), (self._tokens, "tokens")):
            quota = rate_limit_headers.read_quota(headers, what)
            if quota is not None:
                pace.heed(quota)

    def _explain_outage(self) -> ServerFault:
        return ServerFault(self._notice.explain_outage(self._said), kind="outage")
