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
    return list(_apply(tokenizer, messages, tools, asks, tokenize=True, return_dict=False, **how))


def write(tokenizer: Any, messages: Sequence[Mapping[str, Any]], tools: Any = None, *, asks: bool = False) -> str:
    """The text of a conversation, of which `encode` gives the tokens; arguments and errors as there."""
    return str(_apply(tokenizer, messages, tools, asks, tokenize=False))


def write_marked(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], tools: Any, template: str
) -> tuple[str, list[tuple[int, int]]]:
    """The text of a conversation by a template with marks, and where in it the assistant writes: from, to."""
    from transformers.utils.chat_template_utils import render_jinja_template

    [text], [spans] = render_jinja_template(
        [[show_message(message) for message in messages]],
        tools=read_tools(tools) or None,
        chat_template=template,
        return_assistant_tokens_mask=True,
        **tokenizer.special_tokens_map,
    )
    return text, spans


def _apply(tokenizer: Any, messages: Sequence[Mapping[str, Any]], tools: Any, asks: bool, **how: Any) -> Any:
    chat = [show_message(message) for message in messages]
    fields = {"tools": found} if (found := read_tools(tools)) else {}
    return tokenizer.apply_chat_template(chat, add_generation_prompt=asks, **fields, **how)


def find_switches(tokenizer: Any) -> list[str]:
    """Variables by which a chat template can be told whether the model thinks, and what of thoughts it keeps."""
    import jinja2
    import jinja2.meta
    from transformers.utils.chat_template_utils import _compile_jinja_template

    try:
        parsed = _compile_jinja_template("").environment.parse(tokenizer.get_chat_template())
    except jinja2.TemplateError:
        return []
    return sorted(name for name in jinja2.meta.find_undeclared_variables(parsed) if "think" in name)


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
