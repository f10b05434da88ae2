"""Values of rows as JSON has them, and what a person is told of their kinds."""

import logging
import math
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.json_text import write_text

logger = logging.getLogger(__name__)

_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (str, "text"),
    (int, "a number"),
    (float, "a number"),
    (list, "a list"),
    (dict, "an object"),
)


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


class Kinds:
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
