"""Requests that go through batches, what comes of them, and the limits that they are kept to."""

import asyncio
import copy
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blackbox_kd.calls.batch.store import Noted, write_line
from blackbox_kd.calls.completion import Completion
from blackbox_kd.errors import CallError
from blackbox_kd.ledger.intent import Intent


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may hold, and when things are done.

    Args:
        lines: the most requests of a file, beside what the endpoint lets through.
        size: the most bytes of a file, likewise.
        quiet_s: how long nothing new must have come before a file that is not full is handed in.
        busy_s: the same while calls are under way that may bring more.
        first_look_s: time from handing in to the first look at a batch; each later one takes longer.
        longest_look_s: the most that it takes, and the longest pause after a fault.
        fault_s: pause after a fault of the endpoint; it doubles each time.
        patience_s: how long an endpoint that answers with faults is asked again, and the longest pause that it may ask
            for; for a longer one the run ends.
        doubt_s: how long a batch may take to be listed after the request to create it.
        submissions: how often a request is handed in before its row fails.
        pause_s: pause before what was refused as a whole is handed in again; it doubles each time.
        longest_pause_s: the most that it takes.
    """

    lines: int = sys.maxsize
    size: int = sys.maxsize
    quiet_s: float = 1.0
    busy_s: float = 60.0
    first_look_s: float = 0.5
    longest_look_s: float = 60.0
    fault_s: float = 1.0
    patience_s: float = 3600.0
    doubt_s: float = 10.0
    submissions: int = 3
    pause_s: float = 30.0
    longest_pause_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a request.

    Args:
        completion: the reply.
        cost_usd: what it cost; None when that is not known.
        is_replayed: whether another process had bought it.
    """

    completion: Completion
    cost_usd: float | None = None
    is_replayed: bool = False


@dataclass(slots=True, eq=False)
class BatchItem:
    """One request, through all the batches that it is handed in with.

    Args:
        key: of the call in the ledger.
        wire: what is asked.
        noted: what the ledger is told beside it.
        yields: whether it is not handed in while another run has it in flight; AskedElsewhere is its result then.
        body: what is handed in, if it is not that of `wire`.
        line: of the file; empty once it is written.
        result: resolved with what came, or the error of the row.
        handed_in: how often it was.
        faults: kinds of errors that it came back with.
        intent: of the call in the ledger, from before it is handed in.
    """

    key: str
    wire: Mapping[str, Any]
    noted: Noted
    yields: bool = False
    body: dict[str, Any] | None = None
    line: bytes = b""
    result: "asyncio.Future[Result]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    handed_in: int = 0
    faults: list[str] = field(default_factory=list)
    intent: Intent = field(init=False)

    @property
    def has_ended(self) -> bool:
        """Whether who waits has been told how it ended."""
        return self.result.done() and not self.result.cancelled()

    def write(self) -> bytes:
        """Its line."""
        self.line = self.line or write_line(self.key, self.wire["body"] if self.body is None else self.body)
        return self.line

    def succeed(self, result: Result) -> None:
        """Tells who waits."""
        if not self.result.done():
            self.result.set_result(result)

    def fail(self, error: CallError) -> None:
        """Tells who waits; each raises an error of its own, or their tracebacks would mix."""
        if not self.result.done():
            self.result.set_exception(copy.copy(error))

    def break_off(self, error: Exception) -> None:
        """Tells who waits that the run cannot go on."""
        if not self.result.done():
            self.result.set_exception(error)
