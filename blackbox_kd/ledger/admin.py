"""What the owner of a ledger does with it: see what it holds, export it, prune it, rescue it."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from blackbox_kd.errors import LedgerError
from blackbox_kd.ledger.connection import explain_faults, open_file
from blackbox_kd.ledger.sqlite_file import has_ended
from blackbox_kd.printable import escape_json

REPLIES_BY_MODEL = """
SELECT run, model, count(*), sum(prompt_tokens), sum(completion_tokens), total(cost_usd),
       count(*) - count(cost_usd), min(created_at), max(created_at)
FROM replies WHERE ?1 IS NULL OR run = ?1 GROUP BY run, model ORDER BY run, model
"""
INTENTS_BY_MODEL = """
SELECT run, model, count(*), count(repeated_by), total(reserved_usd)
FROM intents WHERE ?1 IS NULL OR run = ?1 GROUP BY run, model ORDER BY run, model
"""
ABANDONED = "SELECT run, model, kind, calls FROM abandoned WHERE ?1 IS NULL OR run = ?1 ORDER BY run, model, kind"
REPLIES_PER_PAGE = 80
"""More than fit: an empty reply takes above 100 bytes of a page of 8,192 (its key alone is 64)."""
REPLIES = "SELECT * FROM replies WHERE ?1 IS NULL OR run = ?1 ORDER BY id"


@dataclass(frozen=True, slots=True)
class Bought:
    """The replies of one model in one run.

    Args:
        run: the run that paid for them.
        model: name of the model in the recipe.
        calls: how many.
        prompt_tokens: their prompt tokens.
        completion_tokens: their completion tokens.
        cost_usd: what those of known cost did cost.
        cost_unknown: how many have no known cost; `cost_usd` does not contain them.
        first: time of the first (ISO 8601, UTC).
        last: time of the last.
    """

    run: str
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    cost_unknown: int
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Requests of one model in one run that have no reply: in flight now, or when their process ended.

    Args:
        run: the run that sent them.
        model: name of the model in the recipe.
        calls: how many.
        repeated: how many of them were sent again.
        reserved_usd: the most that they can have cost, as far as prices are known.
    """

    run: str
    model: str
    calls: int
    repeated: int
    reserved_usd: float


