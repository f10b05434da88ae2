"""How much a value is, and the most that a filter or a method can make of its arguments, in characters."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LONGEST = 4_000_000
"""The most characters of one text, about a million tokens; more than any model reads."""
ITEM = 16
"""What an item of a list counts as, in characters."""
WIDEST = 1000
"""The largest width or precision in a format, and the most digits that `round` is asked for."""


def weigh(value: Any, indent: int = 0) -> int:
    """About how many characters a value has written out, with each level `indent` more; no more than is too much."""
    if isinstance(value, str):
        return len(value)
    size = 0
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting and size <= LONGEST:
        each, depth = waiting.pop()
        size += indent * depth
        if isinstance(each, str | bytes):
            size += len(each)
        elif isinstance(each, dict | list | tuple | set | frozenset):
            size += ITEM * (1 + len(each))
            inside = [*each.keys(), *each.values()] if isinstance(each, dict) else each
            waiting.extend((item, depth + 1) for item in inside)
        else:
            size += ITEM + count_bits(each) // 3
    return size


def count_bits(value: Any) -> int:
    """The size of a whole number; 0 of anything else."""
    return value.bit_length() if isinstance(value, int) else 0


def _replace(text: str, old: str, new: str, count: int | None = None, **_: Any) -> int:
    found = str(text).count(str(old))
    return len(str(text)) + (found if count is None or count < 0 else min(found, count)) * len(str(new))


def _join(items: Sequence[Any], between: str = "", attribute: Any = None) -> int:
    return weigh(items) + len(items) * len(str(between))


def _list(items: Any) -> int:
    return (ITEM + 1) * len(items) if isinstance(items, str) else 0


def _indent(text: str, width: int | str = 4, *_: Any, **__: Any) -> int:
    return (str(text).count("\n") + 1) * (width if isinstance(width, int) else len(width))


def _wordwrap(
    text: str, width: int = 79, _break: bool = True, wrapstring: str | None = None, *_: Any, **__: Any
) -> int:
    return len(str(text)) + (len(str(text)) if wrapstring else 0) * len(wrapstring or "")


def _to_size(text: Any, width: int = 80, *_: Any, **__: Any) -> int:
    return width


def _in_lists(items: Any, count: int = 1, *_: Any, **__: Any) -> int:
    return ITEM * operator.index(count)


def _to_json(value: Any, indent: int | None = None) -> int:
    return weigh(value, indent or 0)


def _round(value: Any, precision: int = 0, *_: Any, **__: Any) -> int:
    return 0 if abs(precision) <= WIDEST else LONGEST + 1


def _format(text: str, *args: Any, **named: Any) -> int:
    written = re.findall(r"%(?:\([^)]*\))?[-#0 +]*(\*|\d*)(?:\.(\*|\d*))?", str(text))
    if any(width == "*" or (width and int(width[:9]) > WIDEST) for spec in written for width in spec):
        return LONGEST + 1
    return len(str(text)) + len(written) * (WIDEST + weigh([args, named]))


MOST: Mapping[str, Callable[..., int]] = {
    "replace": _replace,
    "join": _join,
    "list": _list,
    "indent": _indent,
    "wordwrap": _wordwrap,
    "center": _to_size,
    "batch": _in_lists,
    "slice": _in_lists,
    "tojson": _to_json,
    "round": _round,
    "format": _format,
}
"""The most that a filter can make, in characters, from its arguments."""
BY_ITEM = frozenset([
    "batch", "dictsort", "groupby", "items", "join", "list", "map", "max", "min", "reject", "rejectattr", "select",
    "selectattr", "slice", "sort", "sum", "unique",
])  # fmt: skip
"""Filters that take their first argument item by item, of a text each character: each counts as a pass of a loop."""
COSTS: Mapping[str, int] = {"wordwrap": 100, "striptags": 20, "title": 20, "urlencode": 20, "wordcount": 10}
"""What a character counts as that these filters read, by how long they take for it."""
MOST_OF_METHODS: Mapping[str, Callable[..., int]] = {
    "replace": _replace,
    "join": lambda between, items: _join(items, between),
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _to_size),
}
"""The most that a method of a text can make, in characters, from the text and the arguments."""
