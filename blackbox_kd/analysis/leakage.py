"""Whether one text stands in another, as words of its own: an answer in a question, a passage in a prompt."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from blackbox_kd.analysis.similarity import UNSPACED
from blackbox_kd.json_text import decode, write_text

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_LETTER = rf"[^\W{UNSPACED}]"
"""A letter or digit of a script that puts spaces between words."""
_BEFORE, _AFTER = rf"(?<!{_LETTER})(?<!\d[.,])", rf"(?!{_LETTER})(?![.,]\d)"


def holds(text: str, part: str) -> bool:
    """Whether `part` stands in `text` whatever its case and spaces, and not inside of a longer word or number.

    4 stands in `4.` and `$4`, but not in 14, 4.5 or 4,000; 1000 stands in `1,000`. An empty part stands nowhere.
    """
    wanted = _normalise(part)
    if not wanted:
        return False
    return re.search(_BEFORE + re.escape(wanted) + _AFTER, _normalise(text)) is not None


def list_texts(value: Any) -> list[str]:
    """All texts and numbers inside of a value, as text; of messages what they say, and not who says it to whom."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        if isinstance(value.get("function"), Mapping):  # a call or a tool: the rest is how it is written
            return list_texts(value["function"])
        skipped = _NOT_SAID if value.keys() & {"role", "from"} else ()
        items = [_open(key, item) for key, item in value.items() if key not in skipped]
        return [text for item in items for text in list_texts(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in list_texts(item)]
    return [write_text(value)]


_NOT_SAID = ("role", "from", "tool_call_id", "weight")


def _open(key: str, item: Any) -> Any:
    """Arguments of calls as the object that they are: JSON text hides letters and ends of lines behind escapes."""
    if key != "arguments" or not isinstance(item, str):
        return item
    try:
        return decode(item)
    except (ValueError, RecursionError):
        return item


def write_said(value: Any) -> str:
    """What a value says, to be searched: a text as it is, the texts inside of anything else on lines of their own."""
    return "\n".join(list_texts(value))


def _normalise(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_THOUSANDS.sub("", folded).split())
