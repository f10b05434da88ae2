"""Words and punctuation of any script: whether a text is well formed."""

import re
import string
import unicodedata

from blackbox_kd.analysis.similarity import UNSPACED, split_tokens

OPENING = "¿¡"
"""Punctuation that begins a sentence where it is written well."""
_UNSPACED = re.compile(f"[{UNSPACED}]")
_PIECE = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")


def count_words(text: str) -> int:
    """How many words stand between spaces; in a text in a script without them, each of its letters counts as one."""
    text = unicodedata.normalize("NFKC", text)
    if not _UNSPACED.search(text):
        return len(text.split())
    return sum(any(map(str.isalnum, piece)) for piece in _PIECE.findall(text))


def is_punctuation(letter: str) -> bool:
    """Whether it is punctuation of any script, typographic quotes and dashes among it, or one of ASCII's signs."""
    return letter in string.punctuation or (unicodedata.category(letter)[0] == "P" and letter not in OPENING)


FAULTS = ("says instruction", "too short", "begins with punctuation", "begins with another script")
"""What can be wrong with an instruction."""


def find_fault(text: str, *, is_ascii: bool) -> str:
    """What is wrong with a generated instruction, by Lion's list; nothing if it is well formed.

    Args:
        text: without blanks around it; a truncated one has failed before.
        is_ascii: whether it must begin with a character of ASCII, as in the paper.
    """
    if "instruction" in split_tokens(text):
        return FAULTS[0]
    if count_words(text) <= 3:
        return FAULTS[1]
    if is_punctuation(text[0]):
        return FAULTS[2]
    return FAULTS[3] if is_ascii and not text[0].isascii() else ""
