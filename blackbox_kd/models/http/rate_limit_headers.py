"""What a response's headers say about rate limits: when to come back, and how much is left.

Source   RFC 9110 §10.2.3 (Retry-After), the headers of OpenAI (`x-ratelimit-*`) and of Anthropic
         (`anthropic-ratelimit-*`)
"""

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_FIELDS = ("limit", "remaining", "reset")
_NAMES = {
    what: (
        tuple(f"x-ratelimit-{field}-{what}" for field in _FIELDS),
        tuple(f"anthropic-ratelimit-{what}-{field}" for field in _FIELDS),
    )
    for what in ("requests", "tokens")
}
LONGEST_S = 366 * 86400.0
"""A pause of a year is as good as any longer one, and no clock overflows."""
LONGEST_RESET_S = 60.0
"""A quota that is used up is most often one for a minute, and refills all the time: longer than this is waited only
where the endpoint says in so many words when to come back."""
RENEWED_S = 1.0
_EPOCH_S, _EPOCH_MS = 1e9, 1e12
"""Numbers from which on a time is counted from 1970, in seconds or in thousandths."""
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Quota:
    """One rate limit: `remaining` of `limit` are left, and all of it is there again in `reset_s` seconds."""

    limit: float
    remaining: float
    reset_s: float

    def refill(self) -> float:
        """How much comes back in a second."""
        return (self.limit - self.remaining) / self.reset_s if self.reset_s > 0 else math.inf


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds until a server wants to be asked again; None if it does not say."""
    exact = _read_number(headers.get("retry-after-ms"))
    if exact is not None:
        return _pause_s(exact / 1000)
    text = headers.get("retry-after")
    number = _read_number(text)
    if number is not None:
        return _pause_s(number)
    if not text:
        return None
    try:
        return _pause_s(_count_seconds(parsedate_to_datetime(text)))
    except (ValueError, OverflowError):  # also a date beyond the calendar
        return None


def reset_s(headers: Mapping[str, str]) -> float | None:
    """Seconds until a quota that is used up is there again; None if the headers tell of none."""
    known = [quota for what in _NAMES if (quota := read_quota(headers, what)) is not None and quota.remaining < 1]
    if known:
        return max(quota.reset_s for quota in known)
    left = _read_number(headers.get("x-ratelimit-remaining"))
    return None if left is None or left >= 1 else _read_reset(headers.get("x-ratelimit-reset"))


def has_any(headers: Mapping[str, str]) -> bool:
    """Whether an endpoint says anything of what is left."""
    return "x-ratelimit-remaining" in headers or any(
        remaining in headers for names in _NAMES.values() for _, remaining, _ in names
    )


def find_pause(headers: Mapping[str, str]) -> float | None:
    """Seconds to hold back after a reply whose quota without a name is used up by it; None if it is not.

    Mistral and OpenRouter count so. Mistral names no time; its limit on requests is one for a second.
    """
    if headers.get("x-ratelimit-remaining") != "0":
        return None
    found = _read_reset(headers.get("x-ratelimit-reset"))
    return RENEWED_S if found is None else min(found, LONGEST_RESET_S)


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """What OpenAI and Anthropic say of asking again, over all that follows from the status; None: nothing."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def _read_reset(text: str | None) -> float | None:
    """As `read_seconds`, or of a time that is counted from 1970."""
    number = _read_number(text)
    if number is None or number < _EPOCH_S:
        return read_seconds(text)
    return _pause_s((number / 1000 if number >= _EPOCH_MS else number) - time.time())


def read_seconds(text: str | None) -> float | None:
    """Seconds of `250ms`, `1m30s`, a plain number, or the time until an RFC 3339 date; None for any other text."""
    if not text:
        return None
    parts = _PARTS.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text.strip():
        return _pause_s(sum(float(number) * _SECONDS[unit] for number, unit in parts))
    plain = _read_number(text)
    if plain is not None:
        return _pause_s(plain)
    try:
        return _pause_s(_count_seconds(datetime.fromisoformat(text)))
    except (ValueError, OverflowError):
        return None


def read_quota(headers: Mapping[str, str], what: str) -> Quota | None:
    """The limit on `requests` or `tokens` that a response reports, or None."""
    for limit_name, remaining_name, reset_name in _NAMES[what]:
        limit = _read_number(headers.get(limit_name))
        if limit:
            remaining, reset_s = _read_number(headers.get(remaining_name)), read_seconds(headers.get(reset_name))
            return None if remaining is None or reset_s is None else Quota(limit, remaining, reset_s)
    return None


def _read_number(text: str | None) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _count_seconds(when: datetime) -> float:
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time()


def _pause_s(seconds: float) -> float:
    return min(max(0.0, seconds), LONGEST_S)
