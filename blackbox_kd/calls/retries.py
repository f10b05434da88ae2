"""Which faults a call is sent again after, when, and which end the run."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exception

from blackbox_kd.calls.limits.limiter import Limiter
from blackbox_kd.errors import CallError, EndpointRefused, QuotaSpent, RequestRejected, ServerFault

T = TypeVar("T")

FAULTS = 5
"""Sends of one call that may end in faults; while the whole endpoint is out, they do not count."""
REACH_FAULTS = 3
"""Faults of a call after which an endpoint that never replied is taken not to be there."""
REFUSED_IN_A_ROW = 20
MOST_SENDS = 100
RETRIES_FLOOR = 50
RETRIES_SHARE = 0.1
"""Share of all calls that may be sent again after faults, those of rate limits and outages apart."""
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0


@dataclass(slots=True)
class EndpointState:
    """What is known of one endpoint."""

    limiter: Limiter
    has_replied: bool = False
    refused_in_a_row: int = 0

    def note_reply(self) -> None:
        """A reply came."""
        self.has_replied, self.refused_in_a_row = True, 0


@dataclass(slots=True)
class Tries:
    """How one call has gone so far.

    Args:
        sends: how often it was sent.
        faults: how many of them ended in faults of the server, rate limits apart.
        is_out: whether the latest one showed that the whole endpoint is out.
    """

    sends: int = 0
    faults: int = 0
    is_out: bool = False


class Patience:
    """The run's patience with its endpoints.

    A pause that an endpoint asks for is waited for where it takes at most `longest_s`, and under `budget: {hours: N}`
    where it is over before they are. For a longer one nobody is kept waiting: the run ends, with the time at which to
    go on.

    Args:
        longest_s: the longest pause that is waited for without hours.
        left_s: how much is left of the hours; 0 without any.
    """

    def __init__(self, longest_s: float, left_s: Callable[[], float] = lambda: 0.0) -> None:
        self.longest_s = longest_s
        self._left_s = left_s
        self._calls = 0
        self._retries = 0

    def begin(self) -> None:
        """A new call is about to be sent; its share may be sent again."""
        self._calls += 1

    async def send_again(self, tries: Tries, fault: ServerFault, send: Callable[[], Awaitable[T]]) -> T:
        """Sends a call again after its first fault, as long as there is patience; raises the last fault then."""
        if not self._is_sent_again(tries, fault):
            raise fault
        await asyncio.sleep(_wait_s(tries, fault))

        async def again() -> T:
            return await send()

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: self._is_sent_again(tries, error)),
            wait=wait_exception(lambda error: _wait_s(tries, error)),
            stop=stop_after_attempt(MOST_SENDS),
            reraise=True,
        )
        return await retrying(again)

    def grade(self, endpoint: EndpointState, tries: Tries, error: CallError) -> CallError:
        """The error as it concerns the run; EndpointRefused and QuotaSpent end it, and stop the endpoint's calls."""
        error = end_for_pause(error, max(self.longest_s, self._left_s())) or error
        if error.kind in ("unreachable", "connection") and not endpoint.has_replied and tries.faults >= REACH_FAULTS:
            fix = error.fix or "check base_url, and that the server is running"
            error = EndpointRefused(error.what, fix=fix, kind=error.kind)
        if isinstance(error, EndpointRefused):
            endpoint.refused_in_a_row += 1
            if endpoint.has_replied and endpoint.refused_in_a_row < REFUSED_IN_A_ROW:
                return error.recast(RequestRejected)
        if isinstance(error, (EndpointRefused, QuotaSpent)):
            endpoint.limiter.stop(error)
        return error

    def _is_sent_again(self, tries: Tries, error: BaseException) -> bool:
        """Whether a call is sent again after an error; counts it if so."""
        if not isinstance(error, ServerFault) or error.kind == "outage":
            return False
        if error.kind == "rate_limit" or tries.is_out:
            return True
        if tries.faults >= FAULTS or self._retries >= max(RETRIES_FLOOR, RETRIES_SHARE * self._calls):
            return False
        self._retries += 1
        return True


def end_for_pause(error: CallError, longest_s: float) -> QuotaSpent | None:
    """The end of a run whose endpoint asks for a pause of more than `longest_s`; None if it does not."""
    pause_s = error.retry_after_s or 0.0
    if not isinstance(error, ServerFault) or pause_s <= longest_s:
        return None
    at = datetime.fromtimestamp(60 * math.ceil((time.time() + pause_s) / 60), UTC)
    fix = f"run the same command at {at:%Y-%m-%d %H:%M} UTC or later: until then the endpoint wants no requests"
    return QuotaSpent(error.what, fix=fix, kind="quota")


def _wait_s(tries: Tries, error: BaseException) -> float:
    """Seconds before a call is sent again. Where the whole endpoint has to wait, the limiter sees to it."""
    if tries.is_out or (isinstance(error, ServerFault) and (error.kind == "rate_limit" or error.retry_after_s)):
        return 0.0
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (tries.faults - 1)) * random.uniform(0.5, 1.0)
