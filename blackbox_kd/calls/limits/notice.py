"""Says that an endpoint is waited for, and every now and then that it still is."""

import logging
import math

logger = logging.getLogger(__name__)

TELL_EVERY_S = 60.0


class Notice:
    """What is said of one endpoint; times are seconds of the event loop's clock.

    Args:
        endpoint: its name.
        patience_s: how long it is waited for.
    """

    def __init__(self, endpoint: str, patience_s: float) -> None:
        self._endpoint = endpoint
        self._patience_s = patience_s
        self._told_at = -math.inf

    def tell(self, what: str, now: float, said: str, *, at_once: bool = False) -> None:
        """Says what goes on and what the endpoint said last, unless that was told within the last minute."""
        if at_once or now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            last = f"; it last said: {said}" if said else ""
            waits = "%s: %s; it is waited for, up to %g s, and asked now and then%s"
            logger.warning(waits, self._endpoint, what, self._patience_s, last)

    def tell_back(self) -> None:
        """Says that it answers again."""
        logger.warning("%s answers again", self._endpoint)

    def explain_outage(self, said: str) -> str:
        """Why calls fail that are not sent any more."""
        last = f"; it last said: {said}" if said else ""
        return f"{self._endpoint}: no reply for more than {self._patience_s:g} s; not asked any more for now{last}"
