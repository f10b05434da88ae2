"""Money gone, a day's share and load share status codes: what each answer of each vendor means for a run."""

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from blackbox_kd.calls.retries import end_for_pause
from blackbox_kd.errors import CallError, QuotaSpent, RequestRejected, ServerFault
from blackbox_kd.models.http.client import Address
from blackbox_kd.models.http.openai_batches import OpenAIBatches
from blackbox_kd.models.http.status import find_fault, make_fault

URL = "http://127.0.0.1/v1/chat/completions"
LONGEST_S = 600.0


class Sent(NamedTuple):
    """What an endpoint answers."""

    status: int
    error: Any
    headers: Mapping[str, str] = {}

    @property
    def body(self) -> str:
        return json.dumps(self.error)


def openai(status: int, message: str, /, **more: Any) -> Sent:
    headers = more.pop("headers", {})
    return Sent(status, {"error": {"message": message, "param": None, **more}}, headers)


def anthropic(status: int, kind: str, message: str = "no", headers: Mapping[str, str] = {}, **more: Any) -> Sent:
    return Sent(
        status, {"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "r"}, headers
    )


def gemini(status: int, name: str, message: str = "no", quota: str = "", delay: str = "") -> Sent:
    quotas = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]}
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    details = ([quotas] if quota else []) + ([retry] if delay else [])
    return Sent(status, {"error": {"code": status, "message": message, "status": name, "details": details}})


def openrouter(status: int, message: str, sent: Mapping[str, str] = {}, /, **metadata: Any) -> Sent:
    return Sent(status, {"error": {"code": status, "message": message, "metadata": metadata}}, sent)


