"""Prices over time: what is listed, on dates and hours, in batches, and for which URLs."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import run

import pytest

from blackbox_kd import models
from blackbox_kd.calls import prices, tariff
from blackbox_kd.calls.prices import TieredPrice
from blackbox_kd.models import ModelConfig, Price, openai, scripted, vllm

OPENAI = "https://api.openai.com/v1"
ANTHROPIC = "https://api.anthropic.com"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta"
MISTRAL = "https://api.mistral.ai/v1"
DEEPSEEK = "https://api.deepseek.com"
OPENROUTER = "https://openrouter.ai/api/v1"
TOGETHER = "https://api.together.xyz/v1"
NOVEMBER = datetime(2026, 11, 28, 12, tzinfo=UTC)


def at(time: datetime) -> Callable[[], float]:
    return time.timestamp


def config(**fields: object) -> openai.Config:
    return openai.Config.model_validate({"provider": "openai", "model": "gpt-5-mini", **fields})


def listed(url: str, model: str, time: datetime = NOVEMBER, *, in_batch: bool = False) -> Price:
    found = tariff.find_listed(url, model, in_batch=in_batch, clock=at(time))
    assert found is not None
    return found.now


def parts(price: Price) -> tuple[float, float | None, float]:
    return price.input, price.cached, price.output


class TestKnownPrices:
    def test_a_listed_model_has_its_list_price(self) -> None:
        found = tariff.find(config(), f"{OPENAI} gpt-5-mini", clock=at(NOVEMBER))
        assert found is not None
        assert found.now == Price(input=0.25, output=2, cached=0.025)

    def test_the_recipes_price_goes_first(self) -> None:
        given = {"input": 0.15, "output": 0.6}
        found = tariff.find(config(price=given), f"{OPENAI} gpt-5-mini")
        assert found is not None
        assert (found.now, found.met) == (Price(input=0.15, output=0.6), [Price(input=0.15, output=0.6)])

    @pytest.mark.parametrize(
        ("endpoint", "price", "expected"),
        [
            (f"{ANTHROPIC} claude-sonnet-5-5", {}, (1.25, 2)),
            (f"{OPENAI} gpt-6-luna", {}, (1.25, None)),
            (f"{OPENAI} gpt-5-mini", {}, (None, None)),
            (f"{ANTHROPIC} claude-sonnet-5-5", {"cache_write": 1}, (1, None)),
            ("http://127.0.0.1:8000 claude-sonnet-5-5", {}, (None, None)),
            ("https://example.org/v1 claude-sonnet-5-5", {}, (None, None)),
        ],
    )
    def test_one_that_does_not_say_what_a_write_costs_is_completed_by_the_vendors_own_proportion(
        self, endpoint: str, price: dict[str, float], expected: tuple[float | None, float | None]
    ) -> None:
        given = config(model=endpoint.split()[1], price={"input": 1, "output": 5, **price})
        found = tariff.find(given, endpoint, clock=at(NOVEMBER))
        assert found is not None
        assert (found.now.input, found.now.output, found.now.cached) == (1, 5, None)
        assert (found.now.cache_write, found.now.cache_write_1h) == expected
        assert prices.bound_cost(found.dearest, 10**6, 0) == max(1, *(each or 0 for each in expected))

    @pytest.mark.parametrize(
        "endpoint", [f"{OPENAI} no-such-model", "http://127.0.0.1:8000/v1 gpt-5-mini", "https://example.org/v1 gpt-5"]
    )
    def test_what_is_not_listed_is_unknown_and_not_0(self, endpoint: str) -> None:
        assert tariff.find(config(model=endpoint.split()[1]), endpoint) is None
        assert tariff.find(config(model=endpoint.split()[1]), endpoint, in_batch=True) is None

    def test_a_model_in_this_process_and_ones_own_server_cost_nothing(self) -> None:
        local: list[ModelConfig] = [scripted.Config(provider="scripted"), vllm.Config(provider="vllm", model="m")]
        found = [tariff.find(each, "http://127.0.0.1:8000/v1") for each in local]
        assert [each and each.now for each in found] == [prices.FREE] * 2

    def test_a_model_in_this_process_may_be_given_a_price(self) -> None:
        priced = scripted.Config(provider="scripted", price=Price(input=1, output=2))
        found = tariff.find(priced, "scripted")
        assert found is not None
        assert found.now == Price(input=1, output=2)

    def test_every_price_that_is_listed_can_be_read(self) -> None:
        from genai_prices import data_snapshot

        models = [model for provider in data_snapshot.get_snapshot().providers for model in provider.models]
        for model in models:
            for in_batch in (False, True):
                found = tariff.Listed(model, in_batch=in_batch, is_own=True)
                for _, price in found.follow(NOVEMBER, NOVEMBER + timedelta(days=90)):
                    assert price.input >= 0

    def test_a_model_sold_without_a_price_for_text_is_unknown(self) -> None:
        assert tariff.find_listed(OPENROUTER, "deepseek/deepseek-r1:free") is None

    def test_looking_a_price_up_opens_no_connection(self) -> None:
        code = (
            "import sys\n"
            "def refuse(event, arguments):\n"
            "    if event in ('socket.connect', 'socket.getaddrinfo'): raise SystemExit(event)\n"
            "sys.addaudithook(refuse)\n"
            "from blackbox_kd.calls import tariff\n"
            f"assert tariff.find_listed({OPENAI!r}, 'gpt-5-mini')"
        )
        done = run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


class TestModelsOfToday:
    """By the vendors' price lists of 28 November 2026, USD for a million tokens: in, cached, out."""

    @pytest.mark.parametrize(
        ("url", "model", "expected"),
        [
            (OPENAI, "gpt-6-luna", (0.10, 0.01, 0.50)),
            (OPENAI, "gpt-6.1-terra", (1, 0.05, 5)),
            (OPENAI, "gpt-6.1-sol", (2, 0.10, 10)),
            (OPENAI, "gpt-6-astra", (10, 1, 50)),
            (ANTHROPIC, "claude-haiku-5-5", (0.10, 0.01, 0.50)),
            (ANTHROPIC, "claude-sonnet-5-5", (2, 0.10, 10)),
            (ANTHROPIC, "claude-opus-5-5", (4, 0.20, 20)),
            (ANTHROPIC, "claude-fable-5-2", (8, 0.20, 40)),
            (GOOGLE, "gemini-3.5-flash-lite", (0.30, 0.03, 2.50)),
            (GOOGLE, "gemini-3.8-flash", (0.75, 0.075, 3.75)),
            (GOOGLE, "gemini-4-argon", (2, 0.10, 10)),
            (MISTRAL, "mistral-small-2603", (0.15, 0.015, 0.60)),
            (MISTRAL, "mistral-large-4", (0.70, 0.07, 2.10)),
            (DEEPSEEK, "deepseek-flash", (0.15, 0.003, 0.60)),
            (DEEPSEEK, "deepseek-v4-pro", (0.66, 0.022, 1.98)),
            (OPENROUTER, "openai/gpt-oss-120b", (0.10, None, 0.50)),
            (OPENROUTER, "deepseek/deepseek-v4.1-flash", (0.21, 0.0042, 0.84)),
            (OPENROUTER, "z-ai/glm-5.3-flash", (0.15, 0.03, 0.50)),
            (OPENROUTER, "qwen/qwen3.8-27b", (0.425, 0.085, 2.55)),
            (OPENROUTER, "google/gemma-4-31b-it", (0.15, 0.06, 0.40)),
            (TOGETHER, "openai/gpt-oss-120b", (0.15, None, 0.60)),
            (TOGETHER, "deepseek-ai/DeepSeek-V4.1-Flash", (0.30, 0.006, 1.20)),
            (TOGETHER, "zai-org/GLM-5.3-Flash", (0.15, 0.03, 0.50)),
            ("https://mine.openai.azure.com/openai/v1", "gpt-6-luna", (0.10, 0.01, 0.50)),
            ("https://mine.openai.azure.com/openai/deployments/gpt-6-luna", "gpt-6-luna", (0.10, 0.01, 0.50)),
            ("https://mine.services.ai.azure.com/openai/v1", "gpt-6.1-sol", (2, 0.10, 10)),
        ],
    )
    def test_each_teacher_has_its_price_at_its_url(
        self, url: str, model: str, expected: tuple[float, float | None, float]
    ) -> None:
        assert parts(listed(url, model)) == expected

    @pytest.mark.parametrize(
        ("url", "model", "expected"),
        [
            (ANTHROPIC, "claude-sonnet-5-5", (2.5, 4)),
            (ANTHROPIC, "claude-haiku-5-5", (0.125, 0.2)),
            (OPENAI, "gpt-6.1-sol", (2.5, None)),
            (OPENAI, "gpt-5.6", (5, None)),
            (OPENAI, "gpt-5-mini", (None, None)),
            (GOOGLE, "gemini-3.8-flash", (None, None)),
        ],
    )
    def test_a_write_into_the_cache_costs_a_quarter_more_and_twice_as_much_for_an_hour(
        self, url: str, model: str, expected: tuple[float | None, float | None]
    ) -> None:
        found = listed(url, model)
        assert (found.cache_write, found.cache_write_1h) == expected

    def test_long_prompts_are_dearer_from_the_lists_own_number_of_tokens_on(self) -> None:
        for model in ("gpt-6-luna", "gpt-6.1-sol", "gpt-5.6"):
            found = listed(OPENAI, model)
            assert isinstance(found, TieredPrice)
            [(start, tier)] = found.tiers
            assert start == 272_000
            assert (tier.input / found.input, tier.output / found.output) == (2, 1.5)
            assert (tier.cached, tier.cache_write) == (2 * (found.cached or 0), 2 * (found.cache_write or 0))
        haiku = listed(ANTHROPIC, "claude-haiku-5-5")
        assert isinstance(haiku, TieredPrice)
        [(start, tier)] = haiku.tiers
        assert start == 100_000
        assert parts(tier) == (0.5, 0.05, 2.5)
        assert (tier.cache_write, tier.cache_write_1h) == (0.625, 1)


