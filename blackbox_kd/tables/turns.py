"""Turns of a conversation, as OpenAI, ShareGPT and others write them -> messages of TRL.

A turn is {role, content} or {from, value}. What else it holds is kept, refused or told of: reasoning (also `thinking`)
is `reasoning_content`, calls of tools and what tools answer are OpenAI's whoever wrote them, a `weight` of 0 takes a
turn from what is learnt, parts that are no text are refused, and other keys are counted as not used.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blackbox_kd import messages
from blackbox_kd.errors import DataError
from blackbox_kd.json_text import write_text
from blackbox_kd.schema import Message
from blackbox_kd.tables import transcripts

REASONING = ("reasoning_content", "thinking", "reasoning")
"""What servers and data sets call the reasoning of a turn; the first one that holds text is taken."""
_ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "model"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
"""What a speaker is called -> its role; ShareGPT's exports have names of their own."""
_CALLING = {"function_call", "tool_call"}
"""Speakers whose turns are calls of tools and nothing else, as ShareGPT's."""
_ROLES |= dict.fromkeys(_CALLING, "assistant")
_ROLES |= dict.fromkeys(("tool", "function", "observation", "tool_response", "ipython"), "tool")
_CALLS = ("tool_calls", "function_call")
_READ = {"from", "value", *messages.FIELDS, *REASONING, *_CALLS}
"""Keys of a turn that are read."""

Notes = Counter[str]
"""What became of rows that a person should know, and of how many: no row is lost by it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn.

    Args:
        role: system, user, assistant or tool.
        content: its text.
        reasoning: what the assistant thought before it.
        calls: of tools, in OpenAI's form.
        more: what else a message keeps as it came, such as `tool_call_id` and `weight`.
    """

    role: str
    content: str
    reasoning: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def says(self) -> bool:
        """Whether there is any text in it, or a call."""
        return bool(self.content.strip() or self.calls)

    @property
    def is_learnt(self) -> bool:
        """Whether its own weight lets it be learnt."""
        return self.more.get("weight") != 0

    def write(self) -> Message:
        """The turn as a message; one of text alone is its role and its content."""
        whole = {"reasoning_content": self.reasoning, "tool_calls": self.calls, **self.more}
        kept = {key: whole[key] for key in messages.FIELDS if whole.get(key) not in (None, "", [])}
        return {"role": self.role, "content": self.content, **kept}


def read_column(value: Any, column: str, role: str, notes: Notes) -> list[Turn]:
    """A column as turns: a list of them, or a text, which is one turn of `role` or a conversation already transcripts.

    Raises:
        DataError: it is empty, or a turn holds what cannot be used.
    """
    if messages.is_conversation(value):
        return [_turn(turn, column, notes) for turn in value]
    if isinstance(value, Mapping) and ("role" in value or "from" in value):
        return [_turn(value, column, notes)]
    return [_check_marks(Turn(*each), column) for each in _split(read_text(value, column), role, notes)]


def _split(text: str, role: str, notes: Notes) -> list[tuple[str, str]]:
    """The turns of a text, which is one of `role` if nobody has rendered it."""
    found = transcripts.split_column(text, role)
    if found is None:
        return [(role, text)]
    notes["the marks of a chat template are taken out of texts that were rendered already"] += 1
    return found


def _check_marks(turn: Turn, column: str) -> Turn:
    """A turn whose text begins no other one.

    Raises:
        DataError: it does, with a control token; a student would be trained to write such tokens as text.
    """
    if mark := transcripts.find_mark(turn.content):
        raise DataError(
            f"column {column!r} holds {mark!r}, which begins a turn in a chat template, amid its text; part it into "
            "messages"
        )
    return turn


def read_conversation(value: Any, column: str, notes: Notes) -> list[Turn]:
    """A column that holds a whole conversation, perhaps as JSON text.

    Raises:
        DataError: it is no list of turns.
    """
    if isinstance(value, str) and value.strip():
        value = messages.read_list(value)
        if value is None:
            raise DataError(f"column {column!r} holds text that is no JSON list of turns")
    if not isinstance(value, list) or not value:
        read_text(value, column)
        raise DataError(f"column {column!r} is no list of turns")
    return [_turn(turn, column, notes) for turn in value]


def read_text(value: Any, column: str) -> str:
    """The text of a column: JSON of what is none.

    Raises:
        DataError: it is empty.
    """
    if value is None or value == [] or (isinstance(value, str) and not value.strip()):
        raise DataError(f"column {column!r} is empty")
    return write_text(value)


def _turn(turn: Any, column: str, notes: Notes) -> Turn:
    if not isinstance(turn, Mapping):
        raise DataError(f"column {column!r} has a turn that is no object")
    speaker = turn.get("role", turn.get("from"))
    named = speaker.strip().lower() if isinstance(speaker, str) else speaker
    if not isinstance(named, str) or named not in _ROLES:
        raise DataError(f"column {column!r} has a turn by {write_text(speaker)[:40]!r}; known: {', '.join(_ROLES)}")
    for key in turn.keys() - _READ:
        if turn[key] not in (None, "", [], {}):
            notes[f"the key {key!r} of turns is not used"] += 1
    role = _ROLES[named]
    more = {key: turn[key] for key in ("tool_call_id", "name") if isinstance(turn.get(key), str)}
    more |= _read_weight(turn.get("weight"), column)
    said = turn.get("content", turn.get("value"))
    if named in _CALLING:
        return Turn(role, "", calls=messages.read_calls(said, f"column {column!r}"), more=more)
    content, thought = _read_content(said, column)
    if role == "tool":
        return Turn(role, content, more=more)
    calls = [call for key in _CALLS if turn.get(key) for call in messages.read_calls(turn[key], f"column {column!r}")]
    if calls and role != "assistant":
        raise DataError(f"column {column!r} has a tool call of another speaker than the assistant")
    parts = _split(content, role, notes)
    if [each[0] for each in parts] != [role]:
        raise DataError(f"column {column!r} has a turn that holds a whole conversation, rendered already")
    reasoning = next((write_text(turn[key]) for key in REASONING if turn.get(key)), thought)
    if role != "assistant" or parts[0][1].lstrip().startswith("<think>"):  # it is written there already
        reasoning = ""
    return _check_marks(Turn(role, parts[0][1], reasoning.strip(), calls, more), column)


def _read_weight(weight: Any, column: str) -> dict[str, Any]:
    """The weight of a turn that has one: OpenAI knows 0 and 1."""
    if weight is None or (isinstance(weight, int | float) and weight in (0, 1)):
        return {} if weight is None else {"weight": int(weight)}
    raise DataError(f"column {column!r} has a turn of weight {write_text(weight)[:40]!r}; known: 0 and 1")


def _read_content(content: Any, column: str) -> tuple[str, str]:
    """The text of a turn, and the reasoning in it; OpenAI's lists of parts are joined."""
    if isinstance(content, Mapping) and "type" in content:
        content = [content]
    if not isinstance(content, list):
        return ("" if content is None else write_text(content)), ""
    said: list[str] = []
    thought: list[str] = []
    for part in content:
        kind = "text" if isinstance(part, Mapping) and isinstance(part.get("text"), str) else "thinking"
        if not isinstance(part, Mapping) or not isinstance(part.get(kind), str):
            raise DataError(f"column {column!r} has parts that are no text, such as images")
        (said if kind == "text" else thought).append(part[kind])
    return "".join(said), "".join(thought)
