r"""Rows of a file: JSON lines, JSON, CSV or Parquet, one at a time.

Memory stays flat, but for a JSON array, which is read whole. A byte-order mark, Windows line ends and blank lines
are fine. A lone surrogate (half of a character that was cut through, as `"\ud83d"`) becomes U+FFFD: no file, data
base or request could carry it further. NaN and infinities become null, as JSON has no others, and that is told.
"""

import csv
import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from blackbox_kd.errors import DataError, quote_cause
from blackbox_kd.json_text import write_text

logger = logging.getLogger(__name__)

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LONGEST_FIELD = 2**31 - 1
"""Characters of a CSV field; the csv module stops at 131,072, and teachers write longer texts."""
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (str, "text"),
    (int, "a number"),
    (float, "a number"),
    (list, "a list"),
    (dict, "an object"),
)


def read_file(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, by its ending.

    Raises:
        DataError: the ending is unknown, or the file cannot be read; the message names the line.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(READERS)
        what = f"unknown kind of file {path.suffix!r}"
        _refuse(path.name, what, "convert it to one of them", exists=f"known: {known}")
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        start = path.read_bytes()[:2]
        is_utf16 = start in (b"\xff\xfe", b"\xfe\xff")
        what = "is UTF-16" if is_utf16 else f"is not UTF-8 (byte {error.object[error.start]:#04x})"
        _refuse(path.name, f"the file {what}", "save it as UTF-8")
    except OSError as error:
        _refuse(path.name, f"cannot be read: {error.strerror}", "check the file and its permissions")


def simplify(value: Any, column: str) -> Any:
    """A value as JSON has it: dates as ISO text, decimals as numbers.

    Raises:
        DataError: it is binary, such as an image.
    """
    if isinstance(value, dict):
        return {str(key): simplify(item, column) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [simplify(item, column) for item in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise DataError(
        f"column {column!r} holds {type(value).__name__}, and rows hold text, numbers, lists and objects only.",
        fix="take the column out of the file",
    )


_TOLD: set[tuple[str, str]] = set()
"""Files and columns of which something was said: once is enough, and a file is read more than once."""


def _tell_once(where: str, column: str, what: str) -> None:
    if (key := (where.partition(",")[0], column)) not in _TOLD:
        _TOLD.add(key)
        logger.warning(f"{where}: {what}")


def tell_of_nan(row: Mapping[str, Any], where: str) -> None:
    """Says of a row's columns that hold NaN or an infinity that the values are read as null."""
    for column, value in row.items():
        if isinstance(value, float | list | dict) and _holds_nan(value):
            _tell_once(where, column, f"column {column!r} holds NaN or an infinity; such values are read as null")


def _holds_nan(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_holds_nan, inside))


class _Twice(ValueError):
    """An object names a key twice."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of some keys and values; the standard library would keep the last value of a key without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found


def _refuse(where: str, what: str, fix: str, exists: str = "") -> NoReturn:
    raise DataError(f"{where}: {what}", exists=exists, fix=fix)


class _Kinds:
    """What kind of value each column holds."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, str]] = {}

    def check(self, row: dict[str, Any], where: str) -> None:
        """Says once of a column that it holds values of several kinds: where they become text, it is JSON."""
        tell_of_nan(row, where)
        for column, value in row.items():
            if value is None:
                continue
            kind = next(word for type_, word in _KINDS if isinstance(value, type_))
            first, place = self._seen.setdefault(column, (kind, where))
            if kind != first:
                what = f"column {column!r} holds {kind} ({write_text(value)[:40]!r}), but {first} in {place}"
                _tell_once(where, column, what)


def _read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    kinds = _Kinds()
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                where = f"{path.name}, line {number}"
                row = _check_object(_parse(line.strip(), where), where)
                kinds.check(row, where)
                yield row


def _read_json(path: Path) -> Iterator[dict[str, Any]]:
    text = path.read_text(encoding="utf-8-sig")
    if not text.strip():
        return
    if len(text.lstrip().split("\n", 1)) == 2 and _is_object(text.lstrip().split("\n", 1)[0]):
        yield from _read_jsonl(path)  # JSON lines under the wrong name, as the Hub has many
        return
    value = _parse(text, path.name)
    if isinstance(value, dict):
        lists = [name for name, item in value.items() if isinstance(item, list)]
        if len(lists) != 1:
            what = f"holds an object with the keys {', '.join(value)}, not a list of rows"
            _refuse(path.name, what, "write [{...}, {...}], or one object a line in a .jsonl file")
        value = value[lists[0]]
    if not isinstance(value, list):
        _refuse(path.name, f"holds {write_text(value)[:60]!r}, not a list of rows", "write [{...}, {...}]")
    kinds = _Kinds()
    for number, item in enumerate(value, 1):
        where = f"{path.name}, row {number}"
        row = _check_object(item, where)
        kinds.check(row, where)
        yield row


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _parse(text: str, where: str) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=_refuse_twice)
    except _Twice as twice:
        _refuse(where, f"an object names {twice.key[:60]!r} twice, with a value each", "keep one of them")
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, " if "\n" in text.strip() else ""
        near = text[max(0, error.pos - 10) : error.pos + 20].strip()
        _refuse(where, f"not JSON: {error.msg} at {at}character {error.colno}, near {near!r}", "mend the line")
    except ValueError:  # Python reads no integer of more than 4,300 digits
        _refuse(where, "a number has too many digits", "write it as text, in quotes")
    except RecursionError:
        _refuse(where, "nested too deeply", "write flatter objects")
    return _replace_surrogates(value) if _ESCAPED_SURROGATE.search(text) else value


def _replace_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_replace_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_replace_surrogates(key): _replace_surrogates(item) for key, item in value.items()}
    return value


