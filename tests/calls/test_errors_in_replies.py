"""The caller against an endpoint that sends its errors with status 200, and ends its replies in odd words."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.calls.budget import Budget
from blackbox_kd.calls.caller import Caller
from blackbox_kd.calls.transport import DirectTransport
from blackbox_kd.errors import CallError, EndpointRefused, QuotaSpent, ReplyFault, RequestRejected, ServerFault
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.models import Setup, openai
from blackbox_kd.schema import Ask, Reply, Row, Sampling
from tests.support.fake_quirks import GOOD, QuirkyServer

WARM = Sampling(0.7, max_tokens=64)


class Desk:
    """A caller of one model with its ledger."""

    def __init__(self, server: QuirkyServer, path: Path, name: str) -> None:
        self.server, self.name = server, name
        price = {"input": 1, "output": 10}
        values = {"provider": "openai", "model": name, "base_url": server.url, "price": price, "max_concurrency": 16}
        config = openai.Config.model_validate(values)
        self.model = openai.open_model(config, Setup("teacher", Path(), Path(), {}))
        self.ledger = Ledger.open(path / "ledger.sqlite", run="test")
        self.caller = Caller(DirectTransport(self.ledger, Budget(usd=1.0)))

    async def ask(self, row: str = "r1", sampling: Sampling = WARM) -> Reply[Any]:
        ask: Ask[str] = Ask(
            [{"role": "user", "content": "What is it that we are looking for here?"}], sampling, Row(id=row)
        )
        return await self.caller.ask(self.model, ask, name="teacher")

    async def ask_many(self, rows: int) -> list[Reply | BaseException]:
        return await asyncio.gather(*(self.ask(f"r{number}") for number in range(rows)), return_exceptions=True)

    def counts(self) -> dict[str, Any]:
        return self.caller.summary()[0]

    def booked(self) -> tuple[int, float, int]:
        """Replies, dollars that they cost, calls that may have cost something."""
        spent = self.ledger.count_spent(lost=True)
        return spent.requests, spent.usd + spent.doubtful_usd, spent.doubtful


@asynccontextmanager
async def opened(path: Path, name: str) -> AsyncIterator[Desk]:
    async with QuirkyServer() as server:
        desk = Desk(server, path, name)
        try:
            yield desk
        finally:
            await desk.model.close()
            desk.ledger.close()


class TestErrorsInPlaceOfReplies:
    async def test_a_rate_limit_is_waited_for_and_costs_nothing(self, tmp_path: Path) -> None:
        async with opened(tmp_path, "err200-429") as desk:
            assert (await desk.ask()).text == GOOD
            assert desk.counts()["faults"] == {"rate_limit": 1}
            assert desk.booked() == (1, pytest.approx(340e-6), 0)

    @pytest.mark.parametrize("name", ["burst429", "burst200"])
    async def test_a_burst_of_them_fails_no_row_with_either_status(self, tmp_path: Path, name: str) -> None:
        async with opened(tmp_path, name) as desk:
            replies = await desk.ask_many(150)
            assert [each for each in replies if isinstance(each, BaseException)] == []
            assert desk.booked()[0] == 150
            assert desk.server.asked[name] < 300

    @pytest.mark.parametrize(
        ("name", "error", "kind"),
        [
            ("err200-402", QuotaSpent, "quota"),
            ("err200-401", EndpointRefused, "endpoint_refused"),
            ("body-detail", QuotaSpent, "quota"),
            ("body-message", EndpointRefused, "endpoint_refused"),
            ("body-event", QuotaSpent, "quota"),
            ("body-errors", QuotaSpent, "quota"),
        ],
    )
    async def test_one_that_ends_the_run_ends_all_calls(
        self, tmp_path: Path, name: str, error: type[CallError], kind: str
    ) -> None:
        async with opened(tmp_path, name) as desk:
            errors = await desk.ask_many(50)
            assert {type(each) for each in errors} == {error}
            assert desk.server.asked[name] <= 16
            assert set(desk.counts()["faults"]) == {kind}
            assert desk.booked() == (0, 0, 0)

    async def test_a_wrong_request_fails_its_row_and_no_other(self, tmp_path: Path) -> None:
        async with opened(tmp_path, "err200-400") as desk:
            with pytest.raises(RequestRejected, match="200 OK, but what came is an error: 400 Bad Request"):
                await desk.ask()
            assert (desk.server.asked["err200-400"], desk.booked()) == (1, (0, 0, 0))

    async def test_a_broken_server_has_the_patience_of_a_call(self, tmp_path: Path) -> None:
        async with opened(tmp_path, "err200-503") as desk:
            with pytest.raises(ServerFault) as caught:
                await desk.ask()
            assert (caught.value.kind, desk.server.asked["err200-503"]) == ("server_error", 5)
            assert desk.booked() == (0, 0, 0)

    async def test_an_error_without_a_name_has_it_too_and_the_endpoint_is_not_taken_to_be_out(
        self, tmp_path: Path
    ) -> None:
        async with opened(tmp_path, "body-text") as desk, asyncio.timeout(60):
            errors = await desk.ask_many(12)
            assert {each.kind for each in errors if isinstance(each, ServerFault)} == {"unnamed_error"}
            assert "it did not work" in str(errors[0])
            assert desk.booked() == (0, 0, 0)

    async def test_a_list_of_errors_says_when_to_come_back(self, tmp_path: Path) -> None:
        async with opened(tmp_path, "gemlist") as desk:
            began = asyncio.get_running_loop().time()
            assert (await desk.ask()).text == GOOD
            assert 0.3 <= asyncio.get_running_loop().time() - began < 10
            assert desk.counts()["faults"] == {"rate_limit": 1}

    async def test_a_date_beyond_the_calendar_is_no_date(self, tmp_path: Path) -> None:
        async with opened(tmp_path, "date-far") as desk:
            assert (await desk.ask()).text == GOOD

    async def test_a_reply_behind_a_byte_order_mark_is_one(self, tmp_path: Path) -> None:
        for name in ("bom", "keepalive"):
            async with opened(tmp_path, name) as desk:
                assert (await desk.ask(name)).text == GOOD


class TestEnds:
    async def test_the_ends_of_replies_are_counted_those_from_the_ledger_too(self, tmp_path: Path) -> None:
        async with opened(tmp_path, "good") as desk:
            await desk.ask()
            await desk.ask("r2")
            assert desk.counts()["ends"] == {"good (stop)": 2}
            desk.caller = Caller(DirectTransport(desk.ledger, Budget(requests=0)))
            await desk.ask()
            assert desk.counts()["ends"] == {"good (stop)": 1}

    @pytest.mark.parametrize("name", ["fin-MAX_TOKENS", "fin-model_length"])
    async def test_a_cut_in_another_word_is_counted_as_a_cut(self, tmp_path: Path, name: str) -> None:
        async with opened(tmp_path, name) as desk:
            with pytest.raises(ReplyFault, match="2 attempts"):
                await desk.ask()
            assert desk.counts()["ends"] == {f"cut ({name[4:].lower()})": 2}

    @pytest.mark.parametrize(
        ("name", "end", "said"),
        [
            ("fin-finito", "unknown (finito)", "model 'teacher': replies end for an unknown reason, 'finito'"),
            ("fin-own_ran_dry", "unknown (own_ran_dry)", "for an unknown reason, 'own_ran_dry'"),
            ("fin-null", "unknown (not said)", "model 'teacher': replies do not say how they ended"),
            ("fin-none", "unknown (not said)", "do not say how they ended"),
        ],
    )
    async def test_an_unknown_end_is_told_once_counted_and_never_used(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, end: str, said: str
    ) -> None:
        async with opened(tmp_path, name) as desk:
            with caplog.at_level(logging.WARNING):
                errors = await desk.ask_many(4)
            assert {each.kind for each in errors if isinstance(each, ReplyFault)} == {"unreadable"}
            assert len(errors) == 4
            [message] = [record.getMessage() for record in caplog.records]
            assert said in message
            assert desk.counts()["ends"] == {end: 12}

    async def test_a_call_of_a_tool_is_an_end_where_tools_were_sent(self, tmp_path: Path) -> None:
        async with opened(tmp_path, "fin-tool_calls") as desk:
            tools = [{"type": "function", "function": {"name": "f"}}]
            sampling = Sampling(0.7, max_tokens=64, extra={"tools": tools})
            assert (await desk.ask(sampling=sampling)).finish_reason == "tool_calls"
            with pytest.raises(ReplyFault, match="the reply calls a tool, and none was offered"):
                await desk.ask("r2")


@pytest.mark.parametrize("name", ["huge", "overflow", "negative", "nan", "true", "half"])
async def test_a_usage_that_cannot_be_takes_the_most_of_the_budget_and_keeps_the_reply(
    tmp_path: Path, name: str
) -> None:
    async with opened(tmp_path, f"usage-{name}") as desk:
        reply = await desk.ask()
        assert (reply.text, reply.cost_usd) == (GOOD, None)
        spent = desk.ledger.count_spent()
        assert (spent.usd, spent.usd_unknown, spent.tokens) == (0, 1, 0)
        assert spent.doubtful_usd == pytest.approx((40 + 16 + 64 * 10) / 1e6)
