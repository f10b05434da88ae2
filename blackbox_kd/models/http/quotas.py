"""Which limit an error is about: money that is gone, a day's share, load; endpoints use the same status codes for them.

Source   OpenAI's, Anthropic's, Google's, Mistral's, DeepSeek's and OpenRouter's words and codes as of November 2026
"""

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from blackbox_kd.paths import read_patterns, read_table

_TABLE = read_table(__file__)
NO_MONEY = frozenset(_TABLE["no_money"])
"""Codes with which endpoints say that the account is empty, whatever the status."""
OVERLOADED = frozenset(_TABLE["overloaded"])
"""Codes with which endpoints say that they have too much to do, whoever asks."""
_PATTERNS = read_patterns(__file__)
_NO_MONEY_WORDS = _PATTERNS["no_money_words"]
"""Words with which gateways say the same under codes of their own, and Anthropic with 400 that a spending limit of the
user's own is reached; of a quota they may mean one for a minute."""
_BACK_ON = re.compile(r"regain access (?:on|at) (\d{4}-\d\d-\d\d(?: at \d\d:\d\d(?: ?UTC)?)?)", re.IGNORECASE)
_LONG_WORDS = _PATTERNS["long_words"]
_LONG_IDS = re.compile(r"Per(?:Day|Week|Month)")
_ZERO = re.compile(r"\blimit:? 0(?![\d.,]*\d)", re.IGNORECASE)
_OVERLOAD_WORDS = re.compile(r"\boverload(?:ed)?\b", re.IGNORECASE)
_TOO_LARGE = re.compile(r"\brequest too large\b|tokens must be reduced in order to run", re.IGNORECASE)
"""What OpenAI says with 429 of a request that is larger than what it lets through in a minute."""
IN_FLIGHT = "openrouter_in_flight_budget"
"""What OpenRouter names as the limit where calls under way have reserved all credit: their replies give it back."""


class Limit(Enum):
    """What was reached, or is short."""

    MONEY = "money"
    """The account is empty, or what somebody allows to be spent of it."""
    NONE = "none"
    """The key has no quota for the model at all."""
    LONG = "long"
    """What is allowed in a day, or in a longer time."""
    LOAD = "load"
    """The endpoint has too much to do."""
    SIZE = "size"
    """The request alone is larger than what is allowed in a minute."""
    IN_FLIGHT = "in flight"
    """Credit that calls under way may need."""


def find_limit(parts: Iterable[Mapping[str, Any]], codes: frozenset[str], message: str) -> Limit | None:
    """Which limit an error is about; None for all others, and for one on a minute.

    Args:
        parts: the objects of its body.
        codes: names of the error, without case.
        message: in words.
    """
    metadata = [part["metadata"] for part in parts if isinstance(part.get("metadata"), Mapping)]
    if any(each.get("limit_source") == IN_FLIGHT for each in metadata):
        return Limit.IN_FLIGHT
    if not codes.isdisjoint(NO_MONEY) or _NO_MONEY_WORDS.search(message):
        return Limit.MONEY
    violations = [each for part in parts for each in _list_violations(part)]
    if _ZERO.search(message) or any(str(each.get("quotaValue")) == "0" for each in violations):
        return Limit.NONE
    if _TOO_LARGE.search(message):
        return Limit.SIZE
    if _LONG_WORDS.search(message) or any(_LONG_IDS.search(str(each.get("quotaId"))) for each in violations):
        return Limit.LONG
    return Limit.LOAD if not codes.isdisjoint(OVERLOADED) or _OVERLOAD_WORDS.search(message) else None


def find_headers(parts: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Headers that a gateway tells in its body, by their names in lower case: OpenRouter, of what it had itself."""
    told = [part["metadata"].get("headers") for part in parts if isinstance(part.get("metadata"), Mapping)]
    found = {str(name).lower(): value for each in told if isinstance(each, Mapping) for name, value in each.items()}
    return {name: str(value) for name, value in found.items() if isinstance(value, str | int | float)}


def find_return(message: str) -> str:
    """The day on which an account can be used again, as its vendor names it; "" if it does not."""
    found = _BACK_ON.search(message)
    return found[1] if found else ""


def _list_violations(part: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of Google's QuotaFailure."""
    found = part.get("violations")
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []
