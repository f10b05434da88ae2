"""Asks models: from the ledger if the reply was paid for before, else with limits, money and patience.

What ends a run and what fails a row is said by the class of the error:

    EndpointRefused     no use in going on: the key or the model's name is wrong, or nothing is there
    QuotaSpent          no use in going on: the account is empty, or the endpoint wants a very long pause
    BudgetReached       no use in going on: the next call does not fit into the budget
    any other CallError the row fails, the run goes on
"""

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Any

from blackbox_kd.calls import prices
from blackbox_kd.calls.budget import Budget, Reservation
from blackbox_kd.calls.call import Attempts, Call, ModelState, describe, make_call
from blackbox_kd.calls.completion import Completion
from blackbox_kd.calls.in_flight import Elsewhere
from blackbox_kd.calls.limits.limiter import Limiter, Slot
from blackbox_kd.calls.retries import EndpointState, Patience
from blackbox_kd.calls.usage import Counts
from blackbox_kd.errors import AskedElsewhere, CallError, ReplyFault, RequestRejected, ServerFault, Stopped
from blackbox_kd.ledger.intent import Intent
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.models import Model
from blackbox_kd.models.http.status import UNNAMED
from blackbox_kd.schema import Ask, Reply, T, Usage

LOST = ("timeout", "connection", "too_large")
"""Faults after which the endpoint may charge for a reply that never arrived whole."""


@dataclass(slots=True)
class _Leave:
    """What one send holds until it has ended: a place at the endpoint, money, and its intent in the ledger."""

    slot: Slot
    reservation: Reservation
    intent: Intent


