"""What the calls to one model came to, for the progress view and the report."""

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from blackbox_kd.schema import Usage

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """Calls to one model in this invocation.

    Args:
        name: the model's name in the recipe.
        calls: replies that came over the wire, usable or not.
        replayed: replies taken from the ledger.
        retried: replies asked for again because they could not be used, and requests sent again after a fault.
        unknown_cost: of `calls`, those whose cost is not known.
        cost_usd: cost of the other ones.
        usage: tokens of `calls`.
        served: the model strings that the endpoint returned, and how often.
        faults: answers that were no reply, by kind.
    """

    name: str
    calls: int = 0
    replayed: int = 0
    retried: int = 0
    unknown_cost: int = 0
    cost_usd: float = 0.0
    usage: Usage = field(default_factory=Usage)
    served: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def paid(self, usage: Usage, cost_usd: float | None) -> None:
        """Counts a reply that came over the wire."""
        self.calls += 1
        self.usage += usage
        if cost_usd is None:
            self.unknown_cost += 1
        else:
            self.cost_usd += cost_usd

    def count_served(self, model: str) -> None:
        """Counts the model string of a usable reply, and says when another one appears: rows would differ."""
        if not model:
            return
        if model not in self.served and len(self.served) == 1:
            before = next(iter(self.served))
            logger.warning(
                "model %r: the endpoint now answers as %r, before as %r; the report counts both",
                self.name,
                model,
                before,
            )
        self.served[model] += 1

    def add(self, other: "Counts") -> None:
        """Adds the sums of another model."""
        self.calls += other.calls
        self.replayed += other.replayed
        self.unknown_cost += other.unknown_cost
        self.cost_usd += other.cost_usd
        self.usage += other.usage

    def totals(self) -> dict[str, Any]:
        """The sums; `cost_usd` is None as soon as the cost of one call is not known."""
        return {
            "calls": self.calls,
            "replayed": self.replayed,
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "cost_usd": None if self.unknown_cost else self.cost_usd,
        }

    def entry(self) -> dict[str, Any]:
        """The counts as `report.json` holds them."""
        return {
            "name": self.name,
            **self.totals(),
            "cached_tokens": self.usage.cached_tokens,
            "reasoning_tokens": self.usage.reasoning_tokens,
            "unknown_cost": self.unknown_cost,
            "retried": self.retried,
            "faults": dict(sorted(self.faults.items())),
            "served": sorted(self.served),
        }
