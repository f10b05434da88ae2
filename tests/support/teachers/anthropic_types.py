"""Requests and replies of Anthropic's Messages API by the types of its own package, without a field that they lack."""

import sys
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, cast

from anthropic import types
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from anthropic.types.messages import (
    MessageBatch,
    MessageBatchIndividualResponse,
    batch_create_params,
)
from anthropic.types.shared import ErrorResponse
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

SAMPLING = ("temperature", "top_p", "top_k")
"""Fields that version 2023-06-01 takes of older models; the package has types for the version after it alone."""


def _forbid_others() -> None:
    """Makes all mappings of the package's requests refuse fields that they do not name."""
    modules = [module for name, module in sys.modules.items() if name.startswith("anthropic.types")]
    for module in modules:
        for found in vars(module).values():
            if hasattr(found, "__required_keys__") and "__pydantic_config__" not in vars(found):
                found.__pydantic_config__ = ConfigDict(extra="forbid")


_forbid_others()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _REQUEST: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsNonStreaming)
    _BATCH: TypeAdapter[Any] = TypeAdapter(batch_create_params.BatchCreateParams)


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: of the response.
        kind: the error's type.
        message: its words.
        headers: of the response.
        details: beside the message.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        error = {"type": kind, "message": message} | ({"details": details} if details else {})
        ErrorResponse.model_validate({"type": "error", "error": error}, strict=True)
        self.body = {"type": "error", "error": error, "request_id": "req_1"}


def parse_request(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request, as its types read it; raises Refused as the API does for what they do not know."""
    sampling = {name: body[name] for name in SAMPLING if name in body}
    try:
        typed = _settle(_REQUEST.validate_python({name: body[name] for name in body if name not in sampling}))
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(str(part) for part in found["loc"] if not str(part)[0].isupper())
        raise Refused(400, "invalid_request_error", f"{place}: {found['msg']}") from error
    return cast(dict[str, Any], typed) | sampling


def parse_batch(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The requests of a batch, whose own fields are looked at when they are worked on."""
    envelope = [{**each, "params": {"model": "m", "max_tokens": 1, "messages": []}} for each in body["requests"]]
    try:
        _settle(_BATCH.validate_python({**body, "requests": envelope}))
    except ValidationError as error:
        raise Refused(400, "invalid_request_error", str(error.errors()[0]["loc"])) from error
    return list(body["requests"])


def write_message(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A reply."""
    return _write(types.Message.model_validate(fields, strict=True))


def write_batch(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A batch."""
    return _write(MessageBatch.model_validate(fields))


def write_result(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A line of results."""
    return _write(MessageBatchIndividualResponse.model_validate(fields))


def _write(value: BaseModel) -> dict[str, Any]:
    assert not (extra := _find_extra(value)), f"the package does not know {extra}"
    return value.model_dump(mode="json", exclude_unset=True)


def _find_extra(value: Any) -> list[str]:
    if isinstance(value, BaseModel):
        inner = [name for each in value.__dict__.values() for name in _find_extra(each)]
        return [*(value.model_extra or {}), *inner]
    return [name for each in value for name in _find_extra(each)] if isinstance(value, list) else []


def _settle(value: Any) -> Any:
    """A value in which every iterable is read to its end, which pydantic looks at only then."""
    if isinstance(value, BaseModel):  # of replies: what no type of requests takes
        if extra := _find_extra(value):
            raise Refused(400, "invalid_request_error", f"{extra[0]}: Extra inputs are not permitted")
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Mapping):
        return {name: _settle(inner) for name, inner in value.items()}
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return value
    return [_settle(inner) for inner in value]
