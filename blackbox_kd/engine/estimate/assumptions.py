"""What is assumed in an estimate, and how calls become tokens, USD and time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any

from blackbox_kd.analysis.statistics import wilson
from blackbox_kd.engine.estimate.costs import Caching, estimate_caching, estimate_usd
from blackbox_kd.engine.estimate.dry_run import has_weights
from blackbox_kd.engine.estimate.dry_transport import DryCall
from blackbox_kd.engine.estimate.spans import CASES, NOTHING, Case, Span, add_up
from blackbox_kd.models import ModelConfig, Price
from blackbox_kd.models.http.parameters import MOST_TOKENS

KEPT = Span(0.3, 0.6, 1.0)
"""Share of the rows that a step which can drop some lets pass."""
REPLY_SHARE = Span(0.15, 0.4, 1.0)
"""Length of a reply, as a share of `max_tokens`."""
REASONING_SHARE = Span(0.02, 0.1, 1.0)
"""Hidden reasoning, as a share of the room that is left for it: short tasks take a few hundred tokens of thousands."""
UNLIMITED_REPLY = Span(150, 500, MOST_TOKENS)
"""Tokens of a reply without `max_tokens`."""
BYTES_PER_TOKEN = Span(5, 4, 3)
"""Of a prompt, in UTF-8. English has above 4; numbers, code and other scripts have about 3."""
MESSAGE_TOKENS = 4
"""What a chat template puts around a message."""
ASKED_AGAIN = Span(1, 1, 1.1)
"""Calls per usable reply, where one that cannot be used is asked for again."""
LATENCY_S = Span(0.5, 1, 3)
"""Until an endpoint begins to write."""
ENDPOINT_TOKENS_S = Span(120, 60, 20)
"""Tokens that an endpoint writes in a second, for each request by itself."""
WEIGHTS_TOKENS_S = Span(1000, 150, 20)
"""Tokens that a model in this process writes in a second, for all requests together: a small one on a GPU, a tiny
one on a few CPU cores, a small one there."""
BATCH_S = Span(600, 3600, 86_400)
"""Until a batch is back; endpoints promise a day."""
ENOUGH = 20
"""Rows from which on a share is measured, and no longer assumed."""


@dataclass(slots=True)
class Line:
    """The calls of a step to a model that are still to be made.

    Args:
        step: the step's label.
        model: the model, as the step names it.
        paid: calls whose reply is in the ledger.
        measured: how many replies the lengths are measured on; 0 if they are assumed.
        calls: calls to be made.
        prompt: their prompt tokens.
        completion: their completion tokens.
        usd: what they will cost; None when no price is known.
        saved: USD that the endpoint's cache will save on them.
        seconds: how long they will take.
        marks: the arm and the seed that they are of, where a recipe has some.
    """

    step: str
    model: str
    paid: int
    measured: int
    calls: Span
    prompt: Span
    completion: Span
    usd: Span | None
    saved: Span
    seconds: Span
    marks: Mapping[str, Any] = field(default_factory=dict)

    def at_most(self) -> "Line":
        """The line of a step that may not be run at all."""
        none = {name: Span(0, span.likely, span.high) for name, span in self._list_spans().items()}
        return replace(self, **none)  # type: ignore[arg-type]

    def _list_spans(self) -> dict[str, Span]:
        names = ("calls", "prompt", "completion", "saved", "seconds")
        found = dict(zip(names, (self.calls, self.prompt, self.completion, self.saved, self.seconds), strict=True))
        return found if self.usd is None else {**found, "usd": self.usd}

    def entry(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "step": self.step,
            "model": self.model,
            "paid": self.paid,
            "measured": self.measured,
            **sum_lines([self]),
            **self.marks,
        }


def sum_lines(lines: list[Line]) -> dict[str, Any]:
    """Lines added up, as JSON holds them; `usd` is None as soon as one price is not known."""
    usd = [line.usd for line in lines if line.usd is not None]
    return {
        "calls": add_up(line.calls for line in lines).entry(),
        "prompt_tokens": add_up(line.prompt for line in lines).entry(),
        "completion_tokens": add_up(line.completion for line in lines).entry(),
        "tokens": add_up(line.prompt + line.completion for line in lines).entry(),
        "usd": add_up(usd).entry(6) if len(usd) == len(lines) else None,
        "usd_known": add_up(usd).entry(6),
        "cache_saved_usd": add_up(line.saved for line in lines).entry(6),
        "seconds": add_up(line.seconds for line in lines).entry(1),
    }


@dataclass(frozen=True, slots=True)
class Asking:
    """What is known of the calls of a step to a model.

    Args:
        found: calls of rows that are there, with and without a reply in the ledger.
        rest: calls of rows that are not there yet.
        like: calls that the rest will be like.
        extremes: those in the low and in the high case, where they are others.
        before: paid calls of the same step in earlier rounds, for what this one has none of.
    """

    found: list[DryCall]
    rest: Span
    like: list[DryCall]
    extremes: tuple[list[DryCall], list[DryCall]] | None = None
    before: list[DryCall] = field(default_factory=list)

    @property
    def paid(self) -> list[DryCall]:
        """Calls whose reply is in the ledger."""
        return [asked for asked in self.found if asked.usage is not None and not asked.is_shared]

    @property
    def missing(self) -> list[DryCall]:
        """Calls of rows that are there, still to be made; what another arm makes is not made again."""
        return [asked for asked in self.found if asked.usage is None and not asked.is_shared]

    @property
    def seen(self) -> list[DryCall]:
        """Calls that show what replies are like."""
        return [asked for asked in self.found if asked.usage is not None] or self.before

    def line(self, step: str, model: str, config: ModelConfig, met: Sequence[Price]) -> Line:
        """The calls in numbers; `met` are the prices that they may have, the present one first; none: not known."""
        calls, prompt, reply = self._count_calls(), self._estimate_prompt(), self.reply()
        each, saved = estimate_usd(met, prompt, reply, self.estimate_caching(met))
        usd = None if not met and calls.high else calls * each
        seconds = _estimate_seconds(config, calls, calls * (prompt + reply), reply, self.seen)
        measured = sum(asked.usage.completion_tokens > 0 for asked in self.seen if asked.usage)
        return Line(
            step, model, len(self.paid), measured, calls, calls * prompt, calls * reply, usd, calls * saved, seconds
        )

    def estimate_caching(self, met: Sequence[Price]) -> Caching:
        """What the endpoint's cache does to a prompt."""
        return estimate_caching(met[0] if met else None, self.seen, self._choose_seen(self.like))

    def reply(self) -> Span:
        """Completion tokens of one call."""
        shown = self._choose_seen(self.like)
        return _estimate_reply(shown, self.seen) if shown else NOTHING

    def measure_unusable(self) -> Span | None:
        """The share of the replies that cannot be used, and are asked for again; None if none was seen."""
        seen = self.seen
        faults = sum(asked.is_unusable for asked in seen)
        if not faults or not any(asked.varies for asked in [*self.missing, *self.like]):
            return None
        low, high = wilson(faults, len(seen))
        return Span(low, faults / len(seen), high)

    def _choose_seen(self, like: list[DryCall]) -> list[DryCall]:
        return [*self.missing, *like] or self.found

    def _count_calls(self) -> Span:
        """Calls to be made, those for replies in the place of unusable ones among them."""
        missing, share = self.missing, self.measure_unusable()
        if share is None:
            varies = any(asked.varies for asked in [*missing, *self.like])
            return (self.rest + len(missing)) * (ASKED_AGAIN if varies else 1)
        tries = max(asked.tries for asked in [*missing, *self.like])
        begun = [asked for asked in missing if asked.attempt]
        found = (self.rest + (len(missing) - len(begun))) * _count_until_usable(share, tries)
        return found + add_up(_count_until_usable(share, asked.tries - asked.attempt) for asked in begun)

    def _estimate_prompt(self) -> Span:
        """Prompt tokens of one call."""
        low, high = self.extremes or (self.like, self.like)
        sizes = Span(*(self._weigh(like, case) for like, case in zip((low, self.like, high), CASES, strict=True)))
        counted = sum(asked.usage.prompt_tokens for asked in self.seen if asked.usage)
        if counted:
            return sizes * (counted / max(1, sum(asked.prompt_bytes for asked in self.seen)))
        shown = self._choose_seen(self.like)
        return sizes / BYTES_PER_TOKEN + (MESSAGE_TOKENS * fmean(a.messages for a in shown) if shown else 0)

    def _weigh(self, like: list[DryCall], case: Case) -> float:
        """Bytes of a prompt in a case: the mean over the calls of rows that are there and those that are not."""
        shown = like or self._choose_seen(like)
        rest, each = self.rest.at(case), fmean(asked.prompt_bytes for asked in shown) if shown else 0.0
        total = rest + len(self.missing)
        return (rest * each + sum(asked.prompt_bytes for asked in self.missing)) / total if total else each


