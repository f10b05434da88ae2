"""A text: what follows the last answer phrase, or else the last line.

Case, white space, and the punctuation and mark-up around the answer do not count, nor do forms of one character: NFKC,
typographic quotes and dashes, zero-width characters. Every other character does. An
object or a list is read as JSON and compared value by value, in whatever form it is written.
"""

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

from blackbox_kd.answers._kind import AnswerKind, answer
from blackbox_kd.answers._plain import clean, part_scripts
from blackbox_kd.answers._stated import find_affirmed, find_retracted, last_line, prepare, sentence
from blackbox_kd.errors import DataError
from blackbox_kd.json_text import write_text

_STYLED = re.compile(r"^\\(?:text(?:bf|it|rm)?|mathrm|mathbf)\s?\{([^{}]*)\}$")
_WHOLE = re.compile(r"^\s*(?=[{\[])")
_LINE = re.compile(r"^[ \t]*(?=[{\[])", re.MULTILINE)
_BEGIN = re.compile(r"(?=[{\[])")
"""Where an object or a list begins: as the whole text, on a line of its own, or behind a phrase that announces it."""
_ANNOUNCED = re.compile(r"[\s:*`]{0,9}(?=[{\[])")
_SENTENCE_ENDS = re.compile(r"[`*\"'\s]{0,3}(?:[.!]|\n|$)")
_AROUND = " \t\r\n.,;:!?¡¿*_`\"'。、।…"
_DASHES = str.maketrans(dict.fromkeys("\u2014\u2015", "-"))
_WRAPPED = (("\\(", "\\)"), ("\\[", "\\]"), ("$", "$"), ("(", ")"), ("[", "]"), ("{", "}"))


@answer
class Exact(AnswerKind):
    """A text."""

    def read(self, text: str, row: Mapping[str, Any]) -> str | None:
        """The last answer that the text states, else its last line; normalised."""
        text = prepare(text)
        statements = find_affirmed(text)
        if statements and find_retracted(text, statements[0]) is not None:
            return None
        stated = _find_json(text[statements[0].end :]) if statements else None
        value = stated or (_read_json(text[statements[0].start :], _BEGIN) if statements else _read_json(text, _LINE))
        if value is not None:
            return write_text(value)
        for statement in statements:
            if answer := normal(sentence(statement.text)):
                return answer
        return normal(last_line(text)) or None

    def same(self, answer: str, reference: str, row: Mapping[str, Any]) -> bool:
        """Whether two texts are equal when normalised, or two objects or lists value by value.

        Raises:
            DataError: nothing is left of the reference.
        """
        if (wanted_value := _read_json(str(reference), _WHOLE)) is not None:
            given = _read_json(str(answer), _WHOLE)
            return given is not None and _canonical(given) == _canonical(wanted_value)
        if not (wanted := normal(str(reference))):
            raise DataError(f"the reference {reference!r} holds no text; `answer: exact` compares texts")
        return normal(str(answer)) == wanted


def _find_json(text: str) -> dict[str, Any] | list[Any] | None:
    """The object or list that a text begins with, where its sentence ends behind it; None if there is none."""
    value, end = _decode_at(text, _ANNOUNCED.match(text))
    return value if _SENTENCE_ENDS.match(text, end) else None


def _read_json(text: str, begin: re.Pattern[str]) -> dict[str, Any] | list[Any] | None:
    """The object or list with which a text ends, from where a pattern finds its beginning; None if there is none."""
    value, end = _decode_at(text, begin.search(text))
    return value if not text[end:].strip(_AROUND) else None


def _decode_at(text: str, start: re.Match[str] | None) -> tuple[Any, int]:
    """The value behind what was found in a text, and where it ends; None if nothing was found, or there is no value."""
    if start is not None:
        with contextlib.suppress(ValueError, RecursionError):
            return json.JSONDecoder().raw_decode(text, start.end())
    return None, len(text)


def _canonical(value: Any) -> str:
    """A text that equal values have in common, whatever the order of their keys and the form of numbers and texts."""
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return normal(value) if isinstance(value, str) else value


def normal(text: str) -> str:
    """The text in lower case, with single spaces, without punctuation and mark-up around it."""
    text = " ".join(part_scripts(clean(text)).translate(_DASHES).split()).casefold()
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
