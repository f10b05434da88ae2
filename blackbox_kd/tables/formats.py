"""Rows that somebody else made -> TRL's messages, recognised by their columns.

preference    chosen, rejected, and prompt unless both are whole conversations or texts that begin alike
completion    prompt, completion: texts or messages
messages      messages: [{role, content}, ...]
sharegpt      conversations: [{from, value}, ...]
own           instruction, response: what a recipe's rows are called
alpaca        instruction, output, and input where there is one

What is learnt is the last turn of the assistant, and the prompt is all before it. A text in a column `system`
becomes the system message of the shapes that have no place of their own for it.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.schema import Message

SHAPES: dict[str, tuple[str, ...]] = {
    "preference": ("chosen", "rejected"),
    "completion": ("prompt", "completion"),
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "own": ("instruction", "response"),
    "alpaca": ("instruction", "output"),
}
"""Columns that each shape needs; the first shape that fits is taken."""
_ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "model"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
"""What a speaker is called -> its role; ShareGPT's exports have names of their own."""
_SPEAKERS = re.compile(r"(?:^|\n\n)(Human|Assistant):(.*?)(?=\n\n(?:Human|Assistant):|$)", re.DOTALL)
"""The turns of a dialogue in one text, as HH-RLHF has them."""

Converted = dict[str, list[Message]]


def recognise(columns: Iterable[str]) -> str:
    """The name of the shape that a table's columns make.

    Raises:
        DataError: none fits; the message names the columns found and the shapes known.
    """
    found = set(columns)
    for name, needed in SHAPES.items():
        if found.issuperset(needed):
            return name
    known = "; ".join(f"{name} ({', '.join(needed)})" for name, needed in SHAPES.items())
    raise DataError(
        f"the columns {', '.join(sorted(found)) or '(none)'} make no shape that training knows\n"
        f"  known: {known}\n  fix: rename columns (rename: under data:), or put a step format before"
    )


def not_for(method: str, shape: str) -> str | None:
    """Why a method of training cannot learn from a shape; None if it can."""
    if (shape == "preference") == (method == "dpo"):
        return None
    return f"the rows are of the shape {shape} ({', '.join(SHAPES[shape])}), which method {method} cannot learn from"


def convert(row: Mapping[str, Any], shape: str) -> Converted:
    """A row as `prompt` and `completion` messages (`prompt`, `chosen`, `rejected` for preferences).

    Raises:
        DataError: there is nothing to learn from the row; rows with the same fault have the same message.
    """
    if shape == "preference":
        return _preference(row)
    if shape == "completion":
        completion = _turns(row["completion"], "completion", "assistant")
        return {
            "prompt": _take_question(_turns(row["prompt"], "prompt", "user")),
            "completion": _take_reply(completion),
        }
    if shape in ("messages", "sharegpt"):
        column = SHAPES[shape][0]
        turns = _turns(row[column], column, "user")
        return _last_turn(turns if turns[0]["role"] == "system" else _system(row) + turns)
    if shape not in SHAPES:
        raise ValueError(f"unknown shape {shape!r}; known: {', '.join(SHAPES)}")
    answer = SHAPES[shape][1]
    prompt = _text(row["instruction"], "instruction")
    if shape == "alpaca" and isinstance(row.get("input"), str) and row["input"].strip():
        prompt = f"{prompt}\n\n{row['input']}"
    asked = [*_system(row), {"role": "user", "content": prompt}]
    return {"prompt": asked, "completion": _turns(row[answer], answer, "assistant")}


def convert_all(rows: Iterable[Mapping[str, Any]], shape: str, problems: Counter[str]) -> Iterator[Converted]:
    """The rows that can be learnt from, one at a time; the others are counted in `problems` by what is wrong."""
    for row in rows:
        try:
            converted = convert(row, shape)
        except DataError as error:
            problems[str(error)] += 1
        except KeyError as error:
            problems[f"column {error} is missing"] += 1
        else:
            yield converted


def _preference(row: Mapping[str, Any]) -> Converted:
    """A prompt with a better and a worse completion; either may repeat the prompt, as UltraFeedback's do."""
    if row.get("prompt") is None and all(isinstance(row[name], str) for name in ("chosen", "rejected")):
        row = {**row, **_split_messages(row)}
    sides = {name: _turns(row[name], name, "assistant") for name in ("chosen", "rejected")}
    replies = {name: _reply(turns) for name, turns in sides.items()}
    before = [turns[: len(turns) - len(replies[name])] for name, turns in sides.items()]
    if before[0] != before[1]:
        raise DataError("'chosen' and 'rejected' do not answer the same conversation")
    prompt = before[0] or _turns(row.get("prompt"), "prompt", "user")
    if replies["chosen"] == replies["rejected"]:
        raise DataError("'chosen' and 'rejected' are the same")
    return {"prompt": _take_question(prompt), **{name: _take_reply(turns) for name, turns in replies.items()}}