def _count_until_usable(share: Span, tries: int) -> Span:
    """Calls for a usable reply, or until nobody asks any more, if so large a share cannot be used."""
    return add_up(share.each(lambda s, power: s**power, attempt) for attempt in range(max(1, tries)))


def _estimate_reply(shown: list[DryCall], paid: list[DryCall]) -> Span:
    """Completion tokens of one call: the mean of those that are known, and what it can be missed by."""
    room = REASONING_SHARE * fmean(asked.room for asked in shown)
    texts = [max(1, asked.max_tokens - asked.room) for asked in shown if asked.max_tokens is not None]
    assumed = (REPLY_SHARE * fmean(texts) if len(texts) == len(shown) else UNLIMITED_REPLY) + room
    lengths = [asked.usage.completion_tokens for asked in paid if asked.usage and asked.usage.completion_tokens]
    if not lengths:
        return assumed
    mean = fmean(lengths)
    if len(lengths) == 1:
        return Span(min(mean, assumed.low), mean, max(mean, assumed.high))
    error = 2 * stdev(lengths) / math.sqrt(len(lengths))
    return Span(max(1.0, mean - error), mean, max(mean, min(mean + error, assumed.high)))


def _estimate_seconds(config: ModelConfig, calls: Span, tokens: Span, reply: Span, paid: list[DryCall]) -> Span:
    """How long calls take, as many at once as the recipe allows."""
    if config.local:
        return calls * reply / WEIGHTS_TOKENS_S if has_weights(config) else NOTHING
    if config.is_batched:
        return BATCH_S if calls.high else NOTHING
    took = [asked.seconds for asked in paid if asked.seconds is not None]
    each = Span.of(fmean(took)) if took else LATENCY_S + reply / ENDPOINT_TOKENS_S
    rounds = calls.each(lambda count, at_once: math.ceil(count / at_once), config.max_concurrency)
    found = rounds * each
    for a_minute, amount in zip(config.rate_limits, (calls, tokens), strict=True):
        found = found.each(max, amount * 60 / a_minute) if a_minute else found
    return found


def count_besides(calls: Span, before: Span) -> Span:
    """Calls of an arm besides those that the chain as it stands makes, where the rows of both are not known yet.

    An arm with more rows is taken to have those of the chain among them, one with as many or fewer to have others. In
    the high case none of its calls are the same.
    """
    more = calls.likely - before.likely
    likely = more if more > 0 else calls.likely
    return Span(min(likely, max(0.0, calls.low - before.low)), likely, calls.high)


def measure_share(kept: int, dropped: int) -> Span:
    """The share of rows that a step lets pass: measured where enough rows have shown it."""
    seen = kept + dropped
    if seen < ENOUGH:
        return KEPT
    found = kept / seen
    error = 2 * math.sqrt(found * (1 - found) / seen)
    return Span(max(0.0, found - error), found, min(1.0, found + error))
