"""What a status that is no success means: the error's class, its message, and when to come back."""

import os
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from blackbox_kd.errors import CallError, EndpointRefused, QuotaSpent, RequestRejected, ServerFault
from blackbox_kd.models.http import error_body
from blackbox_kd.models.http.advice import LET_DROP, advise
from blackbox_kd.models.http.error_body import Said
from blackbox_kd.models.http.quotas import Limit, find_return
from blackbox_kd.models.http.rate_limit_headers import LONGEST_RESET_S, reset_s, retry_after_s, should_retry
from blackbox_kd.privacy import Secret, hide_key

MESSAGE_CHARS = 300
UNNAMED = "unnamed_error"
"""Kind of an error that came in place of a reply and names no status."""
CLOSED = "PUP_LIMITED_DISABLED"
NO_MODEL = frozenset({"invalid_model", "model_not_found"})
_NO_MODEL_WORDS = re.compile(r"\binvalid model\b|not a valid model\b", re.IGNORECASE)
"""What Mistral and OpenRouter say with 400."""
_NO_PLACE = re.compile(
    r"\buser location is not supported|\b(?:country|region|territory)\b.{0,20}\bnot supported", re.IGNORECASE
)
_NO_PLACE_CODE = "unsupported_country_region_territory"
"""What Google says with 400, and OpenAI with 403, of all that comes from somewhere."""
_NOT_ROUTED = "no endpoints found that can handle the requested parameters"
"""What OpenRouter says with 404 of a field that no provider of the model takes; it names none."""
MORE_MONEY = "add credit to the account, or raise its budget at the gateway, then run the same command"
NO_QUOTA = "name another model: the account has no quota at all for this one; or ask the vendor for one"
TOO_LARGE = "show less in the prompt, or lower max_tokens: of the step: it is more than the account may use in a minute"
NOT_HERE = "take a teacher of another vendor: this one does not serve this place"
NOT_AGAIN = "see what the vendor has to say about it: the endpoint asks not to be sent the same again"
LATER = "run the same command again when the limit is renewed, such as tomorrow: it goes on from there"
CHECKS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "check the key in the variable that the model's `key_env` names",
    HTTPStatus.NOT_FOUND: "check `model` and `base_url`",
}


def make_fault(url: str, status: int, headers: Mapping[str, str], body: str, key: Secret = None) -> CallError:
    """The error that a response stands for.

    Args:
        url: where the request was sent.
        status: of the response; not 2xx.
        headers: of the response, in which names have no case.
        body: of the response.
        key: that was sent, and is not shown.
    """
    said = _read(body, key)
    text = _tell(f"{url}: {status} {_name_status(status)}", said, key)
    if 300 <= status < 400:
        target = _cut_query(hide_key(headers.get("location", ""), key))
        return EndpointRefused(text, fix=f"base_url leads elsewhere, to {target!r}", kind="endpoint_refused")
    return _classify(status, text, said, headers)


def find_fault(url: str, headers: Mapping[str, str], body: str, key: Secret = None) -> CallError | None:
    """The error that a body stands for which came with status 200; None if it is none.

    It is read as the status that it names. One that names none has the patience of a call, but says nothing about the
    endpoint as a whole.

    Args:
        url: where the request was sent.
        headers: of the response, in which names have no case.
        body: of the response.
        key: that was sent, and is not shown.
    """
    is_suspect = '"error' in body or CLOSED in body or CLOSED.lower() in body
    if body.startswith("{") and ('"choices"' in body or '"candidates"' in body) and not is_suspect:
        return None  # as nearly all are: not to decode each of them twice
    error = error_body.find_error(hide_key(body, key))
    if error is None:
        return _find_closed_account(url, body)
    said = error_body.read(error)
    what = f"{url}: 200 OK, but what came is an error"
    if said.status is None:
        return ServerFault(_tell(what, said, key), kind=UNNAMED)
    return _classify(said.status, _tell(f"{what}: {said.status} {_name_status(said.status)}", said, key), said, headers)


def _find_closed_account(url: str, body: str) -> CallError | None:
    """Gemini ends replies so where it has limited the account: it answers nothing from then on."""
    if not re.search(rf'"(?:native_)?finish_?reason"\s*:\s*"{CLOSED}"', body, re.IGNORECASE):
        return None
    what = f"{url}: the endpoint has limited this account ({CLOSED})"
    return QuotaSpent(what, fix="see what the vendor has to say about it", kind="quota")