def per_day(seconds: float) -> Sent:
    at = str(int((time.time() + seconds) * 1000))
    told = {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": at}
    return openrouter(429, "Rate limit exceeded: free-models-per-day. Add 10 credits", headers=told)


FREE = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
EXCEEDED = "You exceeded your current quota, please check your plan and billing details."
REGAIN = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."
RPD = "Rate limit reached for gpt-6-luna in organization org-1 on requests per day (RPD): Limit 200, Used 200."

MONEY: dict[str, Sent] = {
    "openai": openai(429, EXCEEDED, type="insufficient_quota", code="insufficient_quota"),
    "openai, credit": openai(429, "no", type="insufficient_quota", code="credit_balance_exhausted"),
    "openai, organization": openai(429, "no", type="x", code="organization_spend_limit_exceeded"),
    "openai, project": openai(429, "no", type="x", code="project_spend_limit_exceeded"),
    "openai, usage": openai(429, "no", type="x", code="organization_usage_limit_exceeded"),
    "anthropic": anthropic(402, "billing_error"),
    "anthropic, enforced": anthropic(429, "rate_limit_error", details={"error_code": "enforced_spend_limit_reached"}),
    "anthropic, own limit": anthropic(400, "invalid_request_error", REGAIN),
    "anthropic, credit": anthropic(400, "invalid_request_error", "Your credit balance is too low to access the API."),
    "gemini": gemini(402, "RESOURCE_EXHAUSTED"),
    "mistral": Sent(402, {"detail": "Payment required"}),
    "deepseek": openai(402, "Insufficient Balance", type="unknown_error", code="invalid_request_error"),
    "openrouter": openrouter(402, "This request requires more credits, or fewer max_tokens."),
    "openrouter, in flight without a time": openrouter(402, "no", limit_source="openrouter_in_flight_budget"),
    "openrouter, a time but another source": openrouter(402, "no", {"retry-after": "9"}, limit_source="key_limit"),
    "own: a cap on spending": Sent(403, {"error": "Your team's spending cap has been reached."}),
    "own: with a time that nobody waits for": anthropic(
        429, "rate_limit_error", "no", {"retry-after": "5"}, details={"error_code": "enforced_spend_limit_reached"}
    ),
}
LONG: dict[str, Sent] = {
    "gemini": gemini(429, "RESOURCE_EXHAUSTED", EXCEEDED, FREE, "35640s"),
    "openrouter": per_day(8 * 3600),
    "openai": openai(429, f"{RPD} Please try again in 7h12m.", type="requests", code="rate_limit_exceeded"),
    "openai, by a header": openai(429, RPD, code="rate_limit_exceeded", headers={"retry-after": "86400"}),
    "own: a reset after a day": openai(
        429,
        RPD,
        headers={
            "x-ratelimit-limit-requests": "200",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "23h59m",
        },
    ),
    "own: any long pause": Sent(503, {"error": "maintenance"}, {"retry-after": "7200"}),
}
UNNAMED: dict[str, Sent] = {
    "openai": openai(429, RPD, type="requests", code="rate_limit_exceeded"),
    "openai, tokens": openai(429, RPD.replace("requests per day (RPD)", "tokens per day (TPD)")),
    "gemini": gemini(429, "RESOURCE_EXHAUSTED", EXCEEDED, FREE),
    "openrouter": openrouter(429, "Rate limit exceeded: free-models-per-day"),
    "own: a month": Sent(429, {"message": "Monthly token limit exceeded"}),
    "own: a week": Sent(429, {"error": "you have used your weekly limit"}),
}
NO_QUOTA: dict[str, Sent] = {
    "gemini": gemini(429, "RESOURCE_EXHAUSTED", f"{EXCEEDED} * Quota exceeded, limit: 0, model: x", MINUTE, "46s"),
    "openai": openai(429, "Rate limit reached on tokens per min (TPM): Limit 0, Used 0, Requested 11."),
    "own: by its value": Sent(
        429, {"error": {"code": 429, "details": [{"violations": [{"quotaId": MINUTE, "quotaValue": "0"}]}]}}
    ),
}
WAITS: dict[str, tuple[Sent, float | None]] = {
    "openai": (openai(429, "Rate limit reached on RPM", code="rate_limit_exceeded"), None),
    "openai, slow down": (openai(429, "Slow down", code="slow_down"), None),
    "openai, ms": (openai(429, "no", headers={"retry-after-ms": "1500", "retry-after": "2"}), 1.5),
    "openai, a day's limit that is soon back": (openai(429, f"{RPD} Please try again in 7m12s."), 432),
    "openai, reset": (
        openai(
            429,
            "no",
            headers={
                "x-ratelimit-limit-tokens": "1000",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "12s",
            },
        ),
        12,
    ),
    "openai, a long reset of a bucket that fills all the time": (
        openai(
            429,
            "no",
            headers={
                "x-ratelimit-limit-tokens": "1000",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "6m0s",
            },
        ),
        60,
    ),
    "anthropic": (anthropic(429, "rate_limit_error", "no", {"retry-after": "17"}), 17),
    "gemini": (gemini(429, "RESOURCE_EXHAUSTED", f"{EXCEEDED} limit: 15", MINUTE, "46s"), 46),
    "gemini, limit 10": (gemini(429, "RESOURCE_EXHAUSTED", "Quota exceeded, limit: 10", MINUTE), None),
    "mistral": (Sent(429, {"message": "Service tier capacity exceeded for this model.", "code": "3505"}), None),
    "openrouter, in flight": (
        openrouter(402, "no", {"retry-after": "9"}, limit_source="openrouter_in_flight_budget"),
        9,
    ),
    "openrouter, in flight by its body": (
        openrouter(402, "no", limit_source="openrouter_in_flight_budget", headers={"Retry-After": 4}),
        4,
    ),
    "own: the word quota": (Sent(429, {"error": "Quota exceeded for requests per minute"}), None),
    "own: tokens of a budget": (openai(429, "token budget exceeded for this minute"), None),
    "own: a limit of 0.5": (openai(429, "Limit 0.5 requests per second"), None),
    "own: is to be asked again": (openai(429, "no", headers={"x-should-retry": "true"}), None),
}
LOAD: dict[str, tuple[Sent, float | None]] = {
    "openai": (openai(503, "no", type="server_error", code="server_is_overloaded"), None),
    "openai, by a rate limit's status": (
        openai(429, "The engine is currently overloaded, please try again later"),
        None,
    ),
    "anthropic": (anthropic(529, "overloaded_error"), None),
    "anthropic, within": (anthropic(500, "api_error"), None),
    "anthropic, late": (anthropic(504, "timeout_error"), None),
    "gemini": (gemini(503, "UNAVAILABLE", "The model is overloaded."), None),
    "gemini, within": (gemini(500, "INTERNAL"), None),
    "openrouter": (openrouter(502, "Provider returned error", {"retry-after": "3"}), 3),
    "openrouter, 529": (openrouter(529, "Provider overloaded"), None),
    "llama.cpp": (Sent(503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}), None),
    "own: with 429 and a code": (anthropic(429, "overloaded_error"), None),
    "own: a conflict": (openai(409, "try again"), None),
    "own: a wrong request that is to be asked again": (openai(400, "no", headers={"x-should-retry": "true"}), None),
}


def read(sent: Sent) -> CallError:
    """What an answer means, and the same from inside of a batch."""
    found = make_fault(URL, sent.status, sent.headers, sent.body)
    if not sent.headers:
        line = {"custom_id": "k", "response": {"status_code": sent.status, "body": sent.error}}
        of_batch = OpenAIBatches(Address("http://127.0.0.1/v1", None, 1, 5)).outcome(line)
        assert isinstance(of_batch, CallError)
        assert (type(of_batch), of_batch.kind, of_batch.fix) == (type(found), found.kind, found.fix)
    return found


def read_in_reply(sent: Sent) -> CallError | None:
    """What it means with status 200."""
    return find_fault(URL, sent.headers, sent.body)


@pytest.mark.parametrize("vendor", MONEY)
def test_money_that_is_gone_ends_the_run(vendor: str) -> None:
    found = read(MONEY[vendor])
    assert type(found) is QuotaSpent
    assert found.fix.startswith("add credit to the account, or raise its budget at the gateway, then run")
    assert ("2026-12-01 at 00:00 UTC at the earliest" in found.fix) == (vendor == "anthropic, own limit")