def _split_messages(row: Mapping[str, Any]) -> dict[str, Any]:
    """Two texts without a prompt: turns where they are dialogues of HH-RLHF, else what they begin with alike.

    TRL parts at the first character that differs; here the prompt ends with a whole word.
    """
    texts = {name: str(row[name]) for name in ("chosen", "rejected")}
    if all(text.lstrip().startswith("Human:") for text in texts.values()):
        return {name: [_spoken(*turn) for turn in _SPEAKERS.findall(text)] for name, text in texts.items()}
    if others := sorted(name for name, value in row.items() if isinstance(value, str) and name not in (*texts, "id")):
        raise DataError(f"there is no column 'prompt'; is it one of {', '.join(others)}?")
    prompt = os.path.commonprefix(list(texts.values())).rpartition(" ")[0]  # noqa: RUF071 - of texts, not of paths
    if not prompt.strip():
        raise DataError("there is no column 'prompt', and 'chosen' and 'rejected' do not begin alike")
    return {"prompt": prompt, **{name: text.removeprefix(prompt).strip() for name, text in texts.items()}}


def _spoken(speaker: str, text: str) -> Message:
    return {"role": {"Human": "user", "Assistant": "assistant"}[speaker], "content": text.strip()}


def _reply(turns: list[Message]) -> list[Message]:
    """The assistant's turns at the end of a conversation."""
    start = len(turns)
    while start and turns[start - 1]["role"] == "assistant":
        start -= 1
    return turns[start:]


def _last_turn(turns: list[Message]) -> Converted:
    """The last turn of the assistant that says anything is what is learnt, and all before it the prompt."""
    for index in range(len(turns) - 1, -1, -1):
        if turns[index]["role"] == "assistant" and turns[index]["content"].strip():
            return {"prompt": _take_question(turns[:index]), "completion": [turns[index]]}
    raise DataError("the conversation has no turn of the assistant")


def _take_question(turns: list[Message]) -> list[Message]:
    if not any(turn["role"] == "user" and turn["content"].strip() for turn in turns):
        raise DataError("the prompt has no turn of the user")
    return turns


def _take_reply(turns: list[Message]) -> list[Message]:
    if not turns or turns[-1]["role"] != "assistant" or not turns[-1]["content"].strip():
        raise DataError("the completion does not end with a turn of the assistant")
    return turns


def _system(row: Mapping[str, Any]) -> list[Message]:
    text = row.get("system")
    return [{"role": "system", "content": text}] if isinstance(text, str) and text.strip() else []


def _text(value: Any, column: str) -> str:
    if value is None or value == [] or (isinstance(value, str) and not value.strip()):
        raise DataError(f"column {column!r} is empty")
    if not isinstance(value, str):
        raise DataError(f"column {column!r} is {type(value).__name__}, not text")
    return value


def _turns(value: Any, column: str, role: str) -> list[Message]:
    """A column as messages; a text is one message of `role`."""
    if not isinstance(value, list) or not value:
        return [{"role": role, "content": _text(value, column)}]
    return [_turn(turn, column) for turn in value]


def _turn(turn: Any, column: str) -> Message:
    if not isinstance(turn, Mapping):
        raise DataError(f"column {column!r} has a turn that is {type(turn).__name__}, not an object")
    if turn.get("tool_calls") or turn.get("role", turn.get("from")) in ("tool", "function", "observation"):
        raise DataError(f"column {column!r} has tool calls, which messages of text cannot hold")
    speaker = turn.get("role", turn.get("from"))
    if speaker not in _ROLES:
        raise DataError(f"column {column!r} has a turn by {speaker!r:.40}; known: {', '.join(_ROLES)}")
    return {"role": _ROLES[speaker], "content": _content(turn.get("content", turn.get("value")), column)}


def _content(content: Any, column: str) -> str:
    """The text of a turn; OpenAI's lists of parts are joined."""
    if isinstance(content, list):
        if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content):
            raise DataError(f"column {column!r} has parts that are no text, such as images")
        return "".join(part["text"] for part in content)
    if content is not None and not isinstance(content, str):
        raise DataError(f"column {column!r} has a turn whose content is {type(content).__name__}, not text")
    return content or ""