class TestProviders:
    """What a provider reaches a model at, is what its price is found by."""

    @pytest.mark.parametrize(
        ("provider", "model", "fields", "output"),
        [
            ("openai", "gpt-6.1-terra", {}, 5),
            ("openai", "gpt-6.1-terra", {"api": "responses"}, 5),
            ("openai", "openai/gpt-oss-120b", {"base_url": OPENROUTER}, 0.5),
            ("openai", "deepseek-v4-pro", {"base_url": DEEPSEEK, "key_env": "KEY"}, 3.96),
            ("openai", "zai-org/GLM-5.3-Flash", {"base_url": TOGETHER, "key_env": "KEY"}, 0.5),
            ("anthropic", "claude-sonnet-5-5", {}, 10),
            ("gemini", "gemini-3.5-flash-lite", {}, 2.5),
            ("mistral", "mistral-large-4", {}, 2.1),
            ("azure", "gpt-6.1-sol", {"base_url": "https://mine.openai.azure.com"}, 10),
            ("azure", "gpt-4.1", {"base_url": "https://mine.openai.azure.com", "api_version": "2024-10-21"}, 8),
        ],
    )
    async def test_each_has_a_bound_for_its_models(
        self, provider: str, model: str, fields: dict[str, str], output: float
    ) -> None:
        config = models.provider(provider).Config.model_validate({"provider": provider, "model": model, **fields})
        names = ("KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")
        names += ("GOOGLE_API_KEY", "MISTRAL_API_KEY", "AZURE_OPENAI_API_KEY", "DEEPSEEK_API_KEY", "TOGETHER_API_KEY")
        env = dict.fromkeys(names, "sk-0123456789abcdef0123456789")
        opened = models.provider(provider).open_model(config, models.Setup("teacher", Path(), Path(), env))
        found = tariff.find(config, opened.endpoint, clock=at(NOVEMBER))
        await opened.close()
        assert found is not None
        assert found.dearest.output == output


