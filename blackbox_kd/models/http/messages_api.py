"""Anthropic's Messages API: a body of chat completions in its form, and its replies as chat completions.

Source   anthropic 2.14 (`MessageCreateParams`, `Message`); version 2023-06-01, which still takes sampling fields
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from blackbox_kd import json_text
from blackbox_kd.errors import EndpointRefused
from blackbox_kd.models.http.cache_marks import CacheMarks
from blackbox_kd.models.http.parameters import CAPS, EFFORT, FORMAT, MOST_TOKENS, THINKING_BUDGET, Parameters

SHOWN = {"type": "adaptive", "display": "summarized"}
"""As much thinking as the model holds to be right, and a summary of it in the reply, which newer models leave out."""
LEAST_BUDGET = 1024
"""Tokens of thinking, as far as they are said at all."""
SYSTEM_ROLES = ("system", "developer")
_CHAT = frozenset(
    {*CAPS, EFFORT, THINKING_BUDGET, FORMAT, "messages", "stop", "tools", "tool_choice", "parallel_tool_calls"}
)
"""Fields that are said in another way; what is none of them is the API's own."""
Block = dict[str, Any]


class MessagesApi:
    """The API's wire format, see `chat.WireFormat`.

    Args:
        parameters: what the model takes.
        marks: which beginnings of prompts are worth keeping; None for no marks.
    """

    def __init__(self, parameters: Parameters, marks: CacheMarks | None = None) -> None:
        self._parameters = parameters
        self._marks = marks

    def translate(self, body: dict[str, Any]) -> dict[str, Any]:
        """See `chat.WireFormat.translate`.

        Raises:
            EndpointRefused: the recipe asks for what the API has no field for.
        """
        cap = next((body[name] for name in CAPS if name in body), self._parameters.most_tokens or MOST_TOKENS)
        sent = {name: value for name, value in body.items() if name not in _CHAT}
        sent["max_tokens"] = cap
        if stop := body.get("stop"):
            sent["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
        output = {**_write_effort(body, self._parameters), **_write_format(body.get(FORMAT))}
        if output:
            sent["output_config"] = output | _read_own(body, "output_config")
        if "thinking" not in body and (thinking := _write_thinking(body, self._parameters, cap)):
            sent["thinking"] = thinking
        sent.update(_write_tools(body))
        written = self._write_messages(body["messages"])
        if "system" in body and "system" in written:
            what = "system: stands among the fields of the request, and the prompt has a system text"
            raise EndpointRefused(what, fix="put it into the prompt", kind="endpoint_refused")
        return sent | written

    def convert(self, value: Any) -> Any:
        """See `chat.WireFormat.convert`."""
        if not isinstance(value, dict) or value.get("type") != "message" or not isinstance(value.get("content"), list):
            return value
        choice = {"index": 0, "message": _read_message(value), "finish_reason": value.get("stop_reason")}
        completion = {"id": value.get("id"), "object": "chat.completion", "model": value.get("model")}
        return {**completion, "choices": [choice], "usage": _read_usage(value.get("usage"))}

    def _write_messages(self, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        system = "\n\n".join(
            text for each in messages if each["role"] in SYSTEM_ROLES and (text := each["content"]).strip()
        )
        turns = _join_turns(each for each in messages if each["role"] not in SYSTEM_ROLES)
        if not turns:  # the API wants a question
            system, turns = "", [("user", [_write_text(system)])]
        blocks = [_write_text(system)] if system else []
        if self._marks is not None:
            self._marks.put(blocks, [content for _, content in turns[:-1]])
        said = [{"role": role, "content": _shorten(content)} for role, content in turns]
        return {"messages": said} | ({"system": _shorten(blocks)} if blocks else {})


def _read_own(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the recipe itself has in a field that others are written into.

    Raises:
        EndpointRefused: it is nothing that they could be written into.
    """
    found = body.get(name) or {}
    if not isinstance(found, dict):
        what = f"{name}: {json_text.quote_value(found)} is no mapping of fields"
        raise EndpointRefused(what, fix=f"write {name}: {{FIELD: VALUE}}", kind="endpoint_refused")
    return found


def _write_text(text: str) -> Block:
    return {"type": "text", "text": text}


def _shorten(blocks: list[Block]) -> str | list[Block]:
    """Blocks in the shorter form that the API has for a text alone."""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} else blocks


def _join_turns(messages: Iterator[Mapping[str, Any]]) -> list[tuple[str, list[Block]]]:
    """Turns of user and assistant in alternation, as the API reads them."""
    turns: list[tuple[str, list[Block]]] = []
    for message in messages:
        role = "user" if message["role"] == "tool" else message["role"]
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(_write_blocks(message))
        else:
            turns.append((role, list(_write_blocks(message))))
    return turns


def _write_blocks(message: Mapping[str, Any]) -> Iterator[Block]:
    """What a message says, and what it calls, or what a tool gave back; the API knows no empty text."""
    if message["role"] == "tool":
        yield {"type": "tool_result", "tool_use_id": message.get("tool_call_id"), "content": message["content"]}
        return
    calls = message.get("tool_calls") or ()
    if message.get("content") or not calls:
        yield _write_text(message["content"])
    for call in calls:
        function = call["function"]
        given = json_text.decode(function["arguments"] or "{}")
        yield {"type": "tool_use", "id": call["id"], "name": function["name"], "input": given}


def _write_thinking(body: Mapping[str, Any], known: Parameters, cap: int) -> dict[str, Any]:
    budget, effort = known.find_budget(body), body.get(EFFORT)
    if type(budget) is int:  # it counts against `max_tokens`, and must be less
        budget = max(LEAST_BUDGET, min(budget, cap - 1))
    if budget is not None:
        return {"type": "enabled", "budget_tokens": budget}
    if effort == "none":
        return {"type": known.off or "disabled"}
    return dict(SHOWN) if effort is not None or (known.reasons and known.efforts) else {}


def _write_effort(body: Mapping[str, Any], known: Parameters) -> dict[str, Any]:
    effort = body.get(EFFORT)
    if effort in (None, "none") or known.find_budget(body) is not None:
        return {}
    return {"effort": "low" if effort == "minimal" else effort}


def _write_format(form: Any) -> dict[str, Any]:
    """The API's `output_config.format` for a `response_format`."""
    kind = form.get("type") if isinstance(form, dict) else form
    asked = form.get("json_schema") if isinstance(form, dict) else None
    if kind in (None, "text") and asked is None:
        return {}
    if kind != "json_schema" or not isinstance(asked, dict):
        what = f"response_format: Claude takes a JSON schema, and {json_text.quote_value(kind)} is none"
        fix = "write type: json_schema with the schema, or ask for the form in the prompt"
        raise EndpointRefused(what, fix=fix, kind="endpoint_refused")
    return {"format": {"type": "json_schema", "schema": asked.get("schema", {})}}


def _write_tools(body: Mapping[str, Any]) -> dict[str, Any]:
    """Tools, and how they may be used; what is the API's own stays as it is."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    written = {"tools": [_write_tool(tool) for tool in tools] if isinstance(tools, list) else tools} if tools else {}
    function = choice.get("function") if isinstance(choice, dict) else None
    if isinstance(function, dict):
        choice = {"type": "tool", "name": function.get("name")}
    elif isinstance(choice, str):
        choice = {"type": "any" if choice == "required" else choice}
    if body.get("parallel_tool_calls") is False and isinstance(choice, dict | None):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return written | ({"tool_choice": choice} if choice else {})


def _write_tool(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict):
        return tool
    kept = {name: function[name] for name in ("name", "description", "strict") if function.get(name) is not None}
    return {**kept, "input_schema": function.get("parameters") or {"type": "object", "properties": {}}}


def _read_message(value: Mapping[str, Any]) -> dict[str, Any]:
    """The message of a reply, whose blocks come in any order; what a refusal has begun to say is no reply."""
    blocks = [block for block in value["content"] if isinstance(block, dict)]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(_read_texts(blocks, "text"))}
    if value.get("stop_reason") == "refusal":
        details = value.get("stop_details")
        told = details if isinstance(details, Mapping) else {}
        return {**message, "content": "", "refusal": {name: told.get(name) for name in ("category", "explanation")}}
    if thinking := "\n\n".join(_read_texts(blocks, "thinking")):
        message["reasoning_content"] = thinking
    calls = [block for block in blocks if block.get("type") == "tool_use"]
    if calls:
        message["tool_calls"] = [_read_call(block) for block in calls]
    return message


def _read_texts(blocks: Sequence[Block], kind: str) -> Iterator[str]:
    """Of the blocks of a type, whose text stands under the type's name."""
    return (block[kind] for block in blocks if block.get("type") == kind and isinstance(block.get(kind), str))


def _read_call(block: Block) -> dict[str, Any]:
    arguments = json.dumps(block.get("input"), ensure_ascii=False)
    return {"id": block.get("id"), "type": "function", "function": {"name": block.get("name"), "arguments": arguments}}


def _read_usage(usage: Any) -> dict[str, Any] | None:
    """Tokens as chat completions count them: `input_tokens` are only those that the cache had no part in."""
    if not isinstance(usage, dict):
        return None
    read, written = (usage.get(f"cache_{what}_input_tokens") or 0 for what in ("read", "creation"))
    kept, details = usage.get("cache_creation"), usage.get("output_tokens_details")
    for_an_hour = kept.get("ephemeral_1h_input_tokens") if isinstance(kept, dict) else None
    with suppress(KeyError, TypeError):  # counts that are none
        prompt, completion = usage["input_tokens"] + read + written, usage["output_tokens"]
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {
                "cached_tokens": read,
                "cache_write_tokens": written,
                "cache_write_1h_tokens": for_an_hour,
            },
            "completion_tokens_details": {
                "reasoning_tokens": details.get("thinking_tokens") if isinstance(details, Mapping) else None
            },
        }
    return None
