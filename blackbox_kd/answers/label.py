"""One of a set of labels, as the recipe writes it: refund, "Refund", **refund**, Label: refund, {"label": "refund"}.

A label that a text states, as its answer, its label or its category, that it puts in bold, on a line of its own or
behind "so", is its answer. Without one it must speak of one label only: of two nobody knows which it means. What it
rules out ("not a refund") does not count, and the longest label that fits is meant: `refund request` is no `refund`.
Case, quotes and mark-up do not count, nor whether words are joined by a blank, `-` or `_`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from blackbox_kd.answers import _ruling_out
from blackbox_kd.answers._kind import AnswerKind, answer
from blackbox_kd.answers._plain import UNSPACED, clean, part_scripts
from blackbox_kd.answers._stated import Statement, claim, find_affirmed, find_retracted, prepare, sentence
from blackbox_kd.answers.exact import normal
from blackbox_kd.errors import DataError, FieldError
from blackbox_kd.json_text import write_text
from blackbox_kd.paths import read_patterns

_JOINTS = re.compile(r"[\s_-]+")
_FENCE = re.compile(r"\A\s*```\w{0,12}\n(.*?)\n?```\s*\Z", re.DOTALL)
_PATTERNS = read_patterns(__file__)
_STATED = _PATTERNS["stated"]
"""Words with which a text states its label, besides those for an answer."""
_KEYS = ("label", "category", "class", "classification", "intent", "answer", "prediction", "result", "output")
"""Keys of an object that hold its label, where it has several."""
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*|__([^_\n]{1,200})__")
_ITEM = re.compile(r"^\s{0,8}(?:[-*•>#]{1,6}|\d{1,3}[.)])\s+")
_ASIDE = re.compile(r"\s[-–—]{1,2}\s")
_CONCLUSION = _PATTERNS["conclusion"]
_SPOKEN = re.compile(rf"[^\W\d_].*\w.*\w|[{UNSPACED}]", re.DOTALL)
_SPACED = re.compile(rf"[^\W{UNSPACED}]")
_SAID = 400
"""Characters behind the words that state a label in which it stands."""
_MOST = 50
"""Such words that are looked at, counted from the end of the text."""
_BEFORE = 80
"""Characters in front of a label that may rule it out."""


def _write(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        quoted = 'put into quotes what YAML takes for something else than text: ["yes", "no"]'
        raise FieldError(f"{write_text(value)} is no text", fix=quoted)
    return write_text(value)


@answer
class Label(AnswerKind):
    """One of a set of labels."""

    from_earlier = ("labels",)
    is_free = False

    labels: list[Annotated[str, BeforeValidator(_write)]] = Field(min_length=2, examples=["[LABEL, LABEL]"])
    """The labels; those of the nearest earlier step if left out."""

    @field_validator("labels")
    @classmethod
    def _apart(cls, labels: list[str]) -> list[str]:
        seen: dict[str, str] = {}
        for label in labels:
            folded = _fold(label)
            if folded in seen:
                told = f"{seen[folded]!r} and {label!r} are one: case, blanks, '-' and '_' do not count"
                raise FieldError(told, fix="take one of them out, or name it otherwise")
            seen[folded] = label
        return labels

    def classes(self) -> list[str]:
        """The labels."""
        return self.labels

    def canonical(self, reference: str, row: Mapping[str, Any]) -> str:
        """The label that a reference is.

        Raises:
            DataError: it is none.
        """
        if (found := self._find(reference)) is None:
            known = f"labels: {', '.join(self.labels[:50])}"
            told = f"the reference {reference[:80]!r} is none of the labels"
            raise DataError(told, exists=known, fix="add it to labels:, or mend the row")
        return found

    def same(self, answer: str, reference: str, row: Mapping[str, Any]) -> bool:
        """Whether an answer is the label of the reference.

        Raises:
            DataError: the reference is no label.
        """
        return self.canonical(reference, row) == self._find(answer)

    def read(self, text: str, row: Mapping[str, Any]) -> str | None:
        """The label that the text states or, where it states none, the only one that it speaks of."""
        text = prepare(text)
        if found := self._find(text):
            return found
        if (value := _read_value(text)) is not None:
            return self._find(value)
        return self._read_free(text)

    def _read_free(self, text: str) -> str | None:
        statements = sorted([*find_affirmed(text), *_find_stated(text)], key=lambda each: each.end, reverse=True)
        if statements and (rest := find_retracted(text, statements[0])) is not None:
            return self._read_free(rest) if len(rest) < len(text) else None
        for statement in statements:
            if named := self._list_meant(_ASIDE.split(claim(sentence(statement.text)))[0]):
                return _single(named)
        if marked := {*self._list_marked(text)}:
            return _single(marked)
        named = self._list_meant(text)
        if len(named) > 1 and (concluded := list(_CONCLUSION.finditer(text))):
            named = self._list_meant(text[concluded[-1].end() :])
        # A number, or a letter or two, is a label only where it is stated: "there is 1 way in".
        return None if statements else _single(name for name in named if name == "" or _SPOKEN.search(name))

    def _find(self, text: str) -> str | None:
        folded = _fold(text)
        return self._by_text.get(folded) or self._by_text.get(folded.removesuffix("s"))

    def _list_marked(self, text: str) -> Iterator[str]:
        """Labels in bold or on a line of their own."""
        for part in (*(bold[1] or bold[2] for bold in _BOLD.finditer(text)), *text.splitlines()):
            if found := self._find(_ITEM.sub("", part)):
                yield found

    def _list_meant(self, text: str) -> set[str]:
        """Labels that a text names and neither rules out nor doubts; several together where one of them is in doubt."""
        meant: set[str] = set()
        last, was_denied = 0, False
        for match in self._pattern.finditer(text):
            before = text[max(last, match.start() - _BEFORE) : match.start()]
            joined = last > 0 and _ruling_out.JOINED.fullmatch(text, last, match.start()) is not None
            is_denied = bool(
                _ruling_out.DENIED_BEFORE.search(before) or _ruling_out.DENIED_AFTER.match(text, match.end())
            )
            was_denied = is_denied or (joined and was_denied)
            if not was_denied:
                found = self._find(match[0])
                meant.add(str(found))
                if _ruling_out.HEDGED.search(before):
                    meant.add("")
            last = match.end()
        return meant

    @cached_property
    def _by_text(self) -> dict[str, str]:
        return {_fold(label): label for label in self.labels}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Any label, the longest one that fits, where it is no part of a word."""
        words = sorted((part_scripts(clean(label)) for label in self.labels), key=len, reverse=True)
        return re.compile("|".join(map(_match_alone, words)), re.IGNORECASE)


