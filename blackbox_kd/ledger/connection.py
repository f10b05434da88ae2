"""How a ledger's file is opened, and what its errors mean to the user."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from blackbox_kd.errors import LedgerError
from blackbox_kd.paths import read_table

VERSION = 4
"""Of the tables. 1: replies were indexed by their whole keys. 2: intents did not say whether they were lost. 3: what
models refuse was not kept."""
APPLICATION = 0x626B6432
"""`application_id` of the file: tells a ledger from other SQLite databases."""
TABLES = Path(__file__).with_name("tables.sql")
BUSY_S = 30.0
"""How long a write waits for another process that is writing."""
PAGE_BYTES = 8192
SETTINGS = (
    f"page_size = {PAGE_BYTES}",
    "mmap_size = 0",
    "synchronous = FULL",  # an fsync for each commit
    "fullfsync = ON",  # macOS: a plain fsync may leave data in the disk's cache
    "wal_autocheckpoint = 0",  # see `checkpoint_if_long`
    "cache_size = -16384",
    "journal_mode = WAL",
)
FAULTS: list[dict[str, Any]] = read_table(__file__)["faults"]


def open_file(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to a ledger; where there is none, one is made, unless the connection is read-only.

    Raises:
        LedgerError: the file cannot be used, is no ledger, or is a later version's.
    """
    patience = time.monotonic() + BUSY_S
    while True:
        try:
            return _connect(path, read_only)
        except (sqlite3.Error, OSError) as error:
            # SQLite does not always wait by itself while another process makes the file or closes it.
            is_busy = getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")
            if not is_busy or time.monotonic() > patience:
                raise explain_fault(error, path) from error
            time.sleep(0.02)


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
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
    return db


def _prepare(db: sqlite3.Connection, path: Path, read_only: bool) -> None:
    _refuse_strangers(db, path)
    if read_only:
        return
    for setting in SETTINGS:
        db.execute(f"PRAGMA {setting}").fetchall()
    if db.execute("PRAGMA user_version").fetchone()[0] < VERSION:
        _make_tables(db)


def _make_tables(db: sqlite3.Connection) -> None:
    """Makes the tables, or brings those of an earlier version up to date; another process may be doing the same."""
    mark, tables = f"PRAGMA application_id = {APPLICATION};", TABLES.read_text(encoding="utf-8")
    db.executescript(f"BEGIN IMMEDIATE; DROP INDEX IF EXISTS replies_by_key; {tables} {mark} COMMIT;")
    db.execute("BEGIN IMMEDIATE")
    if "lost_at" not in [column[1] for column in db.execute("PRAGMA table_info(intents)")]:
        db.execute("ALTER TABLE intents ADD COLUMN lost_at TEXT")
    db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


def _refuse_strangers(db: sqlite3.Connection, path: Path) -> None:
    db.execute("BEGIN")  # one look: another process may be making the ledger at this moment
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    db.execute("COMMIT")
    if application != APPLICATION and tables:
        what = f"{str(path)!r} is an SQLite database, but not a ledger"
        raise LedgerError(what, exists="it was not changed", fix="name another file")
    if version > VERSION:
        what = f"ledger {str(path)!r} has version {version}; this blackbox-kd reads versions up to {VERSION}"
        raise LedgerError(what, exists="it was not changed", fix="upgrade blackbox-kd, or name another file")


def explain_fault(error: Exception, path: Path) -> LedgerError:
    """What an error of the file means to the user: what is wrong, what was kept, what to do."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    fault = next(each for each in FAULTS if name.startswith(tuple(each["errors"])))
    what = fault["what"].format(seconds=BUSY_S)
    return LedgerError(f"ledger {str(path)!r} {what} ({name}: {error})", exists=fault["kept"], fix=fault["fix"])


@contextmanager
def explain_faults(path: Path, kinds: type[Exception] | tuple[type[Exception], ...] = sqlite3.Error) -> Iterator[None]:
    """Turns errors of SQLite, or others that say what is wrong with the file, into what they mean to the user.

    Raises:
        LedgerError: see `explain_fault`.
    """
    try:
        yield
    except kinds as error:
        raise explain_fault(error, path) from error
