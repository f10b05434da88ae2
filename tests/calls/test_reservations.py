"""What is sent and set aside under a budget, against endpoints that bill more than they are asked for, or take less."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.calls.budget import Budget
from blackbox_kd.calls.call import make_call
from blackbox_kd.calls.caller import Caller
from blackbox_kd.calls.transport import DirectTransport
from blackbox_kd.errors import BudgetReached, EndpointRefused, RequestRejected
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.models import Model, Setup, openai
from blackbox_kd.models.http.parameters import MOST_TOKENS
from blackbox_kd.schema import Ask, Reply, Row, Sampling
from tests.support.fake_quirks import QuirkyServer

PRICE = {"input": 0, "output": 100}
"""A dollar for ten thousand tokens."""
FREE = Sampling(0.7)
SHORT = Sampling(0.7, max_tokens=1000)
IN_FLIGHT = 16
QUESTION = "What is it that we are looking for here?"


class Desk:
    """A caller with its ledger, its budget and its server."""

    def __init__(self, server: QuirkyServer, path: Path, budget: Budget) -> None:
        self.server = server
        self.ledger = Ledger.open(path / "ledger.sqlite", run="test")
        self.use(budget)
        self._open: dict[str, Model] = {}

    def use(self, budget: Budget) -> None:
        self.budget = budget
        self.caller = Caller(DirectTransport(self.ledger, budget))

    def model(self, name: str, **fields: Any) -> Model:
        values = {"provider": "openai", "model": name, "base_url": self.server.url, "price": PRICE, **fields}
        values.setdefault("max_concurrency", IN_FLIGHT)
        config = openai.Config.model_validate(values)
        if name not in self._open:
            self._open[name] = openai.open_model(config, Setup("teacher", Path(), Path(), {}))
        return self._open[name]

    async def ask(self, name: str, row: str = "r1", sampling: Sampling = FREE, text: str = QUESTION) -> Reply[Any]:
        ask: Ask[str] = Ask([{"role": "user", "content": text}], sampling, Row(id=row))
        return await self.caller.ask(self.model(name), ask, name="teacher")

    async def ask_many(self, name: str, rows: int, sampling: Sampling = FREE) -> list[Reply | BaseException]:
        asking = (self.ask(name, f"r{number}", sampling) for number in range(rows))
        return await asyncio.gather(*asking, return_exceptions=True)

    async def close(self) -> None:
        for model in self._open.values():
            await model.close()
        self.ledger.close()


@asynccontextmanager
async def opened(path: Path, budget: Budget) -> AsyncIterator[Desk]:
    async with QuirkyServer() as server:
        desk = Desk(server, path, budget)
        try:
            yield desk
        finally:
            await desk.close()


class TestCaps:
    @pytest.mark.parametrize("budget", [Budget(usd=100.0), Budget(tokens=10**6)])
    async def test_under_a_budget_a_request_is_sent_with_max_tokens(self, tmp_path: Path, budget: Budget) -> None:
        async with opened(tmp_path, budget) as desk:
            await desk.ask("good")
            assert desk.server.bodies[0]["max_tokens"] == MOST_TOKENS
            await desk.ask("good", "r2", SHORT)
            assert desk.server.bodies[1]["max_tokens"] == 1000

    async def test_a_model_whose_limit_is_known_is_asked_with_it(self, tmp_path: Path) -> None:
        async with opened(tmp_path, Budget(tokens=10**6)) as desk:
            transport = DirectTransport(desk.ledger, Budget(tokens=10**6))
            names = ["gpt-4-turbo", "vendor/gpt-4.1-2025-04-14", "good"]
            assert [transport.open(desk.model(name), name).cap for name in names] == [4096, 32_768, 16_384]

    @pytest.mark.parametrize("budget", [Budget(), Budget(requests=10)])
    async def test_without_one_its_body_stays_as_it_was(self, tmp_path: Path, budget: Budget) -> None:
        async with opened(tmp_path, budget) as desk:
            await desk.ask("good")
            assert "max_tokens" not in desk.server.bodies[0]

    async def test_the_cap_is_no_part_of_the_question(self, tmp_path: Path) -> None:
        async with opened(tmp_path, Budget(usd=100.0)) as desk:
            await desk.ask("good")
            assert "max_tokens" not in desk.ledger._file._read("SELECT wire FROM replies")[0][0]
            for budget in (Budget(), Budget(usd=7.0), Budget(requests=0), Budget(tokens=0)):
                desk.use(budget)
                assert (await desk.ask("good")).replayed
            assert desk.server.asked["good"] == 1

    async def test_nor_does_it_depend_on_how_large_the_budget_is(self, tmp_path: Path) -> None:
        async with opened(tmp_path, Budget(usd=2.0)) as desk:
            await desk.ask("good")
            desk.use(Budget(usd=2000.0))
            await desk.ask("good", "r2")
            assert [body["max_tokens"] for body in desk.server.bodies] == [MOST_TOKENS] * 2

    async def test_a_model_that_takes_less_is_asked_with_what_it_takes(self, tmp_path: Path) -> None:
        async with opened(tmp_path, Budget(usd=100.0)) as desk:
            first = await desk.ask("small:4096")
            await desk.ask("small:4096", "r2")
            assert [body["max_tokens"] for body in desk.server.bodies] == [16_384, 4096, 4096]
            assert not first.replayed
            assert desk.caller.summary()[0]["faults"] == {"rejected": 1}

    async def test_what_a_step_asks_for_is_not_changed(self, tmp_path: Path) -> None:
        async with opened(tmp_path, Budget(usd=100.0)) as desk:
            with pytest.raises(RequestRejected, match="supports at most 512"):
                await desk.ask("small:512", sampling=SHORT)
            assert desk.server.asked["small:512"] == 1

    async def test_a_rejection_for_another_reason_is_one(self, tmp_path: Path) -> None:
        async with opened(tmp_path, Budget(usd=100.0)) as desk:
            with pytest.raises(EndpointRefused, match="Unsupported value: 'temperature'"):
                await desk.ask("notemp")
            assert desk.server.asked["notemp"] == 1

    @pytest.mark.parametrize(
        ("said", "cap"),
        [
            ("maximum context length is 8192 tokens and your request has 116 input tokens (16384 > 8192 - 116)", 8076),
            ("maximum context length is 8192 tokens. However, you requested 16500 tokens (116 in the messages)", 8076),
            ("max_tokens must be less than or equal to `8192`", 8192),
            ("max_tokens: 16384 > 4096, which is the maximum allowed number of output tokens", 8192),
            ("own: max_completion_tokens is too large: supports at most 2,048 completion tokens", 2048),
        ],
    )
    async def test_a_lower_cap_is_read_out_of_the_refusal_or_half_of_it_tried(
        self, tmp_path: Path, said: str, cap: int
    ) -> None:
        async with opened(tmp_path, Budget(usd=100.0)) as desk:
            await desk.ask("good")
            asked = desk.caller._states["teacher"]
            call = make_call(asked, Ask([{"role": "user", "content": QUESTION}], FREE, Row(id="r1")), 0, 0)
            assert call.lower_cap(RequestRejected("400", kind="rejected", said=said))
            assert call.request.cap == cap
            refusal = RequestRejected("400", kind="rejected", said="max_tokens is too large")
            for _ in range(10):
                call.lower_cap(refusal)
            assert not call.lower_cap(refusal), "it has an end"


class TestOverruns:
    """An endpoint that bills 30,000 tokens, which are three dollars, where 16,384 or 1,000 were the most."""

    async def spend(self, desk: Desk, sampling: Sampling) -> float:
        outcomes = await desk.ask_many("overbill:30000", 200, sampling)
        assert any(isinstance(each, BudgetReached) for each in outcomes)
        return desk.ledger.count_spent().usd

    @pytest.mark.parametrize("sampling", [FREE, SHORT])
    async def test_a_budget_is_passed_by_calls_in_flight_at_the_first_one_at_most(
        self, tmp_path: Path, sampling: Sampling
    ) -> None:
        limit, cost = 40.0, 3.0
        beyond = cost - (sampling.max_tokens or MOST_TOKENS) / 10_000
        async with opened(tmp_path, Budget(usd=limit)) as desk:
            spent = await self.spend(desk, sampling)
            assert limit - cost < spent <= limit + IN_FLIGHT * beyond

    async def test_once_it_is_known_nothing_more_passes_the_budget(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with opened(tmp_path, Budget(usd=40.0)) as desk:
            with caplog.at_level(logging.WARNING):
                await desk.ask("overbill:30000", "first")
                assert 37 < await self.spend(desk, FREE) <= 40
            [said] = [record.getMessage() for record in caplog.records]
            assert "model 'teacher': the endpoint bills more than it was asked for" in said
            assert "30,000 completion tokens" in said
            entry = desk.caller.summary()[0]
            assert (entry["beyond"], entry["beyond_tokens"]) == (13, 13 * (30_000 - 16_384))

    async def test_replies_of_an_earlier_run_tell_it_too(self, tmp_path: Path) -> None:
        async with opened(tmp_path, Budget()) as desk:
            await desk.ask("overbill:30000", "r0")
            assert desk.caller.summary()[0]["beyond"] == 0, "nothing was promised without a budget"
            desk.use(Budget(usd=40.0, spent=desk.ledger.count_spent()))
            await desk.ask("overbill:30000", "r0")
            assert 37 < await self.spend(desk, FREE) <= 40

    async def test_a_limit_on_tokens_holds_likewise(self, tmp_path: Path) -> None:
        async with opened(tmp_path, Budget(tokens=400_000)) as desk:
            await desk.ask("overbill:30000", "first")
            await desk.ask_many("overbill:30000", 200)
            assert 400_000 - 35_000 < desk.ledger.count_spent().tokens <= 400_000

    async def test_one_model_says_nothing_of_another(self, tmp_path: Path) -> None:
        async with opened(tmp_path, Budget(usd=100.0)) as desk:
            await desk.ask("overbill:30000")
            ask: Ask[str] = Ask([{"role": "user", "content": QUESTION}], FREE, Row(id="r1"))
            await desk.caller.ask(desk.model("good"), ask, name="other")
            beyond = {name: asked.beyond[1] for name, asked in desk.caller._states.items()}
            assert beyond == {"teacher": 30_000 - 16_384, "other": 0}

    async def test_own_a_prompt_that_is_billed_for_more_than_it_is_counts_too(self, tmp_path: Path) -> None:
        async with opened(tmp_path, Budget(tokens=10**6)) as desk:
            await desk.ask("good", text="?")
            asked = desk.caller._states["teacher"]
            assert asked.beyond == (40 - 17, 0)
            assert desk.caller.summary()[0]["beyond"] == 0, "the reply took far less than it could have"


class TestBills:
    """An endpoint that says what it bills: two dollars a call, where 1,000 tokens of a reply cost ten cents at most."""

    async def test_what_it_says_counts_and_later_calls_have_as_much_set_aside(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with opened(tmp_path, Budget(usd=401.0)) as desk:
            with caplog.at_level(logging.WARNING):
                first = await desk.ask("bills:2", "first", SHORT)
                found = await desk.ask_many("bills:2", 200, SHORT)
            assert first.cost_usd == 2
            assert any(isinstance(each, BudgetReached) for each in found)
            spent = desk.ledger.count_spent().usd
            times = 2 / (30 * 100 / 1e6)
            assert 401 - times * 0.1 < spent <= 401
            [said] = [record.getMessage() for record in caplog.records]
            assert f"the endpoint bills {times:.3g} times the price that is known of it" in said

    async def test_a_budget_is_passed_by_calls_in_flight_at_the_first_one_at_most(self, tmp_path: Path) -> None:
        async with opened(tmp_path, Budget(usd=200.0)) as desk:
            await desk.ask_many("bills:2", 300, SHORT)
            assert desk.ledger.count_spent().usd <= 200 + IN_FLIGHT * 2

    async def test_less_than_the_price_that_is_known_changes_nothing_else(self, tmp_path: Path) -> None:
        async with opened(tmp_path, Budget(usd=1.0)) as desk:
            found = await desk.ask_many("bills:0.001", 100, SHORT)
            assert all(isinstance(each, Reply) and each.cost_usd == 0.001 for each in found)
            assert desk.ledger.count_spent().usd == pytest.approx(0.1)
            assert desk.caller._states["teacher"].markup == 1


class TestPrompts:
    LONG = "It is a long story that has been told often before. " * 20

    async def test_a_prompt_of_which_far_too_few_tokens_are_counted_is_told_once_and_counted(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with opened(tmp_path, Budget()) as desk:
            with caplog.at_level(logging.WARNING):
                for row in ("r1", "r2", "r1"):
                    await desk.ask("cutprompt", row, text=self.LONG)
            [said] = [record.getMessage() for record in caplog.records]
            assert "the endpoint counts 10 tokens in a prompt of 1,040 bytes: it may have cut the prompt" in said
            assert desk.caller.summary()[0]["short_prompts"] == 2

    @pytest.mark.parametrize(("name", "text"), [("good", LONG[:300]), ("cutprompt", "short"), ("nousage", LONG)])
    async def test_others_are_not(self, tmp_path: Path, name: str, text: str) -> None:
        async with opened(tmp_path, Budget()) as desk:
            await desk.ask(name, text=text)
            assert desk.caller.summary()[0]["short_prompts"] == 0