def _fold(text: str) -> str:
    """A label without what does not count; one of signs alone as it is."""
    bare = _JOINTS.sub(" ", normal(text)).strip()
    return bare or clean(text).strip()


def _match_alone(label: str) -> str:
    joints = r"[\s_-]+".join(re.escape(word) for word in _JOINTS.split(label) if word) or re.escape(label)
    joints += "s?" if re.match("[a-z]", label[-1:], re.IGNORECASE) else ""
    front = r"(?<!\w)(?<!\w-)" if _SPACED.match(label[:1]) else ""
    back = r"(?!\w)(?!-\w)" if _SPACED.match(label[-1:]) else ""
    return f"{front}{joints}{back}"


def _single(named: Iterable[str]) -> str | None:
    found = set(named)
    return next(iter(found)) if len(found) == 1 else None


def _read_value(text: str) -> str | None:
    """The value of a JSON text that holds one, "" where it holds none that could be a label; None if it is no JSON."""
    fenced = _FENCE.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        lower = {str(key).casefold(): item for key, item in value.items()}
        keys = [key for key in _KEYS if key in lower] or list(lower)
        value = lower[keys[0]] if len(lower) == 1 or keys[0] in _KEYS else ""
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
    return write_text(value) if isinstance(value, str | int | float) else ""


def _find_stated(text: str) -> Iterator[Statement]:
    """What stands behind words that state a label: the rest of the line or, if that says nothing, the next one."""
    for match in list(_STATED.finditer(text))[-_MOST:]:
        said = text[match.end() : match.end() + _SAID].lstrip(" \t\n*_`\"'")
        yield Statement(match.start(), said.partition("\n")[0], match.end())
