"""The caller with a real ledger and a real server: what is bought, kept, asked again, and given up."""

import asyncio
import copy
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.calls.budget import Budget
from blackbox_kd.calls.caller import Caller
from blackbox_kd.calls.transport import DirectTransport
from blackbox_kd.calls.usage import Counts
from blackbox_kd.errors import (
    BudgetReached,
    EndpointRefused,
    QuotaSpent,
    ReplyFault,
    RequestRejected,
    ServerFault,
    SetupError,
    Stopped,
    UnusableText,
)
from blackbox_kd.ledger.intent import Intent
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.ledger.met import Bought
from blackbox_kd.models import Model, Setup, openai, scripted, transformers, vllm
from blackbox_kd.schema import Ask, Reply, Request, Row, Sampling
from tests.support.fake_server import FakeServer
from tests.support.virtual_time import run

WARM, COLD = Sampling(0.7, max_tokens=64), Sampling(0.0, max_tokens=64)
PRICE = {"input": 1, "output": 10}


class Desk:
    """A caller with its ledger, its budget and its server."""

    def __init__(self, server: FakeServer, path: Path, budget: Budget | None = None, **fields: Any) -> None:
        self.server = server
        self.ledger = Ledger.open(path / "ledger.sqlite", run="test")
        self.budget = budget or Budget()
        self.transport = DirectTransport(self.ledger, self.budget)
        self.caller = Caller(self.transport)
        self.model = self.open(**fields)

    def open(self, **fields: Any) -> Model:
        values = {"provider": "openai", "model": "m", "base_url": self.server.url, "price": PRICE, **fields}
        return openai.open_model(openai.Config.model_validate(values), Setup("teacher", Path(), Path(), {}))

    async def ask(
        self,
        row: str = "r1",
        sampling: Sampling = WARM,
        *,
        model: Model | None = None,
        round: int = 0,
        **fields: Any,
    ) -> Reply[Any]:
        ask = Ask([{"role": "user", "content": f"What is {row}?"}], sampling, Row(id=row), **fields)
        return await self.caller.ask(model or self.model, ask, name="teacher", round=round)

    async def ask_many(self, rows: int, **options: Any) -> list[Reply | BaseException]:
        asking = (self.ask(f"r{number}", **options) for number in range(rows))
        return await asyncio.gather(*asking, return_exceptions=True)

    def counts(self) -> dict[str, Any]:
        return self.caller.summary()[0]


Opener = Callable[..., Any]


@pytest.fixture
def desk(tmp_path: Path) -> Opener:
    @asynccontextmanager
    async def opened(*plan: str, budget: Budget | None = None, **options: Any) -> AsyncIterator[Desk]:
        fields: dict[str, Any] = {
            name: options.pop(name) for name in ("timeout_s", "max_concurrency", "price") if name in options
        }
        async with FakeServer(plan, **options) as server:
            made = Desk(server, tmp_path, budget, **fields)
            try:
                yield made
            finally:
                await made.model.close()
                made.ledger.close()

    return opened


