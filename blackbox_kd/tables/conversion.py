"""Rows of a known shape -> TRL's messages: what is asked, and the answer or the two answers that are learnt.

What is learnt is the last turn of the assistant, and the prompt is all before it.
"""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from blackbox_kd import messages
from blackbox_kd.errors import DataError
from blackbox_kd.json_text import write_text
from blackbox_kd.schema import Message
from blackbox_kd.tables import formats, transcripts, turns
from blackbox_kd.tables.formats import ASKED, LABELS, PAIRS, SHAPES, THOUGHT, TOOLS, UNUSABLE, list_used
from blackbox_kd.tables.turns import Notes, Turn

MOST_LENGTH = 2
"""How many times as long as the other one an answer of a pair may be without a word."""
_SCORES = ("score_{}", "{}_score", "{}-rating", "{}_rating", "rating_{}")
"""How data sets call the scores of the two answers, such as `score_chosen` and `chosen-rating`."""
Converted = dict[str, Any]
"""`prompt` and `completion` messages, or `prompt`, `chosen` and `rejected`; and the row's `tools` (JSON text) and
`weight` if it has any."""


def convert(row: Mapping[str, Any], shape: str, notes: Notes | None = None) -> Converted:
    """A row as `prompt` and `completion` messages (`prompt`, `chosen`, `rejected` for preferences).

    Args:
        row: the row, without the columns that are `beside` its conversation.
        shape: its shape.
        notes: is added to: what a person should know of the row though it is learnt from.

    Raises:
        DataError: there is nothing to learn from the row, or it holds what cannot be used; rows with the same fault
            have the same message.
    """
    if shape not in SHAPES:
        raise ValueError(f"unknown shape {shape!r}; known: {', '.join(SHAPES)}")
    own = Notes()
    weight = _read_weight(row, shape)
    used = list_used(shape)
    _refuse(row, (name for name in (*ASKED, *THOUGHT, *TOOLS, *UNUSABLE) if name not in used))
    tools = _read_tools(row, shape)
    converted = _convert_pair(row, shape, own) if shape in PAIRS else _convert_answer(row, shape, own)
    if notes is not None:
        notes.update(own.keys())  # each once, as they are told of rows
    return {**converted, **({"tools": write_text(tools)} if tools else {}), **weight}


def _read_tools(row: Mapping[str, Any], shape: str) -> list[dict[str, Any]]:
    """The tools that a row offers; OpenAI's preferences have them in their `input`."""
    given = {**row, **row["input"]} if shape == "preferred" and isinstance(row["input"], Mapping) else row
    name = next((name for name in TOOLS if not _is_empty(given.get(name))), None)
    return [] if name is None else messages.read_tools(given[name], f"column {name!r}")


def _read_weight(row: Mapping[str, Any], shape: str) -> dict[str, float]:
    """The weight of a row that has one.

    Raises:
        DataError: the row is one that must not be learnt, or the weight is no number.
    """
    for name, shapes in LABELS.items():
        if shape in shapes and formats.says_no(row.get(name)):
            raise DataError(f"column {name!r} is false: the answer is one that must not be learnt")
    if _is_empty(row.get("weight")):
        return {}
    try:
        weight = float(row["weight"])
    except (TypeError, ValueError):
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise DataError("column 'weight' holds something else than a number from 0 on")
    if not weight:
        raise DataError("column 'weight' is 0: the row is one that must not be learnt")
    return {"weight": weight}


