r"""A number: 7, -5, 1,234.50, 3/4, 2 1/2, 1.5e3, 5 × 10^3, 2 million, $12, 50%, \boxed{\frac{3}{4}}.

The last stated answer wins; a text that states none gives its last number. A number counts only if it stands
for itself: not as an operand ("6 × 7"), in a range ("5-10", "5 or 6"), a time, a date or a list marker, so
that "3 + 4 = 7" is 7 and "the answer is 5-10" is nothing. Numbers are compared exactly, as fractions.

A percent sign is a unit, as currencies and metres are: 50% is 50, because that is how "what percent ...?"
is answered. Where only one side carries the sign, the other may also be the share: 50% is 0.5.

The decimal sign is the point. Commas, thin spaces and apostrophes group thousands; 1.234,50 is read because
it can mean nothing else, but 3,5 is not.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from blackbox_kd.answers._plain import plain
from blackbox_kd.answers._stated import affirmed, cut_off, sentence, spoken
from blackbox_kd.errors import DataError

_MULTIPLES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_WORDS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
]  # fmt: skip
_NUMBER = re.compile(
    r"""(?<![\w.])(?<!\d[,'])
        (?P<sign>(?<![\d)\]])(?<![\d)\]]\s)[-+]|(?<=[=≈]\s)[-+]\s)?
        (?:(?:US|USD|EUR|GBP|CHF|INR|Rs\.?)\s?)?(?:[$€£¥₹]{1,2}\s?(?P<inner>-)?)?
        (?: (?P<european>\d{1,3}(?:\.\d{3}){1,40},\d{1,40}(?!\d))
          | (?P<whole>\d{1,3}(?:[,'’\u202f]\d{3}){1,40}(?!\d)|\d{1,400}(?!\d))(?P<decimals>\.\d{1,400})?
          | (?P<point>\.\d{1,400}) )
        (?:[eE](?P<e>[-+]?\d{1,3})(?!\w) | \s?[×x*]\s?10\s?\^\s?\(?(?P<ten>[-+]?\d{1,3})\)? )?
        (?:\ (?:and\ )?(?P<part>\d{1,20})/(?P<parts>\d{1,20})(?![/\d]) | \s?/\s?(?P<over>\d{1,400}(?:\.\d{1,400})?) )?
        (?:\s?(?P<percent>%|percent\b|per\scent\b))?
        (?:\s(?P<multiple>thousand|million|billion|trillion)\b)?""",
    re.VERBOSE,
)
_OPERAND_AFTER = re.compile(r"\s{0,3}(?:[+×÷^√±]|\*\s?[\w($]|/\s?[\d($€£]|x\s?\d|-\s?[$€£]?[\d(])|[πxyzn](?!\w)|\(")
_OPERAND_BEFORE = re.compile(r"(?:[+×÷/^√±<>≤≥]|[\w)%]\s?\*|[\w)%]\s?-)\s?[($€£]{0,2}$|[)\]]$")
_JOINED_AFTER = re.compile(r"[:,.'/]\d|-\w|[eE][-+]?\d|(?:st|nd|rd|th)\b")
_JOINED_BEFORE = re.compile(r"\d[:/,.]$|\b(?:step|question|problem|equation|line|part|no\.|#)\s?\(?$", re.IGNORECASE)
_MARKER = re.compile(r"[.)]\s{1,3}\S")
_FULL_STOP = re.compile(r"\.[\"'”)]{0,3}\s")
_HEDGE = re.compile(r"\s{1,3}(?:to|or)\s{1,3}[$€£]?\d")
_RANGE = re.compile(r"\b(?:between|from)\s{1,3}\S{0,2}$", re.IGNORECASE)
_END = 60
_PLAINLY = re.compile(
    r"[.!?)\n]\s{1,3}(?:so,?\s|thus,?\s|therefore,?\s)?the answer is (-?\d{1,15})\.?\s*\Z", re.IGNORECASE
)
"""Most replies of a teacher that was told how to end, read at a hundredth of the cost; others are read in full."""
_INTEGER = re.compile(r"-?\d{1,18}")
_EQUALS = re.compile(r"[=≈≃≅→⇒]+")
_SAID = re.compile(r"\b(?:is|equals|was|be)\s{1,3}(?:about\s|approximately\s|exactly\s)?$", re.IGNORECASE)
_DOUBTFUL_SCALE = re.compile(r"[\s-](?:hundred|thousand|million|billion|half|of|or)\b")


def read(text: str, row: Mapping[str, Any]) -> str | None:
    """The last number that the text states, else its last number; as a decimal or, where that never ends, a/b."""
    if plainly := _PLAINLY.search(text[-_END:]):
        return str(int(plainly[1]))
    text = spoken(text)
    if cut_off(text):
        return None
    for statement in affirmed(text):
        line = plain(statement.text)
        first = sentence(line)
        segment = first if re.search(r"\d", first) else line
        if re.search(r"\d", segment):
            return _stated_in(segment, statement.beside)
        if word := _word(first):
            return word
    flat = plain(text)
    last = deque(_alone(flat), maxlen=1)
    return _write_plain(last[0]) if last else None


def same(answer: str, reference: str, row: Mapping[str, Any]) -> bool:
    """Whether two numbers are equal; see the module for percentages.

    Raises:
        DataError: the reference holds no number.
    """
    if _INTEGER.fullmatch(str(answer)) and _INTEGER.fullmatch(str(reference)):
        return int(answer) == int(reference)  # nearly all rows, and thirty times as quick
    wanted = read(str(reference), row)
    if wanted is None:
        raise DataError(f"the reference {reference!r} holds no number; `answer: number` compares numbers")
    given = read(str(answer), row)
    if given is None:
        return False
    left, right = Fraction(given.rstrip("%")), Fraction(wanted.rstrip("%"))
    if given.endswith("%") == wanted.endswith("%"):
        return left == right
    percent, other = (left, right) if given.endswith("%") else (right, left)
    return other in (percent, percent / 100)


def _stated_in(segment: str, beside: bool) -> str | None:
    """The number of a stated answer: its first sentence, the last side of an equation, what is said, or the first."""
    if whole := _whole_sentence(segment, beside):
        return _write_plain(whole)
    sides = _EQUALS.split(segment)
    for side in reversed(sides if len(sides) > 1 else []):
        first = next(_NUMBER.finditer(side), None)
        if first and _stands_alone(side, first):
            return _write_plain(first)
    numbers = list(_alone(segment))
    if not numbers:
        return None
    said = [number for number in numbers if _SAID.search(segment[max(0, number.start() - 24) : number.start()])]
    begins = not re.search(r"[^\W\d_]{3}", segment[: numbers[0].start()])
    chosen = said[-1] if said and not begins else numbers[0]
    hedged = _HEDGE.match(segment, chosen.end()) or _RANGE.search(segment[: chosen.start()])
    return None if hedged else _write_plain(chosen)


def _whole_sentence(segment: str, beside: bool) -> re.Match[str] | None:
    """The number that a statement begins with and that ends its sentence: the 12 of "12. 3 of them are red".

    It is no list marker there. But "1." below the phrase opens a list, and what follows it is the answer.
    """
    number = next(_NUMBER.finditer(segment), None)
    if number is None or not _FULL_STOP.match(segment, number.end()) or re.search(r"\w", segment[: number.start()]):
        return None
    opens_list = not beside and number[0] == "1"
    return number if not opens_list and _stands_alone(segment, number) else None


def _alone(text: str) -> Iterator[re.Match[str]]:
    """Numbers that stand for themselves, in order."""
    for match in _NUMBER.finditer(text):
        if _stands_alone(text, match) and not _marks_item(text, match):
            yield match


def _stands_alone(text: str, match: re.Match[str]) -> bool:
    before = text[max(0, match.start() - 12) : match.start()]
    return not (
        _OPERAND_AFTER.match(text, match.end())
        or _JOINED_AFTER.match(text, match.end())
        or _OPERAND_BEFORE.search(before)
        or _JOINED_BEFORE.search(before)
        or _value(match) is None
    )


def _marks_item(text: str, match: re.Match[str]) -> bool:
    """Whether the number is the mark of a list item, such as the 3 of "3. Add them up"."""
    start = text.rfind("\n", 0, match.start()) + 1
    return not text[start : match.start()].strip() and _MARKER.match(text, match.end()) is not None


def _value(match: re.Match[str]) -> Fraction | None:
    """The number of a match without its percent sign; None for a division by zero."""
    if match["european"]:
        digits = match["european"].replace(".", "").replace(",", ".")
    else:
        digits = re.sub(r"[^\d.]", "", (match["whole"] or "0") + (match["decimals"] or match["point"] or ""))
    value = Fraction(digits) * Fraction(10) ** int(match["e"] or match["ten"] or 0)
    if match["over"]:
        if not (divisor := Fraction(match["over"])):
            return None
        value /= divisor
    if match["part"]:
        if not int(match["parts"]):
            return None
        value += Fraction(int(match["part"]), int(match["parts"]))
    value *= _MULTIPLES.get(match["multiple"], 1)
    return -value if "-" in (match["sign"] or "") + (match["inner"] or "") else value


def _write_plain(match: re.Match[str]) -> str | None:
    value = _value(match)
    return None if value is None else normal(value) + ("%" if match["percent"] else "")


def normal(value: Fraction) -> str:
    """A number as a decimal without needless zeros or, where no decimal is exact, as a fraction."""
    rest, places = value.denominator, 0
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest //= prime
            power += 1
        places = max(places, power)
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    if not places:
        return str(value.numerator)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def _word(segment: str) -> str | None:
    """A small number written out, when it is all that the answer begins with."""
    match = re.match(r"\W*([a-z]+)\b", segment.lower())
    if not match or match[1] not in _WORDS or _DOUBTFUL_SCALE.match(segment.lower(), match.end()):
        return None
    return str(_WORDS.index(match[1]))
