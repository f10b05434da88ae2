"""The spending contract: the most that a call can cost is set aside before it is sent, and corrected after.

Checking first and adding afterwards would leak, because other calls are checked in between. A call that does
not fit next to what is spent and set aside is not made.

A call that was sent and never answered, for a fault or since the process was killed, may be on the bill: of dollars
and tokens it takes the most that it can have cost, for good, also when its repeat is answered. `requests` counts
replies: a lost call takes none, its repeat takes one, so that a kill does not end a run before its last row.
"""

import asyncio
import copy
import math
from dataclasses import dataclass

from blackbox_kd.calls.hours import Hours
from blackbox_kd.errors import BudgetReached, SetupError, Stopped
from blackbox_kd.ledger.ledger import Spent
from blackbox_kd.schema import Usage

ROUNDING = 1e-9
"""Share of a limit that sums of floats may miss it by."""


@dataclass(slots=True, eq=False)
class Reservation:
    """What is set aside for one call. Every reservation ends in `settle`, `lose` or `release`."""

    usd: float
    tokens: int
    model: str = ""
    is_open: bool = True


class Budget:
    """What a run may spend, over all its invocations. For one event loop; no method but `wait` gives it away.

    Args:
        usd: the most dollars; None for no limit, 0 for none.
        requests: the most calls that bring a reply; as above.
        tokens: the most prompt and completion tokens together; as above.
        hours: the most hours of this invocation; None for no limit.
        spent: what the run has spent in its earlier invocations.
    """

    def __init__(
        self,
        *,
        usd: float | None = None,
        requests: int | None = None,
        tokens: int | None = None,
        hours: float | None = None,
        spent: Spent | None = None,
    ) -> None:
        self.hours = Hours(hours)
        limits = {"usd": usd, "requests": requests, "tokens": tokens}
        self._limits = {name: limit for name, limit in limits.items() if limit is not None}
        self.recount(spent or Spent())
        self._open: set[Reservation] = set()
        self._reserved: dict[str, float] = {"usd": 0.0, "requests": 0, "tokens": 0}
        self._changed = asyncio.Event()
        self._stopped: BudgetReached | Stopped | None = None

    def recount(self, spent: Spent) -> None:
        """Takes what the run has spent in its earlier invocations from a new count; only before the first call."""
        self._spent = spent.sum_by_limit()
        self._doubtful = spent.doubtful

    @property
    def is_limited(self) -> bool:
        """Whether it limits what single calls can take: dollars or tokens."""
        return "usd" in self._limits or "tokens" in self._limits

    def reserve(self, usd: float | None, tokens: int, *, model: str = "the model") -> Reservation:
        """Sets aside the most that a call can cost.

        Args:
            usd: the most that it can cost; None when no price is known.
            tokens: the most tokens that it can use.
            model: name of the model in the recipe, for messages.

        Raises:
            BudgetReached: it does not fit next to what is spent and reserved.
            SetupError: there is a limit in dollars and no price.
            BudgetReached, Stopped: `stop` was called, for this reason.
        """
        self.refuse_late()
        call = self._bound(usd, tokens, model)
        if (limit := self._find_broken(call, self._reserved)) is not None:
            raise self._explain_refusal(limit, call[limit])
        return self._set_aside(call, model)

    async def wait(self, usd: float | None, tokens: int, *, model: str = "the model") -> Reservation:
        """Like `reserve`, but while calls in flight could still leave room, waits for them to settle.

        Most calls cost far less than they can. Without waiting, a run with many calls in flight would stop
        when it has spent a fraction of its budget.
        """
        call = self._bound(usd, tokens, model)
        while (
            self._open
            and self._stopped is None
            and self._find_broken(call, self._reserved)
            and not self._find_broken(call, {})
        ):
            self._changed.clear()
            await self._changed.wait()
        return self.reserve(usd, tokens, model=model)

    def stop(self, why: BudgetReached | Stopped) -> None:
        """Lets nothing more be spent; what is set aside for calls under way stays theirs."""
        self._stopped = self._stopped or why
        self._changed.set()

    def refuse_late(self) -> None:
        """Lets nothing begin that takes time or money once `stop` was called.

        Raises:
            BudgetReached, Stopped: see `stop`.
        """
        if self._stopped is not None:
            raise copy.copy(self._stopped)

    def settle(self, reservation: Reservation, usage: Usage, cost_usd: float | None) -> None:
        """Replaces what was set aside by what the reply did cost.

        What the endpoint does not say counts as the most that it can be: `cost_usd` None as the reserved
        dollars, a usage of 0 as the reserved tokens.
        """
        used = usage.prompt_tokens + usage.completion_tokens
        self._close(reservation)
        self._spent["usd"] += reservation.usd if cost_usd is None else cost_usd
        self._spent["requests"] += 1
        self._spent["tokens"] += used or reservation.tokens

    def widen(self, model: str, usd: float, tokens: int) -> None:
        """Sets so much more aside for each call of a model under way, as its replies take more than they were to."""
        for reservation in self._open:
            if reservation.model == model:
                reservation.usd += usd
                reservation.tokens += tokens
                self._reserved["usd"] += usd
                self._reserved["tokens"] += tokens

    def multiply(self, model: str, factor: float) -> None:
        """Sets so many times as many dollars aside for each call of a model under way, as its replies cost more."""
        for reservation in self._open:
            if reservation.model == model:
                self._reserved["usd"] += reservation.usd * (factor - 1)
                reservation.usd *= factor

    def lose(self, reservation: Reservation) -> None:
        """Books the most that a call can have cost which was sent and brought no reply."""
        self._close(reservation)
        self._spent["usd"] += reservation.usd
        self._spent["tokens"] += reservation.tokens

    def release(self, reservation: Reservation) -> None:
        """Gives back what was set aside for a call that cost nothing; nothing to give back after `settle` or `lose`."""
        if reservation.is_open:
            self._close(reservation)

    def _bound(self, usd: float | None, tokens: int, model: str) -> dict[str, float]:
        """What a call takes of each limit at most."""
        if usd is None and "usd" in self._limits:
            raise SetupError(
                f"budget.usd = {self._limits['usd']!r} cannot be kept: no price is known for model {model!r}.",
                fix=f"price: {{input: ..., output: ...}} (USD for a million tokens) under models.{model}, or "
                "limit `requests` or `tokens` instead of `usd`",
            )
        return {"usd": usd or 0.0, "requests": 1, "tokens": tokens}

    def _find_broken(self, call: dict[str, float], reserved: dict[str, float]) -> str | None:
        """The first limit that a call does not fit into, next to what is spent and `reserved`."""
        for name, limit in self._limits.items():
            taken = self._spent[name] + reserved.get(name, 0) + call[name]
            if taken > limit * (1 + ROUNDING):
                return name
        return None

    def _set_aside(self, call: dict[str, float], model: str) -> Reservation:
        reservation = Reservation(call["usd"], int(call["tokens"]), model)
        self._open.add(reservation)
        self._reserved["usd"] += reservation.usd
        self._reserved["requests"] += 1
        self._reserved["tokens"] += reservation.tokens
        return reservation

    def _close(self, reservation: Reservation) -> None:
        if not reservation.is_open:
            raise ValueError("the reservation was settled or released before")
        reservation.is_open = False
        self._open.discard(reservation)
        self._reserved["usd"] = self._reserved["usd"] - reservation.usd if self._open else 0.0
        self._reserved["requests"] -= 1
        self._reserved["tokens"] -= reservation.tokens
        self._changed.set()

    def _explain_refusal(self, name: str, most: float) -> BudgetReached:
        """What is spent, what the next call can cost, the limit, and how to go on."""
        limit, spent, reserved = self._limits[name], self._spent[name], self._reserved[name]
        shown = f"budget reached: {_format_amount(name, spent)} of budget.{name} = {_shorten(limit)} spent"
        if self._open:
            shown += f", {_format_amount(name, reserved)} set aside for {len(self._open)} calls in flight"
        shown += f"; the next call can take up to {_format_amount(name, most)}."
        doubt = ""
        if self._doubtful and name != "requests":
            doubt = (
                f"{self._doubtful} calls that were in flight when an earlier process ended count as spent, with "
                "the most that they can have taken"
            )
        needed = spent + reserved + most
        enough = f"{math.ceil(needed * 100) / 100:.2f}" if name == "usd" else f"{math.ceil(needed)}"
        return BudgetReached(
            shown,
            exists=doubt,
            fix=f"raise budget.{name} to {enough} or more, in the recipe or with "
            f"--set budget.{name}={enough}, and run the same command: replies paid for are not bought again; "
            "blackbox-kd estimate says what all of the rest takes",
        )


def _shorten(limit: float) -> str:
    """A limit as the recipe has it; a shard's share of one has too many digits."""
    return repr(limit) if len(repr(limit)) <= 10 else f"{limit:.4g}"


def _format_amount(name: str, value: float) -> str:
    if name != "usd":
        return f"{value:,.0f} {name}"
    return f"${value:.4f}" if value == 0 or value >= 0.0001 else f"${value:.1e}"