def _refuse(row: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raises DataError if a column that the conversation has no place for holds something."""
    for name in names:
        if not _is_empty(row.get(name)):
            fix = f"put its text into the prompt, or rename it to train without it: data.TABLE.rename.{name}=NAME"
            what = "such as images, cannot be learnt with" if name in UNUSABLE else "would be left out"
            raise DataError(f"column {name!r} carries meaning that {what}; {fix}")


def _convert_answer(row: Mapping[str, Any], shape: str, notes: Notes) -> Converted:
    column = SHAPES[shape][0]
    if shape == "completion":
        row = _read_json(row, ("prompt", "completion"))
        asked = _put_before(row, turns.read_column(row["prompt"], "prompt", "user", notes), notes)
        said = turns.read_column(row["completion"], "completion", "assistant", notes)
    elif shape in ("own", "alpaca"):
        asked = _put_before(row, _read_instruction(row, notes), notes)
        said = turns.read_column(row[SHAPES[shape][1]], SHAPES[shape][1], "assistant", notes)
    else:
        whole = _read_rendered(row[column]) if shape == "text" else turns.read_conversation(row[column], column, notes)
        asked, said = _find_last_turn(_put_before(row, whole, notes), notes)
    reasoning = next((write_text(row[name]) for name in THOUGHT if not _is_empty(row.get(name))), "")
    if reasoning and not (said[-1].reasoning or said[-1].content.lstrip().startswith("<think>")):
        said = [*said[:-1], replace(said[-1], reasoning=reasoning.strip())]
    return {"prompt": _take_question(asked), "completion": _take_reply(said)}


def _read_instruction(row: Mapping[str, Any], notes: Notes) -> list[Turn]:
    """The instruction, and behind it the text that it is about."""
    *before, last = turns.read_column(row["instruction"], "instruction", "user", notes)
    about = (write_text(row[name]) for name in ("context", "input") if not _is_empty(row.get(name)))
    return [*before, replace(last, content="\n\n".join([last.content, *about]))]


def _put_before(row: Mapping[str, Any], asked: list[Turn], notes: Notes) -> list[Turn]:
    """Turns behind those of the columns `system` and `history`."""
    asked = [*_read_history(row.get("history")), *asked]
    system = next((row[name] for name in ("system", "system_prompt") if not _is_empty(row.get(name))), None)
    if system is None:
        return asked
    if any(turn.role == "system" for turn in asked):
        notes["the column 'system' is not used, as the conversation has a system message"] += 1
        return asked
    return [Turn("system", write_text(system)), *asked]


def _read_history(value: Any) -> list[Turn]:
    """Earlier questions and answers, as LLaMA-Factory has them: [[question, answer], ...].

    Raises:
        DataError: it is something else.
    """
    if _is_empty(value):
        return []
    pairs = messages.read_list(value)
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise DataError("column 'history' is no list of pairs: [[question, answer], ...]")
    roles = ("user", "assistant")
    return [Turn(role, write_text(text)) for pair in pairs for role, text in zip(roles, pair, strict=True)]


def _read_rendered(text: Any) -> list[Turn]:
    found = transcripts.split_turns(turns.read_text(text, "text"))
    if found is None:
        raise DataError(
            "column 'text' is no conversation with marks that are known (ChatML, [INST], ### Instruction:, Human: and "
            "others), and plain text is not trained on; part it into prompt and completion"
        )
    return [Turn(*each) for each in found]


def _read_json(row: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    """The row with turns in place of JSON texts of turns, as CSV has them, if all columns of `names` are such texts."""
    texts = {name: row[name] for name in {"prompt", *names} if isinstance(row.get(name), str)}
    read = {name: found for name, text in texts.items() if messages.is_conversation(found := messages.read_list(text))}
    return {**row, **read} if read.keys() >= set(names) else row


def _convert_pair(row: Mapping[str, Any], shape: str, notes: Notes) -> Converted:
    """A prompt with a better and a worse completion; either may repeat the prompt, as UltraFeedback's do."""
    better, worse = formats.find_answers(shape)
    row = _read_json(row, (better, worse))
    asked = _read_question(row, shape, notes)
    if asked is None and isinstance(row[better], str) and isinstance(row[worse], str):
        row = {**row, **_split_texts(row, better, worse)}
        asked = None if row.get("prompt") is None else turns.read_column(row["prompt"], "prompt", "user", notes)
    sides = {name: turns.read_column(row[name], name, "assistant", notes) for name in (better, worse)}
    replies = {name: _find_reply(found) for name, found in sides.items()}
    before = [found[: len(found) - len(replies[name])] for name, found in sides.items()]
    if before[0] != before[1]:
        raise DataError(f"{better!r} and {worse!r} do not answer the same conversation")
    if not (before[0] or asked):
        turns.read_text(row.get("prompt"), "prompt")
    chosen, rejected = _take_reply(replies[better], better), _take_reply(replies[worse], worse)
    if chosen == rejected:
        raise DataError(f"{better!r} and {worse!r} are the same")
    if _join_words(chosen) == _join_words(rejected):
        raise DataError(f"{better!r} and {worse!r} are the same but for blanks")
    _note_doubts(row, (better, worse), (chosen, rejected), notes)
    prompt = _take_question(_put_before(row, before[0] or asked or [], notes))
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _join_words(said: list[Message]) -> list[str]:
    return [f"{message['role']} {' '.join(messages.write_plain(message).split())}" for message in said]


def _note_doubts(
    row: Mapping[str, Any], names: tuple[str, ...], answers: tuple[list[Message], ...], notes: Notes
) -> None:
    """Notes what speaks against a pair: scores of the data's own that say the opposite, and lengths far apart."""
    better, worse = names
    for pattern in _SCORES:
        columns = [pattern.format(name) for name in ("chosen", "rejected")]
        scores = [_read_number(row.get(column)) for column in columns]
        if scores[0] < scores[1]:
            notes[f"{columns[0]} is below {columns[1]}: the pair says the opposite"] += 1
    lengths = [max(1, len(messages.join_plain(answer))) for answer in answers]
    for longer, shorter, ratio in ((better, worse, lengths[0] / lengths[1]), (worse, better, lengths[1] / lengths[0])):
        if ratio > MOST_LENGTH:
            notes[f"{longer!r} is more than {MOST_LENGTH} times as long as {shorter!r}: length may be learnt"] += 1


def _read_number(value: Any) -> float:
    """A number, or a text that is one; otherwise NaN, which is below nothing."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _read_question(row: Mapping[str, Any], shape: str, notes: Notes) -> list[Turn] | None:
    """What the two answers of a pair answer; None if they hold it themselves."""
    if shape == "preferred":
        given = row["input"]
        if not isinstance(given, Mapping):
            return turns.read_column(given, "input", "user", notes)
        _refuse(given, UNUSABLE)
        return turns.read_conversation(given.get("messages"), "input.messages", notes)
    if row.get("instruction") is not None and row.get("prompt") is None:
        return _read_instruction(row, notes)
    _refuse(row, ("context", "input"))
    if row.get("prompt") is not None:
        return turns.read_column(row["prompt"], "prompt", "user", notes)
    column = next((name for name in ("conversations", "messages") if row.get(name) is not None), None)
    return None if column is None else turns.read_conversation(row[column], column, notes)


def _split_texts(row: Mapping[str, Any], better: str, worse: str) -> dict[str, Any]:
    """Two texts without a prompt: turns where they are dialogues, as HH-RLHF's, else what they begin with alike.

    TRL parts at the first character that differs; here the prompt ends with a whole word.
    """
    texts = {name: str(row[name]) for name in (better, worse)}
    dialogues = {name: transcripts.split_turns(text) or [] for name, text in texts.items()}
    if all(found and found[0][0] != "assistant" for found in dialogues.values()):
        return {name: [Turn(*turn).write() for turn in found] for name, found in dialogues.items()}
    if others := sorted(name for name, value in row.items() if isinstance(value, str) and name not in (*texts, "id")):
        raise DataError(f"there is no column 'prompt'; is it one of {', '.join(others)}?")
    prompt = os.path.commonprefix(list(texts.values())).rpartition(" ")[0]  # noqa: RUF071 - of texts, not of paths
    if not prompt.strip():
        raise DataError(f"there is no column 'prompt', and {better!r} and {worse!r} do not begin alike")
    return {"prompt": prompt, **{name: text.removeprefix(prompt).strip() for name, text in texts.items()}}


def _find_reply(found: list[Turn]) -> list[Turn]:
    """The assistant's turns at the end of a conversation."""
    start = len(found)
    while start and found[start - 1].role == "assistant":
        start -= 1
    return found[start:]


def _find_last_turn(found: list[Turn], notes: Notes) -> tuple[list[Turn], list[Turn]]:
    """The last turn of the assistant that says anything and may be learnt, and before it all that was asked."""
    answers = [at for at, turn in enumerate(found) if turn.role == "assistant" and turn.says]
    learnt = [at for at in answers if found[at].is_learnt]
    if not learnt:
        what = (
            "has no turn of the assistant" if not answers else "has no turn of the assistant with another weight than 0"
        )
        raise DataError(f"the conversation {what}")
    last = learnt[-1]
    if last < len(found) - 1:
        notes["what follows the last answer is left out"] += 1
    return found[:last], [found[last]]


def _take_question(found: list[Turn]) -> list[Message]:
    if not any(turn.role == "user" and turn.says for turn in found):
        raise DataError("the prompt has no turn of the user")
    return [turn.write() for turn in found]


def _take_reply(found: list[Turn], column: str = "completion") -> list[Message]:
    if not found or found[-1].role != "assistant" or not found[-1].says:
        raise DataError("the completion does not end with a turn of the assistant")
    if not found[-1].is_learnt:
        raise DataError(f"column {column!r} ends with a turn of weight 0, which must not be learnt")
    return [turn.write() for turn in found]


def _is_empty(value: Any) -> bool:
    """Whether a column holds nothing, perhaps written as JSON."""
    return value in (None, "", [], {}) or (isinstance(value, str) and value.strip() in ("", "[]", "{}", "null"))
