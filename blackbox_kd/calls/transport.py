"""How the reply to a call is had: from the ledger, or by a request to the endpoint, with limits, money and patience."""

import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from blackbox_kd.calls import learning, prices, tariff
from blackbox_kd.calls.budget import Budget, Reservation
from blackbox_kd.calls.call import Call
from blackbox_kd.calls.came import Came
from blackbox_kd.calls.completion import Completion
from blackbox_kd.calls.in_flight import Elsewhere
from blackbox_kd.calls.limits.limiter import Limiter, Slot
from blackbox_kd.calls.model_state import ModelState
from blackbox_kd.calls.retries import EndpointState, Patience
from blackbox_kd.calls.usage import Counts
from blackbox_kd.calls.warm_up import WarmUp, has_costly_writes
from blackbox_kd.errors import (
    AskedElsewhere,
    BudgetReached,
    CallError,
    EndpointRefused,
    RequestRejected,
    ServerFault,
    Stopped,
)
from blackbox_kd.ledger.intent import Intent
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.ledger.met import Bought
from blackbox_kd.models import Model
from blackbox_kd.models.http.parameters import MOST_TOKENS
from blackbox_kd.models.http.status import UNNAMED
from blackbox_kd.schema import Usage

logger = logging.getLogger(__name__)

LOST = ("timeout", "connection", "too_large")
"""Faults after which the endpoint may charge for a reply that never arrived whole."""


@dataclass(slots=True)
class _Leave:
    """What one send holds until it has ended: a place at the endpoint, money, and its intent in the ledger."""

    slot: Slot
    reservation: Reservation
    intent: Intent


