"""The transport of a run: models with `batch: true` are asked through batches, all others one call at a time."""

from collections.abc import Coroutine
from typing import Any

from blackbox_kd.calls import learning, tariff
from blackbox_kd.calls.batch.jobs import BatchItem
from blackbox_kd.calls.batch.queue import Batches
from blackbox_kd.calls.batch.store import Noted
from blackbox_kd.calls.call import Call
from blackbox_kd.calls.came import Came
from blackbox_kd.calls.model_state import ModelState
from blackbox_kd.calls.transport import DirectTransport
from blackbox_kd.errors import AskedElsewhere, BudgetReached, CallError, RequestRejected, Stopped
from blackbox_kd.models import Model
from blackbox_kd.models.http.parameters import CAPS


class BatchTransport:
    """A transport that has batches.

    Keys are those of ordinary calls: a reply that was bought one way is found the other way.

    Args:
        direct: for the models that are not asked in batches; its ledger and its budget are those of both.
        batches: the batches of the run.
    """

    def __init__(self, direct: DirectTransport, batches: Batches) -> None:
        self._direct = direct
        self._batches = batches
        self.waiting = 0

    def open(self, model: Model, name: str) -> ModelState:
        """See `Transport.open`."""
        state = self._direct.open(model, name)
        state.tariff = tariff.find_paid(model.config, model.endpoint)
        return state

    def has(self, call: Call) -> bool:
        """See `Transport.has`."""
        return self._direct.has(call)

    def find(self, call: Call) -> Coroutine[Any, Any, Came | None]:
        """See `Transport.find`."""
        return self._direct.find(call)

    def buy(self, call: Call) -> Coroutine[Any, Any, Came]:
        """See `Transport.buy`."""
        return self._await_batch(call) if call.state.model.config.is_batched else self._direct.buy(call)

    def stop(self, why: BudgetReached | Stopped) -> None:
        """See `Transport.stop`."""
        self._direct.stop(why)
        self._batches.stop(why)

    async def _await_batch(self, call: Call) -> Came:
        """A request waits here for hours, at no cost but its memory."""
        self.waiting += 1
        try:
            while True:
                try:
                    return await self._buy(call)
                except RequestRejected as error:
                    if not await self._direct.suit(call, error):
                        raise
                    continue
                except AskedElsewhere:
                    bought = await self._direct.elsewhere.reply_to(call)
                if bought is not None:
                    return self._direct.replay(call, call.decode(bought.body), bought.cost_usd)
        finally:
            self.waiting -= 1

    async def _buy(self, call: Call) -> Came:
        """See `buy`; AskedElsewhere: another run has it in flight, so it was not handed in."""
        learning.prepare(call)
        state, request, budget = call.state, call.request, self._direct.budget
        reservation, usd = await call.set_aside(budget)
        body = state.model.body(call.wire, request)  # type: ignore[attr-defined]
        asked = call.wire["body"]
        meant = {name: value for name, value in asked.items() if name not in body or body[name] != value}
        is_capped = any(name in body and name not in asked for name in CAPS)
        added = tuple(name for name in state.model.config.added_fields if name in body and name not in asked)
        noted = Noted(request.row.id, usd, reservation.tokens, is_capped, meant, added)
        job = BatchItem(call.key, call.wire, noted, yields=self._direct.elsewhere.may_wait(call), body=body)
        try:
            result = await self._batches.ask(state.model, state.counts.name, job)
        except (CallError, AskedElsewhere):
            budget.release(reservation)
            raise
        except BaseException:  # the batch may go on: the most that it can cost is booked
            budget.lose(reservation)
            raise
        finally:
            state.counts.faults.update(job.faults)
            state.counts.retried += max(0, job.handed_in - 1)
        if result.is_replayed:
            budget.release(reservation)
            return self._direct.replay(call, result.completion, result.cost_usd)
        self._direct.book(call, reservation, result.completion, result.cost_usd)
        return Came(result.completion, is_replayed=False, cost_usd=result.cost_usd)
