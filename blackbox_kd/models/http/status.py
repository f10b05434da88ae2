"""What a status that is no success means: the error's class, its message, and when to come back."""

import json
import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from blackbox_kd.errors import CallError, EndpointRefused, QuotaSpent, RequestRejected, ServerFault
from blackbox_kd.models.http.rate_limit_headers import retry_after_s
from blackbox_kd.privacy import hide_key

MESSAGE_CHARS = 300
NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
"""Codes with which endpoints say that the account is empty, whatever the status."""
CHECKS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "check the key in the variable that the model's `key_env` names",
    HTTPStatus.NOT_FOUND: "check `model` and `base_url`",
}


def fault_of_status(url: str, status: int, headers: Mapping[str, str], body: str, key: str | None = None) -> CallError:
    """The error that a response stands for.

    Args:
        url: where the request was sent.
        status: of the response; not 2xx.
        headers: of the response, in which names have no case.
        body: of the response.
        key: that was sent, and is not shown.
    """
    message, codes = _read_error(hide_key(body, key), key)
    text = f"{url}: {status} {_phrase(status)}" + (f": {message}" if message else "")
    after = retry_after_s(headers)
    if status == HTTPStatus.PAYMENT_REQUIRED or codes.intersection(NO_MONEY):
        return QuotaSpent(f"{text}\n  fix: add credit to the account, then run the same command", kind="quota")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return ServerFault(text, kind="rate_limit", retry_after_s=after)
    if status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT) or status >= 500:
        return ServerFault(text, kind="server_error", retry_after_s=after)
    if status in CHECKS:
        return EndpointRefused(f"{text}\n  fix: {CHECKS[status]}", kind="endpoint_refused")
    if 300 <= status < 400:
        target = _cut_query(hide_key(headers.get("location", ""), key))
        return EndpointRefused(f"{text}\n  fix: base_url leads elsewhere, to {target!r}", kind="endpoint_refused")
    return RequestRejected(text, kind="rejected")


def quote_error(error: BaseException, key: str | None = None) -> str:
    """What went wrong with a connection, in one line and without the key."""
    number = getattr(error, "errno", None) or 0
    text = os.strerror(number) if number > 0 else str(error) or type(error).__name__
    return hide_key(" ".join(text.split()), key)[:MESSAGE_CHARS]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(unknown status)"


def _cut_query(location: str) -> str:
    """Where a redirection leads, without what else its URL holds: a session, a user, a password."""
    try:
        parts = urlsplit(location)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()[:MESSAGE_CHARS]
    except ValueError:
        return "no URL"


def _read_error(body: str, key: str | None) -> tuple[str, set[str]]:
    """The message and the codes of an error's body: OpenAI's form, its relatives, or any text."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        found = body
    codes: set[str] = set()
    if isinstance(found, dict):
        error = found.get("error", found)
        if isinstance(error, dict):
            codes = {str(error.get("code")), str(error.get("type"))}
            error = error.get("message") or error.get("detail") or error
        found = error if isinstance(error, str) else json.dumps(error)
    message = hide_key(" ".join((found if isinstance(found, str) else str(found)).split()), key)
    return message if len(message) <= MESSAGE_CHARS else message[:MESSAGE_CHARS] + " [...]", codes


SHOWN_CHARS = 200


def quote(text: str) -> str:
    """The beginning of a text on one line, for a message."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARS else line[:SHOWN_CHARS] + " [...]"
