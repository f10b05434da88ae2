"""Waits for replies to calls that another run has in flight, so that they are not bought twice.

Two recipes that share a teacher and its data, started side by side, ask the same in the same order.
"""

import asyncio
import copy
import logging

from blackbox_kd.calls.call import Call
from blackbox_kd.errors import BudgetReached, Stopped
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.ledger.met import Bought

logger = logging.getLogger(__name__)

FIRST_LOOK_S, LONGEST_LOOK_S = 0.05, 1.0
GROWTH = 1.5
"""By which the time between two looks grows."""
LONGEST_S = 600.0
"""How long a call without a time-out of its own waits."""
BATCH_S = 25 * 3600.0
"""How long one waits that would otherwise go into a batch, which may itself take a day."""


class Elsewhere:
    """What other runs of a ledger ask. For one event loop.

    Attributes:
        is_patient: whether calls still wait for other runs.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._stopped: BudgetReached | Stopped | None = None
        self._has_told = False
        self.is_patient = True
        self._latest = 0.0

    def may_wait(self, call: Call) -> bool:
        """Whether a call may wait where another run has it in flight.

        Not once it has waited in vain for as long as it may take itself; nor any other one, if nothing at all came from
        elsewhere in that time: the other run is stuck, or has handed in a batch.
        """
        return self.is_patient and not call.has_waited

    async def reply_to(self, call: Call) -> Bought | None:
        """The reply to a call that is in flight elsewhere; None if none came.

        Raises:
            BudgetReached, Stopped: `stop` was called, for this reason.
        """
        if not self._has_told:
            self._has_told = True
            logger.warning("another run asks the same at this moment: its replies are waited for, not bought again")
        config = call.state.model.config
        longest_s = BATCH_S if config.is_batched else config.longest_call_s or LONGEST_S
        loop = asyncio.get_running_loop()
        began, pause_s = loop.time(), FIRST_LOOK_S
        while self.is_patient:
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_LOOK_S, GROWTH * pause_s)
            if self._stopped is not None:
                raise copy.copy(self._stopped)
            is_in_flight = self._ledger.in_flight_elsewhere(call.key)  # first: it ends as the reply is stored
            bought = await self._ledger.fetch(call.key)
            if bought is not None or not is_in_flight:
                self._latest = loop.time()
                return bought
            if loop.time() > began + longest_s:
                call.has_waited = True
                self.is_patient = self._latest > began
                return None
        return None

    def stop(self, why: BudgetReached | Stopped) -> None:
        """Lets nobody wait any more."""
        self._stopped = why
