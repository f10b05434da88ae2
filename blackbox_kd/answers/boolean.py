"""Yes or no: also true and false, right and wrong, and what negates them ("not true" is no). Read as `yes` or `no`.

The last stated answer wins. Without one, the last sentence with such a word decides; there "no" counts only
where it is an answer ("..., so no.") and not a determiner ("no doubt"), and "true or false" is the question.
"It may be true", "neither yes nor no" and "partly true" are neither. In other languages than English the word must
be the whole answer, or what a short sentence ends with.
"""

import re
from collections.abc import Mapping
from typing import Any

from blackbox_kd.answers._kind import AnswerKind, answer
from blackbox_kd.answers._plain import plain
from blackbox_kd.answers._stated import claim, find_retracted, find_statements, prepare, sentences
from blackbox_kd.errors import DataError
from blackbox_kd.paths import read_patterns, read_table

_TABLE = read_table(__file__)
_WORDS = dict.fromkeys(_TABLE["yes"], "yes") | dict.fromkeys(_TABLE["no"], "no")
_OTHER = {"yes": "no", "no": "yes"}
_NEGATIONS = frozenset(_TABLE["not_abroad"])
_ABROAD = dict.fromkeys(_TABLE["yes_abroad"], "yes") | dict.fromkeys(_TABLE["no_abroad"], "no")
_ADJECTIVES = dict.fromkeys(_TABLE["true_abroad"], "yes") | dict.fromkeys(_TABLE["false_abroad"], "no")
_REFERENCES = _WORDS | _ABROAD | _ADJECTIVES | {"1": "yes", "0": "no", "y": "yes", "n": "no", "t": "yes", "f": "no"}
_PATTERNS = read_patterns(__file__)
_CHOICE_OF_BOTH = _PATTERNS["choice_of_both"]
_HEDGE = _PATTERNS["hedge"]
_I_WOULD = re.compile(r"\bI(?:\swould|'d)\s(?:say|answer)\b", re.IGNORECASE)
_OPENING = _PATTERNS["opening"]
_DETERMINER = re.compile(
    r"\s(?:one|longer|more|doubt|reason|way|such|need|other|idea|matter|evidence|answer|\w+\sanswer)\b", re.IGNORECASE
)
_QUALIFIED = re.compile(
    r"\b(?:but\snot\s(?:always|in|for|all|every)|only\s(?:if|when)|unless|in\spart|to\ssome\sextent)\b", re.IGNORECASE
)
_WORD = _PATTERNS["word"]
_PART = re.compile(r"[.,!?;:\s\"'*()。、।]+")
_NOR = re.compile(r"\b(?:yes\sand\sno|weder|ni\s.*\sni|né\s.*\sné|nem\s.*\snem|ani\s.*\sani|neither)\b", re.IGNORECASE)
_LONGEST_ABROAD = 6


@answer
class Boolean(AnswerKind):
    """Yes or no."""

    def read(self, text: str, row: Mapping[str, Any]) -> str | None:
        """`yes` or `no`: the last one stated."""
        text = prepare(text)
        statements = find_statements(text)
        if statements and (rest := find_retracted(text, statements[0])) is not None:
            return _read_end(rest)
        for statement in statements:
            said = plain(statement.text)
            first = next(iter(sentences(said)), "")
            if _HEDGE.search(claim(first)) and not _OPENING.match(first)["word"]:  # type: ignore[index]  # it matches anything
                return _read_end("\n".join(sentences(text[statement.end :])[1:]))
            if answer := _meant(said) or _abroad(first, is_stated=True):
                return answer
        return _read_end(text)

    def same(self, answer: str, reference: str, row: Mapping[str, Any]) -> bool:
        """Whether both say the same.

        Raises:
            DataError: the reference is neither yes nor no.
        """
        wanted = _REFERENCES.get(_bare(str(reference)))
        if wanted is None:
            raise DataError(f"the reference {reference!r} is neither yes, true or 1 nor no, false or 0")
        return _REFERENCES.get(_bare(str(answer))) == wanted


def _bare(text: str) -> str:
    return plain(text).strip(" \n.。।!\"'*()").casefold()


def _read_end(text: str) -> str | None:
    """What the last sentence with one of the words says, if it says it for certain."""
    for said in reversed(sentences(plain(text))):
        if said.rstrip().endswith("?"):
            continue
        if answer := _abroad(said, is_stated=False):
            return answer
        flat = _I_WOULD.sub(" ", said)
        both = _CHOICE_OF_BOTH.search(flat) or _NOR.search(flat)
        words = list(_WORD.finditer(_CHOICE_OF_BOTH.sub(" ", flat)))
        if words and _QUALIFIED.search(flat):
            return None
        if both and (not words or both.re is _NOR):
            return None
        if words:
            opens = _OPENING.match(flat)
            is_open = bool(opens and opens["word"])
            return _decide(words) if is_open or not _HEDGE.search(claim(flat)) else None
    return None


def _decide(words: list[re.Match[str]]) -> str:
    decisive = next((match for match in words if match["that"]), words[-1])
    if words[0].start() == 0 and words[0]["word"].lower() in ("yes", "no", "yeah", "yep", "nope"):
        decisive = words[0]
    answer = _WORDS[decisive["word"].lower()]
    return _OTHER[answer] if decisive["not"] else answer


def _meant(text: str) -> str | None:
    """What a stated answer begins with; a bare "not" is no, and "no doubt" is nothing."""
    opening = _OPENING.match(text)
    if opening is None:
        return None
    word = opening["word"]
    if word is None:
        return "no" if opening["not"] and not text[opening.end() :].strip(" .!*") else None
    if word.lower() in ("no", "right") and _DETERMINER.match(text, opening.end()):
        return None
    if _CHOICE_OF_BOTH.match(text, opening.start("word")):
        return None
    answer = _WORDS[word.lower()]
    return _OTHER[answer] if opening["not"] else answer


def _abroad(said: str, *, is_stated: bool) -> str | None:
    """What the only word, the first word before a comma, or the last word of a short sentence says."""
    words = [word for word in _PART.split(said.casefold()) if word]
    if not words or len(words) > _LONGEST_ABROAD:
        return None
    known = _ABROAD | _ADJECTIVES
    if len({known[word] for word in words if word in known}) > 1:
        return None
    if len(words) == 1 or re.match(rf"\W*{re.escape(words[0])}\s?[,.!。、]", said, re.IGNORECASE):
        return known.get(words[0])
    is_negated = any(word in _NEGATIONS for word in words[:-1])
    return _ADJECTIVES.get(words[-1]) if words[-1] in _ADJECTIVES and not is_negated else None
