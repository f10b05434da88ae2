"""How fast to send: rates that the user or the endpoint states, and one that is learned from its refusals.

Times are seconds of the event loop's clock.
"""

import math
from enum import Enum

from blackbox_kd.models.http.rate_limit_headers import Quota

SLACK_S = 0.02
"""How far a fast pace may lag behind and catch up, as an event loop wakes milliseconds late. A slow one may catch up
less, or two sends would meet a server that allows one at a time."""
START_PER_S = 50.0
DOUBLING_S = 0.1
DOUBLING_REPLIES = 2
START_WINDOW, WINDOW_PER_REPLY, WINDOW_HOLDS_S, WINDOW_PER_S = 24.0, 0.4, 0.3, 200.0
"""Requests in flight at a new endpoint; a fast one has shown a limit after 0.3 s, a slow one is filled from then on."""
FREE_WINDOW = 256.0
"""With so many in flight and none refused, it is not new any more."""
FREE_DOUBLINGS = 9
"""25,600 a second is more than one process can send: from there on nothing is held back."""
WINDOW_S = 2.0
"""A longer pause is no matter of the rate: it is the rest of a window in which so many requests are allowed, or the
endpoint was short of something else for a while."""
TRIAL_S = 0.005
"""After a pause one request is sent alone, for so long or for two times what the refusal took, whichever is longer."""
MANY = 40
"""Requests let through before the first refusal from which on it is taken for a window's limit."""
SOON_S = 3.0
"""A refusal that soon after the last one says that the rate is far too high."""
MEASURED_S = 60.0
IDLE_S = 1.0
"""After a longer pause in sending, or after `MEASURED_S`, what is sent per second is measured anew."""
HOLD_S = 20.0
"""The rate rises by 2 % in so many seconds, by 32 % in twice as many: probing for more costs a refusal, and that a
pause for all, after which it holds for at least as long. An estimate that was far too low is mended within a minute or
two."""
LOW_SHARE, HIGH_SHARE = 0.1, 0.5
"""Shares of a reported quota that are left when sending is slowed down, and when it is free again."""


def _plan_next(due: float, now: float, per_s: float, amount: float = 1.0) -> float:
    """When the next is due at a rate after something was sent now."""
    return max(due, now - min(SLACK_S, per_s * 1e-4)) + amount / per_s


class Pace:
    """Sends, or tokens, at an even rate."""

    def __init__(self) -> None:
        self._stated = math.inf
        self.per_s = math.inf
        self.due = 0.0

    def cap(self, per_s: float) -> None:
        """Never goes faster from now on."""
        self._stated = min(self._stated, per_s)
        self.per_s = min(self.per_s, per_s)

    def take(self, now: float, amount: float = 1.0) -> None:
        """Counts something that is sent now."""
        if self.per_s == math.inf:
            return
        self.due = _plan_next(self.due, now, self.per_s, amount)

    def correct(self, amount: float) -> None:
        """Counts what was guessed too low, or too high, when it was taken."""
        self.due += amount / self.per_s

    def heed(self, quota: Quota) -> None:
        """Slows down to what comes back when little is left of a quota, until half of it is there again."""
        share = quota.remaining / quota.limit
        if share < LOW_SHARE:
            self.per_s = min(self._stated, max(quota.refill(), 1 / MEASURED_S))
        elif share > HIGH_SHARE:
            self.per_s = self._stated


class Refusal(Enum):
    """What a refusal says."""

    FIRST = "first"
    """That it is too much: something was admitted before."""
    PROBE = "probe"
    """That the endpoint goes on refusing: nothing was admitted since the pause."""
    OLD = "old"
    """Nothing: it was in flight together with one that was refused."""


