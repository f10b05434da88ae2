r"""Rows of a file: JSON lines, JSON, CSV or Parquet, one at a time.

Memory stays flat, but for a JSON array, which is read whole. A byte-order mark, Windows line ends and blank lines
are fine. A lone surrogate (half of a character that was cut through, as `"\ud83d"`) becomes U+FFFD: no file, data
base or request could carry it further. NaN and infinities become null, as JSON has no others, and that is told.
"""

import csv
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TextIO

from blackbox_kd.errors import DataError, quote_cause
from blackbox_kd.json_text import write_text
from blackbox_kd.tables.bad_lines import BadLine, BadLines, Record
from blackbox_kd.tables.values import Kinds, simplify, tell_of_nan

logger = logging.getLogger(__name__)

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPED_BYTE = re.compile(r"[\udc80-\udcff]")
"""What Python makes of a byte that is no UTF-8, where it goes on reading."""
_LONGEST_FIELD = 2**31 - 1
"""Characters of a CSV field; the csv module stops at 131,072, and teachers write longer texts."""


def read_file(path: Path, bad_lines: BadLines | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a file, by its ending.

    Args:
        path: the file.
        bad_lines: what is done with lines that cannot be read; they are an error if left out.

    Raises:
        DataError: the ending is unknown, or the file cannot be read; the message names the lines.
    """
    found = read_records(path, READERS, "convert it to one of them")
    yield from (record.row for record in (bad_lines or BadLines()).pass_on(found, path.name))


def read_records(path: Path, readers: Mapping[str, "Reader"], fix: str) -> Iterator[Record | BadLine]:
    """What the lines of a file hold.

    Args:
        path: the file.
        readers: those that may read it, by its ending.
        fix: what is done where none of them does.

    Raises:
        DataError: the ending is unknown, or the file as a whole cannot be read.
    """
    reader = readers.get(path.suffix.lower())
    if reader is None:
        what = f"unknown kind of file {path.suffix!r}"
        _refuse(path.name, what, fix, exists=f"known: {', '.join(readers)}")
    try:
        if path.suffix.lower() != ".parquet":
            with path.open("rb") as file:
                if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                    _refuse(path.name, "the file is UTF-16", "save it as UTF-8")
        yield from reader(path)
    except UnicodeDecodeError as error:
        what = f"the file is not UTF-8 (byte {error.object[error.start]:#04x})"
        _refuse(path.name, what, "save it as UTF-8")
    except OSError as error:
        _refuse(path.name, f"cannot be read: {error.strerror}", "check the file and its permissions")


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


class _Bad(Exception):
    """A text is no row: what is wrong, and the fix."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what, self.fix = what, fix


def _refuse_bytes(text: str) -> None:
    """Raises _Bad if a line that was read leniently holds bytes that are no UTF-8."""
    if not text.isascii() and (found := _ESCAPED_BYTE.search(text)):
        raise _Bad(f"is not UTF-8 (byte {ord(found[0]) - 0xDC00:#04x})", "save it as UTF-8")


def _read_jsonl(path: Path) -> Iterator[Record | BadLine]:
    kinds = Kinds()
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    _refuse_bytes(line)
                    row = _check_object(_parse(line.strip()))
                except _Bad as bad:
                    yield BadLine(f"line {number}", bad.what, bad.fix)
                    continue
                kinds.check(row, f"{path.name}, line {number}")
                yield Record(f"line {number}", row)


def read_json_object(path: Path) -> Iterator[Record | BadLine]:
    """As rows of a JSON file are read, but that an object with other keys than one list is a row itself."""
    return _read_json(path, may_be_row=True)


def _read_json(path: Path, may_be_row: bool = False) -> Iterator[Record | BadLine]:
    text = path.read_text(encoding="utf-8-sig")
    if not text.strip():
        return
    if len(text.lstrip().split("\n", 1)) == 2 and _is_object(text.lstrip().split("\n", 1)[0]):
        yield from _read_jsonl(path)  # JSON lines under the wrong name, as the Hub has many
        return
    try:
        value = _parse(text)
    except _Bad as bad:
        _refuse(path.name, bad.what, bad.fix)
    if isinstance(value, dict):
        lists = [name for name, item in value.items() if isinstance(item, list)]
        if may_be_row:
            value = [value]
        elif len(lists) != 1:
            what = f"holds an object with the keys {', '.join(value)}, not a list of rows"
            _refuse(path.name, what, "write [{...}, {...}], or one object a line in a .jsonl file")
        else:
            value = value[lists[0]]
    if not isinstance(value, list):
        _refuse(path.name, f"holds {write_text(value)[:60]!r}, not a list of rows", "write [{...}, {...}]")
    kinds = Kinds()
    for number, item in enumerate(value, 1):
        try:
            row = _check_object(item)
        except _Bad as bad:
            yield BadLine(f"row {number}", bad.what, bad.fix)
            continue
        kinds.check(row, f"{path.name}, row {number}")
        yield Record(f"row {number}", row)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _parse(text: str) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=_refuse_twice)
    except _Twice as twice:
        raise _Bad(f"an object names {twice.key[:60]!r} twice, with a value each", "keep one of them") from None
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, " if "\n" in text.strip() else ""
        near = text[max(0, error.pos - 10) : error.pos + 20].strip()
        raise _Bad(f"not JSON: {error.msg} at {at}character {error.colno}, near {near!r}", "mend the line") from None
    except ValueError:  # Python reads no integer of more than 4,300 digits
        raise _Bad("a number has too many digits", "write it as text, in quotes") from None
    except RecursionError:
        raise _Bad("nested too deeply", "write flatter objects") from None
    return _replace_surrogates(value) if _ESCAPED_SURROGATE.search(text) else value


