"""What records of all forms are made of: messages, tools, times."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.json_text import quote_value, write_text

Message = dict[str, Any]

_ROLES = {"human": "user", "ai": "assistant", "model": "assistant", "function": "tool"}
"""What LangChain and Gemini call speakers -> OpenAI's roles."""
_BARE = ("text", "output_text", "input_text")
"""Types of parts that are nothing but text."""
_THOUGHTS = ("reasoning", "thinking")
_CALLS = ("tool_call", "tool_use", "function_call")
_RESULTS = ("tool_call_response", "tool_result", "function_call_output")
_MOVED = (*_THOUGHTS, *_CALLS, *_RESULTS)
"""Types of parts that OpenAI's chat messages have in other places."""
_LEFT = ("parts", "type", "finish_reason", "id", "status", "object", "annotations", "content_parts")
"""What is said of a message beside what it says."""


def make_row(messages: Iterable[Message], reply: Message | None, **known: Any) -> dict[str, Any]:
    """A row: what was asked, the reply, and what is known of both.

    Args:
        messages: of the request.
        reply: the assistant's; None if there is none.
        known: `tools`, `model`, `time`, `finish_reason`, `feedback`, `metadata`; what is empty becomes null.
    """
    names = ("tools", "model", "time", "finish_reason", "feedback", "metadata")
    return {
        "messages": [*messages, *([] if reply is None else [reply])],
        "response": None if reply is None else write_content(reply),
        **{name: known.get(name) or None for name in names},
    }


def write_content(message: Mapping[str, Any]) -> str | None:
    """The text of a message; None if it has none, as one that only calls tools."""
    content = message.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        content = "".join(text for text in texts if isinstance(text, str))
    return write_text(content) if content else None


def parse(value: Any) -> Any:
    """The value of what may be written as JSON text; a text that is none stays."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def read_messages(value: Any, role: str = "user") -> list[Message]:
    """Messages, as OpenAI writes them, of what was logged for a conversation.

    Args:
        value: a text, a message, a list of messages, or an object that holds them as `messages`; perhaps as JSON text.
        role: of a text, and of a message without a role.

    Raises:
        DataError: it is something else.
    """
    value = parse(value)
    if isinstance(value, Mapping) and isinstance(value.get("messages"), list):
        return read_messages(value["messages"], role)
    if value in (None, "", [], {}):
        return []
    items = value if isinstance(value, list) else [value]
    return [message for item in items for message in _read_message(item, role)]


def _read_message(item: Any, role: str) -> Iterator[Message]:
    if isinstance(item, str):
        yield {"role": role, "content": item}
        return
    if not isinstance(item, Mapping) or not {"role", "content", "parts", "type"} & item.keys():
        raise DataError(f"holds no messages, but {quote_value(item)}", fix="bring them into shape with a step map")
    said = str(item.get("role") or _ROLES.get(str(item.get("type")), role)).lower()
    message = {"role": _ROLES.get(said, said), "content": item.get("content")}
    message |= {key: value for key, value in item.items() if key not in (*_LEFT, *message) and value is not None}
    if "role" not in item and item.get("type") in _MOVED:
        yield from join_parts({"role": role if _is_result(item) else "assistant"}, [item])
    elif isinstance(item.get("parts"), list) or any(map(_is_moved, _list_items(item.get("content")))):
        yield from join_parts(message, _list_items(item.get("parts", item.get("content"))))
    else:
        yield message


def _list_items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_moved(part: Any) -> bool:
    """Whether OpenAI's chat messages have what a part holds in another place, or in other words."""
    if not isinstance(part, Mapping):
        return False
    return part.get("type") in (*_MOVED, *_BARE[1:]) or (part.get("type") == "text" and "text" not in part)


def _is_result(part: Mapping[str, Any]) -> bool:
    return part.get("type") in _RESULTS


def join_parts(message: Message, parts: Iterable[Any]) -> Iterator[Message]:
    """The message that parts make, behind those of the results of tools among them.

    Args:
        message: its role, and what else is known of it.
        parts: of OpenAI's Responses, of Anthropic's, Gemini's or OTel's messages.
    """
    said: list[Any] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for part in parts:
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        if kind in _BARE:
            text = part if isinstance(part, str) else part.get("text", part.get("content"))
            said.append({"type": "text", "text": write_text(text)})
        elif kind in _THOUGHTS:
            thoughts += _list_thoughts(part)
        elif kind in _CALLS:
            calls.append(_write_call(part))
        elif kind in _RESULTS:
            yield _write_result(part)
        else:  # a picture, say, which whoever reads the row tells by its name
            said.append(part)
    if not (said or thoughts or calls):
        return
    is_text = all(part.get("type") == "text" for part in said if isinstance(part, Mapping))
    message = message | {"content": ("\n".join(part["text"] for part in said) or None) if is_text else said}
    message |= {"reasoning_content": "\n".join(thoughts)} if thoughts else {}
    yield message | ({"tool_calls": calls} if calls else {})


def _list_thoughts(part: Mapping[str, Any]) -> list[str]:
    said = part.get("content") or part.get("thinking") or part.get("text") or part.get("summary") or []
    texts = [said] if isinstance(said, str) else [each.get("text", "") for each in said if isinstance(each, Mapping)]
    return [text for text in texts if text]


def _write_call(part: Mapping[str, Any]) -> dict[str, Any]:
    given = part.get("arguments", part.get("input"))
    function = {"name": part.get("name"), "arguments": write_text({} if given is None else given)}
    return {"id": part.get("call_id") or part.get("id"), "type": "function", "function": function}


def _write_result(part: Mapping[str, Any]) -> Message:
    named = part.get("tool_use_id") or part.get("call_id") or part.get("id")
    said = next((part[key] for key in ("response", "result", "output", "content") if key in part), "")
    text = write_content({"content": said}) if isinstance(said, list) else None
    return {"role": "tool", "tool_call_id": named, "content": text or write_text(said)}


def read_tools(value: Any) -> list[Any] | None:
    """Descriptions of tools as OpenAI's chat has them; None if there are none.

    Flat ones, of OpenAI's Responses, of Anthropic's and of OTel's, and its old `functions`, are put into shape.
    """
    value = parse(value)
    if not isinstance(value, list) or not value:
        return None
    return [_write_tool(tool) for tool in map(parse, value)]


def _write_tool(tool: Any) -> Any:
    if not isinstance(tool, Mapping) or "name" not in tool:
        return tool
    function = {key: tool[key] for key in ("name", "description", "parameters", "strict") if tool.get(key) is not None}
    if "parameters" not in function and tool.get("input_schema"):
        function["parameters"] = tool["input_schema"]
    return {"type": "function", "function": function}


def write_time(value: Any) -> str | None:
    """A time as ISO 8601 in UTC; of seconds since 1970, or of a text. None if there is none."""
    if value in (None, "", 0):
        return None
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC).isoformat()
        found = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        return write_text(value)
    return (found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)).isoformat()


def describe(record: Mapping[str, Any]) -> str:
    """A record in words, for messages."""
    names = list(record)
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"an object with the keys {', '.join(names[:12])}{more}" if names else "an empty object"
