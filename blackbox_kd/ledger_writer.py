"""Group commit: a thread writes all that waits as one transaction, so that many calls share an fsync."""

import asyncio
import copy
import queue
import sqlite3
import threading
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from blackbox_kd.errors import LedgerError
from blackbox_kd.ledger_file import LedgerFile


@dataclass(slots=True, eq=False)
class Write:
    """One thing to commit, as `LedgerFile.commit` takes it; `done` is resolved when it is on disk."""

    done: "asyncio.Future[str | None]"
    intent: tuple[Any, ...] | None = None
    reply: tuple[Any, ...] | None = None
    abandoned: tuple[str, str] | None = None
    ended: int | None = None


class Writer:
    """The one thread that writes to a file."""

    def __init__(self, file: LedgerFile) -> None:
        self._file = file
        self._writes: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="ledger", daemon=True)
        self._thread.start()

    def submit(self, **parts: Any) -> "asyncio.Future[str | None]":
        """Puts a `Write` of these parts into the next transaction.

        Returns:
            What resolves, in the running event loop, once it is on disk: for an intent to the body of a reply
            that makes the request superfluous, otherwise to None. Cancelling it does not undo the write.

        Raises:
            LedgerError: the ledger is closed.
        """
        if not self._thread.is_alive():
            raise LedgerError(f"ledger {str(self._file.path)!r} is closed")
        done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._writes.put(Write(done, **parts))
        return done

    def close(self) -> None:
        """Commits what waits and ends the thread."""
        self._writes.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        closing = False
        while not closing:
            batch = [self._writes.get()]
            with suppress(queue.Empty):
                while True:
                    batch.append(self._writes.get_nowait())
            closing = None in batch
            writes = [write for write in batch if write is not None]
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

    def _commit(self, writes: list[Write]) -> dict[str, str] | Exception:
        """Bodies, by key, of intended calls that need not be sent; or why nothing could be committed."""
        try:
            return self._file.commit(
                intents=[write.intent for write in writes if write.intent],
                replies=[write.reply for write in writes if write.reply],
                abandoned=[write.abandoned for write in writes if write.abandoned],
                ended=[write.ended for write in writes if write.ended is not None],
            )
        except Exception as error:  # whatever it is, somebody waits for it
            return error


def _tell(writes: list[Write], outcome: dict[str, str] | Exception) -> None:
    """Wakes those who wait, with one call for each event loop."""
    by_loop = defaultdict(list)
    for write in writes:
        by_loop[write.done.get_loop()].append(write)
    for loop, waiting in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_wake, waiting, outcome)


def _wake(writes: list[Write], outcome: dict[str, str] | Exception) -> None:
    for write in writes:
        if write.done.done():  # cancelled
            continue
        if isinstance(outcome, Exception):
            error = copy.copy(outcome)  # each waiter raises its own, or their tracebacks would mix
            error.__cause__ = outcome.__cause__
            write.done.set_exception(error)
        else:
            write.done.set_result(outcome.get(write.intent[1]) if write.intent else None)
