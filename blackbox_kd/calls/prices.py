"""What calls cost: the most that a call can cost, what a reply did cost, and what an endpoint's cache has saved."""

from collections.abc import Iterable, Sequence
from typing import Any

from blackbox_kd.messages import write_plain
from blackbox_kd.models import Price
from blackbox_kd.models.http.parameters import MOST_TOKENS
from blackbox_kd.schema import Message, Usage

MILLION = 1_000_000
MESSAGE_TOKENS = 16
"""Bound on the tokens that a chat template puts around one message."""
ROUNDING = 1e-9
"""Share of a cost that its parts may miss it by, as floats."""
FREE = Price(input=0, output=0)


class TieredPrice(Price):
    """A price that is another one for long prompts; a tier holds for all tokens of the call, not for those above it."""

    tiers: list[tuple[int, Price]]
    """The number of prompt tokens, cached ones among them, above which a price holds, and that price; ascending."""


def bound_prompt(messages: Sequence[Message]) -> int:
    """The most tokens that messages can be: a token stands for at least one byte of UTF-8."""
    return sum(len(write_plain(message).encode(errors="replace")) + MESSAGE_TOKENS for message in messages)


def bound_tokens(prompt_tokens: int, max_tokens: int | None) -> int:
    """The most tokens that a call can use, prompt and reply together."""
    return prompt_tokens + (MOST_TOKENS if max_tokens is None else max_tokens)


def bound_cost(price: Price | None, prompt_tokens: int, max_tokens: int | None) -> float | None:
    """The most USD that a call can cost, however much of its prompt is read from a cache or written into one.

    Args:
        price: of the model; None if it is not known.
        prompt_tokens: the most tokens of the prompt.
        max_tokens: the most tokens of the reply; None when the request does not say.
    """
    if price is None:
        return None
    prompt, reply = _find_dearest_prompt(price), price.output
    for start, tier in price.tiers if isinstance(price, TieredPrice) else ():
        if prompt_tokens > start:
            prompt, reply = max(prompt, _find_dearest_prompt(tier)), max(reply, tier.output)
    return (prompt_tokens * prompt + (MOST_TOKENS if max_tokens is None else max_tokens) * reply) / MILLION


def compute_cost(price: Price | None, usage: Usage | None) -> float | None:
    """What a reply did cost in USD; None when its price or its tokens are not known."""
    if price is None:
        return None
    if usage is None:
        return None if price.input or price.output else 0.0
    price = _choose_tier(price, usage.prompt_tokens)
    return (_price_prompt(price, usage) + usage.completion_tokens * price.output) / MILLION


def compute_saving(price: Price | None, usage: Usage) -> float:
    """The USD that a cache has saved on a prompt, which is less than 0 where it was written and not read."""
    if price is None or not (usage.cached_tokens or usage.cache_write_tokens):
        return 0.0
    price = _choose_tier(price, usage.prompt_tokens)
    return (usage.prompt_tokens * price.input - _price_prompt(price, usage)) / MILLION


def find_dearest(prices: Iterable[Price]) -> Price:
    """The price that bounds what a call costs at any of some prices."""
    prices = list(prices)
    starts = sorted({start for price in prices if isinstance(price, TieredPrice) for start, _ in price.tiers})
    base, *tiers = [_bound_all([_choose_tier(price, start + 1) for price in prices]) for start in (-1, *starts)]
    found = list(zip(starts, tiers, strict=True))
    return TieredPrice(**base.model_dump(), tiers=found) if found else base


def scale(price: Price, share: float) -> Price:
    """A share of a price, in all its parts."""
    parts: dict[str, Any] = {name: value and value * share for name, value in price if name != "tiers"}
    if not isinstance(price, TieredPrice):
        return Price(**parts)
    return TieredPrice(**parts, tiers=[(start, scale(tier, share)) for start, tier in price.tiers])


def _price_prompt(price: Price, usage: Usage) -> float:
    """What a prompt costs, in USD for a million times as many tokens."""
    if not (usage.cached_tokens or usage.cache_write_tokens):
        return usage.prompt_tokens * price.input
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    written = min(usage.cache_write_tokens, usage.prompt_tokens - cached)
    for_an_hour = min(usage.cache_write_1h_tokens, written)
    write = price.input if price.cache_write is None else price.cache_write
    return (
        (usage.prompt_tokens - cached - written) * price.input
        + cached * (price.input if price.cached is None else price.cached)
        + (written - for_an_hour) * write
        + for_an_hour * (write if price.cache_write_1h is None else price.cache_write_1h)
    )


def _bound_all(prices: Sequence[Price]) -> Price:
    return Price(input=max(map(_find_dearest_prompt, prices)), output=max(price.output for price in prices))


def _find_dearest_prompt(price: Price) -> float:
    return max(price.input, price.cached or 0.0, price.cache_write or 0.0, price.cache_write_1h or 0.0)


def _choose_tier(price: Price, prompt_tokens: int) -> Price:
    if not isinstance(price, TieredPrice):
        return price
    reached = [tier for start, tier in price.tiers if prompt_tokens > start]
    return reached[-1] if reached else price
