"""The ledger's SQLite file: how it is opened, read and written. `ledger.sql` has its tables."""

import functools
import itertools
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from blackbox_kd.errors import LedgerError
from blackbox_kd.processes import start_of

VERSION = 1
APPLICATION = 0x626B6432
"""`application_id` of the file: tells a ledger from other SQLite databases."""
TABLES = Path(__file__).with_name("ledger.sql")
BUSY_S = 30.0
"""How long a write waits for another process that is writing."""
LONG_WAL_BYTES = 16 * 2**20
"""From this size on the write-ahead log is copied into the database and emptied."""

SETTINGS = (
    "mmap_size = 0",
    "synchronous = FULL",  # an fsync for each commit
    "fullfsync = ON",  # macOS: a plain fsync may leave data in the disk's cache
    "wal_autocheckpoint = 0",  # see `checkpoint_if_long`
    "cache_size = -65536",
    "journal_mode = WAL",
)
UNWRITABLE = (
    "cannot be opened for writing; it was not changed. Make the file and its folder writable for you, or name "
    "another file."
)
FAULTS = {
    "SQLITE_FULL": "cannot be written: the disk is full. All replies stored before are kept, those that were just "
    "arriving are not. Free some space and run the same command: it goes on from what is stored.",
    "SQLITE_READONLY": UNWRITABLE,
    "SQLITE_CANTOPEN": UNWRITABLE,
    "SQLITE_PERM": UNWRITABLE,
    "PermissionError": UNWRITABLE,
    "IsADirectoryError": UNWRITABLE,
    "SQLITE_CORRUPT": "is damaged; it was left as it is. The replies that can still be read are saved by: "
    "blackbox-kd ledger rescue FILE NEW_FILE",
    "SQLITE_NOTADB": "is not an SQLite database, or its first page is damaged; it was not changed. Name another file, "
    "or put a backup in its place.",
    "SQLITE_BUSY": f"was kept locked by another program for {BUSY_S:.0f} s. Everything stored before is kept. Close "
    "that program and run the same command.",
}
"""What is wrong, what was kept and what to do, by the beginning of an error's name."""
OTHER_FAULT = (
    "cannot be used. Everything stored before is kept. Check the disk and run the same command: it goes on from what "
    "is stored."
)
SPENT = """
SELECT requests, tokens, usd, usd_unknown, doubtful, lost_tokens + uncounted_tokens, lost_usd + unpriced_usd
FROM (
    SELECT count(*) AS requests,
           coalesce(sum(prompt_tokens + completion_tokens), 0) AS tokens,
           total(cost_usd) AS usd,
           count(*) - count(cost_usd) AS usd_unknown,
           coalesce(sum(iif(prompt_tokens + completion_tokens = 0, reserved_tokens, 0)), 0) AS uncounted_tokens,
           total(iif(cost_usd IS NULL, reserved_usd, 0)) AS unpriced_usd
    FROM replies WHERE run = ?1
), (
    SELECT count(*) AS doubtful, coalesce(sum(reserved_tokens), 0) AS lost_tokens, total(reserved_usd) AS lost_usd
    FROM intents WHERE run = ?1 AND process <> ?2
)
"""
REPEATED = """
SELECT count(*) FROM (
    SELECT DISTINCT process, key FROM intents
    WHERE repeated_by IN (SELECT id FROM processes WHERE run = ?)
)
"""
ADD_ABANDONED = """
INSERT INTO abandoned VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET calls = calls + 1
"""
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
        self._wal = Path(f"{path.resolve()}-wal")
        self._copy_wal_at = LONG_WAL_BYTES
        self._db = open_file(path)
        try:
            self._reader = open_file(path, read_only=True)
            me = (run, os.getpid(), start_of(os.getpid()))
            added = self._db.execute("INSERT INTO processes (run, pid, started) VALUES (?, ?, ?)", me)
        except sqlite3.Error as error:
            self._db.close()
            raise fault(error, path) from error
        self._process = added.lastrowid

    def body(self, key: str) -> str | None:
        """The body of the oldest reply to a call."""
        found = self._read("SELECT body FROM replies WHERE key = ? ORDER BY id LIMIT 1", key)
        return found and str(found[0])

    def spent(self) -> tuple[int, int, float, int, int, int, float]:
        """The fields of `ledger.Spent`, in their order."""
        return tuple(self._read(SPENT, self._run, self._process))

    def repeated(self) -> int:
        """How many calls this run has sent again."""
        return int(self._read(REPEATED, self._run)[0])

    def commit(
        self,
        intents: Sequence[tuple[Any, ...]],
        replies: Sequence[tuple[Any, ...]],
        abandoned: Sequence[tuple[str, str]],
        ended: Sequence[int],
    ) -> dict[str, str]:
        """Writes a batch as one transaction, which is on disk on return.

        Args:
            intents: (serial, key, model, row id, reserved usd, reserved tokens) of requests to be sent.
            replies: the columns `REPLY`.
            abandoned: (model, kind) of requests answered without a reply.
            ended: serials of intents that are to go.

        Returns:
            The bodies, by key, of the intended calls that have a reply by now; they get no intent.

        Raises:
            LedgerError: nothing of the batch was stored; its cause is an OperationalError if no batch can be now.
        """
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            self._insert("replies", REPLY, replies)  # first, so that an intent of this batch may meet its reply
            bought = self._meet_others([intent[1] for intent in intents])
            new = [(self._process, i[0], i[1], self._run, *i[2:]) for i in intents if i[1] not in bought]
            self._insert("intents", INTENT, new)
            db.executemany(ADD_ABANDONED, [(self._run, *pair) for pair in abandoned])
            for chunk in _chunks(ended):
                db.execute(_delete_intents(len(chunk)), (self._process, *chunk))
            db.execute("COMMIT")
        except BaseException as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise fault(error, self.path) from error
            raise
        return bought

    def checkpoint_if_long(self) -> None:
        """Copies a long write-ahead log into the database.

        Never by itself (`wal_autocheckpoint`): SQLite before 3.51.3 can corrupt a file when another process
        commits just while a second checkpoint starts. TRUNCATE takes the writer's lock, so none can.
        """
        with suppress(sqlite3.Error, OSError):  # the next commit says what is wrong; no reply depends on this
            if self._wal.stat().st_size < self._copy_wal_at:
                return
            self._db.execute("PRAGMA busy_timeout = 1000")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")
            # A log that somebody still reads stays long: no try at each commit then.
            self._copy_wal_at = self._wal.stat().st_size + LONG_WAL_BYTES

    def close(self) -> None:
        """Notes that this process is done, and closes the file."""
        with suppress(sqlite3.Error):  # a process that could not note it counts as dead once it ends
            now = "strftime('%Y-%m-%dT%H:%M:%fZ')"
            self._db.execute(f"UPDATE processes SET closed_at = {now} WHERE id = ?", (self._process,))
        self._reader.close()
        self._db.close()

    def _read(self, sql: str, *values: Any) -> Any:
        try:
            return self._reader.execute(sql, values).fetchone()
        except sqlite3.Error as error:
            raise fault(error, self.path) from error

    def _insert(self, table: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
        for chunk in _chunks(rows):
            self._db.execute(_insert(table, columns, len(chunk)), tuple(itertools.chain.from_iterable(chunk)))

    def _meet_others(self, keys: Sequence[str]) -> dict[str, str]:
        """Bodies, by key, that others have bought; marks intents of processes that ended as repeated."""
        bought: dict[str, str] = {}
        for chunk in _chunks(keys):
            bought.update(self._db.execute(_replies_to(len(chunk)), chunk))
            left = self._db.execute(_intents_of_others(len(chunk)), (self._process, *chunk)).fetchall()
            for process, serial in left:
                if has_ended(self._db, process):
                    mark = "UPDATE intents SET repeated_by = ? WHERE process = ? AND serial = ?"
                    self._db.execute(mark, (self._process, process, serial))
        return bought


def has_ended(db: sqlite3.Connection, process: int) -> bool:
    """Whether a process (by its id in the ledger) has closed the ledger or died."""
    found = db.execute("SELECT pid, started FROM processes WHERE id = ? AND closed_at IS NULL", (process,)).fetchone()
    return found is None or start_of(found[0]) != found[1]


def _chunks(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Pieces whose lengths are powers of two up to MANY, so that few different statements are prepared."""
    at = 0
    while at < len(rows):
        size = min(MANY, 1 << ((len(rows) - at).bit_length() - 1))
        yield rows[at : at + size]
        at += size


def _marks(count: int) -> str:
    return "(" + ", ".join("?" * count) + ")"


@functools.cache
def _insert(table: str, columns: str, rows: int) -> str:
    one = _marks(columns.count(",") + 1)
    return f"INSERT INTO {table} ({columns}) VALUES " + ", ".join([one] * rows)


@functools.cache
def _delete_intents(rows: int) -> str:
    return f"DELETE FROM intents WHERE process = ? AND serial IN {_marks(rows)}"


@functools.cache
def _replies_to(keys: int) -> str:
    return f"SELECT key, body FROM replies WHERE key IN {_marks(keys)} ORDER BY id DESC"


@functools.cache
def _intents_of_others(keys: int) -> str:
    where = "process <> ? AND repeated_by IS NULL"
    return f"SELECT process, serial FROM intents WHERE {where} AND key IN {_marks(keys)}"


def open_file(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to a ledger; where there is none, one is made, unless the connection is read-only.

    Raises:
        LedgerError: the file cannot be used, is no ledger, or is a later version's.
    """
    try:
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        uri = f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rw'}"
        db = sqlite3.connect(uri, BUSY_S, uri=True, isolation_level=None, check_same_thread=False)
        try:
            _prepare(db, path, read_only)
        except BaseException:
            db.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise fault(error, path) from error
    return db


def _prepare(db: sqlite3.Connection, path: Path, read_only: bool) -> None:
    _refuse_strangers(db, path)
    if read_only:
        return
    for setting in SETTINGS:
        db.execute(f"PRAGMA {setting}").fetchall()
    if db.execute("PRAGMA user_version").fetchone()[0] == 0:
        marks = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};"
        db.executescript(f"BEGIN IMMEDIATE; {TABLES.read_text(encoding='utf-8')} {marks} COMMIT;")


def _refuse_strangers(db: sqlite3.Connection, path: Path) -> None:
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION and db.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise LedgerError(
            f"{str(path)!r} is an SQLite database, but not a ledger. It was not changed: name another file."
        )
    if version > VERSION:
        raise LedgerError(
            f"ledger {str(path)!r} has version {version}; this blackbox-kd reads versions up to {VERSION}. "
            "It was not changed: upgrade blackbox-kd, or name another file."
        )


def fault(error: sqlite3.Error | OSError, path: Path) -> LedgerError:
    """What an error of the file means to the user: what is wrong, what was kept, what to do."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    known = next((text for prefix, text in FAULTS.items() if name.startswith(prefix)), OTHER_FAULT)
    return LedgerError(f"ledger {str(path)!r} {known} ({name}: {error})")
