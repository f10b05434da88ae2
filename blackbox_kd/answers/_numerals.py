r"""Numbers as they are written, and which of them stand for themselves.

A number is no answer as an operand ("6 × 7"), in a list or a tuple ("3, 7"), a range ("5-10", "5 or 6"), a bound ("at
least 5"), a time, a date, a sum of units ("5 feet 6 inches"), with a scale that only the context tells ("12k", "1.5M",
"2 dozen"), or as the mark of a list item or a footnote. Of such a text no part is read.
"""

import re
from collections.abc import Iterator
from fractions import Fraction

from blackbox_kd.paths import read_patterns, read_table

_TABLE = read_table(__file__)
_SCALES: dict[int, str] = {10 ** int(power): words for power, words in _TABLE["scales"].items()}
_SCALE = re.compile(rf"(?:{'|'.join(_SCALES.values())})", re.IGNORECASE)
_DECIMAL = {
    ".": r"""(?P<dotted>\d{1,3}(?:\.\d{3}){2,40}(?![\d.,]\d|\d)|\d{1,3}(?:\.\d{3}){1,40},\d{1,40}(?!\d))
          | (?P<whole>\d{1,3}(?:[,']\d{3}){1,40}(?!\d)|\d{1,2}(?:,\d{2}){1,20},\d{3}(?!\d)
          |\d{1,3}(?:\ \d{3}){1,9}(?![\d'])
              |\d{1,400}(?!\d))(?P<decimals>\.\d{1,400})?
          | (?P<point>\.\d{1,400})""",
    ",": r"""(?P<whole>\d{1,400}(?=\.\d{1,2}(?![\d,])|\.\d{4}))(?P<decimals>\.\d{1,400})
          | (?P<dotted>(?:\d{1,3}(?:[.'\ ]\d{3}){1,40}|\d{1,400})(?:,\d{1,400})?(?![\d']))
          | (?P<point>,\d{1,400})""",
}
_PATTERN = r"""(?<![\w.])(?<!\d[,'])
    (?P<sign>(?<![\d)\]])(?<![\d)\]]\s)[-+]|(?<=[=≈]\s)[-+]\s|(?:(?<=\bis\s)|(?<=[:=]\s)|^)(?:minus|negative)\s)?
    (?:(?:US|USD|EUR|GBP|CHF|INR|Rs\.?)\s?)?(?:[$€£¥₹]{1,2}\s?(?P<inner>-)?)?
    (?: %s )
    (?:[eE](?P<e>[-+]?\d{1,3})(?!\w) | \s?[×x*]\s?10\s?\^\s?\(?(?P<ten>[-+]?\d{1,3})\)? )?
    (?:\ (?:and\ )?(?P<part>\d{1,20})/(?P<parts>\d{1,20})(?![/\d])|\ and\ (?P<half>a\ half)\b
      |\s?/\s?(?P<over>\d{1,400}(?:\.\d{1,400})?) )?
    (?:\s?(?P<percent>%%|percent\b|per\scent\b|prozent\b|por\sciento\b|procent\b))?
    (?:\s?(?P<scale>%s)(?![^\W\d_]))?"""
NUMBER = {
    sign: re.compile(_PATTERN % (form, _SCALE.pattern), re.VERBOSE | re.IGNORECASE | re.MULTILINE)
    for sign, form in _DECIMAL.items()
}
"""Numbers by the decimal sign that a language writes."""

_PATTERNS = read_patterns(__file__)
_OPERAND_AFTER = _PATTERNS["operand_after"]
_OPERAND_BEFORE = _PATTERNS["operand_before"]
_JOINED_AFTER = re.compile(r"[:,.'/]\d|-\w|[eE][-+]?\d|(?:st|nd|rd|th)\b|\s?番目|[hH]\d")
_JOINED_BEFORE = _PATTERNS["joined_before"]
_INDENT = 20
_MARKER = re.compile(r"[.)]\s{1,3}\S")
FOOTNOTE = re.compile(r"(?<=[\d%.])(?:\s?\[\^?\d{1,2}\](?![\d\[])|\^1(?!\d)|[*†‡](?=[\s.,;]|$))|(?<=\d\.)\^\d(?!\d)")
_MONTH_AFTER = _PATTERNS["month_after"]
_MONTH_BEFORE = _PATTERNS["month_before"]
_SCALED = _PATTERNS["scaled"]
_BOUND_BEFORE = _PATTERNS["bound_before"]
_SCALE_AFTER = re.compile(rf"\s{{0,2}}(?:{_SCALE.pattern})(?![^\W\d_])", re.IGNORECASE)
_RANGE_AFTER = _PATTERNS["range_after"]
_LIST_AFTER = _PATTERNS["list_after"]
_PREPOSITIONS = frozenset(_TABLE["between"])
"""Words behind a number that are no unit of it."""
_MIXED_AFTER = _PATTERNS["mixed_after"]
_SECOND = re.compile(r"[\d.,]{0,12}\s?([^\W\d_]{1,20}|['\"])?")
_SEVERAL = _PATTERNS["several"]


