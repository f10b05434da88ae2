"""What endpoints' caches do to a run: who goes first, what is set aside for it, and what it has saved."""

import asyncio
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from blackbox_kd.calls.budget import Budget
from blackbox_kd.calls.caller import Caller
from blackbox_kd.calls.transport import DirectTransport
from blackbox_kd.calls.warm_up import FAILURES, IN_VAIN, KEPT_S, LONG_CHARS, LONGEST_WAIT_S, WarmUp, has_costly_writes
from blackbox_kd.errors import BudgetReached
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.models import Price, Setup, anthropic
from blackbox_kd.schema import Ask, Message, Reply, Row, Sampling, Usage
from tests.calls.test_reservations import Desk, opened
from tests.support.teachers.anthropic import FakeAnthropic
from tests.support.virtual_time import run

COSTLY = {"input": 100, "output": 0, "cached": 10, "cache_write": 125, "cache_write_1h": 200}
SYSTEM = "You solve tasks like these. " * 200
SAMPLING = Sampling(0.7, max_tokens=64)


async def ask(desk: Desk, model: str, row: str, system: str = SYSTEM, **fields: Any) -> Reply[Any]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": f"And {row}?"}]
    asked: Ask[str] = Ask(messages, SAMPLING, Row(id=row))
    return await desk.caller.ask(desk.model(model, **fields), asked, name="teacher")


async def ask_many(desk: Desk, model: str, rows: int, **fields: Any) -> list[Reply[Any] | BaseException]:
    asking = (ask(desk, model, f"r{number}", **fields) for number in range(rows))
    return await asyncio.gather(*asking, return_exceptions=True)


class TestWithAServer:
    async def test_of_rows_that_share_a_prefix_one_pays_for_the_write(self, tmp_path: Path) -> None:
        async with opened(tmp_path, Budget()) as desk:
            await ask_many(desk, "caches", 40, price=COSTLY, max_concurrency=64)
            entry = desk.caller.summary()[0]
            size = len(SYSTEM) + len("And r0?")
            assert entry["cache_write_tokens"] == pytest.approx(size, abs=1)
            assert entry["cached_tokens"] == entry["prompt_tokens"] - entry["cache_write_tokens"]
            saved = entry["cached_tokens"] * 90 - entry["cache_write_tokens"] * 25
            assert entry["cache_saved_usd"] == pytest.approx(saved / 1e6)
            assert entry["cost_usd"] + entry["cache_saved_usd"] == pytest.approx(entry["prompt_tokens"] * 100 / 1e6)

    async def test_without_a_price_for_writes_nobody_waits(self, tmp_path: Path) -> None:
        async with opened(tmp_path, Budget()) as desk:
            price = {"input": 100, "output": 0, "cached": 10}
            await ask_many(desk, "caches", 16, price=price, max_concurrency=64)
            assert desk.caller.summary()[0]["cache_write_tokens"] > 10 * len(SYSTEM)

    async def test_a_budget_holds_where_every_prompt_is_written_for_an_hour(self, tmp_path: Path) -> None:
        async with opened(tmp_path, Budget(usd=20.0)) as desk:
            found = await ask_many(desk, "writes", 60, price=COSTLY)
            assert any(isinstance(each, BudgetReached) for each in found)
            spent = desk.ledger.count_spent().usd
            assert 18 < spent <= 20
            assert desk.caller.summary()[0]["beyond"] == 0, "that was foreseen"
            paid = [each.cost_usd for each in found if isinstance(each, Reply)]
            assert paid[0] == pytest.approx((len(SYSTEM) + len("And r0?")) * 200 / 1e6)


@dataclass
class Came:
    usage: Usage | None


CACHED = Came(Usage(2000, 10, cached_tokens=1900))
WRITTEN = Came(Usage(2000, 10, cache_write_tokens=1900))
UNCACHED = Came(Usage(2000, 10))


class Endpoint:
    """Replies after a second; notes when requests were sent, counted from the first."""

    def __init__(self, came: Came = WRITTEN, *, fails: int = 0, first_s: float = 1.0) -> None:
        self.came, self.fails, self.first_s = came, fails, first_s
        self.sent: list[float] = []

    async def buy(self) -> Came:
        loop = asyncio.get_running_loop()
        self.sent.append(loop.time() - 1000.0)
        number = len(self.sent)
        await asyncio.sleep(self.first_s if number == 1 else 1.0)
        if number <= self.fails:
            raise RuntimeError("500")
        return self.came