class TestTime:
    @pytest.mark.parametrize(
        ("model", "day", "before", "after"),
        [
            ("gemini-4-argon", datetime(2026, 12, 1, tzinfo=UTC), (2, 0.10, 10), (4, 0.20, 20)),
            ("gemini-3.8-flash", datetime(2027, 1, 1, tzinfo=UTC), (0.75, 0.075, 3.75), (1.5, 0.15, 7.5)),
        ],
    )
    def test_a_price_that_changes_on_a_date_is_another_one_from_its_first_second_on(
        self, model: str, day: datetime, before: tuple[float, ...], after: tuple[float, ...]
    ) -> None:
        assert parts(listed(GOOGLE, model, day - timedelta(seconds=1))) == before
        assert parts(listed(GOOGLE, model, day)) == after

    @pytest.mark.parametrize(
        ("hour", "expected"), [(0, 0.6), (1, 1.2), (3, 1.2), (4, 0.6), (6, 1.2), (9, 1.2), (10, 0.6), (23, 0.6)]
    )
    def test_deepseek_is_dearer_at_peak_hours(self, hour: int, expected: float) -> None:
        assert listed(DEEPSEEK, "deepseek-flash", NOVEMBER.replace(hour=hour)).output == expected

    def test_one_tariff_follows_the_clock_through_a_run(self) -> None:
        now = [datetime(2026, 11, 30, 23, 59, 58, tzinfo=UTC)]
        found = tariff.find_listed(GOOGLE, "gemini-4-argon", clock=lambda: now[0].timestamp())
        assert found is not None
        seen = []
        for _ in range(4):
            seen.append(found.now.output)
            now[0] += timedelta(seconds=1)
        assert seen == [10, 10, 20, 20]

    def test_a_bound_has_the_dearest_that_a_call_may_be_billed_with(self) -> None:
        soon = tariff.find_listed(GOOGLE, "gemini-4-argon", clock=at(datetime(2026, 11, 30, tzinfo=UTC)))
        early = tariff.find_listed(GOOGLE, "gemini-4-argon", clock=at(datetime(2026, 11, 25, tzinfo=UTC)))
        assert soon is not None
        assert early is not None
        assert (soon.now.output, soon.dearest.output, early.dearest.output) == (10, 20, 10)
        assert [price.output for price in soon.met] == [10, 20]

    def test_a_bound_is_looked_up_anew_before_a_dearer_price_comes_near(self) -> None:
        now = [datetime(2026, 11, 25, tzinfo=UTC)]
        found = tariff.find_listed(GOOGLE, "gemini-4-argon", clock=lambda: now[0].timestamp())
        assert found is not None
        while now[0] < datetime(2026, 12, 2, tzinfo=UTC):
            billed_within_a_day = listed(GOOGLE, "gemini-4-argon", now[0] + timedelta(hours=24))
            assert found.dearest.output >= billed_within_a_day.output
            now[0] += timedelta(minutes=37)
        assert found.now.output == 20

    def test_every_dated_price_of_the_list_is_covered_by_its_bound_for_a_day(self) -> None:
        from genai_prices import data_snapshot

        models = [model for provider in data_snapshot.get_snapshot().providers for model in provider.models]
        for model in (each for each in models if isinstance(each.prices, list)):
            over_time = tariff.Listed(model, in_batch=False, is_own=True)
            start = over_time.find_price(NOVEMBER)
            if start is None:
                continue
            found = tariff.Tariff(start, over_time, at(NOVEMBER))
            for hours in range(25):
                price = over_time.find_price(NOVEMBER + timedelta(hours=hours))
                assert price is not None
                bounds = prices.bound_cost(found.dearest, 10**6, 10**6), prices.bound_cost(price, 10**6, 10**6)
                assert (bounds[0] or 0) >= (bounds[1] or 0)


