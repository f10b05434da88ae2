"""The JSON body of a request: as the recipe means it, which its key is taken of, and as a model takes it."""

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from blackbox_kd.models.http.parameters import CAPS
from blackbox_kd.schema import Request

SEED_STRIDE = 1_000_003
"""Apart from what numbers of samples are: no two attempts of any samples of a row share a seed."""


def build_body(model: str, request: Request, max_tokens_field: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON body of a request, without the fields that are left to the endpoint.

    Samples of a row, and attempts, must be able to differ: each has a seed of its own.

    Args:
        model: as the endpoint calls it.
        request: what is asked.
        max_tokens_field: name of the field for `max_tokens`.
        extra: fields of the model's config; the step's own go over them.
    """
    sampling = request.sampling
    fields = {**extra, **sampling.extra, **request.form, **({"tools": list(request.tools)} if request.tools else {})}
    seed = sampling.seed
    body = {
        **fields,
        "model": model,
        "messages": request.messages,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        max_tokens_field: sampling.max_tokens,
        "stop": list(sampling.stop) or None,
        "seed": None if seed is None else seed + request.sample + SEED_STRIDE * request.attempt,
    }
    return {name: value for name, value in body.items() if value is not None}


def leave_out(body: dict[str, Any], refused: Set[str]) -> dict[str, Any]:
    """A body without the fields that are refused; the most tokens of a reply go by their other name."""
    if refused.isdisjoint(body):
        return body
    sent = {name: value for name, value in body.items() if name not in refused}
    for name, other in (CAPS, CAPS[::-1]):
        if name in body and name in refused:
            sent[other] = body[name]
    return sent


def plain_calls(body: dict[str, Any], name_call: Callable[[str], str] = str) -> dict[str, Any]:
    """A body whose calls of tools, and what tools gave back, have only what chat completions know of them.

    Args:
        body: the request's.
        name_call: the id of a call as the vendor takes it.
    """
    if not any(message.get("tool_calls") or message["role"] == "tool" for message in body["messages"]):
        return body
    return {**body, "messages": [_plain(message, name_call) for message in body["messages"]]}


def _plain(message: Mapping[str, Any], name_call: Callable[[str], str]) -> dict[str, Any]:
    if message["role"] == "tool":
        called = name_call(str(message.get("tool_call_id")))
        return {"role": "tool", "tool_call_id": called, "content": message["content"]}
    if not (calls := message.get("tool_calls")):
        return dict(message)
    plain = [{**{key: call[key] for key in ("type", "function")}, "id": name_call(str(call["id"]))} for call in calls]
    return {**message, "content": message.get("content") or None, "tool_calls": plain}


def fold_system(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages without that role: what it says stands before the first question."""
    said = [message["content"] for message in messages if message["role"] == "system"]
    rest = [dict(message) for message in messages if message["role"] != "system"]
    if not said:
        return rest
    first = next((message for message in rest if message["role"] == "user"), None)
    if first is None:
        return [{"role": "user", "content": "\n\n".join(said)}, *rest]
    first["content"] = "\n\n".join([*said, first["content"]])
    return rest
