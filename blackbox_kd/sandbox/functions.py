"""What an expression computes with: its functions, and the operators that need a guard.

Everything here ends soon whatever it is given: repetition and rounding are bounded, and regular expressions are
RE2's, whose time is linear in the text.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from types import CodeType, FunctionType
from typing import Any

from blackbox_kd.analysis.similarity import chrf, rouge_l
from blackbox_kd.errors import DataError, FieldError
from blackbox_kd.json_text import quote_value, write_text
from blackbox_kd.sandbox import parts


class UnlikeValues(DataError):
    """Values of kinds that do not go together, whatever else the row holds."""


_LONGEST_REPETITION = 100_000
_MOST_DIGITS = 15
_LARGEST_COMPARISON = 200_000**2
"""Characters of one text times those of another: a second or two where each is a word."""


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


def matches(text: str, pattern: str) -> bool:
    """Whether a regular expression (RE2) matches anywhere in a text."""
    from pyarrow import compute

    return bool(compute.match_substring_regex(_text(text, "matches"), pattern=pattern).as_py())


def check_pattern(pattern: str) -> None:
    """Raises FieldError if a text is no regular expression of RE2's."""
    from pyarrow import ArrowInvalid

    try:
        matches("", pattern)
    except (ArrowInvalid, UnicodeError) as error:
        raise FieldError(f"{pattern!r} is no regular expression of RE2's (it has no look-around): {error}") from None


class Group:
    """Rows that expressions ask something of, and what was asked: it is the same for each of them.

    Args:
        rows: those of the group.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._rows = rows
        self._told: dict[tuple[str, CodeType], Any] = {}

    def ask(self, name: str, value_of: FunctionType) -> Any:
        """What a function of groups makes of a value of each row.

        Raises:
            Exception: a row has no such value; the same for whoever asks.
        """
        key = (name, value_of.__code__)
        if key not in self._told:
            try:
                self._told[key] = GROUP_FUNCTIONS[name]([value_of(row) for row in self._rows])
            except Exception as error:
                self._told[key] = error
        found = self._told[key]
        if isinstance(found, Exception):
            raise found.with_traceback(None)
        return found


class GroupedRow(dict[str, Any]):
    """A row, with the rows of its group."""

    group = Group(())


def _find_commonest(values: list[Any]) -> Any:
    texts = [write_text(value) for value in values]
    return values[texts.index(Counter(texts).most_common(1)[0][0])] if values else None


def _compare(one: Any, other: Any, metric: Any = "rouge_l") -> float:
    if metric not in SIMILARITIES:
        raise ValueError(f"similarity() knows {' and '.join(map(repr, SIMILARITIES))}, got {quote_value(metric)}")
    texts = _text(one, "similarity"), _text(other, "similarity")
    if len(texts[0]) * len(texts[1]) > _LARGEST_COMPARISON:
        raise ValueError("similarity() takes texts of which one is short, or both of at most 200,000 characters")
    return SIMILARITIES[metric](*texts)


SIMILARITIES: dict[Any, Callable[[str, str], float]] = {"rouge_l": rouge_l, "chrf": chrf}
"""What `similarity` goes by: words in common, in order; or runs of characters, of the first text against the second."""


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
    "matches": matches,
    "words": lambda text, /: len(_text(text, "words").split()),
    "number": _number,
    "abs": lambda number, /: abs(number),
    "round": _round,
    "min": _smallest,
    "max": _largest,
    "sum": lambda numbers, /: sum(numbers),
    "text": lambda value, /: write_text(value),
    "json": lambda text, /: parts.decode(text),
    "lines": lambda text, /: parts.list_lines(_text(text, "lines")),
    "sentences": lambda text, /: parts.list_sentences(_text(text, "sentences")),
    "split": lambda text, at, /: parts.split_text(_text(text, "split"), _text(at, "split")),
    "chunks": lambda text, words=300, overlap=0, /: parts.cut_chunks(_text(text, "chunks"), words, overlap),
    "turns": lambda messages, /: parts.list_turns(messages),
    "similarity": lambda one, other, metric="rouge_l", /: _compare(one, other, metric),
}
"""What an expression may call, besides column('name') for a column whose name is no word of Python's.

`words` counts words; `matches` searches by an RE2 pattern; `number` turns text into a number, `text` anything into
text: JSON of all that is none; `json` reads it again. `lines`, `sentences`, `split`, `chunks` and `turns` make a list
of a text or a conversation; `similarity` says how alike two texts are, from 0 to 1, by ROUGE-L, or with a
third argument by chrF: `similarity(response, reference, 'chrf')`.
"""


def _count_true(values: list[Any]) -> int:
    text = next((value for value in values if isinstance(value, str)), None)
    if text is not None:
        fix = f"compare it: count(COLUMN == {quote_value(text)})"
        raise UnlikeValues(f"count() takes what is true or false, got {quote_value(text)}", fix=fix)
    return sum(1 for value in values if value)


def _sort_numbers(values: list[Any]) -> list[int | float]:
    numbers = map(_number, values)
    return sorted(number for number in numbers if number == number)  # NaN is larger than nothing


GROUP_FUNCTIONS: dict[str, Callable[[list[Any]], Any]] = {
    "count": _count_true,
    "mean": lambda values: fmean(map(_number, values)),
    "most": _find_commonest,
    "rank": _sort_numbers,
    "total": lambda values: sum(map(_number, values)),
}
"""What an expression may ask of a group of rows, in `map: per:`, of what stands in the brackets in each of its rows.

`count()` is how many there are, or for how many it is true; `rank` is 1 for the largest; `most` is the commonest value,
of several the first.
"""


def _ask_group(row: Mapping[str, Any], name: str, value_of: FunctionType) -> Any:
    found = (row.group if isinstance(row, GroupedRow) else Group([row])).ask(name, value_of)
    return 1 + len(found) - bisect_right(found, _number(value_of(row))) if name == "rank" else found


HELPERS: dict[str, Callable[..., Any]] = {
    "<column>": _column,
    "<item>": _item,
    "<equal>": _equal,
    "<times>": _times,
    "<rest>": _rest,
    "<group>": _ask_group,
    **{f"<{name}>": function for name, function in FUNCTIONS.items()},
}