def find_alone(text: str, decimal: str) -> Iterator[re.Match[str]]:
    """Numbers that stand for themselves, in order; those in doubt among them (see `in_doubt`)."""
    for match in NUMBER[decimal].finditer(text):
        if stands_alone(text, match) and not _marks_item(text, match):
            yield match


def stands_alone(text: str, match: re.Match[str]) -> bool:
    """Whether a number is no operand, and no part of a word or of another number."""
    before = text[max(0, match.start() - 12) : match.start()]
    return not (
        _OPERAND_AFTER.match(text, match.end())
        or _JOINED_AFTER.match(text, match.end())
        or _OPERAND_BEFORE.search(before)
        or _JOINED_BEFORE.search(before)
        or value_of(match) is None
    )


def in_doubt(text: str, match: re.Match[str]) -> bool:
    """Whether a number is one of several, or what follows or goes before it makes another value of it."""
    before = text[max(0, match.start() - 24) : match.start()]
    after = (_SCALED, _RANGE_AFTER, _LIST_AFTER, _MONTH_AFTER, _SCALE_AFTER)
    return (
        (match["part"] is not None and int(match["part"]) >= int(match["parts"]))  # "15 and 15/4" are two numbers
        or any(pattern.match(text, match.end()) for pattern in after)
        or any(pattern.search(before) for pattern in (_MONTH_BEFORE, _BOUND_BEFORE))
        or _is_mixed(text, match)
    )


def gives_several(text: str) -> bool:
    """Whether a text sets several letters equal to numbers, or one letter to several: "x = 4 or x = -1"."""
    return _SEVERAL.search(text) is not None


def _is_mixed(text: str, match: re.Match[str]) -> bool:
    """Whether a second amount follows the unit of the first: "5 feet 6 inches", "3 boys and 4 girls".

    In "42 apples, 3 of which are red" the second is a part of the first.
    """
    mixed = _MIXED_AFTER.match(text, match.end())
    if mixed is None or mixed["unit"].casefold() in _PREPOSITIONS:
        return False
    second = _SECOND.match(text, mixed.end())
    unit = second[1] if second else None
    return unit is None or unit.casefold() not in _PREPOSITIONS


def _marks_item(text: str, match: re.Match[str]) -> bool:
    """Whether the number is the mark of a list item, such as the 3 of "3. Add them up"."""
    start = text.rfind("\n", max(0, match.start() - _INDENT), match.start()) + 1
    if not start and match.start() > _INDENT:
        return False
    return not text[start : match.start()].strip() and _MARKER.match(text, match.end()) is not None


def value_of(match: re.Match[str]) -> Fraction | None:
    """The number of a match without its percent sign; None for a division by zero."""
    if match["dotted"]:
        digits = re.sub(r"[.' ]", "", match["dotted"]).replace(",", ".")
    else:
        point = (match["decimals"] or match["point"] or "").replace(",", ".")
        digits = re.sub(r"[^\d.]", "", (match["whole"] or "0") + point)
    value = Fraction(digits) * Fraction(10) ** int(match["e"] or match["ten"] or 0)
    if match["over"]:
        if not (divisor := Fraction(match["over"])):
            return None
        value /= divisor
    if match["part"]:
        if not int(match["parts"]):
            return None
        value += Fraction(int(match["part"]), int(match["parts"]))
    value += Fraction(1, 2) if match["half"] else 0
    if match["scale"]:
        value *= next(by for by, words in _SCALES.items() if re.fullmatch(words, match["scale"], re.IGNORECASE))
    sign = (match["sign"] or "") + (match["inner"] or "")
    return -value if "-" in sign or sign.strip().isalpha() else value


def write(match: re.Match[str]) -> str | None:
    """The number of a match as `normal` writes it, with its percent sign."""
    value = value_of(match)
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