def _check_object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        _refuse(where, f"{write_text(row)[:60]!r} is not an object with columns", 'write {"column": value, ...}')
    return row


def _read_csv(path: Path) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(_LONGEST_FIELD)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        names = _read_header(path, _read_fields(reader, path))
        while (fields := _read_fields(reader, path)) is not None:
            if not fields:
                continue
            if len(fields) != len(names):
                what = f"{len(fields)} fields, but {len(names)} column names in the first line"
                _refuse(f"{path.name}, line {reader.line_num}", what, "quote texts that hold commas or quotes")
            yield dict(zip(names, fields, strict=True))


def _read_fields(reader: Any, path: Path) -> list[str] | None:
    try:
        fields: list[str] | None = next(reader, None)
    except csv.Error as error:
        where = f"{path.name}, line {reader.line_num}"
        _refuse(where, f"not CSV: {error}", 'quote texts that hold quotes, and write "" for a quote in them')
    return fields


def _read_header(path: Path, names: list[str] | None) -> list[str]:
    if names is None:
        return []
    double = sorted({name for name in names if names.count(name) > 1})
    if double or "" in (name.strip() for name in names):
        what = f"the first line names {double[0]!r} twice" if double else "the first line has a column without name"
        _refuse(path.name, what, "name each column once")
    for separator in (";", "\t"):
        if len(names) == 1 and separator in names[0]:
            what = f"the first line has one column, {names[0][:60]!r}, so {separator!r} separates"
            _refuse(path.name, what, "separate the columns with commas")
    return names


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(batch_size=1000) for row in _list_rows(batch, path))
            for number, row in enumerate(rows, 1):
                found = {name: simplify(value, name) for name, value in row.items()}
                tell_of_nan(found, f"{path.name}, row {number}")
                yield found
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        _refuse(path.name, f"not Parquet: {quote_cause(error)}", "write the file anew")


def _list_rows(batch: Any, path: Path) -> list[dict[str, Any]]:
    """The rows of an Arrow batch; it may hold values that Python does not know, such as dates after the year 9999."""
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except (OverflowError, ValueError) as error:
        for name in batch.schema.names:
            try:
                batch.column(name).to_pylist()
            except (OverflowError, ValueError):
                kind = batch.schema.field(name).type
                what = f"column {name!r} of type {kind} holds what cannot be read: {quote_cause(error)}"
                _refuse(path.name, what, "write the column as text")
        raise
    return rows


READERS: dict[str, Callable[[Path], Iterator[dict[str, Any]]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
"""Readers by the ending of a file's name."""
