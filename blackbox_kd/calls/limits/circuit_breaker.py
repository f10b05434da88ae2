"""Stops sending to an endpoint that fails everything, and asks it now and then whether it is back.

Times are seconds of the event loop's clock.
"""

FAILURES = 20
"""So many faults in a row, of any calls, without one answer between them."""
PAUSE_S = 1.0
LONGEST_PAUSE_S = 20.0


class Breaker:
    """Open while an endpoint is out: then one call at a time probes it, after ever longer pauses.

    Args:
        patience_s: how long an outage is waited for before calls fail.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._failures = 0
        self._pause_s = PAUSE_S
        self._opened_at: float | None = None
        self._probing = False
        self.due = 0.0
        self.has_given_up = False

    @property
    def is_open(self) -> bool:
        """Whether the endpoint is taken to be out."""
        return self._opened_at is not None

    def may_probe(self, now: float) -> bool:
        """Whether one call may be sent to an endpoint that is out."""
        return not self._probing and now >= self.due

    def probe(self) -> None:
        """A call is sent to an endpoint that is out."""
        self._probing = True

    def note_answer(self) -> None:
        """The endpoint has answered, whatever it said."""
        self._failures = 0
        if self.is_open:
            self._opened_at, self._probing, self._pause_s, self.has_given_up = None, False, PAUSE_S, False

    def note_fault(self, sent_at: float, now: float) -> None:
        """A call brought no answer."""
        self._failures += 1
        if self._opened_at is None:
            if self._failures >= FAILURES:
                self._opened_at = now
                self.due = now + self._pause_s
        elif sent_at >= self._opened_at:  # the probe, not one of those that were in flight when it broke
            self._probing = False
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
            self.due = now + self._pause_s
            self.has_given_up = self.has_given_up or now - self._opened_at > self._patience_s

    def give_up(self, now: float, due: float) -> None:
        """The endpoint has refused everything for too long."""
        self._opened_at = now if self._opened_at is None else self._opened_at
        self.due, self.has_given_up, self._probing = due, True, False

    def withdraw(self) -> None:
        """The probe was not sent, or nobody waits for it any more."""
        self._probing = False
