"""Whether one text stands in another, as words of its own: an answer in a question, a passage in a prompt."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from blackbox_kd.analysis.similarity import UNSPACED
from blackbox_kd.json_text import write_text

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
    """All texts and numbers inside of a value, as text."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in list_texts(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in list_texts(item)]
    return [write_text(value)]


def _normalise(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_THOUSANDS.sub("", folded).split())
