"""One call: what is asked, of which model, and what is said of it when nothing usable came."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from blackbox_kd.calls.counts import Counts
from blackbox_kd.calls.patience import Endpoint, Tries
from blackbox_kd.errors import ReplyFault, UnusableText
from blackbox_kd.ledger import key_of
from blackbox_kd.models import Model, Price
from blackbox_kd.schema import Reply, Request

Reader = Callable[[str], object]
"""Reads what a step wants out of a text; a ValueError says that it is not in there."""


@dataclass(slots=True)
class Asked:
    """What is known of one model of a run."""

    model: Model
    price: Price | None
    endpoint: Endpoint
    counts: Counts


@dataclass(slots=True)
class Call:
    """One call, through all its sends."""

    asked: Asked
    key: str
    wire: dict[str, Any]
    request: Request
    tries: Tries = field(default_factory=Tries)


def read_text(reply: Reply, read: Reader | None) -> None:
    """Raises UnusableText if the step that asked cannot use the text."""
    try:
        if read is not None:
            read(reply.text)
    except ValueError as error:
        raise UnusableText(str(error), kind="unreadable") from error


def call_of(asked: Asked, request: Request, round: int) -> Call:
    """A call, with its key in the ledger; `round` is that of the loop, and counts where another reply can come."""
    wire = asked.model.wire(request)
    round = round if request.sampling.varies else 0  # asked again, it would say the same
    key = key_of(wire, row_id=request.row.id, sample=request.sample, attempt=request.attempt, round=round)
    return Call(asked, key, wire, request)


def described(fault: ReplyFault, name: str, request: Request) -> ReplyFault:
    """The fault in full; `request` is the one that is not made any more."""
    attempts = f"{request.attempt} attempts" if request.attempt > 1 else "1 attempt"
    text = f"model {name!r}, row {request.row.id!r}: {fault} ({attempts}; what came is kept in the ledger)"
    return ReplyFault(text, kind=fault.kind)