class TestBuyingOnce:
    async def test_a_reply_is_bought_stored_and_priced(self, desk: Opener) -> None:
        async with desk() as d:
            reply = await d.ask()
            assert reply.text.startswith("The answer is ")
            assert not reply.replayed
            assert reply.cost_usd == pytest.approx((3 * 1 + 4 * 10) / 1e6)
            spent = d.ledger.count_spent()
            assert (spent.requests, spent.tokens, spent.doubtful) == (1, 7, 0)
            assert spent.usd == pytest.approx(reply.cost_usd)

    async def test_the_same_question_is_answered_from_the_ledger(self, desk: Opener) -> None:
        async with desk() as d:
            first, second = await d.ask(), await d.ask()
            assert second.replayed
            assert second.text == first.text
            assert d.server.stats()["requests"] == 1
            assert (d.counts()["calls"], d.counts()["replayed"]) == (1, 1)

    async def test_a_replay_needs_neither_server_nor_money(self, desk: Opener) -> None:
        async with desk() as d:
            await d.ask()
            poor = Caller(DirectTransport(d.ledger, Budget(usd=0.0)))
            await d.server.__aexit__()
            messages = [{"role": "user", "content": "What is r1?"}]
            assert (await poor.ask(d.model, Ask(messages, WARM, Row(id="r1")))).replayed

    async def test_a_replay_costs_what_was_paid_for_it_whatever_the_price_is_by_now(self, desk: Opener) -> None:
        async with desk() as d:
            paid = await d.ask()
            dearer = d.open(price={"input": 7, "output": 70})
            later = Caller(DirectTransport(d.ledger, Budget()))
            messages = [{"role": "user", "content": "What is r1?"}]
            replayed = await later.ask(dearer, Ask(messages, WARM, Row(id="r1")))
            bought = await later.ask(dearer, Ask(messages, WARM, Row(id="r2")))
            await dearer.close()
            assert (replayed.replayed, replayed.cost_usd) == (True, paid.cost_usd)
            assert bought.cost_usd == pytest.approx(7 * (paid.cost_usd or 0))

    async def test_a_replay_whose_cost_was_not_known_then_is_priced_as_now(self, desk: Opener) -> None:
        async with desk(price=None) as d:
            assert (await d.ask()).cost_usd is None
            priced = d.open(price=PRICE)
            later = Caller(DirectTransport(d.ledger, Budget()))
            messages = [{"role": "user", "content": "What is r1?"}]
            replayed = await later.ask(priced, Ask(messages, WARM, Row(id="r1")))
            await priced.close()
            assert (replayed.replayed, replayed.cost_usd) == (True, pytest.approx(43 / 1e6))

    async def test_another_row_sample_round_or_sampling_is_another_question(self, desk: Opener) -> None:
        async with desk() as d:
            await d.ask()
            others = [{"sample": 1}, {"round": 1}, {"sampling": COLD}, {"row": "r2"}]
            for other in others:
                assert not (await d.ask(**other)).replayed
            assert d.server.stats()["requests"] == 1 + len(others)

    async def test_two_who_ask_the_same_at_once_share_one_call(self, desk: Opener) -> None:
        async with desk(latency="0.05") as d:
            replies = await asyncio.gather(*(d.ask() for _ in range(5)))
            assert sorted(reply.replayed for reply in replies) == [False, True, True, True, True]
            assert d.server.stats()["requests"] == 1

    async def test_who_waits_for_anothers_call_makes_it_when_that_one_is_cancelled(self, desk: Opener) -> None:
        async with desk(latency="0.05") as d:
            first, second = asyncio.ensure_future(d.ask()), asyncio.ensure_future(d.ask())
            await asyncio.sleep(0.02)
            first.cancel()
            assert (await second).text.startswith("The answer is ")

    async def test_a_reply_is_stored_before_anything_reads_it(self, desk: Opener) -> None:
        async with desk("html", "null", "empty") as d:
            with pytest.raises(ReplyFault):
                await d.ask()
            assert d.ledger.count_spent().requests == 3

    async def test_what_another_process_has_bought_in_the_meantime_is_not_sent(self, desk: Opener) -> None:
        class Late(Ledger):
            """Finds a reply only when the call is intended."""

            def get(self, key: str) -> str | None:
                return None

        async with desk() as d:
            await d.ask()
            late = Late.open(d.ledger._file.path, run="another run")
            messages = [{"role": "user", "content": "What is r1?"}]
            caller = Caller(DirectTransport(late, Budget(requests=1)))
            assert (await caller.ask(d.model, Ask(messages, WARM, Row(id="r1")))).replayed
            assert (await caller.ask(d.model, Ask(messages, WARM, Row(id="r1")))).replayed
            late.close()
            assert d.server.stats()["requests"] == 1


