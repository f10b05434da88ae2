"""What a model thought before an answer, as the chat template of a student writes it.

Templates of reasoning models write `reasoning_content`, or read `<think>...</think>` out of the content. Others write
the content alone: there the trace stands in it, as reasoning models write it themselves.
"""

from collections.abc import Iterable
from typing import Any

from blackbox_kd.messages import put_reasoning_before
from blackbox_kd.schema import Message

_MARK = "c0ffee"


def is_there(message: Message) -> bool:
    """Whether a message has reasoning in it, in whichever of the two forms."""
    return bool(message.get("reasoning_content")) or "</think>" in str(message.get("content"))


def is_written(tokenizer: Any, *, folded: bool = False) -> bool:
    """Whether a chat template writes the reasoning of an answer: its field, or what is `folded` into its content."""
    said = {"role": "assistant", "content": "A", "reasoning_content": _MARK}
    if folded:
        [said] = fold([said])
    try:
        return _MARK in str(tokenizer.apply_chat_template([{"role": "user", "content": "Q"}, said], tokenize=False))
    except Exception:  # a template is code of its own and can raise anything; what it has against rows is told of these
        return True


def fold(messages: Iterable[Message]) -> list[Message]:
    """Messages whose reasoning stands in their content."""
    return [_fold_one(**message) for message in messages]


def _fold_one(content: str, reasoning_content: str = "", **others: Any) -> Message:
    return {**others, "content": put_reasoning_before(reasoning_content, content)}
