"""Answers of OpenAI that are no replies, by the words of a plan that its endpoints share.

overloaded          503 server_is_overloaded
rate_limited:S      429 rate_limit_exceeded, with S in Retry-After
quota               429 insufficient_quota
wrong_key           401
no_model            404
too_long            400 context_length_exceeded
refuses:FIELD       400 unsupported_parameter, as long as the request has the field (`a.b` is inside of `a`)
echo                400 that repeats the headers and the URL
"""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

ERRORS: Mapping[str, tuple[int, str, str, str | None]] = {
    "overloaded": (503, "The server is overloaded.", "server_error", "server_is_overloaded"),
    "rate_limited": (429, "Rate limit reached.", "requests", "rate_limit_exceeded"),
    "quota": (429, "You exceeded your current quota.", "insufficient_quota", "insufficient_quota"),
    "wrong_key": (401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    "no_model": (404, "The model does not exist.", "invalid_request_error", "model_not_found"),
    "too_long": (400, "Your input exceeds the context window.", "invalid_request_error", "context_length_exceeded"),
}


def error_for(action: str, request: web.Request, body: Mapping[str, Any]) -> web.Response | None:
    """The answer that a plan's word stands for; None if it stands for a reply."""
    name, _, argument = action.partition(":")
    if name == "echo":
        return answer(400, f"{dict(request.headers)} {request.path_qs}", "invalid_request_error", None)
    if name == "refuses":
        value: Any = body
        for part in argument.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        said = f"Unsupported parameter: '{argument}' is not supported with this model."
        return None if value is None else answer(400, said, "invalid_request_error", "unsupported_parameter", argument)
    if name not in ERRORS:
        return None
    headers = {"Retry-After": argument} if argument else {}
    return answer(*ERRORS[name], headers=headers)


def answer(
    status: int, said: str, kind: str, code: str | None, param: str | None = None, headers: Mapping[str, str] = {}
) -> web.Response:
    """An error as OpenAI sends it."""
    error = {"message": said, "type": kind, "param": param, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)
