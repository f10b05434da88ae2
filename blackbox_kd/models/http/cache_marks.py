"""Which beginnings of prompts a vendor is asked to keep: those that come again, and are long enough to be kept.

What is marked costs a quarter more when it is kept, and a tenth or less each time that it comes again.

Source   Anthropic's documentation of prompt caching, October 2026: four marks at most, and a prompt is read from where
         the longest beginning ends that is kept
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

MARK = {"type": "ephemeral"}
LEAST_TOKENS = 512
"""Of a beginning that is marked, of models of which nothing is known: the least of any."""
CHARS_PER_TOKEN = 3
"""Of English text, at most about four: what is marked and still too short costs nothing."""
TRIALS = 4
"""So many beginnings are kept that have not come again, before others are waited for to come twice."""


class CacheMarks:
    """The marks of one model's requests. What is marked is the same to the model.

    Args:
        least_tokens: the fewest tokens of a beginning that is kept.
    """

    def __init__(self, least_tokens: int | None) -> None:
        self._least_chars = CHARS_PER_TOKEN * (least_tokens or LEAST_TOKENS)
        self._known: set[bytes] = set()
        self._lost = [0, 0]

    def put(self, system: list[dict[str, Any]], turns: Sequence[list[dict[str, Any]]]) -> None:
        """Marks the ends of what may come again: of the system text, and of the turns before the question.

        Args:
            system: blocks of text; changed in place.
            turns: blocks of each turn but the last, which differs by row; changed in place.
        """
        beginning, size = sha256(), 0
        for number, blocks in enumerate((system, [block for turn in turns for block in turn])):
            for block in blocks:
                written = repr(block).encode(errors="replace")
                beginning.update(written)
                size += len(written)
            if blocks and size >= self._least_chars and self._is_worth(beginning.digest(), number):
                blocks[-1]["cache_control"] = MARK

    def _is_worth(self, beginning: bytes, number: int) -> bool:
        """Whether a beginning has come before, or may well come again as others of its number have."""
        if beginning in self._known:
            self._lost[number] = max(0, self._lost[number] - 1)
            return True
        self._known.add(beginning)
        if self._lost[number] >= TRIALS:
            return False
        self._lost[number] += 1
        return True
