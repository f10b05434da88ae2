"""What the body of an error says, in OpenAI's form or any of its relatives: message, codes, status, when to come back.

    {"error": {"message": ..., "code": 429}}    OpenAI, OpenRouter, Anthropic, Mistral, DeepSeek
    [{"error": {..., "details": [...]}}]        Gemini
    {"error": "..."}  {"detail": ...}           Ollama, FastAPI
    {"message": ..., "code": ...}               Mistral, vLLM, gateways
    data: {"error": ...}                        any of them, as an event of a stream

Gateways send such bodies with the status 200, too.
"""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from blackbox_kd import json_text
from blackbox_kd.models.http import content_filter, google_errors, quotas, rate_limit_headers
from blackbox_kd.models.http.content_filter import POLICIES, find_filtered, is_withheld
from blackbox_kd.models.http.quotas import NO_MONEY, OVERLOADED, Limit
from blackbox_kd.paths import read_patterns, read_table

_MESSAGES = ("message", "detail", "msg", "error_msg", "error_message", "errorMessage")
_CODES = ("code", "type", "status", "reason", "error_code", "status_code", "statusCode", "errorCode")
_FILTERS = ("content_filter_result", "content_filter_results")
_NESTED = ("error", "errors", "innererror", "details", "detail", "message")
_TABLE = read_table(__file__)
FILTERED = frozenset({*_TABLE["filtered"], *POLICIES})
"""Codes with which endpoints withhold a reply to a prompt, whatever the status."""
_STATUS_OF_CODE = {
    **{code: int(status) for status, codes in _TABLE["codes"].items() for code in codes},
    **dict.fromkeys(NO_MONEY, 402),
    **dict.fromkeys(FILTERED, 400),
    **dict.fromkeys(OVERLOADED, 503),
}
_STATUS_OF_WORDS: Mapping[str, str] = _TABLE["words"]
_OBJECT = re.compile(r"\{.{1,4000}\}", re.DOTALL)
_ELSEWHERE: Mapping[str, str] = _TABLE["elsewhere"]
"""What fields of chat completions are called where they are sent under other names."""
_NOT_TAKEN = ("unsupported_value", "unsupported_parameter")
_PATTERNS = read_patterns(__file__)
_NAMED = [pattern for name, pattern in _PATTERNS.items() if name.startswith("named")]
"""What endpoints say of a field that they do not take."""
_NO_SYSTEM = _PATTERNS["no_system"]
SYSTEM, ANY = "system", "any"
"""What stands in place of a field for the role, and for one that is not named."""
_WAIT = re.compile(r"(?:retry|try again)(?: after| in)? ((?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Said:
    """What an error says.

    Args:
        message: in words, on one line.
        codes: names of the error, without case.
        status: the HTTP status that it names, by number, by a code, or in words; None if it names none.
        retry_after_s: when the endpoint wants to be asked again; None if it does not say.
        is_filtered: whether it withholds a reply for what the prompt says.
        field: of the request that is wrong; "" if it names none.
        not_taken: the field of the request that the model does not take, or not with this value; SYSTEM; "" if none.
        category: what it withholds a reply for; "" if it does not say.
        limit: that was reached; None for one on a minute, and where it is none that stands in the way.
        headers: that a gateway tells of the endpoint behind it, by their names in lower case.
    """

    message: str
    codes: frozenset[str]
    status: int | None
    retry_after_s: float | None
    is_filtered: bool
    field: str
    not_taken: str
    category: str
    limit: Limit | None
    headers: Mapping[str, str]

    @property
    def is_wrong_key(self) -> bool:
        """Whether it says so by a code or in words, whatever the status."""
        is_coded = any(code.startswith(google_errors.WRONG_KEY) for code in self.codes)
        return is_coded or google_errors.WRONG_KEY_WORDS.search(self.message) is not None


def decode(body: str) -> Any:
    """The value of a JSON body, also behind a byte order mark or the comments that keep a connection open.

    Raises:
        ValueError, RecursionError: there is none.
    """
    try:
        return json_text.decode(body)
    except ValueError:
        lines = body.removeprefix("\ufeff").splitlines()
        kept = "\n".join(line for line in lines if not line.startswith(":")).strip()
        if kept == body:
            raise
        return json_text.decode(kept)


def is_stream(body: str) -> bool:
    """Whether a body is a stream of events."""
    return body.lstrip("\ufeff \r\n").startswith(("data:", "event:"))


def find_error(body: str) -> Any:
    """The error that stands in a body where a completion should be; None if there is none, or a completion."""
    try:
        value = decode(body)
    except (ValueError, RecursionError):
        events = _read_events(body) if is_stream(body) else ()
        return next((error for event in events if (error := _find_error(event)) is not None), None)
    return _find_error(value)


def read(error: Any) -> Said:
    """What an error says; it may be any decoded JSON value."""
    parts = list(_list_parts(error))
    codes = frozenset(str(part[name]).casefold() for part in parts for name in _CODES if _is_code(part.get(name)))
    filtered = {
        key: level for part in parts for name in _FILTERS for key, level in find_filtered(part.get(name)).items()
    }
    message = describe(error) + (f" ({content_filter.describe(filtered)})" if filtered else "")
    status, after = _find_status(codes, message), _retry_after_s(parts, message)
    is_filtered, not_taken = _is_filtered(parts, codes), _find_not_taken(parts, codes, message)
    limit = quotas.find_limit(parts, codes, message)
    if status is None and limit is Limit.MONEY:
        status = 402
    category, headers = next(iter(filtered), ""), quotas.find_headers(parts)
    return Said(message, codes, status, after, is_filtered, _find_field(parts), not_taken, category, limit, headers)


def describe(error: Any) -> str:
    """An error in words, on one line."""
    return " ".join(_OBJECT.sub(_describe_object, _tell(error)).split())


def _find_error(value: Any) -> Any:
    if isinstance(value, list):
        return next((error for item in value if (error := _find_error(item)) is not None), None)
    if not isinstance(value, dict) or value.get("choices") or is_withheld(value):
        return None
    if value.get("error") or value.get("errors"):
        return value
    if "choices" in value:
        return None
    is_said = any(value.get(name) and isinstance(value[name], str | list) for name in _MESSAGES)
    return value if is_said or isinstance(value.get("detail"), dict) else None


def _read_events(body: str) -> Iterator[Any]:
    for line in body.splitlines():
        if line.startswith("data:"):
            try:
                yield json_text.decode(line.removeprefix("data:").strip())
            except (ValueError, RecursionError):
                continue


def _list_parts(error: Any, depth: int = 4) -> Iterator[Mapping[str, Any]]:
    """An error and the objects in it that say more about it."""
    if isinstance(error, Mapping):
        yield error
        for name in _NESTED if depth else ():
            yield from _list_parts(error.get(name), depth - 1)
    elif isinstance(error, list):
        for item in error[:20]:
            yield from _list_parts(item, depth - 1) if depth else ()


def _tell(error: Any, depth: int = 5) -> str:
    if isinstance(error, str):
        return error
    if isinstance(error, list) and depth:
        return "; ".join(_tell(item, depth - 1) for item in error[:5])
    if isinstance(error, Mapping) and depth:
        inner = error.get("error") or error.get("errors") or next(filter(None, map(error.get, _MESSAGES)), None)
        if inner:
            where = ".".join(map(str, error["loc"])) if isinstance(error.get("loc"), list) else ""
            raw = error["metadata"].get("raw") if isinstance(error.get("metadata"), Mapping) else None
            told = [where, _tell(inner, depth - 1), raw if isinstance(raw, str) else ""]
            return ": ".join(filter(None, told))
    return json.dumps(error, ensure_ascii=False)


def _describe_object(found: re.Match[str]) -> str:
    """What an object says that gateways put into their messages, as JSON or as Python prints it."""
    for read_object in (json_text.decode, ast.literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            value = read_object(found[0])
            return _tell(value) if isinstance(value, Mapping) else found[0]
    return found[0]


def _is_code(value: Any) -> bool:
    return isinstance(value, str) or type(value) is int


def _find_status(codes: frozenset[str], message: str) -> int | None:
    numbers = sorted(int(code) for code in codes if code.isascii() and code.isdigit() and 400 <= int(code[:9]) <= 599)
    named = [_STATUS_OF_CODE[code] for code in sorted(codes) if code in _STATUS_OF_CODE]
    if numbers or named:
        return (numbers or named)[0]
    return next(
        (int(status) for status, words in _STATUS_OF_WORDS.items() if re.search(words, message, re.IGNORECASE)), None
    )


def _retry_after_s(parts: list[Mapping[str, Any]], message: str) -> float | None:
    """Of Google's RetryInfo, or of the message."""
    told = [part["retryDelay"] for part in parts if isinstance(part.get("retryDelay"), str)]
    found = _WAIT.search(message)
    return rate_limit_headers.read_seconds(told[0] if told else found[1] if found else None)


def _find_field(parts: list[Mapping[str, Any]]) -> str:
    """OpenAI's `param`, FastAPI's `loc`, Google's violations."""
    for part in parts:
        if isinstance(part.get("param"), str) and part["param"]:
            return str(part["param"])
        if isinstance(part.get("loc"), list):
            return ".".join(map(str, part["loc"]))
    return google_errors.find_field(parts)


def _find_not_taken(parts: list[Mapping[str, Any]], codes: frozenset[str], message: str) -> str:
    """By the code and the name beside it, by the place that FastAPI gives, or in words."""
    places = [part["loc"] for part in parts if part.get("type") == "extra_forbidden" and part.get("loc")]
    named = [str(place[-1]) for place in places if isinstance(place, list)]
    if not codes.isdisjoint(_NOT_TAKEN):
        named += [part["param"] for part in parts if isinstance(part.get("param"), str)]
    named += [found[1] for words in _NAMED if (found := words.search(message))]
    field = (_ELSEWHERE.get(named[0].lower()) or re.split(r"[.\[]", named[0])[0]) if named else ""
    if _NO_SYSTEM.search(message) and field in ("", "messages"):
        return SYSTEM
    return (google_errors.find_not_taken(message) if "invalid_argument" in codes else "") or field


def _is_filtered(parts: list[Mapping[str, Any]], codes: frozenset[str]) -> bool:
    metadata = [part["metadata"] for part in parts if isinstance(part.get("metadata"), Mapping)]
    return not FILTERED.isdisjoint(codes) or any("flagged_input" in each for each in metadata)
