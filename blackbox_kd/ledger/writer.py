"""Group commit: a thread writes all that waits as one transaction, so that many calls share an fsync."""

import asyncio
import copy
import queue
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from blackbox_kd.errors import AskedElsewhere, LedgerError
from blackbox_kd.ledger.met import Bought, Met
from blackbox_kd.ledger.sqlite_file import LedgerFile

ROUNDS = 16
"""How often the event loop goes round before a batch is handed over: at once when there is nothing else to do, and
when there is, many calls share a commit."""


@dataclass(slots=True, eq=False)
class Write:
    """One thing to commit, as `LedgerFile.commit` takes it.

    Args:
        intent: of a request to be sent.
        reply: that came.
        abandoned: model and kind of a request answered without a reply.
        ended: serial of an intent that is to go.
        lost: serial of an intent whose reply will not come any more.
        refused: endpoint, model and a field that it was found not to take.
        yields: whether the intent is not to be written while another process has the call in flight.
        undo: is called in the event loop if it could not be stored.
        done: is resolved once it is on disk.
    """

    intent: tuple[Any, ...] | None = None
    reply: tuple[Any, ...] | None = None
    abandoned: tuple[str, str] | None = None
    ended: int | None = None
    lost: int | None = None
    refused: tuple[str, str, str] | None = None
    yields: bool = False
    undo: Callable[[], None] | None = None
    done: "asyncio.Future[Bought | None]" = field(init=False)


class Writer:
    """The one thread that writes to a file."""

    def __init__(self, file: LedgerFile) -> None:
        self._file = file
        self._is_closed = False
        self._gathered: list[Write] = []
        self._gathering: asyncio.AbstractEventLoop | None = None
        self._batches: queue.SimpleQueue[list[Write] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="ledger", daemon=True)
        self._thread.start()

    def submit(self, write: Write) -> "asyncio.Future[Bought | None]":
        """Puts something into the next transaction.

        Returns:
            What resolves, in the running event loop, once it is on disk: for an intent to the reply
            that makes the request superfluous, otherwise to None; it raises AskedElsewhere where an intent that
            yields was not written. Cancelling it does not undo the write.

        Raises:
            LedgerError: the ledger is closed.
        """
        if self._is_closed:
            raise LedgerError(f"ledger {str(self._file.path)!r} is closed")
        loop = asyncio.get_running_loop()
        done = write.done = loop.create_future()
        if loop is not self._gathering:  # also when the loop of the latest ones has ended too early
            self._hand_over()
            self._gathering = loop
            loop.call_soon(self._wait, loop, ROUNDS)
        self._gathered.append(write)
        return done

    def close(self) -> None:
        """Commits what waits and ends the thread."""
        self._is_closed = True
        self._hand_over()
        self._batches.put(None)
        self._thread.join()

    def _wait(self, loop: asyncio.AbstractEventLoop, rounds: int) -> None:
        if rounds:
            loop.call_soon(self._wait, loop, rounds - 1)
        elif loop is self._gathering:
            self._hand_over()

    def _hand_over(self) -> None:
        """Wakes the thread once for all that was gathered."""
        self._gathering = None
        if self._gathered:
            self._batches.put(self._gathered)
            self._gathered = []

    def _write_all(self) -> None:
        closing = False
        while not closing:
            batches = [self._batches.get()]
            with suppress(queue.Empty):
                while True:
                    batches.append(self._batches.get_nowait())
            closing = None in batches
            writes = [write for batch in batches if batch for write in batch]
            if writes:
                self._commit_and_tell(writes)
                self._file.checkpoint_if_long()

    def _commit_and_tell(self, writes: list[Write]) -> None:
        outcome = self._commit(writes)
        is_disk_fault = isinstance(outcome, LedgerError) and isinstance(outcome.__cause__, sqlite3.OperationalError)
        if isinstance(outcome, Exception) and not is_disk_fault and len(writes) > 1:
            for write in writes:  # one of them cannot be stored (a token count above 2**63, say); the others can
                self._commit_and_tell([write])
        else:
            _tell(writes, outcome)

    def _commit(self, writes: list[Write]) -> Met | Exception:
        """What need not be sent, or why nothing could be committed."""
        try:
            return self._file.commit(
                intents=[write.intent for write in writes if write.intent],
                replies=[write.reply for write in writes if write.reply],
                abandoned=[write.abandoned for write in writes if write.abandoned],
                ended=[write.ended for write in writes if write.ended is not None],
                lost=[write.lost for write in writes if write.lost is not None],
                refused=[write.refused for write in writes if write.refused],
                yielding={write.intent[0] for write in writes if write.intent and write.yields},
            )
        except Exception as error:  # whatever it is, somebody waits for it
            return error


def _tell(writes: list[Write], outcome: Met | Exception) -> None:
    """Wakes those who wait, with one call for each event loop."""
    by_loop = defaultdict(list)
    for write in writes:
        by_loop[write.done.get_loop()].append(write)
    for loop, waiting in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_wake, waiting, outcome)


def _wake(writes: list[Write], outcome: Met | Exception) -> None:
    is_error = isinstance(outcome, Exception)
    for write in writes:
        if is_error and write.undo is not None:
            write.undo()
        if write.done.done():  # cancelled
            continue
        if isinstance(outcome, Exception):
            error = copy.copy(outcome)  # each waiter raises its own, or their tracebacks would mix
            error.__cause__ = outcome.__cause__
            write.done.set_exception(error)
        elif write.intent is None:
            write.done.set_result(None)
        elif (
            (bought := outcome.bought.get(write.intent[1])) is None
            and write.yields
            and write.intent[1] in outcome.elsewhere
        ):
            write.done.set_exception(AskedElsewhere())
        else:
            write.done.set_result(bought)
