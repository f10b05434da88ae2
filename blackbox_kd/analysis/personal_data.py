r"""Personal data in texts -> marks such as `[email]`, wherever in a value the texts stand.

email   what looks like an address
phone   international numbers (`+`), and those written with blanks or signs that are valid in one of some countries
card    numbers of payment cards: of a known scheme's form, with the right check digit (Luhn, ISO/IEC 7812)
iban    account numbers of a country's form, with the right check digits (mod 97, ISO 13616)
ip      addresses of IPv4 and IPv6
ssn     US social security numbers, written with hyphens
key     keys of APIs and tokens of sessions, by their beginnings

An order number, a date or a sum is none of them. Names of people are not found: what a list of patterns cannot do needs
a model, or a pattern of one's own.
"""

import ipaddress
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "IN")
"""Countries whose own way to write phone numbers is known without being told."""
_EMAIL = re.compile(r"(?<![\w.+%'-])[\w.+%'-]{1,64}@[\w-]+(?:\.[\w-]+)+")
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
_SCHEMES = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[68]\d)\d{11}|35\d{14}|6(?:011|5\d\d|4[4-9]\d|2\d\d)\d{12,15}|(?:50|5[6-9]|6[0-9])\d{10,17}"
)
_IBAN = re.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}(?!\w)")
_IP = re.compile(
    r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)|(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])"
)
_SSN = re.compile(r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])")
_KEY = re.compile(
    r"(?<!\w)(?:(?:sk|pk|rk)[-_](?:[A-Za-z]+[-_])*[A-Za-z0-9]{16,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,}"
    r"|xox[abeprs]-[\w-]{10,}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,})"
)
_DATE = re.compile(
    r"(?<!\d)(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})(?!\d)"
    r"|(?<!\d)\d{1,2}:\d{2}(?::\d{2})?(?!\d)"
)
_MAYBE_PHONE = re.compile(r"(?<![\w.])(?:\+|\()?\d(?:[\s()./-]{0,2}\d){6,16}(?![\w])")


def _is_card(found: str) -> bool:
    from stdnum import luhn

    digits = re.sub(r"\D", "", found)
    return _SCHEMES.fullmatch(digits) is not None and luhn.is_valid(digits)


def _find_iban(found: str) -> str:
    """The account number that a text begins with, as words behind it look like more of it; empty if there is none."""
    from stdnum import iban

    ends = [found, *(found[: place.start()] for place in reversed(list(re.finditer(r"[ -]", found))))]
    return next((text for text in ends if iban.is_valid(text)), "")


def _is_ip(found: str) -> bool:
    try:
        ipaddress.ip_address(found)
    except ValueError:
        return False
    return any(letter in "0123456789abcdefABCDEF" for letter in found)


def _find_phones(text: str, regions: Sequence[str]) -> list[tuple[int, int]]:
    """Where the phone numbers of a text begin and end."""
    from phonenumbers import PhoneNumberMatcher

    shown = _DATE.sub(lambda found: "x" * len(found[0]), text)
    spans: list[tuple[int, int]] = []
    at = 0
    while maybe := _MAYBE_PHONE.search(shown, at):
        said, at = maybe[0], maybe.end()
        tried = [None] if said.startswith("+") else [] if said.isdigit() and not said.startswith("00") else regions
        for region in tried:
            if match := next(iter(PhoneNumberMatcher(said, region)), None):
                at = maybe.start() + match.end
                spans.append((maybe.start() + match.start, at))
                break
    return spans


class Redactor:
    """Replaces personal data.

    Args:
        kinds: what is replaced: names of kinds, `phone` with countries of its own (ISO 3166, such as `DE`), and
            patterns (RE2) by names of one's own.

    Attributes:
        counts: how often each was.
    """

    def __init__(self, kinds: Mapping[str, Sequence[str] | str | None]) -> None:
        self.counts: Counter[str] = Counter()
        self._kinds = kinds

    def redact(self, value: Any) -> Any:
        """A value without personal data: in texts, objects and their keys, lists, numbers, and JSON inside of texts."""
        if isinstance(value, str):
            return self._redact_text(value)
        if isinstance(value, Mapping):
            return {self._redact_plain(str(key)): self.redact(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.redact(item) for item in value]
        if isinstance(value, int) and not isinstance(value, bool) and value > 999_999:
            text = str(value)
            return value if (found := self._redact_plain(text)) == text else found
        return value

    def _redact_text(self, text: str) -> str:
        """JSON is taken apart, as an escape in it, such as that of a new line, may stand where a word begins."""
        if text.lstrip()[:1] in ("{", "["):
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                return self._redact_plain(text)
            found = self.redact(value)
            return text if found == value else json.dumps(found, ensure_ascii=False)
        return self._redact_plain(text)

    def _redact_plain(self, text: str) -> str:
        for name in [*(kind for kind in KINDS if kind in self._kinds), *(k for k in self._kinds if k not in KINDS)]:
            text, count = _replace(name, self._kinds[name], text)
            if count:
                self.counts[name] += count
        return text


def _replace(name: str, told: Sequence[str] | str | None, text: str) -> tuple[str, int]:
    """A text without one kind of personal data, and how often it was there."""
    if name in KINDS and name != "phone":
        spans = KINDS[name](text)
    elif name == "phone":
        spans = _find_phones(text, told or REGIONS)
    else:
        return _replace_own(name, str(told), text)
    for begin, end in reversed(spans):
        text = f"{text[:begin]}[{name}]{text[end:]}"
    return text, len(spans)


def _replace_own(name: str, pattern: str, text: str) -> tuple[str, int]:
    from pyarrow import compute

    count = compute.count_substring_regex(text, pattern=pattern).as_py()
    if not count:
        return text, 0
    return str(compute.replace_substring_regex(text, pattern=pattern, replacement=f"[{name}]").as_py()), int(count)


def _find_all(pattern: re.Pattern[str], is_one: Callable[[str], bool] = bool) -> Callable[[str], list[tuple[int, int]]]:
    return lambda text: [found.span() for found in pattern.finditer(text) if is_one(found[0])]


def _find_ibans(text: str) -> list[tuple[int, int]]:
    found = ((match.start(), _find_iban(match[0])) for match in _IBAN.finditer(text))
    return [(begin, begin + len(number)) for begin, number in found if number]


KINDS: dict[str, Callable[[str], list[tuple[int, int]]]] = {
    "key": _find_all(_KEY),
    "email": _find_all(_EMAIL),
    "iban": _find_ibans,
    "card": _find_all(_CARD, _is_card),
    "ssn": _find_all(_SSN),
    "ip": _find_all(_IP, _is_ip),
    "phone": lambda text: _find_phones(text, REGIONS),
}
"""Kinds of personal data, in the order in which they are replaced."""
PACKAGES = {"card": "stdnum", "iban": "stdnum", "phone": "phonenumbers"}
"""Packages that some kinds need."""
