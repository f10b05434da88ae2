"""How many requests an endpoint gets at once: additive increase, multiplicative decrease (AIMD).

Times are seconds of the event loop's clock.

Source   Chiu and Jain 1989, doi:10.1016/0169-7552(89)90019-6 (AIMD is fair between those who share a limit and
         converges); RFC 5681 §3.1 (slow start after a loss of everything)
"""

from blackbox_kd.calls.limits.saturation import LatencyWatch

FAULT_CUT = 0.7
FAULT_SHARE = 0.3
"""Share of faults from which on concurrency is cut: a few in a hundred are no sign of overload."""
MEMORY = 0.05
"""Weight of the latest call in the running share of faults."""


class AdaptiveLimit:
    """The most requests in flight, between 1 and what the user allows.

    It starts at the most. It is cut where many calls fail, where an endpoint refuses although the rate was lowered, and
    where replies get slower without getting more; every reply raises it by so little that a round of them adds one.

    Args:
        most: the most requests in flight that the user allows.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._doubles_below = 0.0
        self._fault_share = 0.0
        self._cut_at = 0.0
        self._latency = LatencyWatch()

    @property
    def now(self) -> int:
        """The most requests in flight now."""
        return max(1, int(self._limit))

    def narrow(self, most: int) -> None:
        """Takes in what another model of the endpoint is configured with: the stricter limit holds."""
        self._most = min(self._most, most)
        self._limit = min(self._limit, self._most)

    def note_reply(self, now: float, latency_s: float) -> None:
        """Raises the limit for a reply, unless replies get slower the more are asked for."""
        self._fault_share *= 1 - MEMORY
        if self._limit < self._most:
            # A round trip brings as many replies as the limit is high: 1 / limit for each adds one request. After an
            # outage 1 for each doubles the limit, up to half of the most, as the endpoint bore that before.
            step = 1.0 if self._limit < self._doubles_below else 1 / self._limit
            self._limit = min(self._most, self._limit + step)
        changed = self._latency.observe(now, latency_s, self._limit)
        if changed is not None:
            self._limit = min(self._most, changed)

    def note_refusal(self, in_flight: int) -> None:
        """Cuts the limit below the requests that were in flight when the endpoint refused one."""
        self._cut(min(self._limit, in_flight))

    def note_fault(self, sent_at: float, now: float) -> None:
        """Cuts the limit once many of the latest calls have failed."""
        self._fault_share += MEMORY * (1 - self._fault_share)
        # Once in a round trip: calls sent before the latest cut say nothing about the limit since then, and one cut for
        # each of them would bring it down to 1.
        if self._fault_share > FAULT_SHARE and sent_at >= self._cut_at:
            self._cut_at = now
            self._cut(self._limit)

    def start_over(self) -> None:
        """Begins with one request: the endpoint is out, and all that wait would meet it at once when it is back."""
        self._limit, self._doubles_below = 1.0, self._most / 2

    def _cut(self, limit: float) -> None:
        self._limit = max(1.0, FAULT_CUT * limit)
        self._doubles_below = 0.0  # the limit has been found: it is approached one by one
