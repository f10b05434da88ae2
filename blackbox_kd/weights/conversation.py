"""Conversations as chat templates take them, with calls of tools as the objects that they are."""

from collections.abc import Mapping, Sequence
from typing import Any

from blackbox_kd.messages import open_arguments, read_tools

_OF_TEMPLATES = ("role", "content", "reasoning_content", "tool_calls", "tool_call_id", "name")
"""Keys of a message that a template is shown; a weight is said of training, not to the model."""


def encode(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], tools: Any = None, *, asks: bool = False, **how: Any
) -> list[int]:
    """Token ids of a conversation through a tokenizer's chat template.

    Args:
        tokenizer: of the model.
        messages: the conversation.
        tools: definitions that the assistant may call, as `messages.read_tools` takes them.
        asks: whether the assistant's next turn is begun.
        how: passed on to the template.

    Raises:
        Exception: whatever a template raises, which is code of its own.
    """
    chat = [show_message(message) for message in messages]
    fields = {"tools": found} if (found := read_tools(tools)) else {}
    return list(
        tokenizer.apply_chat_template(
            chat, add_generation_prompt=asks, tokenize=True, return_dict=False, **fields, **how
        )
    )


def show_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as a template takes it: templates write arguments as JSON themselves, a text would be quoted twice."""
    shown = {name: message[name] for name in _OF_TEMPLATES if message.get(name) is not None}
    shown.setdefault("content", "")
    return open_arguments(shown)


def takes_tools(tokenizer: Any) -> bool:
    """Whether a chat template writes definitions of tools, calls of them, and what they gave back.

    Many templates leave them out without a word.
    """
    marks = [f"sign_{part}" for part in ("name", "told", "argument", "value", "gave")]
    name, told, argument, value, gave = marks
    schema = {"type": "object", "properties": {argument: {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": name, "description": told, "parameters": schema}}]
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": {argument: value}}}
    chat = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "name": name, "tool_call_id": "call_1", "content": gave},
    ]
    try:
        text = tokenizer.apply_chat_template(chat, tools=tools, tokenize=False)
    except Exception:  # a template is code of its own and can raise anything
        return False
    return all(mark in text for mark in marks)


def uses_tools(messages: Sequence[Mapping[str, Any]], tools: Any) -> bool:
    """Whether a conversation has anything of tools in it."""
    return bool(tools) or any(message["role"] == "tool" or message.get("tool_calls") for message in messages)


NO_TOOLS = "the chat template of the model takes no tools: it would leave them, and calls of them, out without a word"
GIVE_TOOLS = "take a model that was made for tools, or write chat_template: tools beside its name"
