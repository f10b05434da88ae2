"""The ledger's SQLite file: how it is read and written. `tables.sql` has its tables."""

import functools
import itertools
import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from blackbox_kd.errors import LedgerError
from blackbox_kd.ledger.connection import BUSY_S, PAGE_BYTES, explain_fault, explain_faults, open_file
from blackbox_kd.ledger.met import Bought, Met
from blackbox_kd.ledger.processes import start_of
from blackbox_kd.paths import read_table

PAGES_PER_COMMIT = 8
"""About how many a commit writes beside those of its replies."""
LONG_LOG_BYTES = 16 * 2**20
"""How long the write-ahead log may get."""
SQL: dict[str, str] = read_table(__file__)
ADD_REFUSED = "INSERT OR IGNORE INTO refused_fields VALUES (?, ?, ?)"
REFUSED = "SELECT field FROM refused_fields WHERE endpoint = ? AND model = ?"
MARK_REPEATED = "UPDATE intents SET repeated_by = ? WHERE process = ? AND serial = ?"
DELETE_INTENTS = "DELETE FROM intents WHERE process = ? AND serial IN (SELECT value FROM json_each(?))"
INTENT = "process, serial, key, run, model, row_id, reserved_usd, reserved_tokens"
REPLY = (
    "key, run, model, row_id, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, cost_usd, "
    "reserved_usd, reserved_tokens, body, wire"
)
MANY = 64
"""Rows of the longest statement. A statement gives the interpreter lock away once, whatever its length."""


