"""Batches with a real ledger and a real server: what is handed in, kept, handed in again, and given up."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.calls.batch.jobs import Limits
from blackbox_kd.calls.batch.queue import Batches
from blackbox_kd.calls.batch.store import Store
from blackbox_kd.calls.batch.transport import BatchTransport
from blackbox_kd.calls.budget import Budget
from blackbox_kd.calls.caller import Caller
from blackbox_kd.calls.transport import DirectTransport
from blackbox_kd.errors import BudgetReached, EndpointRefused, QuotaSpent, RequestRejected, ServerFault, StepError
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.models import Model, Setup, openai
from blackbox_kd.schema import Ask, Reply, Row, Sampling
from tests.support.fake_answers import completion_of
from tests.support.fake_batches import FakeBatches

WARM = Sampling(0.7, max_tokens=64)
DEFAULT = Sampling(0.2, max_tokens=64, defaults=frozenset({"temperature", "max_tokens"}))
PRICE = {"input": 1, "output": 10}
QUICK = {
    "quiet_s": 0.05,
    "busy_s": 0.2,
    "first_look_s": 0.01,
    "longest_look_s": 0.02,
    "fault_s": 0.01,
    "patience_s": 0.5,
    "doubt_s": 0.1,
    "pause_s": 0.01,
}


class Desk:
    """A caller with batches, its ledger, and its server; `again` is the next process of the same run."""

    def __init__(
        self, server: FakeBatches, path: Path, budget: Budget | None = None, run: str = "test", **limits: Any
    ) -> None:
        self.server = server
        self.path = path
        self.said: list[str] = []
        self.ledger = Ledger.open(path / "ledger.sqlite", run=run)
        self.store = Store(path / "ledger.sqlite", run)
        self.batches = Batches(self.ledger, self.store, limits=Limits(**(QUICK | limits)), say=self.said.append)
        self.budget = budget or Budget()
        self.caller = Caller(BatchTransport(DirectTransport(self.ledger, self.budget), self.batches))
        self.batches.is_busy = self.caller.is_busy
        self.model = self.open(batch=True)

    def open(self, **fields: Any) -> Model:
        values = {"provider": "openai", "model": "m", "base_url": self.server.url, "price": PRICE, "key_env": "KEY"}
        config = openai.Config.model_validate(values | fields)
        return openai.open_model(config, Setup("teacher", Path(), Path(), {"KEY": "sk-secret"}))

    async def ask(
        self, row: str, model: Model | None = None, name: str = "teacher", sampling: Sampling = WARM
    ) -> Reply:
        ask = Ask([{"role": "user", "content": f"What is {row}?"}], sampling, Row(id=row))
        return await self.caller.ask(model or self.model, ask, name=name)

    async def ask_many(self, rows: int, **options: Any) -> list[Any]:
        asking = (self.ask(f"r{number}", **options) for number in range(rows))
        return await asyncio.gather(*asking, return_exceptions=True)

    async def close(self) -> None:
        await self.batches.close()
        await self.model.close()
        self.ledger.close()

    def records(self) -> list[Any]:
        return self.store.records()


Opener = Callable[..., Any]


@pytest.fixture
def desk(tmp_path: Path) -> Opener:
    @asynccontextmanager
    async def opened(*plan: str, budget: Budget | None = None, **options: Any) -> AsyncIterator[Desk]:
        names = ("faults", "looks", "rule", "most_lines")
        served = {name: options.pop(name) for name in names if name in options}
        async with FakeBatches(plan, **served) as server:
            made = Desk(server, tmp_path, budget, **options)
            try:
                yield made
            finally:
                await made.close()

    return opened


async def next_process(first: Desk, **limits: Any) -> Desk:
    """What a later process of the run finds; the first one ended without a word."""
    await first.close()
    return Desk(first.server, first.path, **limits)


class TestHandingIn:
    async def test_rows_that_wait_together_are_one_batch_at_half_the_price(self, desk: Opener) -> None:
        async with desk() as d:
            replies = await d.ask_many(12)
            assert d.server.sizes() == [12]
            assert {reply.text[:14] for reply in replies} == {"The answer is "}
            assert replies[0].cost_usd == pytest.approx(0.5 * (3 * 1 + 4 * 10) / 1e6)
            spent = d.ledger.count_spent()
            assert (spent.requests, spent.tokens, spent.doubtful) == (12, 84, 0)
            assert spent.usd == pytest.approx(12 * replies[0].cost_usd)
            assert d.caller.summary()[0]["cost_usd"] == pytest.approx(spent.usd)
            await d.batches.close()
            assert not d.store.folder.exists()

    async def test_a_line_holds_the_key_of_the_ledger_and_what_an_ordinary_call_sends(self, desk: Opener) -> None:
        async with desk() as d:
            await d.ask("r1")
            line = json.loads(d.server.files[d.server.uploads[0]])
            assert d.ledger.get(line["custom_id"]) is not None
            assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
            assert line["body"] == {
                "model": "m",
                "messages": [{"role": "user", "content": "What is r1?"}],
                "temperature": 0.7,
                "max_tokens": 64,
            }
            assert d.server.keys == {"Bearer sk-secret"}

    async def test_under_a_budget_a_line_has_a_cap_that_the_ledger_does_not_know_of(self, desk: Opener) -> None:
        async with desk("never", budget=Budget(usd=10.0)) as d:
            asking = asyncio.ensure_future(d.ask("r1", sampling=Sampling(0.7)))
            await d.server.until("look")
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            line = json.loads(d.server.files[d.server.uploads[0]])
            assert line["body"]["max_tokens"] == 16_384
            later = await next_process(d)
            d.server.release.set()
            assert await later.batches.take_up(lambda name: later.model)
            [[wire]] = later.ledger._file._read("SELECT wire FROM replies")
            assert json.loads(wire)["body"].keys() == {"model", "messages", "temperature"}
            assert (await later.ask("r1", sampling=Sampling(0.7))).replayed
            await later.close()

    @pytest.mark.parametrize("others", [0, 2], ids=["alone", "beside_others"])
    async def test_a_cap_that_is_refused_in_a_batch_is_lowered_in_another_one(self, desk: Opener, others: int) -> None:
        async with desk("small:4096", "small:4096", budget=Budget(usd=10.0)) as d:
            asked = [d.ask(f"r{number}", sampling=Sampling(0.7)) for number in range(3)]
            replies = await asyncio.gather(*asked, *(d.ask(f"own{number}") for number in range(others)))
            assert not any(reply.replayed for reply in replies)
            assert d.server.sizes() == [3 + others, 3]
            last = [json.loads(line)["body"]["max_tokens"] for line in d.server.files[d.server.uploads[1]].splitlines()]
            assert last == [4096] * 3
            await d.ask("later", sampling=Sampling(0.7))
            assert json.loads(d.server.files[d.server.uploads[2]])["body"]["max_tokens"] == 4096
            assert d.budget._reserved["usd"] == 0, "what was set aside for what was refused is given back"

    async def test_own_what_a_step_asks_for_is_refused_in_a_batch_as_it_is(self, desk: Opener) -> None:
        async with desk("small:512", budget=Budget(usd=10.0)) as d:
            with pytest.raises(RequestRejected, match="supports at most 512"):
                await d.ask("r1", sampling=Sampling(0.7, max_tokens=1000))
            assert d.server.sizes() == [1]

    @pytest.mark.parametrize("plan", ["refuse:temperature", "fail_for:temperature"])
    async def test_a_field_that_a_batch_is_refused_for_is_left_out_of_one_more(self, desk: Opener, plan: str) -> None:
        async with desk(plan, budget=Budget(usd=10.0)) as d:
            replies = await d.ask_many(5, sampling=DEFAULT)
            assert {type(reply).__name__ for reply in replies} == {"Reply"}
            await d.ask("later", sampling=DEFAULT)
            assert d.server.sizes() == [5, 5, 1]
            files = [d.server.files[name].splitlines() for name in d.server.uploads]
            sent = [{"temperature" in json.loads(line)["body"] for line in lines} for lines in files]
            assert sent == [{True}, {False}, {False}]
            assert d.budget._reserved["usd"] == 0
            [found] = d.caller.summary()
            assert (found["retried"], found["sampled"]) == (0, 6)
            ordinary = d.open(batch=False)
            assert (await d.ask("r1", model=ordinary, sampling=DEFAULT)).replayed
            await ordinary.close()

    async def test_a_field_that_the_recipe_asks_for_ends_a_run_of_batches(self, desk: Opener) -> None:
        async with desk("refuse:temperature") as d:
            with pytest.raises(EndpointRefused, match="does not take 'temperature'") as caught:
                await d.ask("r1")
            assert caught.value.fix.startswith("leave temperature: out of the step")
            assert d.server.sizes() == [1]

    async def test_what_was_asked_is_kept_of_a_batch_that_was_sent_less(self, desk: Opener) -> None:
        async with desk("refuse:temperature", "never", budget=Budget(usd=10.0)) as d:
            d.model = d.open(batch=True, system="fold", refuses=["max_tokens"])
            asking = asyncio.ensure_future(d.ask("r1", sampling=DEFAULT))
            await d.server.until("create", 2)
            await d.server.until("look", 4)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            line = json.loads(d.server.files[d.server.uploads[1]])
            assert line["body"].keys() == {"model", "messages", "max_completion_tokens"}
            later = await next_process(d)
            d.server.release.set()
            assert await later.batches.take_up(lambda name: later.model)
            [(wire,)] = later.ledger._file._read("SELECT wire FROM replies")
            body = {"model": "m", "messages": [{"role": "user", "content": "What is r1?"}]}
            assert json.loads(wire)["body"] == body | {"temperature": 0.2, "max_tokens": 64}
            assert (await later.ask("r1", sampling=DEFAULT)).replayed
            await later.close()

    async def test_a_reply_bought_in_a_batch_is_found_without_it_and_the_other_way_round(self, desk: Opener) -> None:
        async with desk() as d:
            ordinary = d.open(batch=False)
            await d.ask("r1")
            await d.ask("r2", model=ordinary)
            replies = [await d.ask("r1", model=ordinary), await d.ask("r2")]
            await ordinary.close()
            assert [reply.replayed for reply in replies] == [True, True]
            assert d.server.sizes() == [1]
            assert d.server.requests["chat"] == 1

    async def test_files_are_split_at_the_most_lines(self, desk: Opener) -> None:
        async with desk(lines=5) as d:
            await d.ask_many(12)
            assert sorted(d.server.sizes()) == [2, 5, 5]
            assert d.ledger.count_spent().requests == 12

    async def test_files_are_split_at_the_most_bytes(self, desk: Opener) -> None:
        async with desk(size=1000) as d:
            await d.ask_many(12)
            assert sum(d.server.sizes()) == 12
            assert all(len(d.server.files[name]) <= 1000 for name in d.server.uploads)
            assert max(d.server.sizes()) > 1

    async def test_two_who_ask_the_same_share_a_line(self, desk: Opener) -> None:
        async with desk() as d:
            replies = await asyncio.gather(d.ask("r1"), d.ask("r1"))
            assert d.server.sizes() == [1]
            assert sorted(reply.replayed for reply in replies) == [False, True]

    async def test_what_another_run_has_in_flight_is_not_handed_in(self, desk: Opener) -> None:
        async with desk("never") as d:
            other = Desk(d.server, d.path, run="another run")
            asking = asyncio.ensure_future(d.ask_many(6))
            await d.server.until("look", 1)
            waiting = asyncio.ensure_future(other.ask_many(8))
            await d.server.until("create", 2)
            d.server.release.set()
            mine, others = await asyncio.gather(asking, waiting)
            assert [reply.text for reply in others[:6]] == [reply.text for reply in mine]
            assert d.server.sizes() == [6, 2]
            assert (d.ledger.count_spent().requests, other.ledger.count_spent().requests) == (6, 2)
            await other.close()

    async def test_models_have_files_of_their_own(self, desk: Opener) -> None:
        async with desk() as d:
            other = d.open(batch=True, model="n")
            await asyncio.gather(d.ask("r1"), d.ask("r", other, "other"))
            await other.close()
            assert [{line["body"]["model"] for line in batch.lines} for batch in d.server.created] in (
                [{"m"}, {"n"}],
                [{"n"}, {"m"}],
            )

    async def test_a_file_waits_while_other_calls_may_bring_more_requests(self, desk: Opener) -> None:
        async with desk(busy_s=30, faults={"chat": ["", "wait"]}) as d:
            ordinary = d.open(batch=False)

            async def both(row: str) -> None:
                await d.ask(row, model=ordinary)
                await asyncio.sleep(0)
                await d.ask(f"{row} now", name="batched")

            asking = asyncio.gather(both("r1"), both("r2"))
            await d.server.until("chat")
            await asyncio.sleep(10 * QUICK["quiet_s"])
            assert d.server.sizes() == []
            d.server.release.set()
            await asking
            await ordinary.close()
            assert d.server.sizes() == [2]


class TestMoney:
    async def test_the_budget_reserves_half_and_lets_the_rest_wait_for_the_first_batch(self, desk: Opener) -> None:
        # a call can cost at most 0.5 * (27 * 1 + 64 * 10) / 1e6 = $0.0003335, and costs $0.0000215
        async with desk(budget=Budget(usd=0.0015)) as d:
            replies = await d.ask_many(8)
            assert d.server.sizes()[0] == 4
            assert sum(d.server.sizes()) == 8
            assert all(isinstance(reply, Reply) for reply in replies)

    async def test_nothing_is_handed_in_beyond_the_budget(self, desk: Opener) -> None:
        async with desk(budget=Budget(requests=5)) as d:
            replies = await d.ask_many(8)
            assert sum(isinstance(reply, BudgetReached) for reply in replies) == 3
            assert sum(d.server.sizes()) == 5
            assert d.ledger.count_spent().requests == 5

    async def test_what_a_batch_has_bought_costs_half_also_where_it_is_replayed_without_one(self, desk: Opener) -> None:
        async with desk() as d:
            [bought] = await d.ask_many(1)
            replayed = await d.ask("r0", d.open(), "again")
            assert (replayed.replayed, replayed.cost_usd) == (True, bought.cost_usd)


class TestEndings:
    @pytest.mark.parametrize("ending", ["expire:5", "cancel:5", "missing:5", "expire:0", "fail:server_error"])
    async def test_what_a_batch_leaves_unanswered_is_handed_in_again(self, desk: Opener, ending: str) -> None:
        async with desk(ending) as d:
            replies = await d.ask_many(12)
            done = int(ending.partition(":")[2]) if ending[-1].isdigit() else 0
            assert d.server.sizes() == [12, 12 - done]
            assert all(isinstance(reply, Reply) for reply in replies)
            assert set(d.server.answered.values()) == {1}
            assert (d.ledger.count_spent().requests, d.ledger.count_spent().doubtful) == (12, 0)
            assert d.caller.summary()[0]["retried"] == 12 - done
            await d.batches.close()
            assert not d.store.folder.exists()

    async def test_after_three_batches_the_row_fails_and_the_money_is_back(self, desk: Opener) -> None:
        budget = Budget(requests=3)
        async with desk("expire:2", "expire:0", "expire:0", budget=budget) as d:
            replies = await d.ask_many(3)
            failed = [reply for reply in replies if isinstance(reply, ServerFault)]
            assert [fault.kind for fault in failed] == ["batch_expired"]
            assert d.server.sizes() == [3, 1, 1]
            assert (d.ledger.count_spent().requests, d.ledger.count_spent().doubtful) == (2, 0)
            assert isinstance(await d.ask("r9"), Reply)

    async def test_lines_with_rate_limits_and_server_errors_are_handed_in_again_and_wrong_ones_fail(
        self, desk: Opener
    ) -> None:
        async with desk("lines:429,500,400,200") as d:
            replies = await d.ask_many(6)
            assert d.server.sizes() == [6, 2]
            (wrong,) = [reply for reply in replies if isinstance(reply, Exception)]
            assert isinstance(wrong, RequestRejected)
            assert "400 Bad Request: this is a 400" in str(wrong)
            faults = d.caller.summary()[0]["faults"]
            assert faults == {"rate_limit": 1, "rejected": 1, "server_error": 1}

    async def test_errors_with_status_200_are_those_that_they_name_and_cost_nothing(self, desk: Opener) -> None:
        async with desk("inside:429,500,400,200") as d:
            replies = await d.ask_many(6)
            assert d.server.sizes() == [6, 2]
            (wrong,) = [reply for reply in replies if isinstance(reply, Exception)]
            assert isinstance(wrong, RequestRejected)
            assert "200 OK, but what came is an error: 400 Bad Request: this is a 400" in str(wrong)
            spent = d.ledger.count_spent()
            assert (spent.requests, spent.doubtful) == (5, 0)
            assert d.caller.summary()[0]["faults"] == {"rate_limit": 1, "rejected": 1, "server_error": 1}

    async def test_a_line_that_is_to_come_back_soon_is_handed_in_again(self, desk: Opener) -> None:
        async with desk("later:50ms") as d:
            assert all(isinstance(reply, Reply) for reply in await d.ask_many(3))
            assert d.server.sizes() == [3, 1]

    async def test_a_line_that_is_to_come_back_in_hours_ends_the_run(self, desk: Opener) -> None:
        async with desk("later:9h54m") as d:
            replies = await d.ask_many(3)
            (later,) = [reply for reply in replies if isinstance(reply, QuotaSpent)]
            assert later.fix.startswith("run the same command at ")
            assert (d.server.sizes(), d.ledger.count_spent().requests) == ([3], 2)

    async def test_an_empty_account_in_a_line_is_told_as_one(self, desk: Opener) -> None:
        async with desk("inside:402,402") as d:
            assert [type(reply) for reply in await d.ask_many(2)] == [QuotaSpent, QuotaSpent]

    async def test_404_of_one_line_fails_its_row_and_404_of_all_ends_the_run(self, desk: Opener) -> None:
        async with desk("lines:404", "lines:404,404") as d:
            first = await d.ask_many(3)
            assert [type(reply) for reply in first].count(RequestRejected) == 1
            second = await asyncio.gather(d.ask("s1"), d.ask("s2"), return_exceptions=True)
            assert [type(reply) for reply in second] == [EndpointRefused, EndpointRefused]

    @pytest.mark.parametrize(
        ("ending", "kind"),
        [("fail:model_not_found", EndpointRefused), ("fail:billing_hard_limit_reached", QuotaSpent)],
    )
    async def test_a_batch_that_fails_for_its_account_or_its_model_is_not_tried_again(
        self, desk: Opener, ending: str, kind: type[Exception]
    ) -> None:
        async with desk(ending) as d:
            replies = await d.ask_many(3)
            assert {type(reply) for reply in replies} == {kind}
            assert d.server.sizes() == [3]
            assert d.ledger.count_spent().doubtful == 0

    async def test_a_batch_on_this_machine_goes_through_no_proxy(
        self, desk: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        async with desk() as d:
            assert [type(reply) for reply in await d.ask_many(2)] == [Reply, Reply]

    async def test_a_batch_that_fails_validation_is_not_handed_in_again_and_its_reason_is_said(
        self, desk: Opener
    ) -> None:
        async with desk("fail:invalid_json_line") as d:
            replies = await d.ask_many(3)
            assert d.server.sizes() == [3]
            assert [type(reply) for reply in replies] == [RequestRejected] * 3
            assert "batch batch_0 failed: it is invalid_json_line" in str(replies[0])
            assert any("teacher: " in line and "batch_0 failed: it is invalid_json_line" in line for line in d.said)
            assert (d.ledger.count_spent().requests, d.ledger.count_spent().doubtful) == (0, 0)

    async def test_lines_that_fail_validation_fail_their_rows_and_the_others_are_handed_in_without_them(
        self, desk: Opener
    ) -> None:
        async with desk("fail:invalid_request:2,5") as d:
            replies = await d.ask_many(6)
            assert d.server.sizes() == [6, 4]
            kinds = [type(reply) for reply in replies]
            assert kinds == [Reply, RequestRejected, Reply, Reply, RequestRejected, Reply]
            assert set(d.server.answered.values()) == {1}

    async def test_a_batch_that_does_not_fit_into_the_queue_is_split_until_it_does(self, desk: Opener) -> None:
        async with desk(most_lines=4) as d:
            replies = await d.ask_many(12)
            assert all(isinstance(reply, Reply) for reply in replies)
            assert d.server.sizes()[:3] == [12, 6, 3]
            assert set(d.server.answered.values()) == {1}
            assert d.ledger.count_spent().requests == 12

    async def test_garbled_lines_strangers_and_doubles_do_no_harm(self, desk: Opener) -> None:
        async with desk("garbled") as d:
            replies = await d.ask_many(3)
            assert all(isinstance(reply, Reply) for reply in replies)
            assert d.ledger.count_spent().requests == 3

    async def test_a_reply_that_cannot_be_used_is_asked_for_anew_in_the_next_batch(self, desk: Opener) -> None:
        async with desk(rule="") as d:
            replies = await d.ask_many(2)
            assert [type(reply).__name__ for reply in replies] == ["ReplyFault", "ReplyFault"]
            assert d.server.sizes() == [2, 2, 2]
            assert d.ledger.count_spent().requests == 6

    @pytest.mark.parametrize("action", ["refusal", "filtered"])
    async def test_a_refusal_in_a_batch_is_paid_and_fails_its_row_as_one(self, tmp_path: Path, action: str) -> None:
        def reply(body: Mapping[str, Any]) -> tuple[int, Any]:
            return 200, completion_of(action if "r1" in json.dumps(body) else "ok", dict(body), "Well, {n}.")

        async with FakeBatches((), reply=reply) as server:
            d = Desk(server, tmp_path, None)
            replies = await d.ask_many(3)
            assert [type(each).__name__ for each in replies] == ["Reply", "ReplyFault", "Reply"]
            assert replies[1].kind == "refused"
            assert (server.sizes(), d.ledger.count_spent().requests) == ([3, 1, 1], 5)
            await d.close()


class TestBadEndpoints:
    @pytest.mark.parametrize(
        "faults",
        [
            {"upload": ["500"]},
            {"upload": ["429:0.01", "html", "lost"]},
            {"create": ["429:0.01"]},
            {"look": ["500", "html"]},
            {"content": ["500", "cut", "html"]},
        ],
        ids=str,
    )
    async def test_faults_are_sat_out(self, desk: Opener, faults: dict[str, list[str]]) -> None:
        async with desk(faults=faults, patience_s=60) as d:
            replies = await d.ask_many(4)
            assert all(isinstance(reply, Reply) for reply in replies)
            assert d.server.sizes() == [4]
            assert d.ledger.count_spent().requests == 4

    @pytest.mark.parametrize("place", ["upload", "create"])
    async def test_a_pause_that_is_longer_than_anybody_waits_ends_the_run(self, desk: Opener, place: str) -> None:
        async with desk(faults={place: ["429:90000"]}) as d:
            replies = await d.ask_many(2)
            assert [type(reply) for reply in replies] == [QuotaSpent, QuotaSpent]
            assert all(str(reply).partition("fix: ")[2].startswith("run the same command at ") for reply in replies)
            assert (d.server.requests[place], d.ledger.count_spent().requests) == (1, 0)
            assert not d.store.folder.exists()

    @pytest.mark.parametrize(("fault", "batches"), [("lost", 1), ("500", 1)])
    async def test_after_a_fault_a_batch_is_looked_for_before_it_is_created_again(
        self, desk: Opener, fault: str, batches: int
    ) -> None:
        async with desk(faults={"create": [fault]}, patience_s=60) as d:
            assert all(isinstance(reply, Reply) for reply in await d.ask_many(4))
            assert len(d.server.created) == batches
            assert d.server.requests["list"] >= 1
            assert d.server.requests["create"] == (1 if fault == "lost" else 2)

    @pytest.mark.parametrize(
        ("faults", "kind"),
        [({"upload": ["401"]}, EndpointRefused), ({"create": ["400"]}, RequestRejected)],
        ids=str,
    )
    async def test_a_refusal_costs_nothing_and_leaves_nothing(
        self, desk: Opener, faults: dict[str, list[str]], kind: type[Exception]
    ) -> None:
        async with desk(faults=faults) as d:
            replies = await d.ask_many(2)
            assert {type(reply) for reply in replies} == {kind}
            assert "sk-secret" not in str(replies[0])
            assert d.ledger.count_spent().doubtful == 0
            assert d.records() == []

    async def test_an_endpoint_without_batches_is_told_from_a_wrong_url(self, desk: Opener) -> None:
        async with desk(faults={"upload": ["404"]}) as d:
            (reply,) = await d.ask_many(1)
            assert "or take out batch: true" in str(reply)

    async def test_a_batch_that_cannot_be_looked_at_ends_the_run_and_stays_noted(self, desk: Opener) -> None:
        async with desk(faults={"look": ["500"] * 50}) as d:
            replies = await d.ask_many(2)
            assert {type(reply) for reply in replies} == {StepError}
            assert "batch batch_0" in str(replies[0])
            (record,) = d.records()
            assert f"remove {d.store.path(record)}" in str(replies[0])
            assert record.batch_id == "batch_0"


async def interrupted(desk: Desk, kind: str, rows: int = 6) -> None:
    """Asks, and stops as soon as the server has worked on a request of a kind."""
    asking = asyncio.ensure_future(desk.ask_many(rows))
    await desk.server.until(kind)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


class TestTakingUp:
    @pytest.mark.parametrize("action", ["lost_hang", ""])
    async def test_a_batch_of_an_earlier_process_is_waited_for_and_not_handed_in_again(
        self, desk: Opener, action: str
    ) -> None:
        kind = "create" if action else "look"
        async with desk("never", faults={"create": [action]}) as d:
            await interrupted(d, kind)
            d.server.release.set()
            later = await next_process(d)
            assert (later.ledger.count_spent().doubtful, len(later.records())) == (6, 1)
            assert await later.batches.take_up(lambda name: later.model)
            spent = later.ledger.count_spent()
            assert (spent.requests, spent.doubtful, later.ledger.count_repeated()) == (6, 0, 0)
            replies = await later.ask_many(6)
            assert all(reply.replayed for reply in replies)
            assert d.server.sizes() == [6]
            assert not later.store.folder.exists()
            await later.close()

    @pytest.mark.parametrize("kind", ["upload", "create"])
    async def test_what_was_not_handed_in_is_forgotten_and_free(self, desk: Opener, kind: str) -> None:
        async with desk(faults={kind: ["hang"]}) as d:
            await interrupted(d, kind)
            later = await next_process(d)
            assert await later.batches.take_up(lambda name: later.model)
            spent = later.ledger.count_spent()
            assert (spent.requests, spent.doubtful) == (0, 0)
            assert all(isinstance(reply, Reply) for reply in await later.ask_many(6))
            assert d.server.sizes() == [6]
            assert later.ledger.count_repeated() == 0
            await later.close()

    async def test_what_a_taken_up_batch_leaves_unanswered_is_asked_again(self, desk: Opener) -> None:
        async with desk("never") as d:
            await interrupted(d, "look")
            d.server.created[0].ending = "expire:2"
            later = await next_process(d)
            assert await later.batches.take_up(lambda name: later.model)
            assert (later.ledger.count_spent().requests, later.ledger.count_spent().doubtful) == (2, 0)
            await later.ask_many(6)
            assert d.server.sizes() == [6, 4]
            assert set(d.server.answered.values()) == {1}
            await later.close()

    async def test_taking_up_can_be_broken_off_and_taken_up_again(self, desk: Opener) -> None:
        async with desk("never") as d:
            await interrupted(d, "look")
            second = await next_process(d)
            taking = asyncio.ensure_future(second.batches.take_up(lambda name: second.model))
            await d.server.until("look", d.server.requests["look"] + 1)
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
            d.server.release.set()
            third = await next_process(second)
            assert await third.batches.take_up(lambda name: third.model)
            assert (third.ledger.count_spent().requests, third.ledger.count_spent().doubtful) == (6, 0)
            await third.close()

    async def test_a_batch_is_taken_up_though_the_model_is_no_longer_asked_in_batches(self, desk: Opener) -> None:
        async with desk("never") as d:
            await interrupted(d, "look")
            d.server.release.set()
            later = await next_process(d)
            ordinary = later.open(batch=False)
            assert await later.batches.take_up(lambda name: ordinary)
            assert all(reply.replayed for reply in await later.ask_many(6, model=ordinary))
            assert later.ledger.count_spent().usd == pytest.approx(6 * 0.5 * (3 * 1 + 4 * 10) / 1e6)
            await ordinary.close()
            await later.close()

    async def test_a_batch_of_a_model_that_is_gone_is_left_alone_and_said_to_be(self, desk: Opener) -> None:
        async with desk("never") as d:
            await interrupted(d, "look")
            later = await next_process(d)
            await later.batches.take_up(lambda name: None)
            assert len(later.records()) == 1
            assert "is left alone" in later.said[0]
            await later.close()

    async def test_a_run_takes_up_its_own_batches_only(self, desk: Opener) -> None:
        async with desk("never") as d:
            await interrupted(d, "look")
            assert Store(d.path / "ledger.sqlite", "another run").records() == []

    async def test_what_another_run_has_bought_meanwhile_stays_booked_as_this_one_paid_too(self, desk: Opener) -> None:
        async with desk("never") as d:
            await interrupted(d, "look")
            await d.close()
            d.server.release.set()
            other = Desk(d.server, d.path, run="another run")
            ordinary = other.open(batch=False)
            await other.ask("r0", model=ordinary)
            await ordinary.close()
            await other.close()
            later = Desk(d.server, d.path)
            assert await later.batches.take_up(lambda name: later.model)
            spent = later.ledger.count_spent()
            assert (spent.requests, spent.doubtful) == (5, 1)
            assert spent.doubtful_usd > 0
            await later.close()

    async def test_a_lost_call_that_was_in_no_batch_stays_in_doubt(self, desk: Opener) -> None:
        async with desk("never") as d:
            await d.ledger.intend("lost", {}, model="teacher", row_id="r", reserved_usd=0.25, reserved_tokens=9)
            await interrupted(d, "look")
            d.server.release.set()
            later = await next_process(d)
            assert later.ledger.count_spent().doubtful == 7
            await later.batches.take_up(lambda name: later.model)
            spent = later.ledger.count_spent()
            assert (spent.doubtful, spent.doubtful_usd) == (1, 0.25)
            await later.close()
