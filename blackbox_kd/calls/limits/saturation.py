"""Tells when an endpoint is saturated: replies come slower, and not more of them. vLLM sends no 429 then.

Times are seconds of the event loop's clock.
"""

FEWEST = 100
GROWN = 2.5
MORE = 1.2
SHORT_S = 0.5
"""Latencies below it are noise of networks and event loops."""
CUT = 0.75
HELPED = 0.9


class LatencyWatch:
    """Compares windows of replies by a low quantile of their latency and by their number in a second.

    The tenth part that is fastest: queueing makes it slower, while a long tail, as the lengths of replies have it,
    leaves it as it is. A cut that does not make replies faster is taken back: it was the replies that changed.
    """

    def __init__(self) -> None:
        self._began: float | None = None
        self._latencies: list[float] = []
        self._best: tuple[float, float] | None = None
        self._strikes = 0
        self._cut_from: tuple[float, float] | None = None

    def observe(self, now: float, latency_s: float, limit: float) -> float | None:
        """Counts a reply; returns a new limit on concurrency when there is reason for one."""
        if self._began is None:
            self._began = now
        self._latencies.append(latency_s)
        if len(self._latencies) < max(FEWEST, 2 * limit):
            return None
        fast = sorted(self._latencies)[len(self._latencies) // 10]
        per_s = len(self._latencies) / max(now - self._began, 1e-6)
        self._latencies.clear()
        self._began = now
        return self._judge(fast, per_s, limit)

    def _judge(self, fast: float, per_s: float, limit: float) -> float | None:
        if self._cut_from is not None:
            before, fast_before = self._cut_from
            self._cut_from = None
            if fast > HELPED * fast_before:
                self._best = (fast, per_s)
                return before
        if self._best is None or fast < self._best[0] or per_s > MORE * self._best[1]:
            self._best = (fast, per_s)
        is_slow = fast > max(SHORT_S, GROWN * self._best[0])
        self._strikes = self._strikes + 1 if is_slow else 0
        if self._strikes < 2:
            return None
        self._strikes = 0
        self._cut_from = (limit, fast)
        return max(1.0, CUT * limit)
