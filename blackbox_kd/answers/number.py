r"""A number: 7, -5, 1,234.50, 3/4, 2 1/2, 1.5e3, 5 × 10^3, 2 million, twenty-one, $12, 50%, \boxed{\frac{3}{4}}.

References and replies are read by one rule. The last stated answer wins; a text that states none gives the number of
its last sentence with one: what an equation ends with, what "is" or "has" is followed by, or the only number there. A
number counts only if it stands for itself (see `_numerals`): "3 + 4 = 7" is 7, "the answer is 5-10" is nothing, and
"5 feet 6 inches" is neither 5 nor 6. A reference of that sort fails its row. Numbers are compared as fractions.

A percent sign is a unit, as currencies and metres are: 50% is 50, because that is how "what percent ...?"
is answered. Where only one side carries the sign, the other may also be the share: 50% is 0.5.

The decimal sign is the point, unless `answer: {number: {decimal: ","}}` says that texts write the comma. Commas,
blanks and apostrophes group thousands; 1.234,50 is read because it can mean nothing else, but 3,5 is not.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

from blackbox_kd.answers import _numerals
from blackbox_kd.answers._kind import AnswerKind, answer
from blackbox_kd.answers._number_words import read_words
from blackbox_kd.answers._plain import plain
from blackbox_kd.answers._stated import claim, cut_off, find_affirmed, find_retracted, prepare, sentence, sentences
from blackbox_kd.errors import DataError
from blackbox_kd.paths import read_patterns

_FULL_STOP = re.compile(r"\.[\"')]{0,3}\s")
_END = 60
_PLAINLY = re.compile(
    r"[.!?)\n]\s{1,3}(?:so,?\s|thus,?\s|therefore,?\s)?the answer is (-?\d{1,15})\.?\s*\Z", re.IGNORECASE
)
"""Most replies of a teacher that was told how to end, read at a hundredth of the cost; others are read in full."""
_STATES_MORE = re.compile(r"answer.*answer|####|\\boxed", re.IGNORECASE | re.DOTALL)
_NORMAL = re.compile(r"-?\d{1,420}(?:\.\d{1,1000}|/\d{1,420})?%?")
_EQUALS = re.compile(r"[=≈≃≅→⇒]+")
_PATTERNS = read_patterns(__file__)
_SAID = _PATTERNS["said"]
_SAYS = re.compile(r"\b(?:is|are|was|were|has|have|had|equals?|total|answer|left|remain\w*)\b|[:=]", re.IGNORECASE)
_LAST_LINES = 1_000
_OF_ANSWERS = re.compile(r"\b(?:is|equals|was|be)\s{1,3}(?:about\s|approximately\s|exactly\s)?$", re.IGNORECASE)
_CONCLUSION = _PATTERNS["conclusion"]
_WHERE = re.compile(
    r"(?:\b(?:in|after|of|for|by|within|per|over|from|on|at|during|every|each|which)\s(?:the\s|about\s)?|\()[$€£¥]?$"
)
_SAYS_NOTHING = re.compile(
    r"\b(?:unknown|unclear|undefined|undetermined|impossible|cannot|can't|nothing)\b", re.IGNORECASE
)
_YEAR_BEFORE = re.compile(r"\b(?:in|since|of|by|until|before|after|from|year|im\sjahr|en|nel|em|i)\s$", re.IGNORECASE)
_YEAR = re.compile(r"(?:19|20)\d\d")
_BREAKS_OFF = _PATTERNS["breaks_off"]
_HALF_SENTENCE = re.compile(r"[^\d=]{0,200}[^\W\d_]\s[^\d=]{0,200}[^\W\d_]")
_ENDS_SENTENCE = re.compile(r"[.!?:]\s")
_COURTESY = re.compile(
    r"\b(?:hope|thanks?|let\sme\sknow|good\sluck|cheers|done|that'?s?\s(?:is\s)?it)\b", re.IGNORECASE
)
_BLANKS = re.compile(r"[ \t]{2,}")
_ITEM = re.compile(r"\s{0,8}(?:[-*•|]\s?|\d{1,2}[.)]\s)|[\d.,]{1,20}$")
_BETWEEN_BOXES = re.compile(
    r"[\s$\\)(\]\[]{0,9}(?:,|;|\b(?:and|or|to|und|oder|et|ou)\b)(?:\s(?:and|or))?[\s$\\)(\]\[]{0,9}"
)
_TABLE = re.compile(r"\\(?:begin|end)\{(?:[pbvBV]?(?:small)?matrix|array|cases)\}")
"""What no single number stands in."""
_NEAR_END = 200
_WORD_PLACE = re.compile(r"\b(?:is|are|was|has|have|had|gets?|equals)\s(?:about\s|exactly\s|only\s)?", re.IGNORECASE)
_HEDGE = _PATTERNS["hedge"]
_LATEX = re.compile(r"\\[a-zA-Z({\[]|\$.*\$")
_PROSE = re.compile(r"[^\W\d_]{3}")
_FORMULA = re.compile(r"[=^√π+*]|[(\[{].*[)\]}]")
_MOST_SENTENCES = 100


@answer
class Number(AnswerKind):
    """A number."""

    decimal: Literal[".", ","] = "."
    """The decimal sign of the texts; the other one groups thousands."""

    def read(self, text: str, row: Mapping[str, Any]) -> str | None:
        """The number that the text states last; as a decimal or, where that never ends, a/b, with its percent sign."""
        if (plainly := _PLAINLY.search(text[-_END:])) and not _STATES_MORE.search(text):
            return str(int(plainly[1]))
        text = prepare(text)
        if cut_off(text):
            return None
        statements = find_affirmed(text)
        if statements and (rest := find_retracted(text, statements[0])) is not None:
            return _read_end(rest, self.decimal)
        if len(statements) > 1 and _BETWEEN_BOXES.fullmatch(text, statements[1].end, statements[0].start):
            return None
        for statement in statements:
            if _TABLE.search(statement.text):
                return None
            line = _flat(statement.text)
            first = sentence(line)
            segment = first if re.search(r"\d", first) else line
            if (word := read_words(first)) is not None:
                return _numerals.normal(word)
            if re.search(r"\d", segment):
                return _read_stated(segment, line, statement.beside, self.decimal)
        return _read_end(text, self.decimal, only_computed=bool(statements))

    def same(self, answer: str, reference: str, row: Mapping[str, Any]) -> bool:
        """Whether two numbers are equal; see the module for percentages.

        Raises:
            DataError: the reference is not one number.
        """
        wanted = self.read(str(reference), row)
        if wanted is None:
            raise DataError(
                f"the reference {str(reference)[:80]!r} is not one number, and no part of it is the answer",
                fix=f"answer: {_find_fitting(str(reference))}",
            )
        given = answer if _NORMAL.fullmatch(answer) else self.read(answer, row)
        return given is not None and _is_equal(given, wanted)

    def is_alike(self, answer: str, other: str, row: Mapping[str, Any]) -> bool:
        """Whether two numbers that were read are equal: they have a decimal point, whatever the sign of the texts."""
        return _is_equal(answer, other) if _NORMAL.fullmatch(answer) and _NORMAL.fullmatch(other) else answer == other


def _is_equal(given: str, wanted: str) -> bool:
    left, right = Fraction(given.rstrip("%")), Fraction(wanted.rstrip("%"))
    if given.endswith("%") == wanted.endswith("%"):
        return left == right
    percent, other = (left, right) if given.endswith("%") else (right, left)
    return other in (percent, percent / 100)


def _find_fitting(reference: str) -> str:
    """The kind of answer for a reference that is not one number: formulas, tuples and sets, or else texts."""
    is_formula = _LATEX.search(reference) or (not _PROSE.search(reference) and _FORMULA.search(reference))
    return "math" if is_formula else "exact"


def _flat(text: str) -> str:
    return _numerals.FOOTNOTE.sub("", _BLANKS.sub(" ", plain(text)))


def _read_stated(segment: str, line: str, beside: bool, decimal: str) -> str | None:
    """The number of a stated answer: its first sentence, the last side of an equation, what is said, or the first.

    `line` goes on where the segment ends: in "5. März 2024" the sentence does not end behind the 5.
    """
    if whole := _whole_sentence(segment, beside, decimal):
        return _certain(line, whole)
    sides = _EQUALS.split(segment)
    if len(sides) > 1 and (found := _read_equation(segment, decimal)):
        return found[0]
    numbers = list(_numerals.find_alone(segment, decimal))
    if not numbers or _SAYS_NOTHING.search(segment, 0, numbers[0].start()):
        return None
    said = [n for n in numbers if _OF_ANSWERS.search(segment[max(0, n.start() - 24) : n.start()])]
    begins = not re.search(r"[^\W\d_]{3}", segment[: numbers[0].start()])
    return _certain(line, said[-1] if said and not begins else numbers[0])


def _read_end(text: str, decimal: str, only_computed: bool = False) -> str | None:
    """The number of the last sentence that has one; None where the text breaks off, or there are several.

    `only_computed` says that it must be the result of an equation: "26 - 19 = 7. The answer is N."
    """
    flat = _flat(text)
    if _breaks_off(text, flat) or _TABLE.search(text[-_NEAR_END:]):
        return None
    ends = sentences(flat)[:-_MOST_SENTENCES:-1]
    for said in ends:
        numbers = [number for number in _numerals.find_alone(said, decimal) if not _is_year(said, number)]
        if not numbers:
            continue
        if found := _read_equation(said, decimal):
            return found[0]
        if only_computed:
            return None
        if _lists_several(flat):
            return None
        number = _decide(said, numbers)
        return _certain(said, number) if number and not _HEDGE.search(claim(said)) else None
    return _read_last_word(ends[0]) if ends and not re.search(r"\d", flat) else None


def _breaks_off(text: str, flat: str) -> bool:
    """Whether a text was cut off: within a formula or a sentence, so that what it was coming to is not known."""
    if any(text.rfind(opened) > text.rfind(closed) for opened, closed in (("\\[", "\\]"), ("\\(", "\\)"))):
        return True
    if len(flat.split(None, 3)) <= 3:
        return False
    before, _, last = flat.rstrip().rpartition("\n")
    is_half = _HALF_SENTENCE.fullmatch(last.strip()) and _ENDS_SENTENCE.search(before)
    return bool(is_half and not _COURTESY.search(last)) or _BREAKS_OFF.search(flat[-_END:]) is not None


def _lists_several(flat: str) -> bool:
    """Whether a text ends in a list, whose last item is one of several and says nothing of all."""
    lines = [line for line in flat[-_LAST_LINES:].splitlines() if line.strip()][-2:]
    is_list = len(lines) == 2 and all(_ITEM.match(line) for line in lines)
    return is_list and not (_CONCLUSION.search(lines[-1]) or _SAYS.search(lines[-1]))


def _decide(said: str, numbers: list[re.Match[str]]) -> re.Match[str] | None:
    """Which of a sentence's numbers is what it says: the only one, the only one behind "so", or what is or one has.

    What follows that one may only tell where or when: "72 clips in 2 boxes", not "3 boxes with 4 pens each".
    """
    conclusions = list(_CONCLUSION.finditer(said))
    concluded = [n for n in numbers if conclusions and n.start() > conclusions[-1].end()]
    if len(only := concluded or numbers) == 1:
        return only[0]
    stated = [n for n in only if _SAID.search(said[max(0, n.start() - 30) : n.start()])]
    if len(stated) != 1:
        return None
    others = only[only.index(stated[0]) + 1 :]
    return stated[0] if all(_WHERE.search(said[max(0, n.start() - 20) : n.start()]) for n in others) else None


def _read_last_word(said: str) -> str | None:
    """The number in words that a sentence begins with, or that follows its last "is" or "has"."""
    places = [0, *(match.end() for match in _WORD_PLACE.finditer(said))]
    word = read_words(said[places[-1] :])
    return None if word is None else _numerals.normal(word)


def _read_equation(said: str, decimal: str) -> tuple[str | None] | None:
    """What the last side of an equation with a number begins with, None if that is in doubt; None if there is none."""
    if "=" not in said and len(_EQUALS.split(said)) < 2:
        return None
    if _numerals.gives_several(said):
        return (None,)
    first_side, *others = _EQUALS.split(said)
    for side in (*(f"= {other.lstrip()}" for other in reversed(others)), first_side):
        first = next(_numerals.NUMBER[decimal].finditer(side), None)
        if first and _numerals.stands_alone(side, first):
            return (_certain(side, first),)
    return None


def _certain(text: str, number: re.Match[str]) -> str | None:
    return None if _numerals.in_doubt(text, number) else _numerals.write(number)


def _is_year(said: str, number: re.Match[str]) -> bool:
    """Whether a number is a year that only dates what is said."""
    is_dated = _YEAR_BEFORE.search(said[max(0, number.start() - 12) : number.start()])
    return is_dated is not None and _YEAR.fullmatch(number[0]) is not None


def _whole_sentence(segment: str, beside: bool, decimal: str) -> re.Match[str] | None:
    """The number that a statement begins with and that ends its sentence: the 12 of "12. 3 of them are red".

    It is no list marker there. But "1." below the phrase opens a list, and what follows it is the answer.
    """
    number = next(_numerals.NUMBER[decimal].finditer(segment), None)
    if number is None or not _FULL_STOP.match(segment, number.end()) or re.search(r"\w", segment[: number.start()]):
        return None
    opens_list = not beside and number[0] == "1"
    return number if not opens_list and _numerals.stands_alone(segment, number) else None
