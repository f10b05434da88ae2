"""Reads what an endpoint says that a reply has used, and what it bills for it.

Tokens by the names of chat completions, and by those that vendors have beside them for what their caches did:

    prompt_cache_hit_tokens                                 DeepSeek
    cached_tokens                                           Moonshot
    cache_read_input_tokens, cache_creation_input_tokens    gateways to Anthropic's models; `prompt_tokens` is all of it
    cost, is_byok, cost_details.upstream_inference_cost     OpenRouter, in USD
"""

from collections.abc import Mapping
from typing import Any

from blackbox_kd.models import MOST_USD
from blackbox_kd.schema import Usage

MOST_TOKENS = 10**8
"""A count above it is nonsense: no context holds so many. Sums and costs of such counts would be, too."""
_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
_WRITTEN = ("cache_write_tokens", "cache_creation_input_tokens")
_BESIDE = frozenset((*_CACHED, *_WRITTEN))


def read_usage(said: Any) -> Usage | None:
    """Tokens of a completion; None if it does not say them, or says what cannot be: no prompt has 0 tokens.

    Some endpoints leave hidden reasoning out of `completion_tokens`, but bill it: it is in `total_tokens`, or at least
    larger than what it should be a part of.
    """
    if not isinstance(said, dict):
        return None
    prompt = _count(said, "prompt_tokens")
    told, total = said.get("completion_tokens"), _count(said, "total_tokens")
    if not prompt or not _is_count(told) or (told is None and not total):
        return None
    of_prompt, of_reply = said.get("prompt_tokens_details"), said.get("completion_tokens_details")
    completed = max(int(told or 0), total - prompt)
    reasoned = _count(of_reply, "reasoning_tokens")
    is_plain = _BESIDE.isdisjoint(said)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completed + reasoned if reasoned > completed else completed,
        cached_tokens=_count(of_prompt, "cached_tokens") or (0 if is_plain else _count_first(said, _CACHED)),
        reasoning_tokens=reasoned,
        cache_write_tokens=_count(of_prompt, "cache_write_tokens") or (0 if is_plain else _count_first(said, _WRITTEN)),
        cache_write_1h_tokens=_count(of_prompt, "cache_write_1h_tokens") if of_prompt else 0,
    )


def read_bill(said: Any) -> float | None:
    """The USD that an endpoint says that it bills; None if it does not.

    With a vendor's key of one's own the gateway bills its fee, and the vendor the rest.
    """
    if not isinstance(said, dict):
        return None
    fee = _read_usd(said.get("cost"))
    if said.get("is_byok") is not True or fee is None:
        return fee
    details = said.get("cost_details")
    rest = _read_usd(details.get("upstream_inference_cost")) if isinstance(details, dict) else None
    return None if rest is None else fee + rest


def _count_first(found: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return next((count for name in names if name in found and (count := _count(found, name))), 0)


def _count(found: Any, name: str) -> int:
    if not found or not isinstance(found, dict):
        return 0
    value = found.get(name)
    return 0 if value is None or not _is_count(value) else int(value)


def _is_count(value: Any) -> bool:
    """Whether it is a number of tokens, or left out."""
    if value is None:
        return True
    if type(value) is int:
        return 0 <= value < MOST_TOKENS
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 <= value < MOST_TOKENS and value == int(value)


def _read_usd(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < MOST_USD else None
