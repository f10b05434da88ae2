"""Which limit an error is about: money that is gone, a day's share, load; endpoints use the same status codes for them.

Source   OpenAI's, Anthropic's, Google's, Mistral's, DeepSeek's and OpenRouter's words and codes as of November 2026
"""

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

NO_MONEY = frozenset(
    {
        *("insufficient_quota", "insufficient_balance", "insufficient_credits", "credit_balance_exhausted"),
        *("billing_hard_limit_reached", "billing_not_active", "billing_error", "budget_exceeded"),
        *("organization_spend_limit_exceeded", "project_spend_limit_exceeded", "organization_usage_limit_exceeded"),
        *("enforced_spend_limit_reached", "payment_required", "payment_required_error", "budgetexceedederror"),
        *("exceeded_budget", "budget_limit_exceeded", "over_budget", "insufficient_user_quota", "insufficient_funds"),
        *("exceeded_current_quota_error", "pre_consume_token_quota_failed", "credits_exhausted", "balance_not_enough"),
        *("contract_spend_limit_reached", "linked_organization_spend_limit_reached"),
        *("arrearage", "accountoverdueerror", "account_overdue", "spending_limit_reached", "spend_limit_exceeded"),
    }
)
"""Codes with which endpoints say that the account is empty, whatever the status."""
OVERLOADED = frozenset({"overloaded_error", "overloaded", "server_is_overloaded", "engine_overloaded", "unavailable"})
"""Codes with which endpoints say that they have too much to do, whoever asks."""
_NO_MONEY_WORDS = re.compile(
    r"(?<!token )(?<!thinking )(?<!reasoning )(?<!context )budget (?:has been |was |is |limit )?"
    r"(?:exceeded|exhausted|reached|spent)"
    r"|exceed(?:ed|s|ing)? (?:your |the |its )?(?:max |monthly |daily |key |team |user )*budget"
    r"|insufficient (?:account |user |remaining )?(?:credit|balance|fund)"
    r"|balance (?:is )?(?:too low|insufficient|not enough|exhausted|depleted)"
    r"|credits (?:are )?(?:exhausted|depleted|used up)"
    r"|out of credits?\b|no credits? (?:left|remaining)|account (?:is )?in arrears"
    r"|(?:spend(?:ing)?|billing)(?: hard)? (?:limit|cap) (?:has been |was |is )?(?:reached|exceeded)"
    r"|(?:reached|exceeded) (?:your |the )?(?:\w+ ){0,2}(?:spend(?:ing)? (?:limit|cap)|api usage limits?)"
    r"|\u4f59\u989d\u4e0d\u8db3|\u6b20\u8d39|\u989d\u5ea6\u4e0d\u8db3",
    re.IGNORECASE,
)
"""Words with which gateways say the same under codes of their own, and Anthropic with 400 that a spending limit of the
user's own is reached; of a quota they may mean one for a minute."""
_BACK_ON = re.compile(r"regain access (?:on|at) (\d{4}-\d\d-\d\d(?: at \d\d:\d\d(?: ?UTC)?)?)", re.IGNORECASE)
_LONG_WORDS = re.compile(
    r"per[ -](?:day|week|month)\b|\b(?:RPD|TPD)\b|\b(?:daily|weekly|monthly) (?:\w+ ){0,2}(?:limit|quota|cap)\b",
    re.IGNORECASE,
)
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
