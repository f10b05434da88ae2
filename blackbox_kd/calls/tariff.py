"""What a model costs as time goes by: the recipe's price, or the list price, which changes on dates and by the hour."""

import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from typing import Any

from blackbox_kd.calls import prices
from blackbox_kd.calls.prices import TieredPrice
from blackbox_kd.models import ModelConfig, Price

BATCH_SHARE = 0.5
"""Of the ordinary price, in a batch whose own price is not listed; so ask OpenAI, Anthropic, Google and Mistral."""
BATCH = {"processing": "batch"}
"""What genai-prices calls a price in a batch by."""
AHEAD = timedelta(hours=48)
"""How far a bound looks ahead: what is handed in with a batch may be billed a day later."""
LOOK_AGAIN = timedelta(hours=1)
PARTS = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
"""Of a price, as genai-prices calls them; each is followed by `_mtok`."""
Clock = Callable[[], float]


class Tariff:
    """What a model costs at any time.

    Args:
        price: holds always, if there is none `over_time`.
        over_time: a list price that changes.
        clock: seconds since 1970.
    """

    def __init__(self, price: Price, over_time: "Listed | None" = None, clock: Clock = time.time) -> None:
        self._listed = over_time
        self._clock = clock
        self._until = math.inf if over_time is None else 0.0
        self._now, self._met = price, [price]
        self._dearest = prices.find_dearest(self._met)

    @property
    def now(self) -> Price:
        """The price of a call that is billed now."""
        if self._listed is not None and self._clock() >= self._until:
            self._look()
        return self._now

    @property
    def dearest(self) -> Price:
        """What bounds the cost of a call that is sent now, whenever it is billed."""
        if self._listed is not None and self._clock() >= self._until:
            self._look()
        return self._dearest

    @property
    def met(self) -> list[Price]:
        """The prices that a run can meet which begins now, the present one first."""
        return [self.now, *self._met[1:]]

    def _look(self) -> None:
        """Looks at the list."""
        assert self._listed is not None
        now = datetime.fromtimestamp(self._clock(), UTC)
        self._met = [price for _, price in self._listed.follow(now, now + AHEAD)] or self._met
        self._now, self._dearest = self._met[0], prices.find_dearest(self._met)
        change = self._listed.find_change(now)
        self._until = math.inf if change is None else min(change, now + LOOK_AGAIN).timestamp()


class Listed:
    """The list price of a model, over time.

    Args:
        model: of genai-prices.
        in_batch: whether it is that of a batch.
        is_own: whether the list is that of the endpoint's vendor. Where one sells another's models, only their ordinary
            prices are taken to be the same.
    """

    def __init__(self, model: Any, *, in_batch: bool, is_own: bool) -> None:
        self._model, self._in_batch, self._is_own = model, in_batch, is_own
        dated = model.prices if isinstance(model.prices, list) else []
        self._constraints = [each.constraint for each in [*dated, *(model.price_variants or ())] if each.constraint]

    def find_price(self, at: datetime) -> Price | None:
        """The price at a time; None for a model that is not sold by the token of text."""
        ordinary = self._model.get_prices(at)
        if not self._in_batch:
            return _convert(ordinary)
        listed = self._model.get_prices(at, BATCH) if self._is_own else ordinary
        found = _convert(listed)
        return found and (prices.scale(found, BATCH_SHARE) if listed == ordinary else found)

    def find_change(self, after: datetime) -> datetime | None:
        """The first time after another one at which the price may change."""
        times = [change for each in self._constraints for change in _list_changes(each, after)]
        return min((each for each in times if each > after), default=None)

    def follow(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, Price]]:
        """The prices that hold one after the other, and since when."""
        at: datetime | None = start
        while at is not None and at <= end:
            if (price := self.find_price(at)) is not None:
                yield at, price
            at = self.find_change(at)


def find(config: ModelConfig, endpoint: str, *, in_batch: bool = False, clock: Clock = time.time) -> Tariff | None:
    """What a model costs: by the recipe, nothing for a model in this process, else by the list.

    Args:
        config: the model's config.
        endpoint: begins with the URL that the model is reached at.
        in_batch: whether it is asked in batches.
        clock: seconds since 1970.

    Returns:
        None when no price is known, which is not the same as 0.
    """
    if (own := config.own_price) is not None:
        if endpoint.startswith("https:") and own.cache_write is None:
            own = _add_writes(own, find_listed(endpoint.split(" ")[0], config.model, clock=clock))
        return Tariff(prices.scale(own, BATCH_SHARE) if in_batch else own)
    if config.local:
        return Tariff(prices.FREE)
    return find_listed(endpoint.split(" ")[0], config.model, in_batch=in_batch, clock=clock)


def find_paid(config: ModelConfig, endpoint: str) -> Tariff | None:
    """What a run pays for a model: the price in a batch where its recipe says so. See `find`."""
    return find(config, endpoint, in_batch=config.is_batched)


def find_listed(base_url: str, model: str, *, in_batch: bool = False, clock: Clock = time.time) -> Tariff | None:
    """The list price of a model at an endpoint, by the data that genai-prices brings along; no network. See `find`."""
    from genai_prices import data_snapshot

    try:
        provider, found = data_snapshot.get_snapshot().find_provider_model(model, None, None, base_url)
    except LookupError:
        return None
    listed = Listed(found, in_batch=in_batch, is_own=any(each is found for each in provider.models))
    price = listed.find_price(datetime.fromtimestamp(clock(), UTC))
    return None if price is None else Tariff(price, listed, clock)


def _add_writes(own: Price, listed: Tariff | None) -> Price:
    """A recipe's price with what it does not say of writes into a cache: as much dearer as they are by the list."""
    known = None if listed is None else listed.now
    if known is None or not known.input:
        return own
    writes = {"cache_write": known.cache_write, "cache_write_1h": known.cache_write_1h}
    return own.model_copy(update={name: usd and own.input * usd / known.input for name, usd in writes.items()})


def _list_changes(constraint: Any, after: datetime) -> list[datetime]:
    """When a constraint of genai-prices begins to hold, or ends: on a date, or each day (UTC)."""
    if (start := getattr(constraint, "start_date", None)) is not None:
        return [datetime.combine(start, time_of_day(tzinfo=UTC))]
    times = [each if each.tzinfo else each.replace(tzinfo=UTC) for each in (constraint.start_time, constraint.end_time)]
    days = [after.date() + timedelta(days=days) for days in (-1, 0, 1, 2)]
    return [datetime.combine(day, each) for day in days for each in times]


def _convert(found: Any) -> Price | None:
    """A price of genai-prices as ours; None for a model that is not sold by the token of text."""
    parts = [getattr(found, f"{part}_mtok") for part in PARTS]
    if parts[0] is None or parts[1] is None:
        return None
    starts = sorted({tier.start for part in parts for tier in getattr(part, "tiers", ())})
    base, *tiers = [_convert_tier(parts, start) for start in (-1, *starts)]
    return TieredPrice(**base.model_dump(), tiers=list(zip(starts, tiers, strict=True))) if tiers else base


def _convert_tier(parts: list[Any], start: int) -> Price:
    """The prices that hold for prompts of more than `start` tokens."""

    def read(part: Any) -> float | None:
        if part is None:
            return None
        reached = [tier.price for tier in getattr(part, "tiers", ()) if tier.start <= start]
        return float(reached[-1] if reached else getattr(part, "base", part))

    given, output, cached, write, for_an_hour = map(read, parts)
    return Price(input=given or 0.0, output=output or 0.0, cached=cached, cache_write=write, cache_write_1h=for_an_hour)
