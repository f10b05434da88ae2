"""Values of JSON compared by type, field by field: numbers, dates, texts, lists, objects in objects.

A field that is null is one that is missing. A number is one as a text, too, where the other side or the schema says
that a number is meant; so is "true". Dates are those of ISO 8601, and those with the name of a month in one of the
languages of `_MONTHS`; of dates in digits alone the recipe says which comes first, the day or the month.
"""

import contextlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import zip_longest
from typing import Any, Literal

from pydantic import Field

from blackbox_kd.answers import _numerals
from blackbox_kd.answers._kind import AnswerKind
from blackbox_kd.answers._plain import clean
from blackbox_kd.answers.exact import normal
from blackbox_kd.json_text import encode
from blackbox_kd.paths import read_table

Counts = dict[str, tuple[int, int, int]]
"""By the path of a field (`total`, `items.price`): values found and right, found and wrong, and missed."""
_MOST_REFERENCES = 20
"""References that lead to one another in a schema."""
_MOST_PAIRS = 10_000
"""Pairs of items of two lists, beside those that are alike, that are tried."""
_TABLE = read_table(__file__)
_MONTHS: list[str] = _TABLE["months"]
"""How the names of the months begin, from January to December."""
_NAMED = [re.compile(pattern) for pattern in _TABLE["named"]]
_DIGITS = {
    "day_first": re.compile(r"(?P<day>\d{1,2})[./-]\s?(?P<month>\d{1,2})[./-]\s?(?P<year>\d{4})"),
    "month_first": re.compile(r"(?P<month>\d{1,2})[./-]\s?(?P<day>\d{1,2})[./-]\s?(?P<year>\d{4})"),
}
_ISO = re.compile(r"\d{4}-\d\d")
_EAST = re.compile(r"(?P<year>\d{4})\s?[年년/.]\s?(?P<month>\d{1,2})\s?[月월/.]\s?(?P<day>\d{1,2})\s?[日일]?")
_UNIT = re.compile(r"\s?(?:[€$£¥₹]|EUR|USD|GBP|CHF|JPY|INR|PLN|SEK|kr\.?|zł)\s*\Z")
_TRUTHS = {"true": True, "false": False, "yes": True, "no": False}


class ComparedValues(AnswerKind):
    """A kind of answer with fields."""

    is_free = False
    has_fields = True

    lists: Literal["ordered", "sets"] = "ordered"
    """Whether the items of a list are compared one by one in order, or as a set, whatever their order."""
    tolerance: float = Field(default=0.0, ge=0)
    """The most by which two numbers may differ that count as equal."""
    decimal: Literal[".", ","] = "."
    """The decimal sign of numbers that are written as texts."""
    dates: Literal["day_first", "month_first"] | None = None
    """What comes first in dates of digits, such as 3.4.2024; such dates are texts if left out."""

    def compare(self, given: Any, wanted: Any, schema: Mapping[str, Any] | None = None) -> Counts:
        """What is right of a value, by the paths of its fields; see `Counts`.

        Args:
            given: the value.
            wanted: the right one.
            schema: JSON schema of the right one, if there is one.
        """
        counts: dict[str, Counter[str]] = {}
        for path, what in self._match(given, wanted, "", Schema(schema or {}, schema or {})):
            counts.setdefault(path, Counter())[what] += 1
        return {path: (found["right"], found["wrong"], found["missed"]) for path, found in counts.items()}

    def _match(self, given: Any, wanted: Any, path: str, schema: "Schema") -> Iterator[tuple[str, str]]:
        """Each value that is right, wrong or missed, with its path."""
        if isinstance(given, dict) and isinstance(wanted, dict):
            for key in dict.fromkeys([*wanted, *given]):
                inner = f"{path}.{key}" if path else str(key)
                yield from self._match(given.get(key), wanted.get(key), inner, schema.at(key))
        elif isinstance(given, list) and isinstance(wanted, list):
            items = schema.at(None)
            is_set = self.lists == "sets"
            for one, other in (
                self.pair(_drop_twins(given), _drop_twins(wanted), items) if is_set else zip_longest(given, wanted)
            ):
                yield from self._match(one, other, path, items)
        elif _is_leaf(given) and _is_leaf(wanted) and self.is_equal(given, wanted, schema.type):
            yield path, "right"
        else:
            yield from ((at, "missed") for at in _list_leaves(wanted, path))
            yield from ((at, "wrong") for at in _list_leaves(given, path))

    def pair(self, given: list[Any], wanted: list[Any], schema: "Schema") -> Iterator[tuple[Any, Any]]:
        """The items of two lists that are most alike; None for the partner of one that is like no other."""
        places: dict[bytes, list[int]] = {}
        for place, item in enumerate(wanted):
            places.setdefault(_write_key(item), []).append(place)
        left, missing = dict(enumerate(given)), dict(enumerate(wanted))
        for place, item in enumerate(given):
            if twins := places.get(_write_key(item)):
                yield left.pop(place), missing.pop(twins.pop(0))
        pairs = [(one, other) for one in left for other in missing][:_MOST_PAIRS]
        alike = sorted(
            ((self._score(left[one], missing[other], schema), one, other) for one, other in pairs), key=_rank
        )
        for score, one, other in alike:
            if score > 0 and one in left and other in missing:
                yield left.pop(one), missing.pop(other)
        yield from ((item, None) for item in left.values())
        yield from ((None, item) for item in missing.values())

    def _score(self, given: Any, wanted: Any, schema: "Schema") -> float:
        """How alike two items are: 0 where nothing is right."""
        found = [what for _, what in self._match(given, wanted, "", schema)]
        right = found.count("right")
        return right - (len(found) - right) / (len(found) + 1) if right else 0.0

    def is_equal(self, given: Any, wanted: Any, kind: str = "") -> bool:
        """Whether two values without fields are equal; `kind` is what a schema says that they are."""
        if isinstance(given, bool) or isinstance(wanted, bool) or kind == "boolean":
            return _read_truth(given) is not None and _read_truth(given) == _read_truth(wanted)
        if isinstance(given, int | float) or isinstance(wanted, int | float) or kind in ("number", "integer"):
            mine, theirs = self._read_number(given), self._read_number(wanted)
            if mine is not None and theirs is not None:
                return math.isclose(mine, theirs, rel_tol=1e-9, abs_tol=self.tolerance + 1e-12)
            return mine is theirs and normal(str(given)) == normal(str(wanted))
        if (day := self._read_date(wanted)) is not None:
            return self._read_date(given) == day
        folded = normal(given)
        return folded == normal(wanted) and (folded != "" or given.strip() == wanted.strip())

    def _read_number(self, value: Any) -> float | None:
        if isinstance(value, int | float):
            return float(value)
        text = _UNIT.sub("", clean(str(value)).strip())
        found = _numerals.NUMBER[self.decimal].fullmatch(text)
        number = _numerals.value_of(found) if found else None
        return None if number is None else float(number)

    def _read_date(self, text: str) -> datetime | None:
        text = clean(text).strip()
        if _ISO.match(text):
            with contextlib.suppress(ValueError):
                return datetime.fromisoformat(text)
        for pattern in (*_NAMED, _EAST, *([_DIGITS[self.dates]] if self.dates else [])):
            if found := pattern.fullmatch(text):
                month = found["month"]
                number = int(month) if month.isdigit() else _find_month(month)
                with contextlib.suppress(ValueError):
                    return datetime(int(found["year"]), number, int(found["day"]))
        return None