def messages_of(prefix: str, row: int) -> list[Message]:
    return [{"role": "system", "content": prefix * LONG_CHARS}, {"role": "user", "content": str(row)}]


def sent_at(endpoint: Endpoint, prefixes: str) -> list[float]:
    """When each of some requests went out that were made at once; a letter is what a prompt begins with."""

    async def main() -> None:
        warm_up = WarmUp()
        asking = (warm_up.buy(messages_of(letter, row), endpoint.buy) for row, letter in enumerate(prefixes))
        await asyncio.gather(*asking, return_exceptions=True)

    run(main())
    return endpoint.sent


class TestWhoGoesFirst:
    def test_the_first_of_a_prefix_goes_alone_and_all_others_together_after_it(self) -> None:
        assert sent_at(Endpoint(), "aaaa") == [0, 1, 1, 1]

    def test_prefixes_do_not_wait_for_each_other(self) -> None:
        assert sent_at(Endpoint(), "abcab") == [0, 0, 0, 1, 1]

    def test_rows_that_all_begin_in_another_way_all_go_at_once(self) -> None:
        assert sent_at(Endpoint(), "abcdefgh") == [0] * 8

    def test_where_the_first_one_fails_the_next_one_goes(self) -> None:
        assert sent_at(Endpoint(fails=1), "aaaa") == [0, 1, 2, 2]

    def test_after_some_failures_nobody_waits_any_more(self) -> None:
        assert sent_at(Endpoint(fails=100), "a" * 10) == [0, 1, 2, *[FAILURES] * 7]

    def test_a_slow_one_is_not_waited_for_for_ever(self) -> None:
        assert sent_at(Endpoint(first_s=10_000), "aaa") == [0, LONGEST_WAIT_S, LONGEST_WAIT_S]

    def test_once_a_slow_one_was_given_up_and_another_has_come_nobody_waits_for_it(self) -> None:
        async def main() -> list[float]:
            endpoint, warm_up = Endpoint(first_s=10_000), WarmUp()
            tasks = []
            for pause_s in (0, LONGEST_WAIT_S - 10, 10, 20):
                tasks.append(asyncio.ensure_future(warm_up.buy(messages_of("a", len(tasks)), endpoint.buy)))
                await asyncio.sleep(pause_s)
            await asyncio.gather(*tasks)
            return endpoint.sent

        given_up = LONGEST_WAIT_S
        assert run(main()) == [0, given_up, given_up + 1, given_up + 1]

    def test_who_is_cancelled_lets_the_next_one_go(self) -> None:
        async def main() -> list[float]:
            endpoint, warm_up = Endpoint(), WarmUp()
            first, *others = (asyncio.ensure_future(warm_up.buy(messages_of("a", n), endpoint.buy)) for n in range(4))
            await asyncio.sleep(0.5)
            first.cancel()
            await asyncio.gather(first, *others, return_exceptions=True)
            return endpoint.sent

        assert run(main()) == [0, 0.5, 1.5, 1.5]

    def test_a_cancelled_one_that_waits_stops_nobody(self) -> None:
        async def main() -> list[float]:
            endpoint, warm_up = Endpoint(), WarmUp()
            tasks = [asyncio.ensure_future(warm_up.buy(messages_of("a", n), endpoint.buy)) for n in range(4)]
            await asyncio.sleep(0.5)
            tasks[1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return endpoint.sent

        assert run(main()) == [0, 1, 1]

    def test_after_a_long_pause_one_goes_first_again(self) -> None:
        async def main() -> list[float]:
            endpoint, warm_up = Endpoint(CACHED), WarmUp()
            for pause_s in (0.0, KEPT_S - 2, KEPT_S + 1):
                await asyncio.sleep(pause_s)
                await asyncio.gather(*(warm_up.buy(messages_of("a", n), endpoint.buy) for n in range(3)))
            return endpoint.sent

        found = run(main())
        gaps = [round(later - sooner, 3) for sooner, later in pairwise(found)]
        assert gaps == [1, 0, KEPT_S - 1, 0, 0, KEPT_S + 2, 1, 0]

    @pytest.mark.parametrize(("came", "firsts"), [(UNCACHED, IN_VAIN), (WRITTEN, 6), (Came(None), 6)])
    def test_an_endpoint_that_caches_nothing_is_not_waited_for_after_a_few_prefixes(
        self, came: Came, firsts: int
    ) -> None:
        async def main() -> int:
            endpoint, warm_up, alone = Endpoint(came), WarmUp(), 0
            for letter in "abcdef":
                before = len(endpoint.sent)
                await asyncio.gather(*(warm_up.buy(messages_of(letter, n), endpoint.buy) for n in range(3)))
                alone += endpoint.sent[before] != endpoint.sent[before + 1]
            return alone

        assert run(main()) == firsts

    def test_short_prompts_never_wait(self) -> None:
        async def main() -> list[float]:
            endpoint, warm_up = Endpoint(), WarmUp()
            short = [{"role": "user", "content": "a" * (LONG_CHARS - 100)}]
            await asyncio.gather(*(warm_up.buy(short, endpoint.buy) for _ in range(3)))
            return endpoint.sent

        assert run(main()) == [0, 0, 0]

    def test_a_model_that_caches_less_or_more_is_waited_for_from_there_on(self) -> None:
        async def main() -> list[float]:
            few, many = Endpoint(), Endpoint()
            calls = [(WarmUp(700), few), (WarmUp(4096), many)]
            prompts = [[{"role": "user", "content": "a" * 3000 + str(row)}] for row in range(2)]
            for warm_up, endpoint in calls:
                await asyncio.gather(*(warm_up.buy(prompt, endpoint.buy) for prompt in prompts))
            return [sent[1] - sent[0] for sent in (few.sent, many.sent)]

        assert run(main()) == [1, 0]

    def test_a_long_text_that_all_begin_with_need_not_be_a_message_of_its_own(self) -> None:
        async def main() -> list[float]:
            endpoint, warm_up = Endpoint(), WarmUp()
            prompts = [[{"role": "user", "content": "a" * LONG_CHARS + str(row)}] for row in range(3)]
            await asyncio.gather(*(warm_up.buy(prompt, endpoint.buy) for prompt in prompts))
            return endpoint.sent

        assert run(main()) == [0, 1, 1]


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (None, False),
        (Price(input=1, output=1), False),
        (Price(input=1, output=1, cached=0.1), False),
        (Price(input=1, output=1, cached=0.1, cache_write=1), False),
        (Price(input=1, output=1, cached=1, cache_write=1.25), False),
        (Price(input=1, output=1, cache_write=1.25), False),
        (Price(input=1, output=1, cached=0.1, cache_write=1.25), True),
    ],
)
def test_only_writes_that_cost_more_than_a_prompt_are_worth_waiting_for(price: Price | None, expected: bool) -> None:
    assert has_costly_writes(price) is expected