class TestTwoRuns:
    """Callers with ledgers of their own on one file, as processes have them, and one server."""

    @staticmethod
    @asynccontextmanager
    async def beside(d: Desk, **fields: Any) -> AsyncIterator[Desk]:
        ledger = Ledger.open(d.ledger._file.path, run="another run")
        other = copy.copy(d)
        other.ledger, other.model = ledger, d.open(**fields)
        other.transport = DirectTransport(ledger, Budget())
        other.caller = Caller(other.transport)
        try:
            yield other
        finally:
            await other.model.close()
            ledger.close()

    async def test_who_ask_the_same_side_by_side_pay_once_and_both_have_all_replies(
        self, desk: Opener, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with desk(latency="lognormal:0.1,0.8", max_concurrency=8) as d, self.beside(d, max_concurrency=8) as e:
            mine, others = await asyncio.gather(d.ask_many(60), e.ask_many(60))
            assert [reply.text for reply in mine] == [reply.text for reply in others]
            assert d.server.stats()["answered"] == 60
            assert d.counts()["calls"] + e.counts()["calls"] == 60
            assert d.counts()["calls"] + d.counts()["replayed"] == 60
            assert min(d.counts()["calls"], e.counts()["calls"]) > 0, "they share the work"
            assert d.ledger.count_spent().doubtful == 0
        assert "another run asks the same" in caplog.text

    async def test_what_the_other_one_lost_is_asked_for_at_once(self, desk: Opener) -> None:
        async with desk("hang", timeout_s=0.3) as d, self.beside(d) as e:
            began = time.monotonic()
            first = asyncio.ensure_future(d.ask())
            await asyncio.sleep(0.05)
            assert (await e.ask()).text == (await first).text
            assert time.monotonic() - began < 5

    async def test_the_other_one_is_not_waited_for_longer_than_a_call_may_take(self, desk: Opener) -> None:
        async with desk("hang") as d, self.beside(d, timeout_s=0.3) as e:
            stuck = asyncio.ensure_future(d.ask())
            await asyncio.sleep(0.05)
            assert not (await e.ask()).replayed
            assert not e.transport.elsewhere.is_patient, "nor is it for the next call"
            stuck.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stuck

    async def test_one_stuck_call_is_no_reason_to_buy_the_others_twice(self, desk: Opener) -> None:
        async with desk("hang", latency="0.2", max_concurrency=2) as d, self.beside(d, timeout_s=0.6) as e:
            mine = asyncio.ensure_future(d.ask_many(20))
            await asyncio.sleep(0.1)
            assert all(isinstance(reply, Reply) for reply in await e.ask_many(20))
            assert e.transport.elsewhere.is_patient
            assert d.server.stats()["answered"] <= 21
            mine.cancel()
            with pytest.raises(asyncio.CancelledError):
                await mine

    async def test_a_run_that_is_stopped_waits_for_no_other(self, desk: Opener) -> None:
        async with desk("hang") as d, self.beside(d) as e:
            stuck = asyncio.ensure_future(d.ask())
            await asyncio.sleep(0.05)
            waiting = asyncio.ensure_future(e.ask())
            await asyncio.sleep(0.05)
            e.caller.stop(Stopped())
            with pytest.raises(Stopped):
                await waiting
            stuck.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stuck


class TestUnusableReplies:
    @pytest.mark.parametrize("action", ["refusal", "filtered", "empty", "html", "null", "error"])
    async def test_a_reply_that_cannot_be_used_is_asked_for_anew(self, desk: Opener, action: str) -> None:
        async with desk(action, action) as d:
            reply = await d.ask()
            assert reply.text.startswith("The answer is ")
            assert d.counts()["retried"] == 2

    @pytest.mark.parametrize(
        ("action", "kind"),
        [("filtered", "refused"), ("refusal", "refused"), ("empty", "empty"), ("text", "unreadable")],
    )
    async def test_after_three_of_them_the_row_fails_and_the_error_says_all(
        self, desk: Opener, action: str, kind: str
    ) -> None:
        async with desk(always=action) as d:
            with pytest.raises(
                ReplyFault, match=r"model 'teacher', row 'r1': .*3 attempts; what came is kept"
            ) as caught:
                await d.ask()
            assert caught.value.kind == kind
            assert d.server.stats()["requests"] == 3

    async def test_a_reply_that_was_cut_off_is_asked_for_once_more_at_the_same_limit(self, desk: Opener) -> None:
        async with desk("cut_off") as d:
            assert (await d.ask()).text.startswith("The answer is ")
        async with desk(always="cut_off") as d:
            with pytest.raises(ReplyFault, match=r"raise max_tokens .*2 attempts; what came is kept") as caught:
                await d.ask("r2", tries=10)
            assert caught.value.kind == "truncated"
            assert d.server.stats()["requests"] == 2

    async def test_other_replies_between_do_not_make_it_more(self, desk: Opener) -> None:
        async with desk("empty", "cut_off", "empty", "cut_off", "ok") as d:
            with pytest.raises(ReplyFault, match="4 attempts"):
                await d.ask(tries=10)

    async def test_asked_anew_for_failed_rows_it_is_bought_twice_again(self, desk: Opener) -> None:
        async with desk(always="cut_off") as d:
            with pytest.raises(ReplyFault):
                await d.ask()
            d.caller = Caller(DirectTransport(d.ledger, d.budget), retry_failed=True)
            with pytest.raises(ReplyFault, match="4 attempts"):
                await d.ask()
            assert d.counts()["replayed"] == d.counts()["calls"] == 2
            d.caller = Caller(DirectTransport(d.ledger, Budget(requests=0)))
            with pytest.raises(ReplyFault, match="4 attempts"):
                await d.ask()
            assert d.counts()["replayed"] == 4, "what is bought is looked at, however often it was cut"

    async def test_a_model_that_cannot_differ_is_not_asked_again(self, desk: Opener) -> None:
        async with desk(always="cut_off") as d:
            with pytest.raises(ReplyFault, match="1 attempt;"):
                await d.ask(sampling=COLD)
            assert d.server.stats()["requests"] == 1

    @pytest.mark.parametrize("sampling", [WARM, COLD])
    async def test_a_refusal_for_a_reason_that_the_vendor_names_stands(self, desk: Opener, sampling: Sampling) -> None:
        async with desk("bio") as d:
            with pytest.raises(ReplyFault, match=r"the model refused \(bio\): .*1 attempt;") as caught:
                await d.ask(sampling=sampling)
            assert caught.value.kind == "refused: bio"
            assert d.server.stats()["requests"] == 1
            with pytest.raises(ReplyFault, match="1 attempt;"):
                await d.ask(sampling=sampling)
            assert d.server.stats()["requests"] == 1, "nor does a later run ask again"

    async def test_a_model_that_may_reply_otherwise_is_not_asked_on_for_a_refusal_that_stands(
        self, desk: Opener
    ) -> None:
        async with desk("empty", "frontier_llm") as d:
            with pytest.raises(ReplyFault, match=r"frontier_llm\).*2 attempts;") as caught:
                await d.ask(tries=10)
            assert caught.value.fix.startswith("this is the vendor's policy: take another teacher")

    async def test_asked_anew_by_the_user_it_is_bought_once(self, desk: Opener) -> None:
        async with desk("bio") as d:
            with pytest.raises(ReplyFault):
                await d.ask()
            d.caller = Caller(DirectTransport(d.ledger, d.budget), retry_failed=True)
            assert (await d.ask()).text
            assert d.server.stats()["requests"] == 2

    async def test_a_page_instead_of_a_reply_is_chance_even_then(self, desk: Opener) -> None:
        async with desk("html") as d:
            assert (await d.ask(sampling=COLD)).text.startswith("The answer is ")

    async def test_unusable_replies_are_replayed_too_and_never_bought_again(self, desk: Opener) -> None:
        async with desk("cut_off", "empty", "ok") as d:
            await d.ask()
            again = Caller(DirectTransport(d.ledger, Budget()))
            messages = [{"role": "user", "content": "What is r1?"}]
            reply = await again.ask(d.model, Ask(messages, WARM, Row(id="r1")))
            assert reply.replayed
            assert again.summary()[0]["replayed"] == 3
            assert d.server.stats()["requests"] == 3

    async def test_a_cut_off_reply_can_be_accepted(self, desk: Opener) -> None:
        async with desk(always="cut_off") as d:
            reply = await d.ask(accept_truncated=True)
            assert reply.finish_reason == "length"
            assert d.server.stats()["requests"] == 1

    async def test_they_cost_what_they_cost(self, desk: Opener) -> None:
        async with desk("empty", "cut_off") as d:
            reply = await d.ask()
            assert d.counts()["cost_usd"] == pytest.approx(3 * reply.cost_usd)


class TestReading:
    async def test_what_the_step_reads_comes_with_the_reply_and_no_reply_is_read_twice(self, desk: Opener) -> None:
        seen: list[str] = []

        def read(text: str) -> int:
            seen.append(text)
            if len(seen) % 2:
                raise ValueError("no number in there")
            return len(text)

        async with desk() as d:
            bought = await d.ask(read=read)
            assert bought.value == len(bought.text)
            assert len(seen) == d.server.stats()["requests"] == 2
            replayed = await d.ask(read=read)
            assert (replayed.value, replayed.replayed) == (bought.value, True)
            assert len(seen) == 4, "each of the two replies once more"

    async def test_without_anything_to_read_the_value_is_the_text(self, desk: Opener) -> None:
        async with desk() as d:
            reply = await d.ask()
            assert reply.value == reply.text

    @pytest.mark.parametrize("tries", [1, 2])
    async def test_what_reads_says_under_which_kind_the_row_is_counted_and_how_often_is_asked(
        self, desk: Opener, tries: int
    ) -> None:
        def read(text: str) -> str:
            raise UnusableText(f"{len(text)} characters are not enough", kind="too_short")

        async with desk() as d:
            with pytest.raises(ReplyFault, match=rf"characters are not enough \({tries} attempt") as caught:
                await d.ask(read=read, tries=tries)
            assert caught.value.kind == "too_short"
            assert d.server.stats()["requests"] == tries


class TestFaults:
    @pytest.mark.parametrize("action", ["500", "503:0.01", "429:ms", "429", "reset", "cut", "hang"])
    async def test_a_fault_of_the_server_is_not_the_rows(self, desk: Opener, action: str) -> None:
        async with desk(action, timeout_s=0.5) as d:
            assert (await d.ask()).text.startswith("The answer is ")
            assert d.counts()["retried"] == 1
            assert sum(d.counts()["faults"].values()) == 1

    @pytest.mark.parametrize("action", ["400", "403", "422"])
    async def test_a_wrong_request_fails_its_row_at_once(self, desk: Opener, action: str) -> None:
        async with desk(action) as d:
            with pytest.raises(RequestRejected, match=f"this is a {action}"):
                await d.ask()
            assert d.server.stats()["requests"] == 1
            assert (await d.ask("r2")).text

    async def test_a_refusal_with_a_retry_after_holds_all_calls_back(self, desk: Opener) -> None:
        async with desk("ok", "429:1", latency="0.01") as d:
            await d.ask("first")
            await d.ask_many(30)
            assert d.server.stats()["done"]["429:1"] == 1
            assert d.counts()["calls"] == 31

    async def test_many_calls_against_a_limit_all_get_through(self, desk: Opener) -> None:
        async with desk(rate=200.0, burst=20.0, fault_share=0.02) as d:
            replies = await d.ask_many(300)
            assert [reply for reply in replies if isinstance(reply, BaseException)] == []
            assert d.server.stats()["answered"] == 300
            assert d.server.stats()["done"].get("429:1", 0) <= 50

    async def test_abandoned_and_doubtful_sends_are_kept_apart(self, desk: Opener, tmp_path: Path) -> None:
        async with desk("500", "429:ms", "cut", "ok") as d:
            await d.ask()
            later = Ledger.open(tmp_path / "ledger.sqlite", run="test")
            spent = later.count_spent()
            later.close()
            assert spent.requests == 1
            assert spent.doubtful == 1  # the cut one: it may be on the bill


class TestUniformFailures:
    @pytest.mark.parametrize("action", ["400", "422", "403", "long"])
    async def test_requests_that_are_all_rejected_alike_end_the_run_soon(self, desk: Opener, action: str) -> None:
        async with desk(always=action, max_concurrency=8) as d:
            outcomes = await d.ask_many(300)
            assert d.server.stats()["requests"] <= 20 + 8
            ends = [each for each in outcomes if isinstance(each, QuotaSpent)]
            assert len(ends) >= 300 - 28
            assert {each.kind for each in ends} == {"rejected"}
            assert re.search(r"\(row 'r\d+'; all of its first 20 requests were rejected so\)$", ends[0].what)
            assert ends[0].fix.endswith("; to go on all the same, max_failed_share: 1.0")

    @pytest.mark.parametrize("plan", [["ok"], ["attack400"]], ids=["one that is taken", "own_one for another reason"])
    async def test_requests_that_are_not_all_rejected_alike_fail_alone(self, desk: Opener, plan: list[str]) -> None:
        async with desk(*plan, always="400", max_concurrency=1) as d:
            outcomes = await d.ask_many(60)
            assert sum(isinstance(each, RequestRejected) for each in outcomes) == (59 if plan == ["ok"] else 60)

    async def test_own_a_recipe_that_may_fail_altogether_goes_on(self, desk: Opener) -> None:
        async with desk(always="400") as d:
            d.caller = Caller(d.transport, may_all_fail=True)
            outcomes = await d.ask_many(60)
            assert {type(each) for each in outcomes} == {RequestRejected}


class TestEndings:
    @pytest.mark.parametrize("action", ["401", "404", "redirect"])
    async def test_an_endpoint_that_refuses_from_the_start_ends_all_calls(self, desk: Opener, action: str) -> None:
        async with desk(always=action, max_concurrency=4) as d:
            errors = await d.ask_many(50)
            assert all(isinstance(error, EndpointRefused) for error in errors)
            assert d.server.stats()["requests"] <= 4
            with pytest.raises(EndpointRefused):
                await d.ask("later")

    async def test_once_it_has_replied_a_refusal_is_the_rows(self, desk: Opener) -> None:
        async with desk("ok", "404", "ok") as d:
            await d.ask("r1")
            with pytest.raises(RequestRejected) as caught:
                await d.ask("r2")
            assert caught.value.kind == "endpoint_refused"
            assert (await d.ask("r3")).text

    async def test_a_key_that_is_withdrawn_in_the_middle_ends_all_calls(self, desk: Opener) -> None:
        async with desk("ok", always="401", max_concurrency=1) as d:
            await d.ask("first")
            kinds = [type(error) for error in await d.ask_many(40)]
            assert kinds.count(RequestRejected) == 19
            assert kinds.count(EndpointRefused) == 21
            assert d.server.stats()["requests"] == 1 + 20

    @pytest.mark.parametrize("action", ["402", "insufficient_quota"])
    async def test_an_empty_account_ends_all_calls_and_keeps_what_was_paid(self, desk: Opener, action: str) -> None:
        async with desk("ok", always=action, max_concurrency=2) as d:
            await d.ask("paid")
            errors = await d.ask_many(20)
            assert all(isinstance(error, QuotaSpent) for error in errors)
            assert d.server.stats()["requests"] <= 3
            assert (await d.ask("paid")).replayed

    async def test_an_endpoint_that_wants_a_very_long_pause_ends_all_calls(self, desk: Opener) -> None:
        async with desk("429:86400") as d:
            with pytest.raises(QuotaSpent, match="fix: run the same command at 2"):
                await d.ask()

    async def test_a_model_of_whose_first_replies_none_can_be_used_is_not_asked_on(self, desk: Opener) -> None:
        async with desk(always="cut_off", max_concurrency=1) as d:
            errors = await d.ask_many(60)
            assert sum(isinstance(error, QuotaSpent) for error in errors) > 0
            told = next(str(error) for error in errors if isinstance(error, QuotaSpent))
            assert re.match(r"none of its first \d\d replies can be used: the reply was cut off", told)
            assert "max_failed_share: 1.0" in told
            assert d.server.stats()["requests"] < 120

    async def test_one_that_can_be_used_or_a_user_who_knows_lets_the_run_go_on(self, desk: Opener) -> None:
        async with desk("ok", always="cut_off", max_concurrency=1) as d:
            await d.ask("first")
            errors = await d.ask_many(40)
            assert all(isinstance(error, ReplyFault) for error in errors)
            d.caller = Caller(DirectTransport(d.ledger, d.budget), may_all_fail=True)
            errors = await d.ask_many(60, sampling=COLD)
            assert all(isinstance(error, ReplyFault) for error in errors)

    async def test_replies_that_a_step_cannot_read_do_not_end_a_run(self, desk: Opener) -> None:
        def never(text: str) -> None:
            raise ValueError("no")

        async with desk(max_concurrency=1) as d:
            assert all(isinstance(error, ReplyFault) for error in await d.ask_many(60, sampling=COLD, read=never))

    async def test_who_waits_for_leave_when_the_user_stops_waits_no_longer(self, desk: Opener) -> None:
        async with desk(always="429:60", max_concurrency=2) as d:
            asking = asyncio.ensure_future(d.ask_many(5))
            await asyncio.sleep(0.2)
            d.caller.stop(Stopped())
            async with asyncio.timeout(5):
                assert {type(error) for error in await asking} == {Stopped}

    async def test_where_nobody_listens_all_calls_end_soon_and_the_url_is_named(self, desk: Opener) -> None:
        async with desk(max_concurrency=64) as d:
            url = d.server.url
            await d.server.__aexit__()
            errors = await d.ask_many(100)
            assert all(isinstance(error, EndpointRefused) for error in errors)
            assert url in str(errors[0])
            assert "check base_url, and that the server is running" in str(errors[0])


class TestMoney:
    async def test_calls_stop_before_they_could_break_the_budget(self, desk: Opener) -> None:
        budget = Budget(usd=0.005)
        async with desk(budget=budget) as d:
            outcomes = await d.ask_many(300)
            stopped = [each for each in outcomes if isinstance(each, BudgetReached)]
            replies = [each for each in outcomes if isinstance(each, Reply)]
            assert len(stopped) + len(replies) == 300
            assert stopped
            assert sum(reply.cost_usd or 0 for reply in replies) <= 0.005
            assert d.ledger.count_spent().usd <= 0.005
            assert d.server.stats()["requests"] == len(replies)

    async def test_without_a_price_a_budget_in_dollars_cannot_be_kept(self, desk: Opener) -> None:
        async with desk(budget=Budget(usd=1.0), price=None) as d:
            with pytest.raises(SetupError, match="no price is known for model 'teacher'"):
                await d.ask()
            assert d.server.stats()["requests"] == 0

    async def test_a_refused_call_leaves_the_budget_as_it_was(self, desk: Opener) -> None:
        async with desk("500", "429:ms", "400", budget=Budget(requests=1)) as d:
            with pytest.raises(RequestRejected):
                await d.ask("r1")
            assert (await d.ask("r2")).text

    async def test_a_lost_call_counts_with_the_most_that_it_can_have_cost(self, desk: Opener) -> None:
        async with desk("cut", budget=Budget(tokens=150)) as d:
            with pytest.raises(BudgetReached):
                await d.ask()
            assert d.server.stats()["requests"] == 1
        async with desk("cut", budget=Budget(requests=1)) as d:
            assert (await d.ask()).text, "it brought no reply, so its repeat is the one that was allowed"

    async def test_a_cancelled_call_stays_doubtful_and_its_money_set_aside(self, desk: Opener, tmp_path: Path) -> None:
        async with desk("hang", budget=Budget(tokens=150)) as d:
            asking = asyncio.ensure_future(d.ask())
            await d.server.asked.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            with pytest.raises(BudgetReached):
                await d.ask("r2")
            later = Ledger.open(tmp_path / "ledger.sqlite", run="test")
            assert later.count_spent().doubtful == 1
            later.close()

    async def test_a_model_in_this_process_that_cannot_be_loaded_leaves_no_lost_calls(
        self, desk: Opener, tmp_path: Path
    ) -> None:
        (tmp_path / "config.json").write_text('{"model_type": "llama"}')
        (tmp_path / "model.safetensors").write_text("no weights")
        config = transformers.Config(provider="transformers", model=str(tmp_path))
        local = transformers.open_model(config, Setup("student", tmp_path, tmp_path / "cache", {}))
        async with desk(budget=Budget(requests=40)) as d:
            tasks = [asyncio.ensure_future(d.ask(f"r{number}", model=local)) for number in range(40)]
            done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in others:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            await local.close()
            assert "cannot be loaded" in str(done.pop().exception())
            assert {type(end) for end in ends} <= {SetupError, asyncio.CancelledError}
            assert d.ledger.count_spent(lost=True).doubtful == 0
            assert (await d.ask("r0")).text, "the budget is as it was"

    async def test_a_call_that_is_cancelled_before_it_is_sent_leaves_nothing(self, desk: Opener) -> None:
        async with desk("hang", max_concurrency=1, budget=Budget(requests=2)) as d:
            hanging, waiting = asyncio.ensure_future(d.ask("r1")), asyncio.ensure_future(d.ask("r2"))
            await d.server.asked.wait()
            waiting.cancel()
            hanging.cancel()
            await asyncio.gather(hanging, waiting, return_exceptions=True)
            assert (await d.ask("r3")).text
            assert d.server.stats()["requests"] == 2

    async def test_an_unknown_cost_is_counted_as_unknown(self, desk: Opener) -> None:
        async with desk("ok", "uncounted") as d:
            await d.ask("r1")
            assert d.caller.totals()["cost_usd"] > 0
            await d.ask("r2")
            assert d.caller.totals()["cost_usd"] is None
            assert d.counts()["unknown_cost"] == 1


class TestCounts:
    async def test_totals_are_those_of_all_models_and_the_summary_has_each(self, desk: Opener) -> None:
        async with desk() as d:
            await d.ask("r1")
            other = d.open(model="other")
            ask = Ask([{"role": "user", "content": "a b"}], WARM, Row(id="r1"))
            await d.caller.ask(other, ask, name="judge")
            await other.close()
            totals = d.caller.totals()
            assert (totals["calls"], totals["prompt_tokens"], totals["completion_tokens"]) == (2, 5, 8)
            assert [(entry["name"], entry["calls"], entry["served"]) for entry in d.caller.summary()] == [
                ("judge", 1, ["other"]),
                ("teacher", 1, ["m"]),
            ]

    async def test_a_model_that_changes_midway_is_told_once_and_recorded(
        self, desk: Opener, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with desk("ok", "other_model", "ok", "other_model") as d:
            with caplog.at_level(logging.WARNING):
                for number in range(4):
                    await d.ask(f"r{number}")
            assert [record.getMessage() for record in caplog.records] == [
                "model 'teacher': the endpoint now answers as 'another-model', before as 'm'; the report counts both"
            ]
            assert d.counts()["served"] == ["another-model", "m"]
            assert d.counts()["rerouted"] == {}, "a server of one's own may call its models anything"

    async def test_another_model_than_a_vendors_that_was_asked_for_is_told_once_and_counted(
        self, desk: Opener, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with desk("ok", always="other_model") as d:
            d.model = d.open(model="gemini-2.5-flash")
            with caplog.at_level(logging.WARNING):
                for number in range(4):
                    await d.ask(f"r{number}")
            assert [record.getMessage() for record in caplog.records] == [
                "model 'teacher': 'gemini-2.5-flash' was asked for, and 'another-model' answers in its place; the "
                "report counts such replies"
            ]
            assert d.counts()["served"] == ["another-model", "gemini-2.5-flash"]
            assert d.counts()["rerouted"] == {"another-model": 3}
            d.caller = Caller(DirectTransport(d.ledger, d.budget))
            await d.ask("r3")
            assert d.counts()["rerouted"] == {"another-model": 1}, "a reply of the ledger tells it, too"

    @pytest.mark.parametrize(
        ("asked", "served", "is_told"),
        [
            ("gpt-6-luna", "gpt-6-luna-2026-09-01", False),
            ("gpt-6-luna", "gpt-6-sol", True),
            ("z-ai/glm-5.3-flash", "z-ai/glm-4.6", True),
            ("openai/gpt-oss-20b", "/models/gpt-oss-20b", False),
            ("qwen3:8b", "qwen3-8b-q4", False),
            ("my-model", "other", False),
            ("", "gpt-6-luna", False),
        ],
    )
    def test_only_names_of_vendors_and_gateways_are_compared(self, asked: str, served: str, is_told: bool) -> None:
        counts = Counts("teacher", asked=asked)
        counts.count_served(served)
        assert counts.entry()["rerouted"] == ({served: 1} if is_told else {})

    def test_the_name_of_a_server_of_ones_own_is_not_compared(self, tmp_path: Path) -> None:
        config = vllm.Config(provider="vllm", model="openai/gpt-oss-20b")
        model = vllm.open_model(config, Setup("teacher", tmp_path, tmp_path, {}))
        ledger = Ledger.open(tmp_path / "ledger.sqlite", run="test")
        counts = DirectTransport(ledger, Budget()).open(model, "teacher").counts
        ledger.close()
        counts.count_served("served-name")
        assert counts.entry()["rerouted"] == {}


class MemoryLedger:
    """What the caller needs of a ledger, without a thread, for virtual time."""

    def __init__(self) -> None:
        self.bodies: dict[str, str] = {}

    def get(self, key: str) -> str | None:
        return self.bodies.get(key)

    async def fetch(self, key: str) -> Bought | None:
        return Bought(self.bodies[key], None) if key in self.bodies else None

    def find_refused(self, endpoint: str, model: str) -> list[str]:
        return []

    async def intend(self, key: str, wire: Mapping[str, Any], **_: Any) -> Intent:
        return MemoryIntent(self, key)


class MemoryIntent(Intent):
    """An intent of such a ledger."""

    def __init__(self, ledger: MemoryLedger, key: str) -> None:
        self.ledger, self.key = ledger, key

    async def settle(self, body: str, **_: Any) -> None:  # type: ignore[override]
        self.ledger.bodies[self.key] = body

    async def abandon(self, kind: str) -> None:  # type: ignore[override]
        pass


class Shaky(scripted.ScriptedModel):
    """A scripted model that fails when `fails(seconds since it was opened, number of the send)` says so."""

    def __init__(self, fails: Callable[[float, int], bool]) -> None:
        super().__init__(scripted.Config(provider="scripted", max_concurrency=16), Setup("t", Path(), Path(), {}))
        self.fails, self.sends, self.began = fails, 0, asyncio.get_running_loop().time()

    async def send(self, wire: dict[str, Any], request: Request) -> tuple[str, Mapping[str, str]]:
        await asyncio.sleep(0.5)
        self.sends += 1
        if self.fails(asyncio.get_running_loop().time() - self.began, self.sends):
            raise ServerFault("503 Service Unavailable", kind="server_error")
        return await super().send(wire, request)


class TestOutages:
    """In virtual time, as outages are long."""

    @staticmethod
    async def outcomes(model: Model, rows: int = 200, patience_s: float = 600.0) -> list[Reply | BaseException]:
        caller = Caller(DirectTransport(MemoryLedger(), Budget(), patience_s=patience_s))  # type: ignore[arg-type]
        messages = [{"role": "user", "content": "Hello"}]
        asking = (caller.ask(model, Ask(messages, WARM, Row(id=str(number)))) for number in range(rows))
        return await asyncio.gather(*asking, return_exceptions=True)

    def test_an_outage_of_some_minutes_fails_no_row_and_is_said_once(self, caplog: pytest.LogCaptureFixture) -> None:
        async def main() -> list[Reply | BaseException]:
            return await self.outcomes(Shaky(lambda seconds, _: 2 < seconds < 300))

        assert all(isinstance(outcome, Reply) for outcome in run(main()))
        began, ended = (record.getMessage() for record in caplog.records)
        assert "no answer to any of the last calls; it is waited for, up to 600 s" in began
        assert began.endswith("; it last said: 503 Service Unavailable")
        assert ended.endswith(" answers again")

    def test_an_outage_that_outlasts_the_patience_fails_the_rows_that_are_left(self) -> None:
        async def main() -> list[Reply | BaseException]:
            return await self.outcomes(Shaky(lambda seconds, _: seconds > 2), patience_s=100)

        kinds = [outcome.kind if isinstance(outcome, ServerFault) else "reply" for outcome in run(main())]
        assert set(kinds) == {"reply", "outage"}
        assert kinds.count("outage") > 100

    def test_the_error_of_an_outage_has_the_endpoints_last_words(self) -> None:
        async def main() -> list[Reply | BaseException]:
            return await self.outcomes(Shaky(lambda seconds, _: seconds > 2), patience_s=100)

        last = [str(outcome) for outcome in run(main()) if getattr(outcome, "kind", "") == "outage"][-1]
        assert last.endswith("not asked any more for now; it last said: 503 Service Unavailable")

    def test_a_call_that_fails_again_and_again_fails_its_row(self) -> None:
        async def main() -> tuple[list[Reply | BaseException], int]:
            model = Shaky(lambda *_: True)
            return await self.outcomes(model, rows=1), model.sends

        [error], sends = run(main())
        assert isinstance(error, ServerFault)
        assert sends == 5

    def test_faults_here_and_there_use_up_a_tenth_of_the_calls_at_most(self) -> None:
        async def main() -> tuple[list[Reply | BaseException], int]:
            model = Shaky(lambda _, number: number % 3 > 0)
            return await self.outcomes(model, rows=1000), model.sends

        outcomes, sends = run(main())
        assert sends <= 1100
        assert any(isinstance(outcome, ServerFault) for outcome in outcomes)


def test_the_wire_is_what_the_ledger_shows(tmp_path: Path) -> None:
    async def main() -> dict[str, Any]:
        async with FakeServer() as server:
            desk = Desk(server, tmp_path)
            await desk.ask()
            found = desk.ledger._file._read("SELECT wire FROM replies")
            await desk.model.close()
            desk.ledger.close()
            wire: dict[str, Any] = json.loads(found[0][0])
            assert wire["url"] == f"{server.url}/chat/completions"
            assert wire["body"] == server.seen[0]
            return wire

    assert "key" not in json.dumps(asyncio.run(main())).lower()