class Schema:
    """What a JSON schema says of a part of a value.

    Args:
        root: the whole schema.
        part: what it says of the part.
    """

    def __init__(self, root: Mapping[str, Any], part: Any) -> None:
        self._root = root
        self._part: Mapping[str, Any] = part if isinstance(part, Mapping) else {}
        for _ in range(_MOST_REFERENCES):
            target = self._part.get("$ref")
            if not isinstance(target, str) or not target.startswith("#/"):
                break
            found: Any = root
            for key in target[2:].split("/"):
                found = found.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
            self._part = found if isinstance(found, Mapping) else {}

    @property
    def type(self) -> str:
        """What the schema says that the part is; null apart, and "" where it says nothing or several things."""
        named = self._part.get("type", [part.type for part in self._branches()])
        kinds = {kind for kind in ([named] if isinstance(named, str) else named) if kind not in ("null", "")}
        return str(kinds.pop()) if len(kinds) == 1 else ""

    def at(self, key: str | None) -> "Schema":
        """What it says of a field, or of the items of a list."""
        for part in (self, *self._branches()):
            inner = part._part.get("items") if key is None else part._part.get("properties", {}).get(key)
            if inner is not None:
                return Schema(self._root, inner)
        return Schema(self._root, {})

    def _branches(self) -> Iterator["Schema"]:
        for name in ("anyOf", "oneOf", "allOf"):
            yield from (Schema(self._root, part) for part in self._part.get(name, ()))


def _is_leaf(value: Any) -> bool:
    return value is not None and not isinstance(value, dict | list)


def _list_leaves(value: Any, path: str) -> Iterator[str]:
    """The path of each value that has no fields."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _list_leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _list_leaves(item, path)
    elif value is not None:
        yield path


def _drop_twins(items: list[Any]) -> list[Any]:
    return list({_write_key(item): item for item in items}.values())


def _rank(pair: tuple[float, int, int]) -> tuple[float, int, int]:
    return -pair[0], pair[1], pair[2]


def _write_key(value: Any) -> bytes:
    return encode(normal(value) if isinstance(value, str) else value, ordered=True)


def _read_truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else _TRUTHS.get(str(value).strip().casefold())


def _find_month(name: str) -> int:
    """The number of a month, 0 if there is none of that name."""
    folded = name.casefold()
    return next((number for number, begins in enumerate(_MONTHS, 1) if folded.startswith(tuple(begins.split("|")))), 0)
