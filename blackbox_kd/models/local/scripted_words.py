"""What a script tells of its tokens: words are tokens, and one of n letters has -n and is the n-th likeliest."""

import re
from collections.abc import Mapping
from typing import Any

from blackbox_kd.analysis.logprobs import DRAWN, DRAWS, LOGPROBS, TOKENS, TOKENS_TOLD, TOP
from blackbox_kd.schema import digest


def tell_prompt(words: list[str], extra: Mapping[str, Any], nats: float) -> dict[str, Any]:
    """Tokens and log-probabilities of the prompt, where the request asks for them."""
    told: dict[str, Any] = {}
    tokens = [int(digest(word, 8), 16) for word in words]
    if extra.get(TOKENS):
        told[TOKENS_TOLD] = tokens
    if LOGPROBS in extra:
        likely = {str(int(digest(word, 8), 16)): _tell_word(word, nats) for word in _list_likeliest(extra[LOGPROBS])}
        pairs = list(zip(tokens[1:], words[1:], strict=True))
        told[LOGPROBS] = [None, *(likely | {str(token): _tell_word(word, nats)} for token, word in pairs)]
    if DRAWS in extra:
        told[DRAWN] = [None, *({str(token): extra[DRAWS]} for token in tokens[1:])]
    return told


def _list_likeliest(count: int) -> list[str]:
    """So many words, likeliest first."""
    return ["a" * letters for letters in range(1, count + 1)]


def _tell_word(word: str, nats: float) -> dict[str, Any]:
    return {"logprob": -len(word) * nats, "rank": len(word), "decoded_token": f" {word}"}


def tell_reply(text: str, count: int) -> list[dict[str, Any]]:
    """The words of a reply, as OpenAI tells tokens; a blank belongs to the word behind it."""
    top = [{"token": f" {word}", "logprob": -len(word)} for word in _list_likeliest(count)]
    return [{"token": word, "logprob": -len(word.strip()), TOP: top} for word in re.findall(r"\s*\S+", text)]
