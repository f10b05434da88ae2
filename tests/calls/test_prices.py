"""What calls cost: exact sums, that no reply costs more than was set aside for it, and what a cache saves."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_kd.calls import prices
from blackbox_kd.calls.completion import Completion
from blackbox_kd.calls.prices import TieredPrice
from blackbox_kd.models import Price
from blackbox_kd.models.http.parameters import MOST_TOKENS
from blackbox_kd.schema import Usage

SONNET = Price(input=2, output=10, cached=0.1, cache_write=2.5, cache_write_1h=4)
LUNA = TieredPrice(
    input=0.1,
    output=0.5,
    cached=0.01,
    cache_write=0.125,
    tiers=[(272_000, Price(input=0.2, output=0.75, cached=0.02, cache_write=0.25))],
)


def bill(usage: dict[str, Any], price: Price | None) -> float | None:
    """What a reply with such a usage costs."""
    return Completion(json.dumps({"choices": [], "usage": usage})).compute_cost(price)


class TestCosts:
    def test_tokens_cost_what_they_cost(self) -> None:
        price = Price(input=2, output=8)
        assert prices.compute_cost(price, Usage(1_000_000, 500_000)) == pytest.approx(2 + 4)

    def test_cached_tokens_have_a_price_of_their_own(self) -> None:
        price = Price(input=2, output=8, cached=0.5)
        assert prices.compute_cost(price, Usage(1_000_000, 0, cached_tokens=600_000)) == pytest.approx(
            0.4 * 2 + 0.6 * 0.5
        )

    def test_without_one_they_cost_as_much_as_others(self) -> None:
        usage = Usage(1_000_000, 0, cached_tokens=600_000, cache_write_tokens=300_000, cache_write_1h_tokens=100_000)
        assert prices.compute_cost(Price(input=2, output=8), usage) == pytest.approx(2)

    def test_what_is_written_for_an_hour_costs_as_other_writes_where_there_is_no_price_for_it(self) -> None:
        usage = Usage(1_000_000, 0, cache_write_tokens=500_000, cache_write_1h_tokens=500_000)
        assert prices.compute_cost(Price(input=2, output=8, cache_write=3), usage) == pytest.approx(1 + 1.5)

    def test_an_unknown_price_or_unknown_tokens_make_an_unknown_cost(self) -> None:
        assert prices.compute_cost(None, Usage(1, 1)) is None
        assert prices.compute_cost(Price(input=1, output=1), None) is None

    def test_a_long_prompt_is_dearer_where_there_are_tiers(self) -> None:
        price = TieredPrice(input=1, output=5, tiers=[(100_000, Price(input=2, output=10))])
        assert prices.compute_cost(price, Usage(100_000, 0)) == pytest.approx(0.1)
        assert prices.compute_cost(price, Usage(100_001, 0)) == pytest.approx(0.200002)

    def test_cached_tokens_count_for_the_tier_and_all_parts_are_dearer_in_it(self) -> None:
        usage = Usage(300_000, 1000, cached_tokens=200_000, cache_write_tokens=50_000)
        by_hand = 50_000 * 0.2 + 200_000 * 0.02 + 50_000 * 0.25 + 1000 * 0.75
        assert prices.compute_cost(LUNA, usage) == pytest.approx(by_hand / 1e6)


class TestUsageOfVendors:
    """What each vendor says, and the bill in USD by hand."""

    def test_openai_cached_and_reasoning_tokens_are_parts_of_what_is_billed(self) -> None:
        usage = {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 256, "audio_tokens": 0},
        }
        price = Price(input=0.25, output=2, cached=0.025)
        assert bill(usage, price) == pytest.approx((86 * 0.25 + 1920 * 0.025 + 300 * 2) / 1e6)

    def test_openai_bills_what_it_writes_into_its_cache(self) -> None:
        details = {"cached_tokens": 0, "cache_write_tokens": 1920}
        usage = {"prompt_tokens": 2006, "completion_tokens": 300, "prompt_tokens_details": details}
        assert bill(usage, LUNA) == pytest.approx((86 * 0.1 + 1920 * 0.125 + 300 * 0.5) / 1e6)

    def test_anthropic_writes_for_five_minutes_and_for_an_hour(self) -> None:
        # As converted: 21 tokens beside the cache, 188,086 read of it, 2,051 written, 456 of these for an hour.
        details = {"cached_tokens": 188_086, "cache_write_tokens": 2051, "cache_write_1h_tokens": 456}
        usage = {"prompt_tokens": 190_158, "completion_tokens": 393, "prompt_tokens_details": details}
        by_hand = 21 * 2 + 188_086 * 0.1 + 1595 * 2.5 + 456 * 4 + 393 * 10
        assert bill(usage, SONNET) == pytest.approx(by_hand / 1e6)

    def test_gemini_thoughts_that_only_the_total_holds_are_billed_as_output(self) -> None:
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 620}
        assert bill(usage, Price(input=0.75, output=3.75)) == pytest.approx((100 * 0.75 + 520 * 3.75) / 1e6)

    def test_reasoning_that_is_more_than_the_reply_is_billed_beside_it(self) -> None:
        usage = {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "completion_tokens_details": {"reasoning_tokens": 500},
        }
        assert bill(usage, Price(input=1, output=10)) == pytest.approx((100 + 5200) / 1e6)

    @pytest.mark.parametrize(
        "named",
        [
            {"prompt_cache_hit_tokens": 1000, "prompt_cache_miss_tokens": 200},
            {"cached_tokens": 1000},
            {"cache_read_input_tokens": 1000, "cache_creation_input_tokens": 0},
            {"prompt_tokens_details": {"cached_tokens": 1000}, "prompt_cache_hit_tokens": 1000},
        ],
    )
    def test_what_was_cached_is_read_by_the_names_that_vendors_have_for_it(self, named: dict[str, Any]) -> None:
        usage = {"prompt_tokens": 1200, "completion_tokens": 50, **named}
        price = Price(input=0.3, output=1.2, cached=0.006)
        assert bill(usage, price) == pytest.approx((200 * 0.3 + 1000 * 0.006 + 50 * 1.2) / 1e6)

    def test_a_gateways_count_of_written_tokens_is_read(self) -> None:
        usage = {"prompt_tokens": 1200, "completion_tokens": 50, "cache_creation_input_tokens": 1000}
        assert bill(usage, SONNET) == pytest.approx((200 * 2 + 1000 * 2.5 + 50 * 10) / 1e6)

    def test_openrouters_own_bill_goes_before_any_price(self) -> None:
        usage = {"prompt_tokens": 194, "completion_tokens": 2, "cost": 0.00095, "is_byok": False}
        assert bill(usage, Price(input=1, output=10)) == bill(usage, None) == 0.00095

    def test_with_a_key_of_ones_own_the_vendors_bill_is_added_to_openrouters_fee(self) -> None:
        usage = {"prompt_tokens": 194, "completion_tokens": 2, "cost": 0.95, "is_byok": True}
        assert bill({**usage, "cost_details": {"upstream_inference_cost": 19}}, None) == pytest.approx(19.95)
        by_price = (194 * 1 + 2 * 10) / 1e6
        assert bill(usage, Price(input=1, output=10)) == pytest.approx(by_price), "a fee is not all of it"
        assert bill(usage, None) is None

    @pytest.mark.parametrize("cost", [0, None, "0.5", {"total_cost": 1}, -1, True, float("inf")])
    def test_a_bill_of_nothing_or_nonsense_does_not_stand_against_a_price(self, cost: Any) -> None:
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "cost": cost}
        assert bill(usage, Price(input=1, output=10)) == pytest.approx(200 / 1e6)

    def test_where_no_price_is_known_a_bill_of_nothing_is_one(self) -> None:
        assert bill({"prompt_tokens": 100, "completion_tokens": 10, "cost": 0}, None) == 0
        assert bill({"prompt_tokens": 100, "completion_tokens": 10}, None) is None


class TestSavings:
    def test_reading_saves_what_the_tokens_would_have_cost(self) -> None:
        usage = Usage(10_000, 500, cached_tokens=8000)
        assert prices.compute_saving(SONNET, usage) == pytest.approx(8000 * (2 - 0.1) / 1e6)

    def test_writing_costs_more_than_it_saves(self) -> None:
        usage = Usage(10_000, 500, cache_write_tokens=8000)
        assert prices.compute_saving(SONNET, usage) == pytest.approx(-8000 * 0.5 / 1e6)

    def test_without_a_cache_or_a_price_nothing_is_saved(self) -> None:
        assert prices.compute_saving(SONNET, Usage(10_000, 500)) == 0
        assert prices.compute_saving(None, Usage(10_000, 500, cached_tokens=8000)) == 0


USD = st.floats(0, 1000)
PARTS = {
    "input": USD,
    "output": USD,
    "cached": st.none() | USD,
    "cache_write": st.none() | USD,
    "cache_write_1h": st.none() | USD,
}
PLAIN = st.builds(Price, **PARTS)
TIERS = st.lists(st.tuples(st.integers(1, 10_000), PLAIN), min_size=1, max_size=3, unique_by=lambda tier: tier[0])
TIERED = st.builds(TieredPrice, **PARTS, tiers=TIERS.map(lambda tiers: sorted(tiers, key=lambda tier: tier[0])))
COUNT = st.integers(0, 10_000)


class TestBounds:
    def test_the_bound_is_the_bytes_of_the_prompt_and_max_tokens(self) -> None:
        messages = [{"role": "user", "content": "ä" * 100}]
        prompt = prices.bound_prompt(messages)
        assert prompt == 200 + prices.MESSAGE_TOKENS
        assert prices.bound_tokens(prompt, 50) == prompt + 50
        assert prices.bound_cost(Price(input=1, output=10), prompt, 50) == pytest.approx((prompt + 500) / 1e6)

    def test_without_max_tokens_a_reply_is_bounded_by_what_endpoints_allow(self) -> None:
        assert prices.bound_cost(Price(input=0, output=1), 10, None) == pytest.approx(MOST_TOKENS / 1e6)

    def test_without_a_price_there_is_no_bound(self) -> None:
        assert prices.bound_cost(None, 10, 10) is None

    @given(st.lists(PLAIN | TIERED, min_size=1, max_size=3), *(COUNT for _ in range(6)))
    def test_no_reply_within_its_tokens_costs_more_than_its_bound(
        self, met: list[Price], prompt: int, reply: int, cached: int, write: int, for_an_hour: int, used: int
    ) -> None:
        chance = random.Random(used)
        usage = Usage(
            chance.randint(0, prompt),
            chance.randint(0, reply),
            cached_tokens=cached,
            cache_write_tokens=write,
            cache_write_1h_tokens=for_an_hour,
        )
        at_any_time = prices.bound_cost(prices.find_dearest(met), prompt, reply)
        for price in met:
            cost, most = prices.compute_cost(price, usage), prices.bound_cost(price, prompt, reply)
            assert cost is not None
            assert most is not None
            assert at_any_time is not None
            assert cost <= most * (1 + 1e-12) + 1e-300
            assert most <= at_any_time * (1 + 1e-12) + 1e-300

    def test_a_prompt_that_may_reach_a_tier_is_bounded_by_it_and_by_a_dearer_one_below(self) -> None:
        price = TieredPrice(input=1, output=1, tiers=[(100, Price(input=5, output=0.5))])
        assert prices.bound_cost(price, 101, 0) == pytest.approx(505 / 1e6)
        assert prices.bound_cost(price, 100, 0) == pytest.approx(100 / 1e6)
        assert prices.bound_cost(price, 101, 1000) == pytest.approx(1505 / 1e6)

    def test_a_prompt_is_bounded_as_if_it_were_put_into_a_cache(self) -> None:
        assert prices.bound_cost(SONNET, 1_000_000, 0) == pytest.approx(4)
        assert prices.bound_cost(Price(input=2, output=8, cache_write=2.5), 1_000_000, 0) == pytest.approx(2.5)