def _replace_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_replace_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_replace_surrogates(key): _replace_surrogates(item) for key, item in value.items()}
    return value


def _check_object(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise _Bad(f"{write_text(row)[:60]!r} is not an object with columns", 'write {"column": value, ...}')
    return row


def _read_csv(path: Path) -> Iterator[Record | BadLine]:
    csv.field_size_limit(_LONGEST_FIELD)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True, delimiter=_find_separator(file))
        names: list[str] | None = None
        while True:
            try:
                fields = _read_fields(reader)
                if fields is None:
                    return
                if names is None:
                    names = _read_header(path, fields)
                elif fields:
                    if len(fields) != len(names):
                        what = f"{len(fields)} fields, but {len(names)} column names in the first line"
                        raise _Bad(what, "quote texts that hold commas or quotes")
                    yield Record(f"line {reader.line_num}", dict(zip(names, fields, strict=True)))
            except _Bad as bad:
                if names is None:
                    _refuse(f"{path.name}, line {reader.line_num}", bad.what, bad.fix)
                yield BadLine(f"line {reader.line_num}", bad.what, bad.fix)


def _read_fields(reader: Any) -> list[str] | None:
    try:
        fields: list[str] | None = next(reader, None)
    except csv.Error as error:
        raise _Bad(f"not CSV: {error}", 'quote texts that hold quotes, and write "" for a quote in them') from None
    for field in fields or ():
        _refuse_bytes(field)
    return fields


def _read_header(path: Path, names: list[str]) -> list[str]:
    double = sorted({name for name in names if names.count(name) > 1})
    if double or "" in (name.strip() for name in names):
        what = f"the first line names {double[0]!r} twice" if double else "the first line has a column without name"
        _refuse(path.name, what, "name each column once")
    return names


def _find_separator(file: TextIO) -> str:
    """What separates columns: a comma, but where only semicolons or tabs stand in the first line, as in exports of
    countries that write 0,5 for a half.
    """
    first = re.sub(r'"[^"]*"', "", file.readline())
    file.seek(0)
    found = [separator for separator in (",", ";", "\t") if separator in first]
    return found[0] if len(found) == 1 else ","


def _read_parquet(path: Path) -> Iterator[Record | BadLine]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(batch_size=1000) for row in _list_rows(batch, path))
            for number, row in enumerate(rows, 1):
                found = {name: simplify(value, name) for name, value in row.items()}
                tell_of_nan(found, f"{path.name}, row {number}")
                yield Record(f"row {number}", found)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        _refuse(path.name, f"not Parquet: {quote_cause(error)}", "write the file anew")


UNREADABLE = (OverflowError, ValueError, LookupError)
"""What comes of values that Python does not know; a time zone that nobody has is looked up, and not found."""


def _list_rows(batch: Any, path: Path) -> list[dict[str, Any]]:
    """The rows of an Arrow batch; it may hold values that Python does not know, such as dates after the year 9999."""
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except UNREADABLE as error:
        for name in batch.schema.names:
            try:
                batch.column(name).to_pylist()
            except UNREADABLE:
                kind = batch.schema.field(name).type
                what = f"column {name!r} of type {kind} holds what cannot be read: {quote_cause(error)}"
                _refuse(path.name, what, "write the column as text")
        raise
    return rows


Reader = Callable[[Path], Iterator[Record | BadLine]]
READERS: dict[str, Reader] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
"""Readers by the ending of a file's name."""
