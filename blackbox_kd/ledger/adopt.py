"""Replies of one run become those of another, from the same ledger or out of another file: shards that are merged.

It can be repeated, and broken off at any moment: what is there already is not taken twice.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from blackbox_kd.errors import LedgerError
from blackbox_kd.ledger.connection import explain_faults, open_file
from blackbox_kd.ledger.sqlite_file import ADD_REFUSED, REPLY

BATCH = 2_000
"""Replies of one transaction: other processes that write to the ledger wait only that long."""
PROCESS = "run, pid, started, opened_at, closed_at"
INTENT = "serial, key, run, model, row_id, reserved_usd, reserved_tokens, sent_at"
FIND_PROCESS = "SELECT id FROM processes WHERE pid = ? AND started = ? AND opened_at = ?"
ADD_REPLY = f"""
INSERT INTO replies ({REPLY}, created_at) SELECT {", ".join(f"?{n}" for n in range(1, REPLY.count(",") + 3))}
WHERE NOT EXISTS (
    SELECT 1 FROM replies
    WHERE substr(key, 1, 16) = substr(?1, 1, 16) AND +key = ?1 AND created_at = ?{REPLY.count(",") + 2}
)
"""
MOVE_REPLIES = "UPDATE replies SET run = ? WHERE id IN (SELECT id FROM replies WHERE run = ? LIMIT ?)"
OVERRULED = """
SELECT count(*) FROM replies AS mine WHERE run = ? AND EXISTS (
    SELECT 1 FROM replies AS older
    WHERE substr(older.key, 1, 16) = substr(mine.key, 1, 16) AND older.key = mine.key
        AND older.id < mine.id AND older.body <> mine.body
)
"""


def adopt(ledger: Path, source: Path, old: str, new: str) -> None:
    """Makes what the run `old` paid for the run `new`'s.

    Args:
        ledger: the ledger of `new`.
        source: the ledger of `old`. If it is another file, all replies in it are copied: `old` may have used some
            that were paid for by others. That file is not changed.
        old: identity of the run that paid.
        new: identity of the run that takes over.

    Raises:
        LedgerError: a ledger is not there, or cannot be read or written.
    """
    if not source.exists():
        raise LedgerError(f"there is no ledger {str(source)!r}")
    with explain_faults(ledger, (sqlite3.Error, OSError)), closing(open_file(ledger)) as db:
        if not source.samefile(ledger):
            with closing(open_file(source, read_only=True)) as other:
                _copy(other, db)
        for table in ("processes", "intents"):
            db.execute(f"UPDATE {table} SET run = ? WHERE run = ?", (new, old))
        while db.execute(MOVE_REPLIES, (new, old, BATCH)).rowcount:
            pass


def count_overruled(ledger: Path, run: str) -> int:
    """How many replies of a run will not be found, since an older one, with other text, answers the same call.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    with explain_faults(ledger), closing(open_file(ledger, read_only=True)) as db:
        return int(db.execute(OVERRULED, (run,)).fetchone()[0])


def _copy(other: sqlite3.Connection, db: sqlite3.Connection) -> None:
    other.execute("BEGIN")  # one snapshot
    ids: dict[int | None, Any] = {None: None}
    for process, *values in other.execute(f"SELECT id, {PROCESS} FROM processes ORDER BY id").fetchall():
        found = db.execute(FIND_PROCESS, values[1:4]).fetchone()
        add = f"INSERT INTO processes ({PROCESS}) VALUES (?, ?, ?, ?, ?)"
        ids[process] = found[0] if found else db.execute(add, values).lastrowid
        db.execute("DELETE FROM intents WHERE process = ?", (ids[process],))
    for batch in _split_batches(other.execute(f"SELECT {REPLY}, created_at FROM replies ORDER BY id")):
        db.execute("BEGIN IMMEDIATE")
        db.executemany(ADD_REPLY, batch)
        db.execute("COMMIT")
    if other.execute("SELECT 1 FROM sqlite_master WHERE name = 'refused_fields'").fetchone():  # not before version 4
        db.executemany(ADD_REFUSED, other.execute("SELECT endpoint, model, field FROM refused_fields").fetchall())
    for process, repeated_by, *values in other.execute(f"SELECT process, repeated_by, {INTENT} FROM intents"):
        add = f"INSERT INTO intents (process, repeated_by, {INTENT}) VALUES ({', '.join('?' * 10)})"
        db.execute(add, (ids[process], ids[repeated_by], *values))


def _split_batches(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    while batch := list(islice(rows, BATCH)):
        yield batch
