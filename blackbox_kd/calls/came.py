"""What comes for a call, and what all have in common that replies are had through."""

from collections.abc import Coroutine
from typing import Any, NamedTuple, Protocol

from blackbox_kd.calls.call import Call
from blackbox_kd.calls.completion import Completion
from blackbox_kd.calls.model_state import ModelState
from blackbox_kd.errors import BudgetReached, Stopped
from blackbox_kd.models import Model
from blackbox_kd.schema import Usage


class Came(NamedTuple):
    """What came for a call."""

    completion: Completion
    is_replayed: bool
    """Whether it was in the ledger, so that nothing was paid for it now."""
    cost_usd: float | None
    """What it did cost, whenever it was bought; None when that is not known."""

    @property
    def usage(self) -> Usage | None:
        """Its tokens; None if the endpoint did not say."""
        return self.completion.usage


class Transport(Protocol):
    """What a `Caller` has replies through."""

    @property
    def waiting(self) -> int:
        """Calls that wait for hours, and keep nobody else from being asked."""
        ...

    def open(self, model: Model, name: str) -> ModelState:
        """What is known of a model (`name` in the recipe) before its first call."""
        ...

    def has(self, call: Call) -> bool:
        """Whether the reply to a call is in the ledger."""
        ...

    def find(self, call: Call) -> Coroutine[Any, Any, Came | None]:
        """What the ledger has for a call."""
        ...

    def buy(self, call: Call) -> Coroutine[Any, Any, Came]:
        """What comes for a call that the ledger has no reply to; it is there when this returns.

        Raises:
            CallError: no reply could be had.
            BudgetReached: the call does not fit into the budget.
        """
        ...

    def stop(self, why: BudgetReached | Stopped) -> None:
        """Lets nobody wait any more for leave to send, for a batch, or for what another run asks."""
        ...
