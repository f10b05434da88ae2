"""A query, right where it finds in a SQLite database what the query of the reference finds.

The rows are compared, not the names of their columns; their order counts only where the reference says ORDER BY. The
database is only read: it is opened so, no statement but SELECT is let through, and no other file is attached. A query
may take `seconds` and find so many rows and bytes; one that takes more is wrong. SQLite's own limit of memory is one of
the process, the ledger's connections included; so what a query sorts goes to files that it deletes, as is the default.

Source   execution accuracy of Spider: Zhong et al. 2020, arXiv:2010.02840
"""

import contextlib
import functools
import hashlib
import math
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from blackbox_kd.answers._kind import AnswerKind, answer
from blackbox_kd.answers._stated import drop_thought
from blackbox_kd.errors import DataError, FieldError, quote_cause

_FENCE = re.compile(r"```(?:\w{0,12})[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_TAGGED = re.compile(r"<(?:answer|sql)>(.*?)</(?:answer|sql)>", re.DOTALL | re.IGNORECASE)
_BEGIN = (
    r"(?:WITH\s+(?:RECURSIVE\s+)?[\w\"`\[\] ]{1,100}(?:\([^()]{0,500}\)\s*)?AS\s*(?:NOT\s+)?(?:MATERIALIZED\s*)?\("
    r"|SELECT\s)"
)
_BEGINS = (
    re.compile(rf"^[ \t]*(?:[A-Za-z ]{{1,20}}:[ \t]*)?(?P<query>{_BEGIN})", re.IGNORECASE | re.MULTILINE),
    re.compile(rf"\b(?P<query>{_BEGIN})"),
    re.compile(rf"\b(?P<query>{_BEGIN})", re.IGNORECASE),
)
"""Where a query begins: on a line of its own, in capitals, or anywhere."""
_PROSE = re.compile(
    r"\n\s*\n(?!\s*(?:SELECT|FROM|WHERE|GROUP|ORDER|HAVING|LIMIT|UNION|INTERSECT|EXCEPT|JOIN|AND|OR|\(|\)))",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/", re.DOTALL)
_ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
_REFUSED_FUNCTIONS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "zeroblob", "randomblob"}
_STEPS = 1_000
"""Instructions of SQLite's machine between two looks at the clock."""
_MOST_ROWS = 100_000
_MOST_BYTES = 50_000_000
"""Rows and bytes of a result."""
_LONGEST_VALUE = 1_000_000
_LONGEST = 20_000
"""Characters of a query."""
_HEADER = b"SQLite format 3\0"
Result = list[tuple[Any, ...]]


class _Failed(Exception):
    """A query that finds nothing, and why."""


@answer
class Sql(AnswerKind):
    """A query of a SQLite database."""

    beside = ("database",)
    is_free = False

    database: str = Field(examples=["FILE.sqlite"])
    """SQLite file, relative to the recipe; with braces, a path with columns of the row: `databases/{db_id}.sqlite`."""
    seconds: float = Field(default=5.0, gt=0, le=60)
    """The longest that a query may take."""

    @field_validator("database")
    @classmethod
    def _is_there(cls, database: str) -> str:
        if "{" not in database and _find_fault(Path(database)):
            raise FieldError(_find_fault(Path(database)), fix="name a SQLite file, relative to the recipe")
        return database

    def identify(self) -> str:
        """The database, where it is one for all rows."""
        if "{" in self.database:
            return ""
        with Path(self.database).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read(self, text: str, row: Mapping[str, Any]) -> str | None:
        """The last query that the text writes down, in tags, in a block of code, or from SELECT or WITH on."""
        text = drop_thought(text)[-200_000:]
        for parts in (_TAGGED.findall(text), _FENCE.findall(text), [text]):
            for part in reversed(parts):
                if (found := _find_query(part)) is not None:
                    return found
        return None

    def same(self, answer: str, reference: str, row: Mapping[str, Any]) -> bool:
        """Whether two queries find the same.

        Raises:
            DataError: there is no database, or the query of the reference fails.
        """
        file = self._find_file(row)
        try:
            wanted = _find_rows(file, _stamp(file), reference.strip(), self.seconds)
        except _Failed as error:
            what = f"the reference {reference[:80]!r} cannot be run on {file.name}: {error}"
            raise DataError(what, fix="mend the query of the row, or name the database that it is for") from error
        if not answer:
            return False
        try:
            given = _find_rows(file, _stamp(file), answer, self.seconds)
        except _Failed:
            return False
        return _is_same(given, wanted, ordered=_is_ordered(reference))

    def canonical(self, reference: str, row: Mapping[str, Any]) -> str:
        """The query of the reference, as it is written."""
        return reference.strip()

    def _find_file(self, row: Mapping[str, Any]) -> Path:
        name = re.sub(r"\{(\w+)\}", lambda match: _read_name(row, match[1]), self.database)
        if fault := _find_fault(Path(name)):
            raise DataError(fault, fix="name a SQLite file, relative to the recipe")
        return Path(name)


def _find_fault(file: Path) -> str:
    """What is wrong with the file of a database; nothing if it is one."""
    try:
        with file.open("rb") as opened:
            return "" if opened.read(len(_HEADER)) in (_HEADER, b"") else f"{file} is no SQLite database"
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"


def _read_name(row: Mapping[str, Any], column: str) -> str:
    if column not in row:
        raise DataError(f"column {column!r} is missing", fix="name a column of the row in database:, or one FILE")
    value = str(row[column])
    if not re.fullmatch(r"\w[\w .-]{0,200}", value) or ".." in value:
        raise DataError(f"column {column!r} holds {value[:80]!r}, which is no name of a file", fix="database: FILE")
    return value


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_mtime_ns, found.st_size


def _find_query(text: str) -> str | None:
    """The query of a text, without what follows it."""
    start = next((found.start("query") for begins in _BEGINS if (found := begins.search(text))), None)
    if start is None:
        return None
    query = text[start : start + _LONGEST]
    flat = _QUOTED.sub(lambda match: "x" * len(match[0]), query)
    ends = [end for end in (flat.find(";"), flat.find("```")) if end >= 0]
    ends += [match.start() for match in [_PROSE.search(flat)] if match]
    return query[: min(ends)].strip() if ends else query.strip()


@functools.lru_cache(maxsize=2048)
def _find_rows(file: Path, stamp: tuple[int, int], query: str, seconds: float) -> Result:
    """What a query finds.

    Raises:
        _Failed: it is no query, it fails, or it takes too long or too much.
    """
    try:
        with _open(file, seconds) as database:
            cursor = database.execute(query.rstrip("; \n"))
            if cursor.description is None:
                raise _Failed("it is no query")
            rows: Result = []
            size = 0
            for found in cursor:
                rows.append(tuple(found))
                size += sum(len(value) for value in found if isinstance(value, str | bytes)) + 8 * len(found)
                if len(rows) > _MOST_ROWS or size > _MOST_BYTES:
                    raise _Failed(f"it finds more than {_MOST_ROWS:,} rows or {_MOST_BYTES:,} bytes")
            return rows
    except (sqlite3.Error, sqlite3.Warning, MemoryError, UnicodeError, ValueError) as error:
        raise _Failed("it takes too long" if "interrupted" in quote_cause(error) else quote_cause(error)) from error


@contextlib.contextmanager
def _open(file: Path, seconds: float) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)
    try:
        database.text_factory = lambda raw: raw.decode(errors="replace")
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
        database.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 4 * _LONGEST)
        database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        database.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200)
        database.execute("PRAGMA trusted_schema = OFF")
        until = time.monotonic() + seconds
        database.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
        database.set_authorizer(_authorize)
        yield database
    finally:
        database.close()


def _authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
    if action not in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and str(second).casefold() in _REFUSED_FUNCTIONS):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _is_ordered(query: str) -> bool:
    """Whether a query orders its rows at the end, outside of all brackets."""
    flat, depth = _QUOTED.sub(" ", query), 0
    outside = []
    for char in flat:
        depth += (char == "(") - (char == ")")
        outside.append(char if depth == 0 else " ")
    return re.search(r"\bORDER\s+BY\b", "".join(outside), re.IGNORECASE) is not None


def _is_same(given: Result, wanted: Result, *, ordered: bool) -> bool:
    if len(given) != len(wanted) or (given and len(given[0]) != len(wanted[0])):
        return False
    mine, theirs = ([tuple(map(_round, row)) for row in rows] for rows in (given, wanted))
    return mine == theirs if ordered else Counter(mine) == Counter(theirs)


def _round(value: Any) -> Any:
    """A value as it is compared: a sum of floats differs in its last places by the order of its parts."""
    if isinstance(value, float) and math.isfinite(value):
        value = float(f"{value:.9g}")
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return value