@dataclass(frozen=True, slots=True)
class Abandoned:
    """How many requests were answered without a reply and without a charge, by kind."""

    run: str
    model: str
    kind: str
    calls: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a ledger holds; `size_bytes` is that of the file with its write-ahead log."""

    size_bytes: int
    bought: list[Bought]
    unanswered: list[Unanswered]
    abandoned: list[Abandoned]


def summary(path: Path, run: str | None = None) -> Summary:
    """Calls, tokens and cost of each model in each run.

    Raises:
        LedgerError: there is no ledger, or it cannot be read.
    """
    with _open_snapshot(path) as db:
        return Summary(
            size_bytes=sum(part.stat().st_size for part in (path, Path(f"{path.resolve()}-wal")) if part.exists()),
            bought=[Bought(*line) for line in db.execute(REPLIES_BY_MODEL, (run,))],
            unanswered=[Unanswered(*line) for line in db.execute(INTENTS_BY_MODEL, (run,))],
            abandoned=[Abandoned(*line) for line in db.execute(ABANDONED, (run,))],
        )


def export(path: Path, out: TextIO, run: str | None = None) -> int:
    """Writes the replies as JSON lines, the columns of `tables.sql` by name; returns how many.

    Raises:
        LedgerError: there is no ledger, or it cannot be read.
    """
    written = 0
    with _open_snapshot(path) as db:
        db.row_factory = sqlite3.Row
        for reply in db.execute(REPLIES, (run,)):
            out.write(escape_json(json.dumps(dict(reply), ensure_ascii=False)) + "\n")
            written += 1
    return written


def prune(path: Path, *, run: str | None = None, before: datetime | None = None) -> int:
    """Removes replies, which will be bought again when they are asked for, and returns the space to the disk.

    Records of requests without a reply go too, but for those that a running process has in flight.

    Args:
        path: the ledger.
        run: only what this run paid for.
        before: only what is older; a time with a time zone.

    Returns:
        How many replies were removed.

    Raises:
        LedgerError: there is no ledger, or it cannot be written.
        ValueError: neither a run nor a time is given, or a time without a zone.
    """
    if run is None and before is None:
        raise ValueError("give run= or before=: without them everything would go")
    if before is not None and before.tzinfo is None:
        raise ValueError(f"before={before!r} has no time zone")
    _must_exist(path)
    until = before and before.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    chosen = "(?1 IS NULL OR run = ?1) AND (?2 IS NULL OR {time} < ?2)"
    with explain_faults(path), closing(open_file(path)) as db:
        db.execute("BEGIN IMMEDIATE")
        gone = db.execute(f"DELETE FROM replies WHERE {chosen.format(time='created_at')}", (run, until)).rowcount
        for (process,) in db.execute("SELECT DISTINCT process FROM intents").fetchall():
            if has_ended(db, process):
                old = f"{chosen.format(time='sent_at')} AND process = ?3"
                db.execute(f"DELETE FROM intents WHERE {old}", (run, until, process))
        if run is not None and before is None:
            db.execute("DELETE FROM abandoned WHERE run = ?", (run,))
        db.execute("COMMIT")
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return gone


def rescue(path: Path, new: Path) -> int:
    """Copies from a damaged ledger what can be read into a new one; returns how many replies.

    Raises:
        LedgerError: there is no ledger, its tables cannot be found, or there is a file at the new place.
    """
    _must_exist(path)
    if new.exists():
        raise LedgerError(f"{str(new)!r} exists", fix="name a file that does not")
    uri = f"{path.resolve().as_uri()}?mode=ro"
    with (
        explain_faults(path, (sqlite3.Error, OSError)),
        closing(sqlite3.connect(uri, uri=True)) as old,
        closing(open_file(new)) as db,
    ):
        old.execute("PRAGMA writable_schema = ON")  # read a file that is shorter than it says
        db.execute("BEGIN IMMEDIATE")
        for table in ("processes", "intents", "abandoned", "refused_fields"):
            _copy(db, table, _read_whole(old, f"SELECT * FROM {table}"))
        for reply in range(_find_last_reply(old) + 1):  # one by one: a damaged page costs only what is on it
            found = _read_whole(old, "SELECT * FROM replies WHERE id = ?", reply)
            _copy(db, "replies", (row for row in found if not _is_cut(row)))
        saved = db.execute("SELECT count(*) FROM replies").fetchone()[0]
        db.execute("COMMIT")
    return int(saved)


def _read_whole(db: sqlite3.Connection, sql: str, *values: int) -> Iterator[tuple[Any, ...]]:
    """The rows up to the first that cannot be read."""
    with suppress(sqlite3.DatabaseError):
        yield from db.execute(sql, values)


def _is_cut(row: tuple[Any, ...]) -> bool:
    """Whether the end of a text was on a page that is not there whole: it is read as zeros, which JSON has none of."""
    return any("\0" in value for value in row if isinstance(value, str))


def _copy(db: sqlite3.Connection, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    columns = [column[1] for column in db.execute(f"PRAGMA table_info({table})")]
    for row in rows:  # of an earlier version: it lacks the last columns
        places = ", ".join("?" * len(row))
        db.execute(f"INSERT INTO {table} ({', '.join(columns[: len(row)])}) VALUES ({places})", row)


def _find_last_reply(db: sqlite3.Connection) -> int:
    """The largest id of a reply, or a number above it."""
    for (last,) in _read_whole(db, "SELECT max(id) FROM replies"):
        return int(last or 0)
    pages = int(db.execute("PRAGMA page_count").fetchone()[0])
    return pages * REPLIES_PER_PAGE


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise LedgerError(f"there is no ledger {str(path)!r}", fix="name one that a run has written")


@contextmanager
def _open_snapshot(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection within one snapshot."""
    _must_exist(path)
    with explain_faults(path), closing(open_file(path, read_only=True)) as db:
        db.execute("BEGIN")
        yield db
