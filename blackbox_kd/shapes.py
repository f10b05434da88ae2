"""Rows that somebody else made -> TRL's messages, recognised by their columns.

preference    prompt, chosen, rejected
completion    prompt, completion
messages      messages: [{role, content}, ...]
sharegpt      conversations: [{from, value}, ...]
alpaca        instruction, output, and input where there is one
own           instruction, response: what a recipe's rows are called
"""

from collections.abc import Iterable, Mapping
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.schema import Message

SHAPES: dict[str, frozenset[str]] = {
    "preference": frozenset({"prompt", "chosen", "rejected"}),
    "completion": frozenset({"prompt", "completion"}),
    "messages": frozenset({"messages"}),
    "sharegpt": frozenset({"conversations"}),
    "own": frozenset({"instruction", "response"}),
    "alpaca": frozenset({"instruction", "output"}),
}
"""Columns that each shape needs; the first that fits is taken."""
SHAREGPT_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def recognise(columns: Iterable[str]) -> str:
    """The name of the shape that a table's columns make.

    Raises:
        DataError: none fits; the message names the columns found and those that are known.
    """
    found = set(columns)
    for name, needed in SHAPES.items():
        if needed <= found:
            return name
    known = "; ".join(f"{name} ({', '.join(sorted(needed))})" for name, needed in SHAPES.items())
    raise DataError(
        f"the columns {', '.join(sorted(found)) or '(none)'} make no shape that training knows\n"
        f"  known: {known}\n  fix: rename columns (rename: under data:), or put a step format before"
    )


def convert(row: Mapping[str, Any], shape: str) -> dict[str, list[Message]]:
    """A row as `prompt` and `completion` messages (`prompt`, `chosen`, `rejected` for preferences).

    Raises:
        DataError: the row has nothing to learn from: no text, or no assistant turn.
    """
    if shape == "preference":
        return {
            "prompt": _messages(row["prompt"], "user", "prompt"),
            "chosen": _messages(row["chosen"], "assistant", "chosen"),
            "rejected": _messages(row["rejected"], "assistant", "rejected"),
        }
    if shape == "completion":
        return {
            "prompt": _messages(row["prompt"], "user", "prompt"),
            "completion": _messages(row["completion"], "assistant", "completion"),
        }
    if shape == "messages":
        return _last_turn(_messages(row["messages"], "user", "messages"))
    if shape == "sharegpt":
        return _last_turn(_from_sharegpt(row["conversations"]))
    if shape == "alpaca":
        extra = str(row.get("input") or "").strip()
        instruction = str(row["instruction"] or "").strip()
        prompt = f"{instruction}\n\n{extra}" if extra else instruction
        return _pair(prompt, row["output"], "output")
    return _pair(row["instruction"], row["response"], "response")


def _pair(prompt: Any, completion: Any, column: str) -> dict[str, list[Message]]:
    return {
        "prompt": _messages(prompt, "user", "instruction"),
        "completion": _messages(completion, "assistant", column),
    }


def _messages(value: Any, role: str, column: str) -> list[Message]:
    if isinstance(value, str):
        if not value.strip():
            raise DataError(f"column {column!r} is empty")
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not value:
        raise DataError(f"column {column!r} is neither text nor a list of messages: {str(value)[:60]!r}")
    messages = []
    for turn in value:
        if not isinstance(turn, Mapping) or not isinstance(turn.get("role"), str):
            raise DataError(f"column {column!r} has a turn without a role: {str(turn)[:60]!r}")
        messages.append({"role": turn["role"], "content": str(turn.get("content") or "")})
    if not any(message["content"].strip() for message in messages):
        raise DataError(f"column {column!r} is empty")
    return messages


def _from_sharegpt(turns: Any) -> list[Message]:
    if not isinstance(turns, list):
        raise DataError(f"column 'conversations' is not a list: {str(turns)[:60]!r}")
    messages = []
    for turn in turns:
        speaker = turn.get("from") if isinstance(turn, Mapping) else None
        if speaker not in SHAREGPT_ROLES:
            known = ", ".join(SHAREGPT_ROLES)
            raise DataError(f"column 'conversations' has a turn from {speaker!r}; known: {known}")
        messages.append({"role": SHAREGPT_ROLES[speaker], "content": str(turn.get("value") or "")})
    return messages


def _last_turn(messages: list[Message]) -> dict[str, list[Message]]:
    """The last assistant turn is what is learnt, and all before it the prompt."""
    for index in range(len(messages) - 1, 0, -1):
        if messages[index]["role"] == "assistant" and messages[index]["content"].strip():
            return {"prompt": messages[:index], "completion": [messages[index]]}
    raise DataError("the conversation has no assistant turn after a user's")
