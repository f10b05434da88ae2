"""What a model thought before an answer, as the chat template of a student writes it.

Templates of reasoning models write `reasoning_content`, or read `<think>...</think>` out of the content. Others write
the content alone: there the trace stands in it, as reasoning models write it themselves.
"""

from collections.abc import Iterable
from typing import Any

from blackbox_kd.messages import put_reasoning_before
from blackbox_kd.schema import Message

_MARK = "c0ffee"


def is_written(tokenizer: Any) -> bool:
    """Whether a chat template writes the `reasoning_content` of an answer."""
    said = {"role": "assistant", "content": "A", "reasoning_content": _MARK}
    try:
        return _MARK in str(tokenizer.apply_chat_template([{"role": "user", "content": "Q"}, said], tokenize=False))
    except Exception:  # a template is code of its own and can raise anything; what it has against rows is told of these
        return True


def fold(messages: Iterable[Message]) -> list[Message]:
    """Messages whose reasoning stands in their content."""
    return [_fold_one(**message) for message in messages]


def _fold_one(content: str, reasoning_content: str = "", **others: Any) -> Message:
    return {**others, "content": put_reasoning_before(reasoning_content, content)}
