"""Log-probabilities of a text that stands in a prompt, asked for and answered in vLLM's form (`prompt_logprobs`).

The text is the last turn, an assistant's, and left open: neither an end of turn nor a next turn follows. Where it
begins is found by a second request that ends before it, since only the tokens of both say what the two share; a
chat template may write anything between them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import takewhile
from typing import Any

from blackbox_kd.schema import Reply, Sampling, T

LOGPROBS = "prompt_logprobs"
TOKENS, TOKENS_TOLD = "return_token_ids", "prompt_token_ids"
WITH_TEXT = Sampling(
    temperature=0.0,
    max_tokens=1,
    extra={LOGPROBS: 0, TOKENS: True, "add_generation_prompt": False, "continue_final_message": True},
    defaults=frozenset({"temperature"}),
)
"""Asks for the log-probabilities of the messages; the last one is the text. A server writes one token at least."""
BEFORE_TEXT = Sampling(temperature=0.0, max_tokens=1, extra={TOKENS: True}, defaults=frozenset({"temperature"}))
"""Asks for the tokens of the messages that stand before the text."""


@dataclass(slots=True)
class Scored(Reply[T]):
    """A reply that tells about its prompt.

    Args:
        tokens: the N token ids of the prompt.
        logprobs: N natural logarithms of the tokens' probabilities, None for the first token; or None altogether
            where they were not asked for.
    """

    tokens: tuple[int, ...] = ()
    logprobs: tuple[float | None, ...] | None = None

    @staticmethod
    def of(reply: Reply[T], tokens: tuple[int, ...], logprobs: tuple[float | None, ...] | None) -> "Scored[T]":
        """A reply with what it tells about its prompt."""
        said = {each.name: getattr(reply, each.name) for each in fields(Reply)}
        return Scored(**said, tokens=tokens, logprobs=logprobs)


def read_prompt(completion: Any) -> tuple[tuple[int, ...], tuple[float | None, ...] | None] | None:
    """Tokens and log-probabilities of the prompt, out of a decoded chat completion; None if it tells neither."""
    found = completion.get(TOKENS_TOLD) if isinstance(completion, dict) else None
    if not isinstance(found, list) or not found or not all(type(token) is int for token in found):
        return None
    entries = completion.get(LOGPROBS)
    if not isinstance(entries, list) or len(entries) != len(found):
        return tuple(found), None
    values = tuple(_read_value(entry, token) for entry, token in zip(entries, found, strict=True))
    return tuple(found), None if None in values[1:] else values


def _read_value(entry: Any, token: int) -> float | None:
    told = entry.get(str(token)) if isinstance(entry, Mapping) else None
    value = told.get("logprob") if isinstance(told, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def read_logprobs(whole: Reply, before: Reply) -> list[float]:
    """The T log-probabilities of the text's own tokens.

    Args:
        whole: what came for `WITH_TEXT`.
        before: what came for `BEFORE_TEXT`.

    Raises:
        ValueError: the endpoint does not tell them.
    """
    if not isinstance(whole, Scored) or whole.logprobs is None:
        raise ValueError("the reply has no log-probabilities of its prompt")
    if not isinstance(before, Scored):
        raise ValueError("the reply does not say which tokens its prompt has")
    pairs = zip(whole.tokens, before.tokens, strict=False)
    shared = max(1, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)))
    return [value for value in whole.logprobs[shared:] if value is not None]