class LearnedRate:
    """The rate at which an endpoint that states none admits requests.

    It starts at 50 requests a second and doubles every 0.1 s and every 2 replies, while the number of requests in
    flight grows slowly, so that an endpoint with a limit refuses a handful and one without is at full speed at once.
    When it refuses, two rates bound the one that it allows: what it admitted per second of sending (too high where it
    lets bursts through) and what it admitted per second with the pause counted in (too low where it does not). The
    rate goes on between them, lower after each refusal that follows soon.

    After a pause one request goes ahead. Where that is refused too, or a long pause was asked for, the endpoint refuses
    everything for a stretch of time, which says nothing about a rate: it is taken for new once it is back. Where it has
    soon had enough again, it admits so many in a window, and they are spread over that from then on.
    """

    def __init__(self, *, starts_free: bool = False) -> None:
        self.due = 0.0
        self.refusals = 0
        self._starting = self._is_new = not starts_free
        self._per_s = math.inf if starts_free else START_PER_S
        self._replies = 0
        self._sent = 0
        self._raised_since: float | None = None
        self._counted_since = 0.0
        self._counted_from = 0
        self._resumed_from, self._resumed_at = 0, 0.0
        self._refused_at = 0.0
        self._paused_s = 0.0
        self._trial_s = 0.0
        self._was_stretch = False

    def per_s(self, now: float) -> float:
        """The rate now."""
        if not self._starting and self._per_s == math.inf:
            return math.inf
        since = 0.0 if self._raised_since is None else max(0.0, now - self._raised_since)
        if self._starting:
            doublings = since / DOUBLING_S + self._replies / DOUBLING_REPLIES
            if doublings < FREE_DOUBLINGS:
                return START_PER_S * math.pow(2, doublings)
            self._starting, self._per_s = False, math.inf
        if math.isinf(self._per_s):
            return math.inf
        return self._per_s * (1 + 0.02 * math.pow(since / max(HOLD_S, self._paused_s), 4))

    def window(self, now: float) -> float:
        """How many sends may wait for replies while the endpoint is new: all of them could be refused."""
        if not self._is_new or self._raised_since is None:
            return math.inf
        grown_s = max(0.0, now - self._raised_since - WINDOW_HOLDS_S)
        window = START_WINDOW + WINDOW_PER_REPLY * self._replies + WINDOW_PER_S * grown_s
        self._is_new = window < FREE_WINDOW
        return window

    def take(self, now: float) -> int:
        """Counts a send; returns its number."""
        if self._raised_since is None:
            self._raised_since = now
        if now - self.due > IDLE_S or now - self._counted_since > MEASURED_S:
            self._counted_since, self._counted_from = now, self._sent
        self.due = _plan_next(self.due, now, self.per_s(now))
        if self._sent == self._resumed_from:
            self.due = max(self.due, now + self._trial_s)
        self._sent += 1
        return self._sent - 1

    def withdraw(self, number: int) -> None:
        """The send of that number was not made: after a pause it is the next one that goes ahead."""
        self._resumed_from += number == self._resumed_from

    def note_reply(self, number: int) -> bool:
        """Counts a reply; whether the send of that number came after the latest pause, so that this is over."""
        self._replies += 1
        return number >= self._resumed_from

    def note_refusal(self, number: int, sent_at: float, now: float, resume_at: float) -> Refusal:
        """Lowers the rate when an endpoint refuses a send for the first time since it was resumed.

        Args:
            number: of the send.
            sent_at: when it was sent.
            now: when it was refused.
            resume_at: when sending goes on.
        """
        if number < self._resumed_from:
            return Refusal.OLD
        is_probe = self.refusals > 0 and number == self._resumed_from
        if not is_probe:
            self._per_s = self._lower(number, sent_at, now, resume_at)
            self.refusals += 1
            self._refused_at = sent_at
            self._starting = self._is_new = False
        self._paused_s = resume_at - self._refused_at
        self._was_stretch = is_probe or self._paused_s > WINDOW_S
        if self._was_stretch and self.refusals == 1:
            self._starting, self._is_new, self._replies = True, True, 0
        self._trial_s = max(TRIAL_S, 2 * (now - sent_at))
        self._raised_since = self._counted_since = self._resumed_at = self.due = resume_at
        self._counted_from = self._resumed_from = self._sent
        return Refusal.PROBE if is_probe else Refusal.FIRST

    def _lower(self, number: int, sent_at: float, now: float, resume_at: float) -> float:
        """The rate after a refusal of what had been admitted since the last one."""
        admitted = max(1, number - self._counted_from)
        sending_s = max(0.001, sent_at - self._counted_since)
        highest = min(admitted / sending_s, self.per_s(sent_at))
        if self.refusals == 0:
            return _guess_rate(admitted, sending_s, resume_at - sent_at, highest)
        served_s = max(0.0, sent_at - self._resumed_at)
        if self._was_stretch and served_s < self._paused_s:
            return max(1, number - self._resumed_from) / (served_s + self._paused_s)
        lowest = admitted / (sending_s + self._paused_s)
        return max(lowest, highest * (0.8 if sending_s < SOON_S else 0.95))


def _guess_rate(admitted: int, sending_s: float, pause_s: float, highest: float) -> float:
    """The rate after the first refusal.

    Many requests let through before it are what the endpoint allows in a window, or lets pile up, of about the
    pause it asks for. After few of them that would be far too low for an endpoint that allows no bursts.
    """
    window = admitted / max(sending_s, pause_s)
    trust = min(1.0, admitted / MANY)
    return min(highest, math.pow(window, trust) * math.pow(highest, 1 - trust))
