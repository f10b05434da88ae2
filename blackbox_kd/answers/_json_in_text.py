"""JSON in what models say: the whole text, a block of code, or somewhere between sentences."""

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from blackbox_kd.answers._stated import drop_thought

DEEPEST = 60
"""Levels of objects and lists that a value may have."""
_LONGEST = 200_000
"""Characters of a text that are looked at, counted from its end."""
_MOST_TRIES = 200
"""Places at which a value may begin that are tried."""
_FENCE = re.compile(r"```[\w-]{0,12}[ \t]*\n(.*?)```", re.DOTALL)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def decode_value(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        value = _DECODER.decode(text.strip())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if _is_deep(value):
        raise ValueError("it is nested too deeply")
    return value


def read_value(text: str | None) -> Any:
    """The value of a JSON text; None where it is no JSON."""
    try:
        return None if text is None else decode_value(text)
    except ValueError:
        return None


def find_values(text: str) -> list[dict[str, Any] | list[Any]]:
    """The objects and lists of a text, in order: the whole text, else its blocks of code, else what stands in it.

    A list between sentences is none: "[1]" is a footnote. The reasoning before an answer is not looked at.
    """
    text = drop_thought(text)[-_LONGEST:]
    blocks = [match[1] for match in _FENCE.finditer(text)]
    for parts in ([text], blocks):
        found = [value for part in parts if isinstance(value := read_value(part), dict | list)]
        if found:
            return found
    return list(_scan(text))


def _scan(text: str) -> Iterator[dict[str, Any]]:
    start = -1
    for _ in range(_MOST_TRIES):
        if (start := text.find("{", start + 1)) < 0:
            return
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if not _is_deep(value):
            yield value
        start = end - 1


def repair(text: str) -> dict[str, Any] | list[Any] | None:
    """The object or list that a text almost is; None if it is none."""
    from json_repair import repair_json

    text = drop_thought(text)[-_LONGEST:]
    fenced = _FENCE.findall(text)
    text = fenced[-1] if fenced else text[max(text.find("{"), 0) :]
    value = repair_json(text, return_objects=True)
    return value if isinstance(value, dict | list) and value and not _is_deep(value) else None


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for part in level
            if isinstance(part, dict | list)
            for inner in (part.values() if isinstance(part, dict) else part)
        ]
        if not level:
            return False
    return True