class DirectTransport:
    """Sends each call by itself. For one event loop.

    Args:
        ledger: where replies are kept.
        budget: what the run may spend.
        patience_s: how long an endpoint that is out, or only refuses, is waited for.
    """

    waiting = 0

    def __init__(self, ledger: Ledger, budget: Budget, *, patience_s: float = 600.0) -> None:
        self.budget = budget
        self.elsewhere = Elsewhere(ledger)
        self._ledger = ledger
        self._patience = Patience(patience_s, budget.hours.find_left_s)
        self._endpoints: dict[str, EndpointState] = {}
        self._refused: dict[tuple[str, str, bool], set[str]] = {}

    def open(self, model: Model, name: str) -> ModelState:
        """See `Transport.open`."""
        config = model.config
        known = self._endpoints.get(model.endpoint)
        if known is None:
            patience_s = self._patience.longest_s
            limiter = Limiter(model.endpoint, config.max_concurrency, local=config.local, patience_s=patience_s)
            known = self._endpoints[model.endpoint] = EndpointState(limiter)
        known.limiter.narrow(config.max_concurrency, *config.rate_limits)
        # By the model alone, never by what may be spent: a reply that a larger budget would let go on is another one.
        cap = (config.parameters.most_tokens or MOST_TOKENS) if self.budget.is_limited else None
        counts = Counts(name, asked="" if config.names_freely else config.model)
        state = ModelState(model, tariff.find(config, model.endpoint), known, counts, cap)
        state.refused = self._recall_refused(model)
        state.warm_up = WarmUp(config.parameters.cached_from) if has_costly_writes(state.price) else None
        return state

    def _recall_refused(self, model: Model) -> set[str]:
        """What a model was found not to take, by this run or an earlier one; a recipe that says it, knows better."""
        is_given = model.config.parameters.is_given
        place = (model.endpoint, model.config.model, is_given)
        if place not in self._refused:
            self._refused[place] = set(() if is_given else self._ledger.find_refused(*place[:2]))
        return self._refused[place]

    def has(self, call: Call) -> bool:
        """See `Transport.has`."""
        return self._ledger.get(call.key) is not None

    async def find(self, call: Call) -> Came | None:
        """See `Transport.find`."""
        bought = await self._ledger.fetch(call.key)
        return None if bought is None else self.replay(call, call.decode(bought.body), bought.cost_usd)

    def replay(self, call: Call, completion: Completion, cost_usd: float | None) -> Came:
        """A reply that was paid for before, or by another run in the meantime, as what came for a call.

        What it did cost is what the ledger says: prices change, and rows are to stay the same.
        """
        call.state.counts.replayed += 1
        call.compare(completion, self.budget)
        cost_usd = completion.compute_cost(call.state.price) if cost_usd is None else cost_usd
        return Came(completion, is_replayed=True, cost_usd=cost_usd)

    def book(self, call: Call, reservation: Reservation, completion: Completion, cost_usd: float | None) -> None:
        """Counts a reply that was bought, and what it did cost in place of what was set aside for it."""
        used = completion.usage or Usage()
        call.compare(completion, self.budget)
        self.budget.settle(reservation, used, cost_usd)
        call.state.counts.count_bought(used, cost_usd, prices.compute_saving(call.state.price, used))
        call.state.counts.check_prompt(call.size, used)

    def buy(self, call: Call) -> Coroutine[Any, Any, Came]:
        """See `Transport.buy`."""
        self._patience.begin()
        warm_up = call.state.warm_up
        return self._buy(call) if warm_up is None else warm_up.buy(call.ask.messages, lambda: self._buy(call))

    async def _buy(self, call: Call) -> Came:
        """Sends a call, and again after faults."""
        try:
            return await self._send(call)
        except ServerFault as fault:  # seldom: tenacity, which takes a tenth of a call's CPU, only from here on
            return await self._patience.send_again(call.tries, fault, lambda: self._send(call))

    async def suit(self, call: Call, error: RequestRejected) -> bool:
        """Changes what is sent of a call that was refused, if that may help.

        Raises:
            EndpointRefused: the recipe asks for what the model does not take, so that all its calls would be refused.
        """
        try:
            learnt = learning.learn(call, error)
        except EndpointRefused as refusal:
            call.state.endpoint.limiter.stop(refusal)
            raise
        if not learnt and not call.lower_cap(error):
            return False
        if learnt and learnt not in call.state.refused:
            call.state.refused.add(learnt)
            model = call.state.model
            logger.warning("model %r takes no %s: %s", call.state.counts.name, learnt, learning.describe(learnt))
            await self._ledger.note_refused(model.endpoint, model.config.model, learnt)
        call.tries.sends = 0  # the endpoint has said how to ask: what follows is no second attempt
        return True

    def stop(self, why: BudgetReached | Stopped) -> None:
        """See `Transport.stop`."""
        self.elsewhere.stop(why)
        for endpoint in self._endpoints.values():
            endpoint.limiter.stop(why)

    async def _send(self, call: Call) -> Came:
        """One send, as the model takes it, with what has to happen before and after."""
        while True:
            leave: _Leave | Bought | None = None
            while leave is None:
                try:
                    leave = await self._intend(call)
                except AskedElsewhere:
                    leave = await self.elsewhere.reply_to(call)
            if isinstance(leave, Bought):
                return self.replay(call, call.decode(leave.body), leave.cost_usd)
            call.state.counts.retried += 1 if call.tries.sends else 0
            call.tries.sends += 1
            try:
                return await self._exchange(call, leave)
            except RequestRejected as error:
                if not await self.suit(call, error):
                    raise

    async def _intend(self, call: Call) -> _Leave | Bought | None:
        """Leave to send, with the intent in the ledger; or the reply, bought by another run; or None: ask once more.

        The place at the endpoint comes first, as it is what most calls wait for: money that waited along with them
        would end a run that has enough of it. The intent comes last, as each one that is on disk when the process is
        killed counts as a call that may be on the bill. Whatever ends this in between gives back what was taken so far.

        Raises:
            AskedElsewhere: another run has the call in flight.
        """
        limiter, name = call.state.endpoint.limiter, call.state.counts.name
        slot = await limiter.acquire(call.reservation()[0], again=call.tries.sends > 0)
        reservation: Reservation | None = None
        try:
            reservation, usd = await call.set_aside(self.budget)
            intent = await self._ledger.intend(
                call.key,
                call.wire,
                model=name,
                row_id=call.request.row.id,
                reserved_usd=usd,
                reserved_tokens=reservation.tokens,
                yields=self.elsewhere.may_wait(call),
            )
            if isinstance(intent, Intent):
                if not limiter.is_held_back(slot):
                    return _Leave(slot, reservation, intent)
                # While it was written the endpoint refused others, and would refuse this one.
                await intent.abandon("held_back")
        except BaseException:  # nothing was sent
            self._take_back(limiter, slot, reservation)
            raise
        self._take_back(limiter, slot, reservation)
        return None if isinstance(intent, Intent) else intent

    def _take_back(self, limiter: Limiter, slot: Slot, reservation: Reservation | None) -> None:
        limiter.withdraw(slot)
        if reservation is not None:
            self.budget.release(reservation)

    async def _exchange(self, call: Call, leave: _Leave) -> Came:
        """Sends what was intended; what came is in the ledger when this returns."""
        state, endpoint = call.state, call.state.endpoint
        learning.prepare(call)
        try:
            body, headers = await state.model.send(call.wire, call.request)
        except CallError as error:
            await self._give_up(call, leave, error)
            graded = self._patience.grade(endpoint, call.tries, error)
            if graded is error:
                raise
            raise graded from error
        except BaseException:
            if state.model.config.local:  # nothing was sent to anybody
                self._take_back(endpoint.limiter, leave.slot, leave.reservation)
                await leave.intent.abandon("not_sent")
            else:  # it may have been sent: the intent stays, and the most that it can cost is booked
                endpoint.limiter.withdraw(leave.slot)
                self.budget.lose(leave.reservation)
            raise
        completion = call.decode(body)
        used = completion.usage or Usage()
        cost_usd = completion.compute_cost(state.price)
        endpoint.limiter.note_reply(leave.slot, headers, used.prompt_tokens + used.completion_tokens)
        endpoint.note_reply()
        self.book(call, leave.reservation, completion, cost_usd)
        await leave.intent.settle(body, usage=used, cost_usd=cost_usd)
        return Came(completion, is_replayed=False, cost_usd=cost_usd)

    async def _give_up(self, call: Call, leave: _Leave, error: CallError) -> None:
        """Tells the limiter, the budget and the ledger of a send that came to nothing."""
        limiter, tries, slot = call.state.endpoint.limiter, call.tries, leave.slot
        call.state.counts.faults[error.kind] += 1
        tries.is_out = False
        if not isinstance(error, ServerFault):
            limiter.note_rejection(slot)
        elif error.kind == "rate_limit":
            limiter.note_refusal(slot, error.retry_after_s, error.what)
        elif error.kind == UNNAMED:
            tries.faults += 1
            limiter.note_rejection(slot)
        else:
            tries.faults += 1
            tries.is_out = limiter.note_fault(slot, error.retry_after_s, error.what)
        if error.kind in LOST:
            self.budget.lose(leave.reservation)
            await leave.intent.lose()
        else:
            self.budget.release(leave.reservation)
            await leave.intent.abandon(error.kind)
