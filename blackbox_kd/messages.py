"""Messages that hold more than text, and tools: as rows, requests and chat templates have them.

A message has `role` and `content` (text, or parts), and where it came with them `reasoning_content`, `tool_calls`,
`tool_call_id`, `name` and `weight`. A call is OpenAI's, `{id, type, function: {name, arguments}}`, and its arguments
are JSON text, since as objects they would be given each other's keys by Parquet. Tools are OpenAI's as well.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.json_text import decode, write_json, write_text
from blackbox_kd.schema import digest

FIELDS = ("role", "content", "reasoning_content", "tool_calls", "tool_call_id", "name", "weight")
"""Keys of a message, in the order in which they are written."""
_SPEAKERS = ("role", "from")


def is_conversation(value: object) -> bool:
    """Whether a value is a list of objects with a speaker each."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, Mapping) and any(key in turn for key in _SPEAKERS) for turn in value)
    )


def tidy(value: Any) -> Any:
    """A value as rows hold it: conversations and lists of tools come without the keys that hold nothing.

    Parquet gives every object of a column the keys of all of them, and so nulls that nobody wrote.
    """
    return drop_nulls(value) if is_conversation(value) or _is_list_of_tools(value) else value


def _is_list_of_tools(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, Mapping) and isinstance(each.get("function"), Mapping) for each in value)
    )


def drop_nulls(value: Any) -> Any:
    """A value without the keys of its objects that hold nothing; a message without text keeps its `content`."""
    if isinstance(value, list):
        return [drop_nulls(item) for item in value]
    if isinstance(value, Mapping):
        return {key: drop_nulls(item) for key, item in value.items() if item is not None or key == "content"}
    return value


def read_list(value: object) -> list[Any] | None:
    """A list, perhaps written as JSON text; None if it is none."""
    if isinstance(value, str):
        try:
            value = decode(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list) else None


def read_tools(value: object, what: str = "column 'tools'") -> list[dict[str, Any]]:
    """Tools in OpenAI's form: of a list of tools or of bare functions, perhaps as JSON text.

    Args:
        value: the list; None and empty ones are no tools.
        what: where it stands, for messages.

    Raises:
        DataError: it is something else; values with the same fault have the same message.
    """
    if value is None or value == "" or value == {}:
        return []
    found = read_list(value)
    if found is None:
        raise DataError(f"{what} is no list of tools; {_TOOLS_FIX}")
    tools = [_unwrap(each) for each in found]
    if None in tools:
        raise DataError(f"{what} holds something that is no tool; {_TOOLS_FIX}")
    return [{"type": "function", "function": drop_nulls(tool)} for tool in tools]


_TOOLS_FIX = 'write [{"type": "function", "function": {"name": ..., "parameters": {...}}}], or rename the column'


def read_calls(value: object, what: str) -> list[dict[str, Any]]:
    """Calls of tools in OpenAI's form: of one or several, with `function` or bare, perhaps as JSON text.

    Raises:
        DataError: it is something else, or has arguments that are no JSON object.
    """
    found = [value] if isinstance(value, Mapping) else read_list(value)
    if found is None and isinstance(value, str):
        found = read_list(f"[{value}]")
    if found is None:
        raise DataError(f"{what} has tool calls that are none")
    return [_read_call(each, what) for each in found]


def _read_call(call: Any, what: str) -> dict[str, Any]:
    function = _unwrap(call)
    if function is None:
        raise DataError(f"{what} has a tool call without the name of a function")
    arguments = function.get("arguments", function.get("parameters"))
    text = "{}" if arguments in (None, "") else write_text(drop_nulls(arguments))
    if not isinstance(_open(text), Mapping):
        raise DataError(f"{what} has a tool call whose arguments are no JSON object")
    named = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {**named, "type": "function", "function": {"name": function["name"], "arguments": text}}


def _unwrap(item: Any) -> dict[str, Any] | None:
    """The function of a tool or of a call; None if it has no name."""
    if not isinstance(item, Mapping):
        return None
    function = item.get("function", item)
    is_named = isinstance(function, Mapping) and isinstance(function.get("name"), str) and function["name"]
    return dict(function) if is_named else None


def _open(arguments: str) -> Any:
    try:
        return decode(arguments)
    except (ValueError, RecursionError):
        return None


def write_calls(calls: Sequence[Mapping[str, Any]]) -> str:
    """Calls as the text of an answer: a JSON list of {name, arguments}, the arguments opened."""
    functions = [call["function"] for call in calls]
    return write_json([{"name": each["name"], "arguments": _open_text(each.get("arguments"))} for each in functions])


def open_arguments(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message whose calls have their arguments as objects, as chat templates take them."""
    if not message.get("tool_calls"):
        return dict(message)
    calls = [
        {**call, "function": {**call["function"], "arguments": _open_text(call["function"].get("arguments"))}}
        for call in message["tool_calls"]
    ]
    return {**message, "tool_calls": calls}


def _open_text(arguments: Any) -> Any:
    """The object that a text of arguments is; what is no JSON stays a text."""
    opened = _open(arguments) if isinstance(arguments, str) else arguments
    return arguments if opened is None else opened


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A message, or any part of one, or a tool, with every text in it changed, its keys too; roles stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [map_texts(item, change) for item in value]
    if isinstance(value, Mapping):
        return {
            key if key in FIELDS else change(key): item if key == "role" else map_texts(item, change)
            for key, item in value.items()
        }
    return value


def list_texts(message: Mapping[str, Any]) -> Iterator[str]:
    """All that a message says: its content, its reasoning, and of its calls the names and the arguments."""
    yield from _list_parts(message.get("content", message.get("value")))
    if reasoning := message.get("reasoning_content"):
        yield write_text(reasoning)
    for call in message.get("tool_calls") or ():
        function = _unwrap(call) or {}
        yield from (write_text(function[key]) for key in ("name", "arguments") if function.get(key) is not None)


def _list_parts(content: Any) -> Iterator[str]:
    if not isinstance(content, list):
        yield from [] if content is None else [write_text(content)]
        return
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) else None
        yield text if isinstance(text, str) else write_text(part)


def put_reasoning_before(reasoning: str, answer: str) -> str:
    """An answer behind the reasoning that led to it, as reasoning models write both."""
    if not reasoning.strip() or answer.lstrip().startswith("<think>"):
        return answer
    return f"<think>\n{reasoning.strip()}\n</think>\n\n{answer}"


def write_plain(message: Mapping[str, Any]) -> str:
    """All that a message says as one text, for those who count or compare it."""
    return "\n".join(list_texts(message))


def join_plain(messages: Sequence[Mapping[str, Any]]) -> str:
    """All that messages say as one text."""
    return "\n".join(map(write_plain, messages))


def make_fence(texts: Iterable[Any]) -> str:
    """A code for the marks around texts: none of them can hold it, so none can end its own mark."""
    return digest(sorted(map(write_text, texts)), 12)
