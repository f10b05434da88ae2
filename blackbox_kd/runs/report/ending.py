"""How a run has ended."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from blackbox_kd.errors import BudgetReached, LedgerError, StepError, Stopped, quote_cause


class Status(StrEnum):
    """What kind of an end it was."""

    COMPLETE = "complete"
    NO_ROWS = "no rows"
    """All steps were run, and none of the rows is left."""
    MERGED = "merged"
    """Shards were joined, and later steps are still to be run."""
    STOPPED = "stopped"
    """By hand, or by whoever sent a signal."""
    BUDGET = "budget"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run has ended.

    Args:
        status: what kind of an end it was.
        why: in a line, for people.
    """

    status: Status = Status.COMPLETE
    why: str = "complete"

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """The end that an error makes of a run."""
        if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | Stopped):
            return cls(Status.STOPPED, "stopped by Ctrl-C or SIGTERM")
        return cls(Status.BUDGET if isinstance(error, BudgetReached) else Status.ERROR, quote_cause(error))

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do."""
        return self.status is Status.COMPLETE


async def try_end(end: Callable[[], Awaitable[None] | None]) -> list[Exception]:
    """Does something at the end of a run; returns what went wrong."""
    try:
        waited_for = end()
        if waited_for is not None:
            await waited_for
    except OSError as error:
        return [StepError(f"{error.filename}: cannot be written: {error.strerror}")]
    except Exception as error:
        return [error]
    return []


def raise_first(stopped: BaseException | None, faults: Sequence[Exception], say: Callable[[str], None]) -> None:
    """Raises why a run has ended; what went wrong after it must not hide that, and is said.

    Raises:
        BaseException: what has stopped the run, or else the first fault.
    """
    for fault in faults[stopped is None :]:
        if not (isinstance(fault, LedgerError) and isinstance(stopped, LedgerError)):  # it is said once
            say(f"warning: {fault}")
    if stopped is not None or faults:
        raise stopped or faults[0]
