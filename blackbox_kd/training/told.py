"""What a teacher told of the likeliest tokens of a text, and which of a student's tokens it is told of."""

import json
import math
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import cached_property
from typing import Any, NamedTuple

from blackbox_kd.errors import DataError

Token = int | str | None
"""A token's number in the vocabulary, or its text; None for what is no token by itself."""
ROUNDING = 1e-6


class Target(NamedTuple):
    """What is to be learnt at a token: shares that sum to 1.

    Args:
        tokens: the likeliest ones.
        shares: of each.
        other: of all others together.
    """

    tokens: Sequence[Token]
    shares: Sequence[float]
    other: float


class Told(NamedTuple):
    """What a teacher told of a text of T tokens.

    Args:
        tokens: of the text.
        top: at each the likeliest ones.
        logprobs: their natural logarithms; None where they were drawn.
        counts: how often each was drawn; None where they were not.
    """

    tokens: list[Token]
    top: list[list[Token]]
    logprobs: list[list[float]] | None
    counts: list[list[int]] | None

    def find_target(self, index: int, temperature: float) -> Target:
        """The target at a token, by the temperature of the teacher.

        What is missing to 1 stands for all other tokens; of drawn ones nothing is, but for those under None.

        Raises:
            DataError: the tokens were drawn, so that their temperature is settled.
        """
        top = self.top[index]
        if self.counts is not None:
            if temperature != 1:
                what = f"temperature: {temperature:g}, and the tokens were drawn at 1"
                raise DataError(what, fix="take temperature: out, or take logprobs in place of draws")
            total = sum(self.counts[index])
            drawn = {token: count / total for token, count in zip(top, self.counts[index], strict=True)}
            other = drawn.pop(None, 0.0)
            return Target([*drawn], [*drawn.values()], other)
        assert self.logprobs is not None
        shares = [math.exp(each) for each in self.logprobs[index]]
        left = max(0.0, 1.0 - sum(shares))
        raised = [share ** (1 / temperature) for share in (*shares, left if left > ROUNDING else 0.0)]
        *told, other = (each / sum(raised) for each in raised)
        return Target(top, told, other)


def read_told(value: Any, number: int) -> Told | None:
    """What a column holds of a row, by its number; None where it holds nothing.

    Raises:
        DataError: it holds something else.
    """
    if value in (None, ""):
        return None
    try:
        said = json.loads(value) if isinstance(value, str) else value
        told = Told(said["tokens"], said["top"], said.get("logprobs"), said.get("counts"))
        [beside] = [each for each in (told.logprobs, told.counts) if each is not None]
        sizes = {len(told.tokens), len(told.top), len(beside)}
        is_whole = len(sizes) == 1 and [*map(len, told.top)] == [*map(len, beside)]
    except (KeyError, TypeError, ValueError):
        is_whole = False
    if not is_whole:
        what = f"row {number}: what is told of its tokens has not tokens, top, and logprobs or counts, as many of each"
        raise DataError(what, fix="write the column by generate: {top_logprobs: K}, or score: {top: K}")
    return told


class Reader:
    """Finds tokens of a student's in what a teacher told.

    Args:
        tokenizer: the student's.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @cached_property
    def _by_text(self) -> dict[str, int]:
        return {self._tokenizer.decode([number]): number for number in range(len(self._tokenizer))}

    def find_id(self, token: Token) -> int | None:
        """The number of a token; None where it is none of the student's."""
        return self._by_text.get(token) if isinstance(token, str) else token

    def align(self, told: Told, said: list[int], number: int) -> list[tuple[int, int]]:
        """Places among the tokens that a student learns, each with the place in what was told of it.

        Raises:
            DataError: numbers of tokens mean other texts to the student.
        """
        own: list[Token] = [*said]
        if any(isinstance(token, str) for token in told.tokens):
            own = [self._tokenizer.decode([token]) for token in said]
        else:
            self._refuse_other_numbers(told.tokens, said, number)
        blocks = SequenceMatcher(None, told.tokens, own, autojunk=False).get_matching_blocks()
        return [(block.b + step, block.a + step) for block in blocks for step in range(block.size)]

    def _refuse_other_numbers(self, tokens: Sequence[Token], said: list[int], number: int) -> None:
        text = ""
        if all(isinstance(token, int) and token < len(self._tokenizer) for token in tokens):
            text = self._tokenizer.decode(tokens, skip_special_tokens=True).strip()
        if not text or text not in self._tokenizer.decode(said, skip_special_tokens=True):
            raise DataError(
                f"row {number}: the teacher's tokens are not those of the student, who reads in them {text[:40]!r}",
                fix="a student of the teacher's family, or method: gold or sft",
            )
