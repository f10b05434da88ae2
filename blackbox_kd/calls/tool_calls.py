"""Calls of tools in a reply: those that can be used, or the fault that makes the reply unusable."""

from collections.abc import Mapping, Sequence
from typing import Any

from blackbox_kd.errors import ReplyFault
from blackbox_kd.json_text import quote_value
from blackbox_kd.sandbox.tool_calls import find_fault

KIND = "tool_calls"


def read(
    message: Mapping[str, Any], tools: Sequence[Mapping[str, Any]], *, are_checked: bool = True
) -> list[dict[str, Any]]:
    """The calls of a message, each with an id, a name and its arguments as JSON text.

    What a vendor wants to see again beside a call (Gemini's signature of a thought) stays there. In an exam a call is
    an answer, if a wrong one, and not looked at.

    Raises:
        ReplyFault: of kind `tool_calls`, where a call has no name, is of a tool that was not offered, or has arguments
            that do not fit the tool's schema.
    """
    said = message.get("tool_calls") or []
    calls = [_read_call(call, number) for number, call in enumerate(said if isinstance(said, list) else [said])]
    if are_checked and (fault := find_fault(calls, tools)):
        raise ReplyFault(fault, kind=KIND)
    return calls


def _read_call(call: Any, number: int) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if not isinstance(name, str) or not isinstance(arguments, str | None):
        raise ReplyFault(f"the reply has a call of no form that is known: {quote_value(call)}", kind=KIND)
    named = call.get("id") if isinstance(call.get("id"), str) and call["id"] else f"call_{number}"
    found = {"id": named, "type": "function", "function": {"name": name, "arguments": arguments or "{}"}}
    return found | ({"extra_content": call["extra_content"]} if "extra_content" in call else {})
