"""Asks models until a reply can be used; a reply in the ledger is never bought again.

What ends a run and what fails a row is said by the class of the error:

    EndpointRefused     no use in going on: the key or the model's name is wrong, or nothing is there
    QuotaSpent          no use in going on: the account is empty, or the endpoint wants a very long pause
    BudgetReached       no use in going on: the next call does not fit into the budget
    any other CallError the row fails, the run goes on
"""

import asyncio
import itertools
from typing import Any

from blackbox_kd.calls.call import Attempts, Call, describe, make_call
from blackbox_kd.calls.came import Came, Transport
from blackbox_kd.calls.model_state import ModelState
from blackbox_kd.calls.usage import Counts
from blackbox_kd.errors import BudgetReached, ReplyFault, RequestRejected, Stopped
from blackbox_kd.models import Model
from blackbox_kd.schema import Ask, Reply, T


class Caller:
    """Asks the models of a run. For one event loop.

    Args:
        transport: has the replies, from the ledger or from the endpoint.
        retry_failed: buy replies beyond those of the ledger that cannot be used, as often as for a new question.
            Every later caller finds them there, without this.
        may_all_fail: go on also when no reply of a model can be used.
    """

    def __init__(self, transport: Transport, *, retry_failed: bool = False, may_all_fail: bool = False) -> None:
        self._transport = transport
        self._retry_failed = retry_failed
        self._may_all_fail = may_all_fail
        self._states: dict[str, ModelState] = {}
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
        state = self._find_state(model, name or model.config.model)
        attempts = Attempts(ask.tries, ask.sampling.varies, self._retry_failed)
        for attempt in itertools.count():  # ends by a return or an error
            call = make_call(state, ask, attempt, round)
            attempts.varies = attempts.varies or call.is_sampled
            if attempts.fault is not None:
                # Replies that an earlier run has bought after this one cost nothing, however many may be bought now.
                if not self._transport.has(call) and not attempts.may_go_on(attempt):
                    raise describe(attempts.fault, state.counts.name, call.request) from attempts.fault
                state.counts.retried += 1
            try:
                came = await self._have(call)
            except RequestRejected as error:
                state.refuse_uniform(error, ask.row.id)
                raise
            attempts.bought += not came.is_replayed
            try:
                return state.count_usable(
                    call.read(came.completion, ask, cost_usd=came.cost_usd, is_replayed=came.is_replayed)
                )
            except ReplyFault as error:
                call.fault = error
                attempts.count_fault(error, came.is_replayed)
                state.refuse_hopeless(error, came.is_replayed)
        raise AssertionError("the loop has no end")

    def is_busy(self) -> bool:
        """Whether calls are under way that do not wait for hours, so that more calls may follow soon."""
        return len(self._running) + self._looking > self._transport.waiting

    def stop(self, why: BudgetReached | Stopped) -> None:
        """Lets nobody wait any more for leave to send, for a batch, or for what another run asks."""
        self._transport.stop(why)

    def totals(self) -> dict[str, Any]:
        """Calls, replayed, tokens, cost_usd (None: unknown) and cache_saved_usd of all models together."""
        total = Counts("all")
        for state in self._states.values():
            total.add(state.counts)
        return total.totals()

    def summary(self) -> list[dict[str, Any]]:
        """The counts of each model, by name, as the report holds them."""
        return [self._states[name].counts.entry() for name in sorted(self._states)]

    def _find_state(self, model: Model, name: str) -> ModelState:
        """What is known of a model; one that was closed and opened again keeps its counts."""
        state = self._states.get(name)
        if state is None:
            state = self._states[name] = self._transport.open(model, name)
            if self._may_all_fail:
                state.unusable = None
        state.model = model
        return state

    async def _have(self, call: Call) -> Came:
        """What came for a call, from the ledger or bought now.

        Steps that are run side by side may ask the same at a time. The ledger has no reply yet, and each would buy its
        own: so the first one buys, and the others wait until it has ended, however it did. Then they look again; after
        an error, or where the first one was cancelled, it is the next of them that buys.
        """
        while True:
            self._looking += 1
            try:
                found = await self._transport.find(call)
            finally:
                self._looking -= 1
            if found is not None:
                return found
            if call.key not in self._running:
                break
            # Made only once somebody waits, as hardly any call is asked twice at a time.
            done = self._running[call.key] or asyncio.get_running_loop().create_future()
            self._running[call.key] = done
            await asyncio.wait([done])  # not `await done`: one who waits and is cancelled would cancel it for all
        self._running[call.key] = None
        try:
            return await self._transport.buy(call)
        finally:
            if (awaited := self._running.pop(call.key)) is not None:
                awaited.set_result(None)
