"""What a sentence says of labels: which it chooses, which it rules out, and whether it is sure."""

import re

from blackbox_kd.answers._stated import claim
from blackbox_kd.paths import read_patterns

_PATTERNS = read_patterns(__file__)
_DENIED_BEFORE = _PATTERNS["denied_before"]
_DENIED_AFTER = _PATTERNS["denied_after"]
_MENTION = _PATTERNS["mention"]
_MARKED = re.compile(r"\b(?:[Oo]ption|[Cc]hoice|[Ll]etter)\W{1,4}([A-Z\d]{1,3})\b(?!')")
_CUE = _PATTERNS["cue"]
_DECISIVE = _PATTERNS["decisive"]
_HEDGE = _PATTERNS["hedge"]


def remove_denied(sentence: str) -> str:
    """The sentence without the labels that it says are wrong: "not A", "A and C are wrong", "we can rule out D"."""
    return _DENIED_AFTER.sub(" ", _DENIED_BEFORE.sub(" ", sentence))


def is_sure(sentence: str) -> bool:
    """Whether a sentence says so, and not that it may be so."""
    return _HEDGE.search(claim(sentence)) is None


def has_cue(sentence: str) -> bool:
    """Whether a sentence speaks of choosing or of what is right."""
    return _CUE.search(sentence) is not None


def list_decided(sentence: str) -> list[str]:
    """Labels that stand right behind a word of choosing, and alone: "between A and B, I choose B"."""
    return [match[1] for match in _DECISIVE.finditer(sentence)]


def list_mentioned(sentence: str) -> list[str]:
    """Labels that stand for themselves, as they are written: B, (b), option 2; "a dog" and "I think" are words."""
    marked = [match[1] for match in _MARKED.finditer(sentence)]
    return [next(filter(None, match.groups())) for match in _MENTION.finditer(sentence)] + marked
