"""A text: what follows the last answer phrase, or else the last line.

Case, white space, and the punctuation and mark-up around the answer do not count; every other character does.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from blackbox_kd.answers._stated import affirmed, last_line, sentence, spoken
from blackbox_kd.errors import DataError

_STYLED = re.compile(r"^\\(?:text(?:bf|it|rm)?|mathrm|mathbf)\s?\{([^{}]*)\}$")
_AROUND = " \t\r\n.,;:!?*_`\"'“”‘’«»"
_WRAPPED = (("\\(", "\\)"), ("\\[", "\\]"), ("$", "$"), ("(", ")"), ("[", "]"), ("{", "}"))


def read(text: str, row: Mapping[str, Any]) -> str | None:
    """The last answer that the text states, else its last line; normalised."""
    text = spoken(text)
    for statement in affirmed(text):
        if answer := normal(sentence(statement.text)):
            return answer
    return normal(last_line(text)) or None


def same(answer: str, reference: str, row: Mapping[str, Any]) -> bool:
    """Whether two texts are equal when normalised.

    Raises:
        DataError: nothing is left of the reference.
    """
    if not (wanted := normal(str(reference))):
        raise DataError(f"the reference {reference!r} holds no text; `answer: exact` compares texts")
    return normal(str(answer)) == wanted


def normal(text: str) -> str:
    """The text in lower case, with single spaces, without punctuation and mark-up around it."""
    text = " ".join(unicodedata.normalize("NFC", text).split()).casefold()
    while True:
        bare = text.strip(_AROUND)
        bare = _STYLED.sub(r"\1", bare)
        for left, right in _WRAPPED:
            inner = bare[len(left) : -len(right)]
            if bare.startswith(left) and bare.endswith(right) and len(bare) > len(left) and left not in inner:
                bare = inner
        if bare == text:
            return text
        text = bare
