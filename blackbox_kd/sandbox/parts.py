"""What an expression takes apart: a text into lines, sentences or chunks, a conversation into its turns."""

import re
from collections.abc import Mapping
from typing import Any

from blackbox_kd import json_text
from blackbox_kd.errors import DataError

_SENTENCE = re.compile(
    r"(?<=[.!?\u2026])[\"'\u201d\u2019)\]]*\s+(?=[\"'\u201c\u2018(\[]*[^\s\W_a-z])|(?<=[\u3002\uff01\uff1f])\s*|\n+"
)
"""Between sentences: after a stop, before what is no small letter, so that `e.g. this` is one; after those of Chinese
and Japanese; and between lines."""
MOST = 1_000_000
"""The most words, items or messages that are written down more than once, as parts that overlap or begin alike."""

HOW_TO_LIST = "make a list of a text: lines(...), split(..., ';'), json(...)"
"""What is told where a list is wanted and something else given."""


def list_lines(text: str) -> list[str]:
    """The lines of a text, without blanks around them and without empty ones."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def list_sentences(text: str) -> list[str]:
    """The sentences of a text."""
    begins = [0, *(found.end() for found in _SENTENCE.finditer(text))]
    parts = [text[begin:end].strip() for begin, end in zip(begins, [*begins[1:], len(text)], strict=True)]
    return [part for part in parts if part]


def split_text(text: str, at: str) -> list[str]:
    """The parts of a text between separators, without blanks around them and without empty ones."""
    if not at:
        raise ValueError("split() takes what stands between the parts, and that is empty")
    return [part.strip() for part in text.split(at) if part.strip()]


def cut_chunks(text: str, words: int = 300, overlap: int = 0) -> list[str]:
    """Pieces of at most so many words, each of which begins with the last `overlap` words of the one before."""
    if not (isinstance(words, int) and isinstance(overlap, int) and 0 <= overlap < words):
        raise ValueError(f"chunks() takes a number of words and fewer that overlap, got {words!r} and {overlap!r}")
    found = text.split()
    words = max(min(words, len(found)), overlap + 1)
    begins = range(0, max(1, len(found) - overlap), words - overlap)
    if overlap * len(begins) > MOST:
        raise ValueError(f"chunks() would make more than {MOST:,} words of what overlaps")
    return [" ".join(found[begin : begin + words]) for begin in begins] if found else []


def decode(text: Any) -> Any:
    """The value of a JSON text; what is a value already stays."""
    if not isinstance(text, str):
        return text
    try:
        return json_text.decode(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"json() takes JSON, got {json_text.quote_value(text)}") from error


def list_turns(messages: Any) -> list[dict[str, Any]]:
    """What the assistant says in a conversation, turn by turn.

    Returns:
        For each turn `history`, the messages before it, `answer`, its text, and `position`, its number from 1.
    """
    value = decode(messages)
    if not isinstance(value, list) or not all(isinstance(item, Mapping) and "role" in item for item in value):
        raise DataError(f"turns() takes messages with roles, got {json_text.quote_value(messages)}")
    places = [place for place, message in enumerate(value) if message["role"] == "assistant"]
    if sum(places) > MOST:
        raise DataError(f"turns() would make histories of more than {MOST:,} messages")
    return [
        {"history": value[:place], "answer": value[place].get("content"), "position": number}
        for number, place in enumerate(places, 1)
    ]