class LedgerFile:
    """The open file: one connection that writes, for a single thread, and one that reads, for any."""

    def __init__(self, path: Path, run: str) -> None:
        self.path = path
        self._run = run
        self._log_bytes = 0  # added by this process, roughly: for each reply its texts and a page of the index of keys
        self._db = open_file(path)
        try:
            self._reader = open_file(path, read_only=True)
            me = (run, os.getpid(), start_of(os.getpid()))
            added = self._db.execute("INSERT INTO processes (run, pid, started) VALUES (?, ?, ?)", me)
        except sqlite3.Error as error:
            self._db.close()
            raise explain_fault(error, path) from error
        self._process = added.lastrowid
        self._inode = path.stat().st_ino
        self._removed: LedgerError | None = None
        self._left: list[sqlite3.Connection] = []
        self._is_closed = False

    def reply(self, key: str) -> Bought | None:
        """The oldest reply to a call."""
        return next(itertools.starmap(Bought, self._read(SQL["reply_to"], key)), None)

    def replies(self, keys: Sequence[str]) -> dict[str, Bought]:
        """The oldest replies to calls, by key, as far as there are any."""
        return _by_key(self._read(SQL["replies_to"], json.dumps(keys)))

    def count_spent(self, run: str | None = None, lost: bool = False) -> tuple[int, int, float, int, int, int, float]:
        """The fields of `ledger.Spent`, in their order; see `Ledger.count_spent`."""
        return tuple(self._read(SQL["spent"], run or self._run, None if lost else self._process)[0])

    def runs(self) -> list[str]:
        """The runs that have opened the ledger."""
        return [run for (run,) in self._read("SELECT DISTINCT run FROM processes")]

    def find_refused(self, endpoint: str, model: str) -> list[str]:
        """Fields that a model was found not to take."""
        return [field for (field,) in self._read(REFUSED, endpoint, model)]

    def count_repeated(self) -> int:
        """How many calls this run has sent again."""
        return int(self._read(SQL["repeated"], self._run)[0][0])

    def in_flight_elsewhere(self, key: str) -> bool:
        """Whether another process that lives has sent a call, and may yet get its reply."""
        with explain_faults(self.path):
            others = self._read(SQL["in_flight_elsewhere"], key, self._process)
            return any(not has_ended(self._reader, process) for (process,) in others)

    def _refuse_removal(self) -> None:
        """Goes on in a file beside one that was removed or replaced, with which all that is written into it is gone.

        What is paid for is kept there, and no request is sent any more.
        """
        with suppress(OSError):
            if self._removed is not None or self.path.stat().st_ino == self._inode:
                return
        what = f"ledger {str(self.path)!r} was removed or replaced while the run goes on"
        saved = self.path.with_name(f"{self.path.name}.saved-{os.getpid()}")
        db = open_file(saved)
        with explain_faults(saved):
            self._db.backup(db)
        self._left = [self._db, self._reader]  # closed at the end: the event loop may be reading just now
        self._db, self._reader = db, open_file(saved, read_only=True)
        self._removed = LedgerError(
            f"{what}; what it held is in {saved}", fix=f"run the same command with --ledger {saved}: it goes on"
        )

    def commit(
        self,
        intents: Sequence[tuple[Any, ...]],
        replies: Sequence[tuple[Any, ...]],
        abandoned: Sequence[tuple[str, str]],
        ended: Sequence[int],
        lost: Sequence[int] = (),
        yielding: Collection[int] = (),
        refused: Sequence[tuple[str, str, str]] = (),
    ) -> Met:
        """Writes a batch as one transaction, which is on disk on return.

        Args:
            intents: (serial, key, model, row id, reserved usd, reserved tokens) of requests to be sent.
            replies: the columns `REPLY`.
            abandoned: (model, kind) of requests answered without a reply.
            ended: serials of intents that are to go.
            lost: serials of intents whose replies will not come any more.
            yielding: serials of intents that are not written while another process has the call in flight.
            refused: (endpoint, model, field) of fields that models were found not to take.

        Raises:
            LedgerError: nothing of the batch was stored; its cause is an OperationalError if no batch can be now.
        """
        self._refuse_removal()
        if self._removed is not None and intents:
            raise self._removed
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            self._insert("replies", REPLY, replies)  # first, so that an intent of this batch may meet its reply
            met = self._meet_others([intent[1] for intent in intents])
            sent = [i for i in intents if i[1] not in met.bought and not (i[1] in met.elsewhere and i[0] in yielding)]
            self._insert("intents", INTENT, [(self._process, i[0], i[1], self._run, *i[2:]) for i in sent])
            db.executemany(SQL["add_abandoned"], [(self._run, *each) for each in abandoned])
            db.executemany(ADD_REFUSED, refused)
            db.execute(DELETE_INTENTS, (self._process, json.dumps(ended)))
            if lost:
                db.execute(SQL["mark_lost"], (self._process, json.dumps(lost)))
            db.execute("COMMIT")
            self._log_bytes += PAGE_BYTES * (PAGES_PER_COMMIT + len(replies))
            self._log_bytes += sum(len(reply[-2]) + len(reply[-1]) for reply in replies)
        except BaseException as error:
            with suppress(sqlite3.Error):  # SQLite has rolled back by itself, if it could not go on
                db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise explain_fault(error, self.path) from error
            raise
        return met

    def checkpoint_if_long(self) -> None:
        """Copies the write-ahead log into the database once it is long, so that it starts over.

        Never left to SQLite (`wal_autocheckpoint`): before version 3.51.3 it can corrupt a file when another process
        commits just while a checkpoint starts (sqlite.org/wal.html#walresetbug). FULL takes the writer's lock first.
        """
        if self._log_bytes < LONG_LOG_BYTES:
            return
        self._log_bytes = 0
        with suppress(sqlite3.Error):  # no reply depends on it, and the next commit says what is wrong
            self._db.execute("PRAGMA busy_timeout = 1000")
            self._db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")

    def close(self) -> None:
        """Notes that this process is done, and closes the file; doing so again does nothing.

        Raises:
            LedgerError: the file was removed; it says where what it held is.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._removed is None:
            self._refuse_removal()
        with suppress(sqlite3.Error):  # a process that could not note it counts as dead once it ends
            now = "strftime('%Y-%m-%dT%H:%M:%fZ')"
            self._db.execute(f"UPDATE processes SET closed_at = {now} WHERE id = ?", (self._process,))
        for connection in (self._reader, self._db, *self._left):
            connection.close()
        if self._removed is not None:
            raise self._removed

    def _read(self, sql: str, *values: Any) -> list[Any]:
        with explain_faults(self.path):
            return self._reader.execute(sql, values).fetchall()

    def _insert(self, table: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
        for chunk in _split_chunks(rows):
            self._db.execute(_insert(table, columns, len(chunk)), tuple(itertools.chain.from_iterable(chunk)))

    def _meet_others(self, keys: Sequence[str]) -> Met:
        """What others have bought or in flight; marks intents of processes that ended as repeated."""
        if not keys:
            return Met({}, set())
        asked = json.dumps(keys)
        elsewhere: set[str] = set()
        ended: dict[int, bool] = {}
        for process, serial, key, may_come in self._db.execute(
            SQL["left_by_others"], (asked, self._process)
        ).fetchall():
            if process not in ended:
                ended[process] = has_ended(self._db, process)
            if ended[process]:
                self._db.execute(MARK_REPEATED, (self._process, process, serial))
            elif may_come:
                elsewhere.add(key)
        bought = _by_key(self._db.execute(SQL["replies_to"], (asked,)).fetchall())
        return Met(bought, elsewhere - bought.keys())


def _by_key(found: Iterable[tuple[str, str, float | None]]) -> dict[str, Bought]:
    return {key: Bought(body, cost_usd) for key, body, cost_usd in found}


def has_ended(db: sqlite3.Connection, process: int) -> bool:
    """Whether a process (by its id in the ledger) has closed the ledger or died."""
    found = db.execute("SELECT pid, started FROM processes WHERE id = ? AND closed_at IS NULL", (process,)).fetchone()
    return found is None or start_of(found[0]) != found[1]


def _split_chunks(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Pieces whose lengths are powers of two up to MANY, so that few different statements are prepared."""
    at = 0
    while at < len(rows):
        size = min(MANY, 1 << ((len(rows) - at).bit_length() - 1))
        yield rows[at : at + size]
        at += size


@functools.cache
def _insert(table: str, columns: str, rows: int) -> str:
    one = "(" + ", ".join("?" * (columns.count(",") + 1)) + ")"
    return f"INSERT INTO {table} ({columns}) VALUES " + ", ".join([one] * rows)