def _classify(status: int, text: str, said: Said, headers: Mapping[str, str]) -> CallError:
    after, again = _find_pause(said, headers), should_retry(headers)
    if said.limit is Limit.IN_FLIGHT and after is not None:
        return ServerFault(text, kind="rate_limit", retry_after_s=after)
    if status == HTTPStatus.PAYMENT_REQUIRED or (status < 500 and said.limit is Limit.MONEY):
        return QuotaSpent(text, fix=_advise_on_money(said), kind="quota")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _classify_limit(text, said, after, again)
    if again is False and (status >= 500 or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT)):
        return RequestRejected(text, fix=NOT_AGAIN, kind="rejected", said=said.message)
    if again or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT) or status >= 500:
        return ServerFault(text, kind="server_error", retry_after_s=after)
    if status == HTTPStatus.NOT_FOUND and _NOT_ROUTED in said.message.lower():
        return RequestRejected(text, fix=LET_DROP, kind="rejected", said=said.message, field=error_body.ANY)
    if _NO_PLACE_CODE in said.codes or _NO_PLACE.search(said.message):
        return EndpointRefused(text, fix=NOT_HERE, kind="endpoint_refused")
    is_gone = bool(NO_MODEL & said.codes) or _NO_MODEL_WORDS.search(said.message) is not None
    if status == HTTPStatus.BAD_REQUEST and is_gone:
        status = HTTPStatus.NOT_FOUND
    if said.is_wrong_key:
        status = HTTPStatus.UNAUTHORIZED
    if status in CHECKS:
        return EndpointRefused(text, fix=CHECKS[status], kind="endpoint_refused")
    if said.is_filtered:
        kind = f"refused: {said.category}" if said.category else "refused"
        return RequestRejected(text, kind=kind, said=said.message)
    fix = advise(status, said.field or said.not_taken, said.message)
    is_request = status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
    field = said.not_taken if is_request else ""
    return RequestRejected(text, fix=fix, kind="rejected", said=said.message, field=field)


def _classify_limit(text: str, said: Said, after: float | None, again: bool | None) -> CallError:
    """What a refusal with 429 means: most are over in a minute, some are not, and some are about no limit."""
    if said.limit is Limit.NONE:
        return QuotaSpent(text, fix=NO_QUOTA, kind="quota")
    if said.limit is Limit.SIZE:
        return RequestRejected(text, fix=TOO_LARGE, kind="rejected", said=said.message)
    if again is False or (said.limit is Limit.LONG and after is None):
        return QuotaSpent(text, fix=LATER if again is None else NOT_AGAIN, kind="quota")
    return ServerFault(text, kind="server_error" if said.limit is Limit.LOAD else "rate_limit", retry_after_s=after)


def _find_pause(said: Said, headers: Mapping[str, str]) -> float | None:
    """Seconds until the endpoint wants to be asked again: by its headers, by its words, by what is left of a quota."""
    for found in (retry_after_s(headers), said.retry_after_s, retry_after_s(said.headers)):
        if found is not None:
            return found
    for each in (headers, said.headers):
        if (found := reset_s(each)) is not None:
            return found if said.limit is Limit.LONG else min(found, LONGEST_RESET_S)
    return None


def _advise_on_money(said: Said) -> str:
    if back := find_return(said.message):
        return f"{MORE_MONEY}; its vendor lets it go on {back} at the earliest"
    return MORE_MONEY


def quote_error(error: BaseException, key: Secret = None) -> str:
    """What went wrong with a connection, in one line and without the key."""
    number = error.errno or 0 if isinstance(error, OSError) else 0
    said = error.strerror if isinstance(error, OSError) and number < 0 else None  # of a name server
    text = os.strerror(number) if number > 0 else said or str(error) or type(error).__name__
    return hide_key(" ".join(text.split()), key)[:MESSAGE_CHARS]


def _name_status(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(unknown status)"


def drop_user(place: str) -> str:
    """A host and its port, without a user and a password before them."""
    return place.rpartition("@")[2]


def _cut_query(location: str) -> str:
    """Where a redirection leads, without what else its URL holds: a session, a user, a password."""
    try:
        parts = urlsplit(location)
        return parts._replace(netloc=drop_user(parts.netloc), query="", fragment="").geturl()[:MESSAGE_CHARS]
    except ValueError:
        return "no URL"


def _tell(what: str, said: Said, key: Secret) -> str:
    message = hide_key(said.message, key)
    short = message if len(message) <= MESSAGE_CHARS else message[:MESSAGE_CHARS] + " [...]"
    return f"{what}: {short}" if short else what


def _read(body: str, key: Secret) -> Said:
    """What an error's body says; any text is its message."""
    body = hide_key(body, key)
    try:
        found: Any = error_body.decode(body)
    except (ValueError, RecursionError):
        found = body
    return error_body.read(found)


SHOWN_CHARS = 200


def quote(text: str) -> str:
    """The beginning of a text on one line, for a message."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARS else line[:SHOWN_CHARS] + " [...]"
