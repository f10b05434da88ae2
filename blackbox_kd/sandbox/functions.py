"""What an expression computes with: its functions, and the operators that need a guard.

Everything here ends soon whatever it is given: repetition and rounding are bounded, and regular expressions are
RE2's, whose time is linear in the text.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from blackbox_kd.errors import DataError, FieldError
from blackbox_kd.json_text import quote_value, write_text


class UnlikeValues(DataError):
    """Values of kinds that do not go together, whatever else the row holds."""


_LONGEST_REPETITION = 100_000
_MOST_DIGITS = 15


def _column(row: Mapping[str, Any], name: str, none_ok: bool) -> Any:
    try:
        value = row[name]
    except KeyError:
        raise LookupError(f"the row has no column {name!r}; its columns: {', '.join(row)}") from None
    if value is None and not none_ok:
        raise ValueError(f"column {name!r} is None; to allow for it, write: {name} is not None and ...")
    return value


def _item(container: Any, key: Any, none_ok: bool) -> Any:
    try:
        value = container[key]
    except (KeyError, IndexError):
        raise LookupError(f"there is no {key!r} in {write_text(container):.80}") from None
    if value is None and not none_ok:
        raise ValueError(f"{key!r} in {write_text(container):.80} is None; to allow for it, compare it with None first")
    return value


def _equal(left: Any, right: Any) -> bool:
    if (
        isinstance(left, str) != isinstance(right, str)
        and isinstance(left, str | int | float)
        and isinstance(right, str | int | float)
    ):
        hint = "number(...) turns text into a number"
        if isinstance(left, bool) or isinstance(right, bool):
            hint = "a column of true and false stands alone: write correct, or not correct"
        raise UnlikeValues(f"{left!r:.80} and {right!r:.80} are never equal, one is text", fix=hint)
    return bool(left == right)


def _times(left: Any, right: Any) -> Any:
    for repeated, count in ((left, right), (right, left)):
        too_long = (
            isinstance(repeated, Sequence) and isinstance(count, int) and len(repeated) * count > _LONGEST_REPETITION
        )
        if too_long or isinstance(repeated, list):  # lists in lists would multiply their lengths
            raise ValueError(f"a repetition is at most {_LONGEST_REPETITION:,} long, and of text only")
    return left * right


def _rest(left: Any, right: Any) -> Any:
    if not isinstance(left, int | float):
        raise UnlikeValues(f"% takes numbers, got {quote_value(left)}")
    return left % right


def _text(value: Any, function: str) -> str:
    if not isinstance(value, str):
        raise UnlikeValues(f"{function}() takes text, got {quote_value(value)}")
    return value


def _number(text: Any) -> int | float:
    """The number that a text is."""
    if isinstance(text, int | float):
        return text
    try:
        return int(text)
    except ValueError:
        return float(text)


def _round(number: float, digits: int = 0) -> float:
    if not isinstance(digits, int) or abs(digits) > _MOST_DIGITS:
        raise ValueError(f"round() takes at most {_MOST_DIGITS} digits, got {digits!r:.80}")
    return round(number, digits)


def _contains(whole: Any, part: Any) -> bool:
    return part in whole


def _matches(text: str, pattern: str) -> bool:
    """Whether a regular expression (RE2) matches anywhere in a text."""
    from pyarrow import compute

    return bool(compute.match_substring_regex(_text(text, "matches"), pattern=pattern).as_py())


def check_pattern(pattern: str) -> None:
    """Raises FieldError if a text is no regular expression of RE2's."""
    from pyarrow import ArrowInvalid

    try:
        _matches("", pattern)
    except (ArrowInvalid, UnicodeError) as error:
        raise FieldError(f"{pattern!r} is no regular expression of RE2's (it has no look-around): {error}") from None


def _smallest(first: Any, *others: Any) -> Any:
    return min(first, *others)


def _largest(first: Any, *others: Any) -> Any:
    return max(first, *others)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": lambda value, /: len(value),
    "lower": lambda text, /: _text(text, "lower").lower(),
    "upper": lambda text, /: _text(text, "upper").upper(),
    "strip": lambda text, /: _text(text, "strip").strip(),
    "startswith": lambda text, start, /: _text(text, "startswith").startswith(start),
    "endswith": lambda text, end, /: _text(text, "endswith").endswith(end),
    "contains": _contains,
    "matches": _matches,
    "words": lambda text, /: len(_text(text, "words").split()),
    "number": _number,
    "abs": lambda number, /: abs(number),
    "round": _round,
    "min": _smallest,
    "max": _largest,
    "sum": lambda numbers, /: sum(numbers),
    "text": lambda value, /: write_text(value),
}
"""What an expression may call, besides column('name') for a column whose name is no word of Python's.

`words` counts words; `matches` searches by an RE2 pattern; `number` turns text into a number, `text` anything into
text: JSON of all that is none.
"""
HELPERS: dict[str, Callable[..., Any]] = {
    "<column>": _column,
    "<item>": _item,
    "<equal>": _equal,
    "<times>": _times,
    "<rest>": _rest,
    **{f"<{name}>": function for name, function in FUNCTIONS.items()},
}
