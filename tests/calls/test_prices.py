"""Prices: what is known, what is not, and that no reply costs more than was set aside for it."""

import random
import sys
from subprocess import run

import pytest

from blackbox_kd.calls import prices
from blackbox_kd.models import ModelConfig, Price, openai, scripted, vllm
from blackbox_kd.models.http.parameters import MOST_TOKENS
from blackbox_kd.schema import Usage

OPENAI = "https://api.openai.com/v1"


def config(**fields: object) -> openai.Config:
    return openai.Config.model_validate({"provider": "openai", "model": "gpt-5-mini", **fields})


class TestKnownPrices:
    def test_a_listed_model_has_its_list_price(self) -> None:
        price = prices.find_price(config(), f"{OPENAI} gpt-5-mini")
        assert price is not None
        assert price.output > price.input > (price.cached or 0) > 0

    def test_the_recipes_price_goes_first(self) -> None:
        given = {"input": 0.15, "output": 0.6}
        assert prices.find_price(config(price=given), f"{OPENAI} gpt-5-mini") == Price(input=0.15, output=0.6)

    @pytest.mark.parametrize(
        "endpoint", [f"{OPENAI} no-such-model", "http://127.0.0.1:8000/v1 gpt-5-mini", "https://example.org/v1 gpt-5"]
    )
    def test_what_is_not_listed_is_unknown_and_not_0(self, endpoint: str) -> None:
        assert prices.find_price(config(model=endpoint.split()[1]), endpoint) is None

    def test_a_model_in_this_process_and_ones_own_server_cost_nothing(self) -> None:
        local: list[ModelConfig] = [scripted.Config(provider="scripted"), vllm.Config(provider="vllm", model="m")]
        assert [prices.find_price(each, "http://127.0.0.1:8000/v1") for each in local] == [prices.FREE] * 2

    def test_a_model_in_this_process_may_be_given_a_price(self) -> None:
        priced = scripted.Config(provider="scripted", price=Price(input=1, output=2))
        assert prices.find_price(priced, "scripted") == Price(input=1, output=2)

    def test_every_price_that_is_listed_can_be_read(self) -> None:
        from genai_prices import data_snapshot

        models = [model for provider in data_snapshot.get_snapshot().providers for model in provider.models]
        for model in models:
            listed = [model.prices] if not isinstance(model.prices, list) else [each.prices for each in model.prices]
            for each in listed:
                price = prices._convert(each)
                assert price is None or price.input >= 0

    def test_a_model_sold_without_a_price_for_text_is_unknown(self) -> None:
        assert prices.find_listed("https://openrouter.ai/api/v1", "deepseek/deepseek-r1:free") is None

    def test_looking_a_price_up_opens_no_connection(self) -> None:
        code = (
            "import sys\n"
            "def refuse(event, arguments):\n"
            "    if event in ('socket.connect', 'socket.getaddrinfo'): raise SystemExit(event)\n"
            "sys.addaudithook(refuse)\n"
            "from blackbox_kd.calls import prices\n"
            f"assert prices.find_listed({OPENAI!r}, 'gpt-5-mini')"
        )
        done = run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


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
        assert prices.compute_cost(
            Price(input=2, output=8), Usage(1_000_000, 0, cached_tokens=600_000)
        ) == pytest.approx(2)

    def test_an_unknown_price_or_unknown_tokens_make_an_unknown_cost(self) -> None:
        assert prices.compute_cost(None, Usage(1, 1)) is None
        assert prices.compute_cost(Price(input=1, output=1), None) is None

    def test_a_long_prompt_is_dearer_where_there_are_tiers(self) -> None:
        price = prices.TieredPrice(input=1, output=5, tiers=[(100_000, Price(input=2, output=10))])
        assert prices.compute_cost(price, Usage(100_000, 0)) == pytest.approx(0.1)
        assert prices.compute_cost(price, Usage(100_001, 0)) == pytest.approx(0.200002)


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

    def test_no_reply_costs_more_than_its_bound(self) -> None:
        chance = random.Random(1)
        for _ in range(500):
            price = Price(input=chance.random(), output=chance.random(), cached=chance.choice([None, chance.random()]))
            prompt, reply = chance.randrange(1, 10_000), chance.randrange(1, 10_000)
            usage = Usage(chance.randrange(prompt + 1), chance.randrange(reply + 1), chance.randrange(prompt + 1))
            cost, most = prices.compute_cost(price, usage), prices.bound_cost(price, prompt, reply)
            assert cost is not None
            assert most is not None
            assert cost <= most * (1 + 1e-12)

    def test_a_prompt_that_may_reach_a_tier_is_bounded_by_it(self) -> None:
        price = prices.TieredPrice(input=1, output=1, tiers=[(100, Price(input=5, output=5))])
        assert prices.bound_cost(price, 101, 0) == pytest.approx(505 / 1e6)
