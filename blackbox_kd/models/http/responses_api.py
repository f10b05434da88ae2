"""OpenAI's Responses API: what is meant as a chat completion goes over as `input`, and comes back as `output`.

Source   openai 3.54 (`types/responses`), November 2026
"""

from collections.abc import Iterator, Mapping
from typing import Any

from blackbox_kd.models.http.content_filter import is_withheld
from blackbox_kd.models.http.parameters import CAPS, EFFORT

PATH = "/responses"
ADDED: Mapping[str, Any] = {"store": False, "reasoning": {"summary": "auto"}}
"""Nothing is left at the vendor, where replies are kept for 30 days by default; reasoning comes as its summary."""
_TEXT = {"response_format": "format", "verbosity": "verbosity"}
"""Fields of chat completions that are inside of `text` here."""


class ResponsesApi:
    """The wire format; see `chat.WireFormat`.

    Args:
        reasons: whether the model reasons unless a request says otherwise.
    """

    def __init__(self, *, reasons: bool = False) -> None:
        self._reasons = reasons

    def translate(self, body: dict[str, Any]) -> dict[str, Any]:
        """See `WireFormat`. What the recipe sets by this API's own names stays as it is."""
        instructions, items = _split(body["messages"])
        renamed = {"messages", EFFORT, "tools", "tool_choice", *CAPS, *_TEXT}
        sent = {name: value for name, value in body.items() if name not in renamed}
        sent |= {"instructions": instructions} if instructions else {}
        sent["input"] = items
        cap = next((body[name] for name in CAPS if name in body), None)
        sent |= {} if cap is None else {"max_output_tokens": cap}
        sent |= {"tools": [_write_tool(tool) for tool in body["tools"]]} if "tools" in body else {}
        sent |= {"tool_choice": _flatten(body["tool_choice"], "function")} if "tool_choice" in body else {}
        text = {name: _flatten(body[field], "json_schema") for field, name in _TEXT.items() if field in body}
        sent |= {"text": {**sent.get("text", {}), **text}} if text else {}
        if reasoning := self._reason(sent.pop("reasoning", {}), body.get(EFFORT)):
            sent["reasoning"] = reasoning
        return sent

    def _reason(self, asked: Mapping[str, Any], effort: str | None) -> dict[str, Any]:
        """A model that does not reason is not asked for a summary of it, which it would refuse."""
        reasoning = {**asked, **({} if effort is None else {"effort": effort})}
        effort = reasoning.get("effort")
        if effort == "none" or (effort is None and not self._reasons):
            reasoning = {name: value for name, value in reasoning.items() if name != "summary"}
        return reasoning

    def convert(self, value: Any) -> Any:
        """See `WireFormat`."""
        if not isinstance(value, dict) or not isinstance(value.get("output"), list) or "choices" in value:
            return value
        choice = {"index": 0, "message": _read_message(value), "finish_reason": _read_end(value)}
        return {"model": value.get("model"), "choices": [choice], "usage": _read_usage(value.get("usage"))}


def _split(messages: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """What the system messages at the beginning say, and the items of all others."""
    first = next((at for at, message in enumerate(messages) if message["role"] != "system"), len(messages))
    instructions = "\n\n".join(message["content"] for message in messages[:first])
    return instructions, [item for message in messages[first:] for item in _list_items(message)]


def _list_items(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if message["role"] == "tool":
        yield {"type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"]}
        return
    calls = message.get("tool_calls") or ()
    if message.get("content") or not calls:
        yield {"role": message["role"], "content": message["content"]}
    for call in calls:
        yield {"type": "function_call", "call_id": call["id"], **call["function"]}


def _write_tool(tool: Any) -> Any:
    """A tool, which this API would otherwise hold to its strict subset of schemas, and so refuse many."""
    flat = _flatten(tool, "function")
    is_function = isinstance(flat, dict) and flat.get("type") == "function"
    return {"strict": False, "parameters": None, **flat} if is_function else flat


def _flatten(value: Any, name: str) -> Any:
    """What chat completions have inside of an object of a name, such as a schema, without that object around it."""
    if isinstance(value, dict) and isinstance(value.get(name), dict):
        return {**{field: inner for field, inner in value.items() if field != name}, **value[name]}
    return value


def _read_message(response: Mapping[str, Any]) -> dict[str, Any]:
    items = _list_objects(response.get("output"))
    parts = [part for item in _find_answer(items) for part in _list_objects(item.get("content"))]
    reasoning = [item for item in items if item.get("type") == "reasoning"]
    calls = [item for item in items if item.get("type") == "function_call"]
    said = {
        "reasoning_content": "\n\n".join(filter(None, map(_read_reasoning, reasoning))),
        "tool_calls": [_read_call(call) for call in calls],
        "refusal": _join(parts, "refusal") or _explain_policy(response),
    }
    message = {"role": "assistant", "content": _join(parts, "text")}
    return message | {name: value for name, value in said.items() if value}


def _find_answer(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages that are the reply: those that say so, else those that are not said on the way to it."""
    messages = [item for item in items if item.get("type") == "message"]
    final = [item for item in messages if item.get("phase") == "final_answer"]
    return final or [item for item in messages if item.get("phase") != "commentary"] or messages


def _read_reasoning(item: Mapping[str, Any]) -> str:
    """Its summary; models with open weights show the reasoning itself."""
    summary, content = _list_objects(item.get("summary")), _list_objects(item.get("content"))
    return "\n\n".join(part["text"] for part in summary or content if isinstance(part.get("text"), str))


def _read_call(item: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _explain_policy(response: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a reply was withheld for; see `calls.refusals`."""
    if not is_withheld(response):
        return None
    error: Mapping[str, Any] = response["error"]
    misalignment = error.get("misalignment")
    detail = misalignment.get("detailed_explanation") if isinstance(misalignment, dict) else None
    return {"category": error["code"], "explanation": detail or error.get("message")}


def _read_end(response: Mapping[str, Any]) -> Any:
    """Why it ended: the most exact of the words that the vendor has for it."""
    status, why, error = (response.get(name) for name in ("status", "incomplete_details", "error"))
    if status == "incomplete" and isinstance(why, dict):
        return why.get("reason") or status
    if status == "failed" and isinstance(error, dict):
        return error.get("code") or status
    has_calls = any(item.get("type") == "function_call" for item in _list_objects(response.get("output")))
    return "function_call" if status == "completed" and has_calls else status


def _read_usage(usage: Any) -> Any:
    if not isinstance(usage, dict):
        return usage
    return {
        "prompt_tokens": usage.get("input_tokens"),
        "completion_tokens": usage.get("output_tokens"),
        "total_tokens": usage.get("total_tokens"),
        "prompt_tokens_details": usage.get("input_tokens_details"),
        "completion_tokens_details": usage.get("output_tokens_details"),
    }


def _join(parts: list[dict[str, Any]], name: str) -> str:
    return "".join(part[name] for part in parts if isinstance(part.get(name), str))


def _list_objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
