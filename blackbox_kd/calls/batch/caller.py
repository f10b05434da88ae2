"""The caller of a run: models with `batch: true` are asked through batches, all others one call at a time."""

from collections.abc import Coroutine
from typing import Any

from blackbox_kd.calls.batch.jobs import BatchItem
from blackbox_kd.calls.batch.queue import Batches, batch_price
from blackbox_kd.calls.batch.store import Noted
from blackbox_kd.calls.budget import Budget
from blackbox_kd.calls.call import Call, ModelState
from blackbox_kd.calls.caller import Caller
from blackbox_kd.calls.completion import Completion
from blackbox_kd.errors import AskedElsewhere, CallError
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.models import Model
from blackbox_kd.schema import Usage


class BatchingCaller(Caller):
    """A caller that has batches.

    Keys are those of ordinary calls: a reply that was bought one way is found the other way.

    Args:
        ledger: where replies are kept.
        budget: what the run may spend.
        batches: the batches of the run.
        retry_failed: see `Caller`.
    """

    def __init__(
        self,
        ledger: Ledger,
        budget: Budget,
        batches: Batches,
        *,
        retry_failed: bool = False,
        may_all_fail: bool = False,
    ) -> None:
        super().__init__(ledger, budget, retry_failed=retry_failed, may_all_fail=may_all_fail)
        self._batches = batches
        self._in_batches = 0
        batches.is_busy = lambda: len(self._running) + self._looking > self._in_batches

    def limit(self, budget: Budget) -> None:
        """Takes another budget: spending has been counted anew. Only before the first call."""
        self._budget = budget

    def buy(self, call: Call) -> Coroutine[Any, Any, tuple[Completion, bool]]:
        """See `Caller.buy`."""
        return self._await_batch(call) if call.asked.model.config.is_batched else super().buy(call)

    async def _await_batch(self, call: Call) -> tuple[Completion, bool]:
        """A request waits here for hours, at no cost but its memory."""
        self._in_batches += 1
        try:
            return await self._buy_in_batch(call)
        finally:
            self._in_batches -= 1

    async def _buy_in_batch(self, call: Call) -> tuple[Completion, bool]:
        while True:
            try:
                return await self._in_next_batch(call)
            except AskedElsewhere:
                body = await self._elsewhere.reply_to(call)
            if body is not None:
                call.asked.counts.replayed += 1
                return Completion(body), True

    async def _in_next_batch(self, call: Call) -> tuple[Completion, bool]:
        """See `buy`; AskedElsewhere: another run has it in flight, so it was not handed in."""
        asked, request = call.asked, call.request
        reservation, usd = await call.set_aside(self._budget)
        noted = Noted(request.row.id, usd, reservation.tokens, request.cap is not None)
        body = asked.model.body(call.wire, request)  # type: ignore[attr-defined]
        job = BatchItem(call.key, call.wire, noted, yields=self._elsewhere.waits(call), body=body)
        try:
            result = await self._batches.ask(asked.model, asked.counts.name, job)
        except (CallError, AskedElsewhere):
            self._budget.release(reservation)
            raise
        except BaseException:  # the batch may go on: the most that it can cost is booked
            self._budget.lose(reservation)
            raise
        finally:
            asked.counts.faults.update(job.faults)
            asked.counts.retried += max(0, job.handed_in - 1)
        if result.is_replayed:
            self._budget.release(reservation)
            asked.counts.replayed += 1
            return result.completion, True
        used = result.completion.usage or Usage()
        call.compare(result.completion, self._budget)
        asked.counts.check_prompt(call.size, used)
        self._budget.settle(reservation, used, result.cost_usd)
        asked.counts.paid(used, result.cost_usd)
        return result.completion, False

    def _known(self, model: Model, name: str) -> ModelState:
        is_new = name not in self._asked
        asked = super()._known(model, name)
        if is_new and model.config.is_batched:
            asked.price = batch_price(model.config, model.endpoint)
        return asked
