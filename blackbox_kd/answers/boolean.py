"""Yes or no: also true and false, and what negates them ("not true" is no). Read as `yes` or `no`.

The last stated answer wins. Without one, the last sentence with such a word decides; there "no" counts only
where it is an answer ("..., so no.") and not a determiner ("no doubt"), and "true or false" is the question.
"""

import re
from collections.abc import Mapping
from typing import Any

from blackbox_kd.answers._plain import plain
from blackbox_kd.answers._stated import spoken, stated
from blackbox_kd.errors import DataError

_WORDS = {
    "yes": "yes", "true": "yes", "correct": "yes",
    "no": "no", "false": "no", "incorrect": "no", "untrue": "no",
}  # fmt: skip
_OTHER = {"yes": "no", "no": "yes"}
_REFERENCES = {**_WORDS, "1": "yes", "0": "no", "y": "yes", "n": "no", "t": "yes", "f": "no"}
_CHOICE_OF_BOTH = re.compile(r"\b(yes|true|correct)\s?(?:/|,?\sor)\s?(?:no|false|incorrect|not)\b", re.IGNORECASE)
_OPENING = re.compile(
    r"""\W*(?:(?:most|very)\s)?(?:(?:definitely|certainly|clearly|absolutely|simply|a|an|probably|likely)\W{1,3}){0,2}
        (?P<not>(?:not|never)\b\W{0,3})?
        (?:(?:necessarily|entirely|quite|a|always)\s)?
        (?:(?P<word>yes|true|correct|no|false|incorrect|untrue)\b)?""",
    re.IGNORECASE | re.VERBOSE,
)
_DETERMINER = re.compile(r"\s(?:one|longer|more|doubt|reason|way|such|need|other|idea|matter|evidence)\b", re.I)
_WORD = re.compile(
    r"""(?P<not>\b(?:not|never|n[o']t|isn't|isn’t|wasn't|wasn’t|cannot\sbe|can't\sbe)\s
            (?:(?:necessarily|entirely|quite|a|always|be)\s){0,2})?
        \b(?P<word>yes|true|false|untrue|no(?=\s{0,2}(?:[.,;:!)*"”—–-]|$)))\b
        (?P<that>\sthat\b)?""",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
_SENTENCE = re.compile(r"[^.!?\n]+")


def read(text: str, row: Mapping[str, Any]) -> str | None:
    """`yes` or `no`: the last one stated."""
    text = spoken(text)
    for statement in stated(text):
        opening = _OPENING.match(plain(statement.text))
        if opening and (answer := _meant(opening, plain(statement.text))):
            return answer
    flat = _CHOICE_OF_BOTH.sub(" ", plain(text))
    said = [list(_WORD.finditer(part[0])) for part in _SENTENCE.finditer(flat)]
    if not (words := next((found for found in reversed(said) if found), None)):
        return None
    decisive = next((match for match in words if match["that"]), words[-1])
    answer = _WORDS[decisive["word"].lower()]
    return _OTHER[answer] if decisive["not"] else answer


def same(answer: str, reference: str, row: Mapping[str, Any]) -> bool:
    """Whether both say the same.

    Raises:
        DataError: the reference is neither yes nor no.
    """
    wanted = _REFERENCES.get(str(reference).strip().rstrip(".").lower())
    if wanted is None:
        raise DataError(f"the reference {reference!r} is neither yes, true or 1 nor no, false or 0")
    return _REFERENCES.get(str(answer).strip().lower()) == wanted


def _meant(opening: re.Match[str], text: str) -> str | None:
    """What a stated answer begins with; a bare "not" is no, and "no doubt" is nothing."""
    word = opening["word"]
    if word is None:
        return "no" if opening["not"] and not text[opening.end() :].strip(" .!*") else None
    if word.lower() == "no" and _DETERMINER.match(text, opening.end()):
        return None
    if _CHOICE_OF_BOTH.match(text, opening.start("word")):
        return None
    answer = _WORDS[word.lower()]
    return _OTHER[answer] if opening["not"] else answer