class Caller:
    """Asks the models of a run. For one event loop.

    Args:
        ledger: where replies are kept.
        budget: what the run may spend.
        patience_s: how long an endpoint that is out, or only refuses, is waited for.
        retry_failed: buy replies beyond those of the ledger that cannot be used, as often as for a new question.
            Every later caller finds them there, without this.
        may_all_fail: go on also when no reply of a model can be used.
    """

    def __init__(
        self,
        ledger: Ledger,
        budget: Budget,
        *,
        patience_s: float = 600.0,
        retry_failed: bool = False,
        may_all_fail: bool = False,
    ) -> None:
        self._ledger = ledger
        self._budget = budget
        self._retry_failed = retry_failed
        self._may_all_fail = may_all_fail
        self._patience = Patience(patience_s)
        self._elsewhere = Elsewhere(ledger)
        self._endpoints: dict[str, EndpointState] = {}
        self._asked: dict[str, ModelState] = {}
        self._running: dict[str, asyncio.Future[None] | None] = {}
        self._looking = 0

    async def ask(self, model: Model, ask: Ask[T], *, name: str | None = None, round: int = 0) -> Reply[T]:
        """One usable reply, or one of the errors at the top of this module.

        Args:
            model: who is asked.
            ask: what is asked.
            name: the model's name in the recipe; what the provider calls it if left out.
            round: round of the loop, from 1; 0 outside of a loop.
        """
        asked = self._known(model, name or model.config.model)
        cap = asked.cap if ask.sampling.max_tokens is None and self._budget.is_limited else None
        tried = Attempts(ask.tries, ask.sampling.varies, self._retry_failed)
        for attempt in itertools.count():  # ends by a return or an error
            call = make_call(asked, ask, attempt, round, cap)
            if tried.fault is not None:
                if self._ledger.get(call.key) is None and not tried.may_go_on(attempt):
                    raise describe(tried.fault, asked.counts.name, call.request) from tried.fault
                asked.counts.retried += 1
            came, is_replayed = await self.completion(call)
            tried.bought += not is_replayed
            try:
                return asked.count_usable(call.read(came, ask, is_replayed=is_replayed))
            except ReplyFault as error:
                call.fault = error
                tried.count_fault(error, is_replayed)
                asked.refuse_hopeless(error, is_replayed)
        raise AssertionError("the loop has no end")

    def stop(self) -> None:
        """Lets nobody wait any more for leave to send, or for what another run asks."""
        self._elsewhere.stop()
        for endpoint in self._endpoints.values():
            endpoint.limiter.stop(Stopped())

    def totals(self) -> dict[str, Any]:
        """Calls, replayed, prompt_tokens, completion_tokens, cost_usd (None: unknown) of all models together."""
        total = Counts("all")
        for asked in self._asked.values():
            total.add(asked.counts)
        return total.totals()

    def summary(self) -> list[dict[str, Any]]:
        """The counts of each model, by name, as the report holds them."""
        return [self._asked[name].counts.entry() for name in sorted(self._asked)]

    def _known(self, model: Model, name: str) -> ModelState:
        """What is known of a model; one that was closed and opened again keeps its counts."""
        asked = self._asked.get(name)
        if asked is None:
            price = prices.price_of(model.config, model.endpoint)
            unusable = None if self._may_all_fail else Counter[str]()
            asked = self._asked[name] = ModelState(model, price, self._endpoint(model), Counts(name), unusable)
        asked.model = model
        return asked

    def _endpoint(self, model: Model) -> EndpointState:
        config = model.config
        known = self._endpoints.get(model.endpoint)
        if known is None:
            patience_s = self._patience.longest_s
            limiter = Limiter(model.endpoint, config.max_concurrency, local=config.local, patience_s=patience_s)
            known = self._endpoints[model.endpoint] = EndpointState(limiter)
        known.limiter.narrow(config.max_concurrency, *config.rate_limits)
        return known

    async def completion(self, call: Call) -> tuple[Completion, bool]:
        """What came, and whether from the ledger. Who asks what is being asked already waits for that reply."""
        while True:
            self._looking += 1
            try:
                body = await self._ledger.fetch(call.key)
            finally:
                self._looking -= 1
            if body is not None:
                call.asked.counts.replayed += 1
                found = Completion(body)
                call.compare(found, self._budget)
                return found, True
            if call.key not in self._running:
                break
            done = self._running[call.key] or asyncio.get_running_loop().create_future()
            self._running[call.key] = done
            await asyncio.wait([done])
        self._running[call.key] = None
        try:
            return await self.buy(call)
        finally:
            if (awaited := self._running.pop(call.key)) is not None:
                awaited.set_result(None)

    async def buy(self, call: Call) -> tuple[Completion, bool]:
        """Sends a call, again after faults; what came is in the ledger then. Whether another process had bought it."""
        self._patience.begin()
        while True:
            try:
                return await self._send(call)
            except ServerFault as fault:  # seldom: tenacity, which takes a tenth of a call's CPU, only from here on
                return await self._patience.send_again(call.tries, fault, lambda: self._send(call))
            except RequestRejected as error:
                if not call.lower_cap(error):
                    raise

    async def _send(self, call: Call) -> tuple[Completion, bool]:
        """One send, with what has to happen before and after."""
        leave: _Leave | str | None = None
        while leave is None:
            try:
                leave = await self._intend(call)
            except AskedElsewhere:
                leave = await self._elsewhere.reply_to(call)
        if isinstance(leave, str):  # bought by another process in the meantime
            call.asked.counts.replayed += 1
            return Completion(leave), True
        call.asked.counts.retried += 1 if call.tries.sends else 0
        call.tries.sends += 1
        return await self._exchange(call, leave), False

    async def _intend(self, call: Call) -> _Leave | str | None:
        """Leave to send, with the intent in the ledger; or the reply after all; or None: wait once more."""
        limiter, name = call.asked.endpoint.limiter, call.asked.counts.name
        slot = await limiter.acquire(call.reservation()[0], again=call.tries.sends > 0)
        reservation: Reservation | None = None
        try:
            reservation, usd = await call.set_aside(self._budget)
            intent = await self._ledger.intend(
                call.key,
                call.wire,
                model=name,
                row_id=call.request.row.id,
                reserved_usd=usd,
                reserved_tokens=reservation.tokens,
                yields=self._elsewhere.waits(call),
            )
            if isinstance(intent, Intent) and not limiter.is_held_back(slot):
                return _Leave(slot, reservation, intent)
            if isinstance(intent, Intent):
                await intent.abandon("held_back")
        except BaseException:  # nothing was sent
            self._take_back(limiter, slot, reservation)
            raise
        self._take_back(limiter, slot, reservation)
        return None if isinstance(intent, Intent) else intent

    def _take_back(self, limiter: Limiter, slot: Slot, reservation: Reservation | None) -> None:
        limiter.withdraw(slot)
        if reservation is not None:
            self._budget.release(reservation)

    async def _exchange(self, call: Call, leave: _Leave) -> Completion:
        """Sends what was intended; what came is in the ledger when this returns."""
        asked = call.asked
        try:
            body, headers = await asked.model.send(call.wire, call.request)
        except CallError as error:
            await self._came_to_nothing(call, leave, error)
            graded = self._patience.grade(asked.endpoint, call.tries, error)
            if graded is error:
                raise
            raise graded from error
        except BaseException:
            if asked.model.config.local:  # nothing was sent to anybody
                self._take_back(asked.endpoint.limiter, leave.slot, leave.reservation)
                await leave.intent.abandon("not_sent")
            else:  # it may have been sent: the intent stays, and the most that it can cost is booked
                asked.endpoint.limiter.withdraw(leave.slot)
                self._budget.lose(leave.reservation)
            raise
        completion = Completion(body)
        used = completion.usage or Usage()
        cost_usd = prices.cost(asked.price, completion.usage)
        asked.endpoint.limiter.note_reply(leave.slot, headers, used.prompt_tokens + used.completion_tokens)
        asked.endpoint.note_reply()
        call.compare(completion, self._budget)
        self._budget.settle(leave.reservation, used, cost_usd)
        asked.counts.paid(used, cost_usd)
        asked.counts.check_prompt(call.size, used)
        await leave.intent.settle(body, usage=used, cost_usd=cost_usd)
        return completion

    async def _came_to_nothing(self, call: Call, leave: _Leave, error: CallError) -> None:
        """Tells the limiter, the budget and the ledger of a send without a reply."""
        limiter, tries, slot = call.asked.endpoint.limiter, call.tries, leave.slot
        call.asked.counts.faults[error.kind] += 1
        tries.is_out = False
        if not isinstance(error, ServerFault):
            limiter.note_rejection(slot)
        elif error.kind == "rate_limit":
            limiter.note_refusal(slot, error.retry_after_s)
        elif error.kind == UNNAMED:
            tries.faults += 1
            limiter.note_rejection(slot)
        else:
            tries.faults += 1
            tries.is_out = limiter.note_fault(slot, error.retry_after_s)
        if error.kind in LOST:
            self._budget.lose(leave.reservation)
            await leave.intent.lose()
        else:
            self._budget.release(leave.reservation)
            await leave.intent.abandon(error.kind)
