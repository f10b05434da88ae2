"""Values as JSON text: compact for programs, many times faster than the standard library writes it, or for people.

The compact form is for texts that are read again, and the keys of calls; other digests have a form of their own
(`schema.digest`). What a model or a person reads is written by `write_text`.
"""

import json
from collections.abc import Iterable
from typing import Any, Literal

import orjson

LONGEST_INTEGER = 19
"""Characters of integers that have 64 bits at most."""
OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def encode(value: object, *, halves: Literal["kept", "replaced"] = "kept", ordered: bool = False) -> bytes:
    """UTF-8 JSON of a value; what JSON has no form for becomes its text, NaN and infinities become null.

    Args:
        value: any.
        halves: half of a surrogate pair is `kept` as an escape, which not every reader takes, or `replaced` by a
            question mark.
        ordered: whether keys are put in order.
    """
    try:
        return orjson.dumps(value, _simplify, OPTIONS | orjson.OPT_SORT_KEYS if ordered else OPTIONS)
    except TypeError:  # half of a surrogate pair, an integer of more than 64 bits, a key that is no text
        is_kept = halves == "kept"
        text = json.dumps(value, separators=(",", ":"), default=str, ensure_ascii=is_kept, sort_keys=ordered)
        return text.encode(errors="strict" if is_kept else "replace")


def write_text(value: object) -> str:
    """What a value is wherever text is wanted of it: a text stays as it is, anything else is JSON on one line."""
    return value if isinstance(value, str) else write_json(value)


def quote_value(value: object) -> str:
    """The beginning of a value as messages show it: text in quotes, objects and lists as JSON."""
    return f"{write_json(value) if isinstance(value, dict | list | bool) else repr(value):.80}"


def write_json(value: object, indent: int | None = None) -> str:
    """JSON as people write it, with a space behind each comma and colon; NaN and infinities are null."""
    how: dict[str, Any] = {"ensure_ascii": False, "indent": indent, "default": _list_items}
    try:
        return json.dumps(value, allow_nan=False, **how)
    except ValueError:  # NaN, which JSON does not have
        return json.dumps(decode(encode(value).decode()), **how)


def decode(text: str) -> Any:
    """The value of a JSON text. An integer of more than 64 bits comes as a float: nothing for rows, which keep theirs.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deeply.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # or it has half of a surrogate pair, or NaN, which the standard library lets pass
        return json.loads(text, parse_int=_read_integer)


def _read_integer(digits: str) -> int | float:
    """As orjson reads it; Python refuses integers of more than 4,300 digits."""
    return int(digits) if len(digits) <= LONGEST_INTEGER else float(digits)


def _list_items(value: object) -> Any:
    """What stands for a value that has no form in JSON: the items of a generator or a set, or its text."""
    return list(value) if isinstance(value, Iterable) else str(value)


def _simplify(value: object) -> Any:
    """What stands for a value that has no form in JSON, or that orjson does not take for what it is."""
    if isinstance(value, float):
        return float(value)
    return list(value) if isinstance(value, tuple) else str(value)