class TestBatches:
    @pytest.mark.parametrize(
        ("url", "model", "expected"),
        [
            (OPENAI, "gpt-6.1-sol", (1, 0.05, 5)),
            (ANTHROPIC, "claude-opus-5-5", (2, 0.10, 10)),
            (MISTRAL, "mistral-large-4", (0.35, 0.035, 1.05)),
            (GOOGLE, "gemini-3.8-flash", (0.375, 0.0375, 1.875)),
        ],
    )
    def test_all_parts_are_half_of_the_ordinary_ones(
        self, url: str, model: str, expected: tuple[float, float, float]
    ) -> None:
        assert parts(listed(url, model, in_batch=True)) == expected

    def test_writes_into_the_cache_are_too(self) -> None:
        found = listed(ANTHROPIC, "claude-opus-5-5", in_batch=True)
        assert (found.cache_write, found.cache_write_1h) == (2.5, 4)

    @pytest.mark.parametrize(
        ("model", "expected"),
        [("gemini-3.5-flash-lite", (0.15, 0.02, 1.25)), ("gemini-2.5-flash", (0.15, 0.03, 1.25))],
    )
    def test_where_the_list_has_another_price_for_cached_tokens_it_holds(
        self, model: str, expected: tuple[float, float, float]
    ) -> None:
        assert parts(listed(GOOGLE, model, in_batch=True)) == expected

    def test_a_price_in_a_batch_changes_on_the_same_date(self) -> None:
        assert listed(GOOGLE, "gemini-4-argon", datetime(2026, 12, 1, tzinfo=UTC), in_batch=True).output == 10
        assert listed(GOOGLE, "gemini-4-argon", datetime(2026, 11, 30, tzinfo=UTC), in_batch=True).output == 5

    def test_one_whose_batches_are_not_listed_is_taken_to_cost_half(self) -> None:
        azure = "https://mine.openai.azure.com/openai/v1"
        assert parts(listed(azure, "gpt-6.1-sol", in_batch=True)) == (1, 0.05, 5)
        assert parts(listed(DEEPSEEK, "deepseek-flash", in_batch=True)) == (0.075, 0.0015, 0.3)

    def test_a_long_prompt_is_dearer_there_too(self) -> None:
        found = listed(OPENAI, "gpt-6-luna", in_batch=True)
        assert prices.bound_cost(found, 272_000, 0) == pytest.approx(272_000 * 0.0625 / 1e6)
        assert prices.bound_cost(found, 272_001, 0) == pytest.approx(272_001 * 0.125 / 1e6)

    def test_all_parts_of_a_recipes_price_are_halved(self) -> None:
        dear = Price(input=4, output=16, cached=2, cache_write=6, cache_write_1h=8)
        tiered = TieredPrice(input=2, output=8, cached=0, tiers=[(1000, dear)])
        found = tariff.find(config(price=tiered), "", in_batch=True)
        assert found is not None
        assert isinstance(found.now, TieredPrice)
        assert parts(found.now) == (1, 0, 4)
        assert found.now.cache_write is None
        assert found.now.tiers == [(1000, Price(input=2, output=8, cached=1, cache_write=3, cache_write_1h=4))]
        plain = tariff.find_paid(config(price={"input": 1, "output": 2}, batch=True), "")
        assert plain is not None
        assert plain.now == Price(input=0.5, output=1)
