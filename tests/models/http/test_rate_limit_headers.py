"""Every form in which endpoints say when to come back, and what is left."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from blackbox_kd.models.http.rate_limit_headers import (
    Quota,
    read_quota,
    read_seconds,
    reset_s,
    retry_after_s,
    should_retry,
)

Told = Mapping[str, str | Callable[[], str]]
"""Headers; a time is made when the test runs, which can be long after it was collected."""


def in_s(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def say(told: Told) -> dict[str, str]:
    return {name: value if isinstance(value, str) else value() for name, value in told.items()}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "30"}, 30),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "20", "retry-after": "1"}, 0.02),
        ({"retry-after-ms": "nonsense", "retry-after": "7"}, 7),
        ({"retry-after": lambda: format_datetime(in_s(90), usegmt=True)}, 90),
        ({"retry-after": lambda: format_datetime(in_s(-90), usegmt=True)}, 0),
        ({}, None),
    ],
)
def test_when_to_come_back(headers: Told, seconds: float | None) -> None:
    assert retry_after_s(say(headers)) == (
        None if seconds is None else pytest.approx(seconds, abs=60 if seconds == 90 else 0)
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360), ("1s", 1), ("120ms", 0.12), ("1h2m3.5s", 3723.5), ("9.5", 9.5), ("2d", 172800), ("soon", None)],
)
def test_a_span_of_time(text: str, seconds: float | None) -> None:
    assert read_seconds(text) == seconds


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S+00:00"])
def test_a_date_of_rfc_3339(form: str) -> None:
    assert read_seconds(in_s(90).strftime(form)) == pytest.approx(90, abs=5)


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        ({"limit-requests": "60", "remaining-requests": "0", "reset-requests": "6m0s"}, Quota(60, 0, 360)),
        ({"limit-requests": "60", "remaining-requests": "59", "reset-requests": "1s"}, Quota(60, 59, 1)),
        ({"limit-requests": "60", "reset-requests": "1s"}, None),
        ({"limit-requests": "60", "remaining-requests": "5", "reset-requests": "soon"}, None),
    ],
)
def test_what_is_left_by_the_headers_of_openai(headers: dict[str, str], quota: Quota | None) -> None:
    assert read_quota({f"x-ratelimit-{name}": value for name, value in headers.items()}, "requests") == quota


def test_what_is_left_by_the_headers_of_anthropic() -> None:
    told = {"limit": "1000", "remaining": "0", "reset": in_s(60).strftime("%Y-%m-%dT%H:%M:%SZ")}
    found = read_quota({f"anthropic-ratelimit-tokens-{name}": value for name, value in told.items()}, "tokens")
    assert found is not None
    assert (found.limit, found.remaining) == (1000, 0)
    assert found.reset_s == pytest.approx(60, abs=5)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": lambda: str(int(time.time() + 500))}, 500),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": lambda: str(int(1000 * (time.time() + 500)))}, 500),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "500"}, 500),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": "500"}, None),
        ({"x-ratelimit-remaining": "0"}, None),
        ({}, None),
    ],
)
def test_when_a_quota_that_is_used_up_is_there_again(headers: Told, seconds: float | None) -> None:
    assert reset_s(say(headers)) == (None if seconds is None else pytest.approx(seconds, abs=60))


@pytest.mark.parametrize(("text", "found"), [("true", True), ("False", False), ("maybe", None), ("", None)])
def test_whether_to_ask_again(text: str, found: bool | None) -> None:
    assert should_retry({"x-should-retry": text}) is found
    assert should_retry({}) is None