class SlowClaude(FakeAnthropic):
    """Keeps what is marked only once it has answered, as Claude does, and takes its time."""

    async def _create(self, request: web.Request) -> web.StreamResponse:
        before = set(self._kept)
        answer = await super()._create(request)
        new = self._kept - before
        self._kept -= new
        await asyncio.sleep(0.2)
        self._kept |= new
        return answer


async def test_claude_is_asked_for_one_row_before_the_others_that_share_its_examples(tmp_path: Path) -> None:
    async with SlowClaude() as server:
        values = {"provider": "anthropic", "model": "claude-sonnet-5-5", "base_url": server.url, "price": COSTLY}
        values |= {"key_env": "KEY"}
        model = anthropic.open_model(
            anthropic.Config.model_validate(values), Setup("t", Path(), Path(), {"KEY": "k" * 20})
        )
        with Ledger.open(tmp_path / "ledger.sqlite", run="test") as ledger:
            caller = Caller(DirectTransport(ledger, Budget(usd=10)))
            shown = [{"role": "user", "content": "What is 1?"}, {"role": "assistant", "content": "It is 1."}]

            async def ask_row(row: int) -> Reply[Any]:
                question = {"role": "user", "content": f"What is {row}?"}
                messages = [{"role": "system", "content": SYSTEM}, *shown, question]
                asked: Ask[str] = Ask(messages, Sampling(max_tokens=64), Row(id=str(row)))
                return await caller.ask(model, asked, name="teacher")

            replies = await asyncio.gather(*map(ask_row, range(30)))
            await model.close()
            entry = caller.summary()[0]
            written = [reply.usage.cache_write_tokens for reply in replies]
            assert [count > 0 for count in written] == [True] + [False] * 29
            assert entry["cached_tokens"] == 29 * written[0]
            assert entry["cache_saved_usd"] == pytest.approx(written[0] * (29 * 90 - 25) / 1e6)
            assert ledger.count_spent().usd == pytest.approx(entry["cost_usd"])
