"""One call: what is asked, of which model, and what is said of it when nothing usable came."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from blackbox_kd.calls.retries import EndpointState, Tries
from blackbox_kd.calls.usage import Counts
from blackbox_kd.errors import QuotaSpent, ReplyFault, UnusableText
from blackbox_kd.ledger.ledger import key_of
from blackbox_kd.models import Model, Price
from blackbox_kd.schema import Ask, Reply, Request, T

HOPELESS = 50
"""So many replies of a model of which none can be used, all for the same reason, end a run."""


@dataclass(slots=True)
class ModelState:
    """What is known of one model of a run."""

    model: Model
    price: Price | None
    endpoint: EndpointState
    counts: Counts
    unusable: Counter[str] | None
    """Replies that could not be used, by kind; None once there was one that could, or if all may be so."""

    def count_usable(self, reply: Reply[T]) -> Reply[T]:
        """The reply, counted as one that can be used."""
        self.unusable = None
        self.counts.count_served(reply.model)
        return reply

    def refuse_hopeless(self, fault: ReplyFault, is_replayed: bool) -> None:
        """Counts a reply that cannot be used; what a step could not read may be another text the next time.

        Raises:
            QuotaSpent: of kind `unusable`, as no reply of the model was of any use so far.
        """
        if self.unusable is None or is_replayed or isinstance(fault, UnusableText):
            return
        self.unusable[fault.kind] += 1
        if self.unusable.total() >= HOPELESS and len(self.unusable) == 1:
            error = QuotaSpent(
                f"none of its first {self.unusable.total()} replies can be used: {fault}\n  fix: mend the step or the "
                "model; to go on all the same, max_failed_share: 1.0",
                kind="unusable",
            )
            self.endpoint.limiter.stop(error)
            raise error


@dataclass(slots=True)
class Call:
    """One call, through all its sends."""

    asked: ModelState
    key: str
    wire: dict[str, Any]
    request: Request
    ask: Ask[Any]
    """What the call is made for."""
    tries: Tries = field(default_factory=Tries)
    has_waited: bool = False
    """Whether another run had it in flight, and its reply was waited for in vain."""
    fault: ReplyFault | None = None
    """Why the reply that came could not be used."""


def make_call(asked: ModelState, ask: Ask[Any], attempt: int, round: int) -> Call:
    """A call, with its key in the ledger.

    Args:
        asked: the model.
        ask: what is asked.
        attempt: how many replies to it could not be used before.
        round: of the loop; it counts where another reply can come.
    """
    request = Request(ask.messages, ask.sampling, ask.row, ask.sample, attempt)
    wire = asked.model.wire(request)
    round = round if ask.sampling.varies else 0  # asked again, it would say the same
    key = key_of(wire, row_id=ask.row.id, sample=ask.sample, attempt=attempt, round=round)
    return Call(asked, key, wire, request, ask)


def describe(fault: ReplyFault, name: str, request: Request) -> ReplyFault:
    """The fault in full; `request` is the one that is not made any more."""
    attempts = f"{request.attempt} attempts" if request.attempt > 1 else "1 attempt"
    text = f"model {name!r}, row {request.row.id!r}: {fault} ({attempts}; what came is kept in the ledger)"
    return ReplyFault(text, kind=fault.kind)
