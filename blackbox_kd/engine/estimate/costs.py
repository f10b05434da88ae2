"""What a call will cost: at prices that change, with what its endpoint has in its cache of the prompt."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from blackbox_kd.calls import prices
from blackbox_kd.calls.warm_up import LONG_CHARS
from blackbox_kd.engine.estimate.dry_transport import BLOCK, DryCall
from blackbox_kd.engine.estimate.spans import CASES, NOTHING, Case, Span
from blackbox_kd.models import Price
from blackbox_kd.schema import Usage

CACHE_HITS = Span(0.95, 0.7, 0)
"""Share of the calls that find in the cache what they have in common with others; vendors promise nothing."""
ENOUGH = 20
"""Replies from which on that share is measured."""


@dataclass(frozen=True, slots=True)
class Caching:
    """What a cache does to a prompt.

    Args:
        read: share of it that is read from the cache.
        written: share of it that is put there.
        is_measured: whether that is as in the ledger.
    """

    read: Span = NOTHING
    written: Span = NOTHING
    is_measured: bool = False


def estimate_caching(price: Price | None, seen: Sequence[DryCall], shown: Sequence[DryCall]) -> Caching:
    """What a cache will do to the prompts of calls.

    Args:
        price: of the model; one that has none for cached tokens is taken to cache nothing.
        seen: calls with a reply.
        shown: calls that are like those to be made.
    """
    if price is None or price.cached is None:
        return Caching()
    used = [asked.usage for asked in seen if asked.usage is not None and asked.usage.prompt_tokens]
    if len(used) >= ENOUGH:
        counted = sum(used, start=Usage())
        total = counted.prompt_tokens
        read, written = Span.of(counted.cached_tokens / total), Span.of(counted.cache_write_tokens / total)
        return Caching(read, written, is_measured=True)
    shared = Span.of(_find_shared(shown))
    read = shared * CACHE_HITS
    return Caching(read, (shared + read * -1) if price.cache_write else NOTHING)


def _find_shared(shown: Sequence[DryCall]) -> float:
    """The share of the calls' prompts that other calls begin with, too, and that is long enough for a cache."""
    times = Counter(beginning for asked in shown for beginning in asked.beginnings)
    lengths = [BLOCK * sum(times[each] > 1 for each in asked.beginnings) for asked in shown]
    found = [
        min(1.0, length / max(1, asked.prompt_bytes)) if length >= LONG_CHARS else 0.0
        for asked, length in zip(shown, lengths, strict=True)
    ]
    return fmean(found) if found else 0.0


def estimate_usd(met: Sequence[Price], prompt: Span, reply: Span, caching: Caching) -> tuple[Span, Span]:
    """USD of one call, and those that the cache saves on it.

    Args:
        met: the prices that a run may meet, the present one first: it makes the likely estimate.
        prompt: its prompt tokens.
        reply: its completion tokens.
        caching: of its prompt.
    """
    usages = {case: _make_usage(case, prompt, reply, caching) for case in CASES}
    costs = {case: [prices.compute_cost(price, usages[case]) or 0.0 for price in met] for case in CASES}
    saved = {case: prices.compute_saving(met[0], usages[case]) if met else 0.0 for case in CASES}
    choose: dict[Case, Callable[[list[float]], float]] = {"low": min, "likely": lambda found: found[0], "high": max}
    usd = [choose[case](costs[case]) if met else 0.0 for case in CASES]
    return Span(*usd), Span(*(saved[case] for case in CASES))


def _make_usage(case: Case, prompt: Span, reply: Span, caching: Caching) -> Usage:
    tokens = math.ceil(prompt.at(case))
    read, written = (math.floor(tokens * share.at(case)) for share in (caching.read, caching.written))
    return Usage(tokens, math.ceil(reply.at(case)), cached_tokens=read, cache_write_tokens=written)
