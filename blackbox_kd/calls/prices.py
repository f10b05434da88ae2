"""What calls cost: the price of a model, the most that a call can cost, and what a reply did cost."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from blackbox_kd.models import ModelConfig, Price
from blackbox_kd.models.http.parameters import MOST_TOKENS
from blackbox_kd.schema import Message, Usage

MILLION = 1_000_000
MESSAGE_TOKENS = 16
"""Bound on the tokens that a chat template puts around one message."""
FREE = Price(input=0, output=0)
BATCH_SHARE = 0.5
"""Of the ordinary price, for prompts, cached prompts and replies alike (OpenAI's price list, section "Batch")."""


class TieredPrice(Price):
    """A price that is higher for long prompts; a tier holds for all tokens of the call, not for those above it."""

    tiers: list[tuple[int, Price]]
    """The number of prompt tokens from which a price holds, and that price; ascending."""


def find_price(config: ModelConfig, endpoint: str) -> Price | None:
    """The price of a model: the recipe's, nothing for a model in this process, else the list price.

    Args:
        config: the model's config.
        endpoint: begins with the URL that the model is reached at.

    Returns:
        None when no price is known, which is not the same as 0.
    """
    if config.own_price is not None:
        return config.own_price
    if config.local:
        return FREE
    return find_listed(endpoint.split(" ")[0], config.model)


def find_batch_price(config: ModelConfig, endpoint: str) -> Price | None:
    """What a model costs in a batch; None when no price is known. See `find_price`."""
    price = find_price(config, endpoint)
    return price and _scale(price, BATCH_SHARE)


def find_price_paid(config: ModelConfig, endpoint: str) -> Price | None:
    """What a run pays for a model: the price in a batch where its recipe says so. See `find_price`."""
    return (find_batch_price if config.is_batched else find_price)(config, endpoint)


@cache
def find_listed(base_url: str, model: str) -> Price | None:
    """The list price of a model at an endpoint, from the data that genai-prices brings along; no network.

    Where a price depends on the time of day, it is the dearest of the next 24 hours, so that a run that goes
    on into dearer hours keeps to its budget.
    """
    from genai_prices import data_snapshot

    try:
        _, found = data_snapshot.get_snapshot().find_provider_model(model, None, None, base_url)
    except LookupError:
        return None
    now = datetime.now(UTC)
    prices = [_convert(found.get_prices(now + timedelta(hours=hour))) for hour in range(24)]
    return max((price for price in prices if price), key=lambda price: (price.output, price.input), default=None)


def bound_prompt(messages: Sequence[Message]) -> int:
    """The most tokens that messages can be: a token stands for at least one byte of UTF-8."""
    return sum(len(message["content"].encode(errors="replace")) + MESSAGE_TOKENS for message in messages)


def bound_tokens(prompt_tokens: int, max_tokens: int | None) -> int:
    """The most tokens that a call can use, prompt and reply together."""
    return prompt_tokens + (MOST_TOKENS if max_tokens is None else max_tokens)


def bound_cost(price: Price | None, prompt_tokens: int, max_tokens: int | None) -> float | None:
    """The most USD that a call can cost; None when no price is known.

    Args:
        price: of the model.
        prompt_tokens: the most tokens of the prompt.
        max_tokens: the most tokens of the reply; None when the request does not say.
    """
    if price is None:
        return None
    price = _choose_tier(price, prompt_tokens)
    reply = MOST_TOKENS if max_tokens is None else max_tokens
    return (prompt_tokens * max(price.input, price.cached or 0.0) + reply * price.output) / MILLION


def compute_cost(price: Price | None, usage: Usage | None) -> float | None:
    """What a reply did cost in USD; None when its price or its tokens are not known."""
    if price is None:
        return None
    if usage is None:
        return None if price.input or price.output else 0.0
    price = _choose_tier(price, usage.prompt_tokens)
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    cached_price = price.input if price.cached is None else price.cached
    prompt = (usage.prompt_tokens - cached) * price.input + cached * cached_price
    return (prompt + usage.completion_tokens * price.output) / MILLION


def _scale(price: Price, share: float) -> Price:
    fields: dict[str, Any] = {
        "input": price.input * share,
        "output": price.output * share,
        "cached": None if price.cached is None else price.cached * share,
    }
    if not isinstance(price, TieredPrice):
        return Price(**fields)
    return TieredPrice(**fields, tiers=[(start, _scale(tier, share)) for start, tier in price.tiers])


def _choose_tier(price: Price, prompt_tokens: int) -> Price:
    if not isinstance(price, TieredPrice):
        return price
    reached = [tier for start, tier in price.tiers if prompt_tokens > start]
    return reached[-1] if reached else price


def _convert(found: Any) -> Price | None:
    """A price of genai-prices as ours; None for a model that is not sold by the token of text."""
    fields = (found.input_mtok, found.output_mtok, found.cache_read_mtok)
    if fields[0] is None or fields[1] is None:
        return None
    starts = sorted({tier.start for field in fields for tier in getattr(field, "tiers", ())})
    tiers = [(start, _find_tier(fields, start)) for start in starts]
    base = _find_tier(fields, -1)
    return TieredPrice(**base.model_dump(), tiers=tiers) if tiers else base


def _find_tier(fields: tuple[Any, ...], start: int) -> Price:
    """The prices that hold for prompts of more than `start` tokens."""

    def value(field: Any) -> float | None:
        if field is None:
            return None
        reached = [tier.price for tier in getattr(field, "tiers", ()) if tier.start <= start]
        return float(reached[-1] if reached else getattr(field, "base", field))

    given, output, cached = (value(field) for field in fields)
    return Price(input=given or 0.0, output=output or 0.0, cached=cached)