@pytest.mark.parametrize("vendor", LONG)
def test_a_long_pause_ends_the_run_with_the_time_at_which_to_go_on(vendor: str) -> None:
    found = read(LONG[vendor])
    assert isinstance(found, ServerFault)
    ended = end_for_pause(found, LONGEST_S)
    assert isinstance(ended, QuotaSpent)
    when = re.search(r"run the same command at (\d{4}-\d\d-\d\d \d\d:\d\d) UTC or later", ended.fix)
    assert when is not None
    late = datetime.fromisoformat(f"{when[1]}+00:00") - datetime.now(UTC) - timedelta(seconds=found.retry_after_s or 0)
    assert timedelta(seconds=-5) <= late <= timedelta(seconds=65)


@pytest.mark.parametrize("vendor", LONG)
def test_it_is_waited_for_where_the_user_allows_so_long(vendor: str) -> None:
    assert end_for_pause(read(LONG[vendor]), 25 * 3600) is None


@pytest.mark.parametrize("vendor", UNNAMED)
def test_a_limit_of_a_day_that_names_no_time_ends_the_run(vendor: str) -> None:
    found = read(UNNAMED[vendor])
    assert type(found) is QuotaSpent
    assert found.fix.startswith("run the same command again when the limit is renewed")


@pytest.mark.parametrize("vendor", NO_QUOTA)
def test_a_model_that_the_account_has_no_quota_for_ends_the_run(vendor: str) -> None:
    found = read(NO_QUOTA[vendor])
    assert type(found) is QuotaSpent
    assert found.fix.startswith("name another model: the account has no quota at all")


@pytest.mark.parametrize("vendor", WAITS)
def test_a_rate_limit_is_waited_for_and_never_longer_than_it_says(vendor: str) -> None:
    sent, seconds = WAITS[vendor]
    found = read(sent)
    assert (type(found), found.kind) == (ServerFault, "rate_limit")
    assert found.retry_after_s == (None if seconds is None else pytest.approx(seconds, abs=0.1))
    assert end_for_pause(found, LONGEST_S) is None


@pytest.mark.parametrize("vendor", LOAD)
def test_load_is_no_rate_limit(vendor: str) -> None:
    sent, seconds = LOAD[vendor]
    found = read(sent)
    assert (type(found), found.kind, found.retry_after_s) == (ServerFault, "server_error", seconds)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (openai(429, "Rate limit", headers={"x-should-retry": "false"}), QuotaSpent),
        (openai(503, "no", headers={"x-should-retry": "false"}), RequestRejected),
        (openai(409, "no", headers={"x-should-retry": "false"}), RequestRejected),
        (openai(429, "no", type="insufficient_quota", headers={"x-should-retry": "true"}), QuotaSpent),
        (openai(503, "own: nonsense", headers={"x-should-retry": "maybe"}), ServerFault),
    ],
)
def test_what_an_endpoint_says_of_asking_again_is_heeded(sent: Sent, error: type[CallError]) -> None:
    assert type(read(sent)) is error


def test_a_request_that_is_larger_than_a_minute_allows_is_not_sent_again() -> None:
    said = (
        "Request too large for gpt-6 on tokens per min (TPM): Limit 10000, Requested 12063. The input or output tokens"
    )
    found = read(openai(429, f"{said} must be reduced in order to run successfully.", code="rate_limit_exceeded"))
    assert type(found) is RequestRejected
    assert "show less in the prompt" in found.fix


@pytest.mark.parametrize("table", [MONEY, UNNAMED, NO_QUOTA])
def test_the_same_bodies_mean_the_same_with_status_200(table: dict[str, Sent]) -> None:
    named = {vendor: found for vendor, sent in table.items() if (found := read_in_reply(sent)) is not None}
    ends = {vendor for vendor, found in named.items() if isinstance(found, QuotaSpent)}
    unsaid = {"openrouter, in flight without a time", "mistral"} if table is MONEY else set()
    assert ends | unsaid >= set(table)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (
            {"error": {"code": 429, "message": "x", "metadata": {"limit_source": "openrouter_in_flight_budget"}}},
            "rate_limit",
        ),
        ({"error": {"message": "The model is overloaded", "code": 503}}, "server_error"),
        ({"choices": [], "error": {"message": "Quota per minute", "code": 429}}, "rate_limit"),
    ],
)
def test_what_is_waited_for_is_waited_for_with_status_200(body: Any, kind: str) -> None:
    found = find_fault(URL, {}, json.dumps(body))
    assert (type(found), found and found.kind) == (ServerFault, kind)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (429, "You exceeded your quota of tokens per minute; see our billing page"),
        (400, "max_tokens: limit: 0 is no number of tokens"),
        (400, "thinking budget exceeded"),
        (500, "the daily limit could not be read"),
        (404, "no model of that name; see the spending limits of the others"),
    ],
)
def test_own_words_that_mean_something_else_end_no_run(status: int, message: str) -> None:
    assert not isinstance(make_fault(URL, status, {}, json.dumps({"error": {"message": message}})), QuotaSpent)
