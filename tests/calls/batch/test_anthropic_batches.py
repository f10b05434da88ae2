"""Message batches with a real ledger and a server made of Anthropic's types: nothing is handed in twice."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from blackbox_kd.calls.budget import Budget
from blackbox_kd.errors import (
    CallError,
    EndpointRefused,
    QuotaSpent,
    ReplyFault,
    RequestRejected,
    ServerFault,
    StepError,
)
from blackbox_kd.models import Model, Setup, anthropic
from blackbox_kd.models.http.batches import Batch
from blackbox_kd.schema import Reply, Sampling
from tests.calls.batch.test_queue import DEFAULT, PRICE, WARM, Desk
from tests.support.teachers.anthropic import FakeAnthropic
from tests.support.teachers.anthropic_batches import FakeBatch

MODEL = "claude-opus-4-5"
"""One that takes a temperature."""


class ClaudeDesk(Desk):
    """A caller of Claude's; see `Desk`."""

    server: FakeAnthropic  # type: ignore[assignment]

    def open(self, **fields: Any) -> Model:
        values = {"provider": "anthropic", "model": MODEL, "base_url": self.server.url, "price": PRICE}
        config = anthropic.Config.model_validate(values | {"key_env": "KEY"} | fields)
        return anthropic.open_model(config, Setup("teacher", Path(), Path(), {"KEY": "sk-secret"}))


@asynccontextmanager
async def desk(path: Path, *batches: str, budget: Budget | None = None, **server: Any) -> AsyncIterator[ClaudeDesk]:
    patience = {"patience_s": server.pop("patience_s", 60.0)}
    async with FakeAnthropic(batches=batches, key="sk-secret", **server) as fake:
        opened = ClaudeDesk(fake, path, budget, **patience)  # type: ignore[arg-type]
        try:
            yield opened
        finally:
            await opened.close()


async def next_process(first: ClaudeDesk) -> ClaudeDesk:
    await first.close()
    return ClaudeDesk(first.server, first.path)  # type: ignore[arg-type]


async def interrupted(d: ClaudeDesk, kind: str, rows: int = 6) -> None:
    """Asks, and stops as soon as the server has worked on a request of a kind."""
    asking = asyncio.ensure_future(d.ask_many(rows))
    await d.server.until(kind)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


class TestHandingIn:
    async def test_rows_are_one_batch_at_half_the_price_and_each_gets_its_own_reply(self, tmp_path: Path) -> None:
        async with desk(tmp_path) as d:
            replies = await d.ask_many(12)
            assert d.server.sizes() == [12]
            [batch] = d.server.desk.batches
            asked = next(each for each in batch.requests if "r3" in json.dumps(each))
            assert d.ledger.get(asked["custom_id"]) is not None
            assert asked["params"] == {
                "model": MODEL,
                "max_tokens": 64,
                "messages": [{"role": "user", "content": "What is r3?"}],
                "temperature": 0.7,
            }
            ordinary = d.open(batch=False)
            again = [await d.ask(f"r{number}", model=ordinary) for number in range(12)]
            assert [reply.text for reply in again] == [reply.text for reply in replies]
            assert all(reply.replayed for reply in again), "a reply of a batch is found without it"
            assert len({reply.text for reply in replies}) > 6, "results came last first, and are not mixed up"
            assert replies[0].cost_usd == pytest.approx(0.5 * (3 * 1 + 4 * 10) / 1e6)
            await ordinary.close()

    async def test_a_batch_is_as_large_as_the_api_lets_it_be(self, tmp_path: Path) -> None:
        async with desk(tmp_path) as d:
            api = d.model.batch_api
            assert (api.most_lines, d.model.config.in_flight) == (100_000, 100_000)
            assert d.batches._limits.lines > api.most_lines
            api.most_lines = 5
            await d.ask_many(12)
            assert sorted(d.server.sizes()) == [2, 5, 5]

    async def test_what_the_ledger_keeps_of_a_batch_is_the_vendors_reply(self, tmp_path: Path) -> None:
        async with desk(tmp_path) as d:
            await d.ask("r1")
            [batch] = d.server.desk.batches
            kept = json.loads(d.ledger.get(batch.requests[0]["custom_id"]) or "")
            assert (kept["type"], kept["usage"]["service_tier"]) == ("message", "batch")

    async def test_a_budget_holds_for_batches(self, tmp_path: Path) -> None:
        async with desk(tmp_path, budget=Budget(requests=5)) as d:
            await d.ask_many(8)
            assert sum(d.server.sizes()) == d.ledger.count_spent().requests == 5

    async def test_under_a_budget_a_request_has_the_cap_that_the_ledger_does_not_know_of(self, tmp_path: Path) -> None:
        async with desk(tmp_path, budget=Budget(usd=10.0)) as d:
            await d.ask("r1", sampling=Sampling(0.7))
            [batch] = d.server.desk.batches
            assert batch.requests[0]["params"]["max_tokens"] == 64_000
            [[wire]] = d.ledger._file._read("SELECT wire FROM replies")
            assert json.loads(wire)["body"].keys() == {"model", "messages", "temperature"}

    async def test_a_field_that_a_model_does_not_take_is_learnt_from_a_batch(self, tmp_path: Path) -> None:
        async with desk(tmp_path) as d:
            own = d.open(batch=True, model="claude-of-next-year")
            d.server.batches = ["refuse:temperature"]
            replies = await d.ask_many(3, model=own, sampling=DEFAULT)
            assert all(isinstance(reply, Reply) for reply in replies)
            assert d.server.sizes() == [3, 3]
            params = [each["params"] for each in d.server.desk.batches[1].requests]
            assert not any("temperature" in each for each in params)
            await own.close()


class TestEndings:
    @pytest.mark.parametrize(
        ("ending", "left", "kind"),
        [
            ("expire:5", 7, "batch_expired"),
            ("expire:0", 12, "batch_expired"),
            ("cancel:5", 7, "batch_cancelled"),
            ("lines:overloaded_error,api_error,rate_limit_error", 3, "server_error"),
        ],
    )
    async def test_what_a_batch_leaves_unanswered_is_handed_in_again_and_nothing_twice(
        self, tmp_path: Path, ending: str, left: int, kind: str
    ) -> None:
        async with desk(tmp_path, ending) as d:
            replies = await d.ask_many(12)
            assert d.server.sizes() == [12, left]
            assert all(isinstance(reply, Reply) for reply in replies)
            assert set(d.server.answered.values()) == {1}
            assert (d.ledger.count_spent().requests, d.ledger.count_spent().doubtful) == (12, 0)
            assert kind in d.caller.summary()[0]["faults"]

    async def test_results_that_lack_lines_are_read_again_and_never_bought_twice(self, tmp_path: Path) -> None:
        async with desk(tmp_path, "missing:5", patience_s=0.2) as d:
            replies = await d.ask_many(12)
            assert d.server.sizes() == [12]
            assert {type(reply) for reply in replies if not isinstance(reply, Reply)} == {StepError}
            assert len(d.records()) == 1, "it stays noted"

    async def test_a_rejected_request_fails_its_row_alone(self, tmp_path: Path) -> None:
        async with desk(tmp_path, "lines:invalid_request_error,ok,not_found_error") as d:
            replies = await d.ask_many(4)
            assert d.server.sizes() == [4]
            failed = [reply for reply in replies if not isinstance(reply, Reply)]
            assert {type(each) for each in failed} == {RequestRejected}
            assert any("400 Bad Request: this is a invalid_request_error" in str(each) for each in failed)

    @pytest.mark.parametrize(
        ("kind", "error"),
        [
            ("billing_error", QuotaSpent),
            ("authentication_error", EndpointRefused),
            ("not_found_error", EndpointRefused),
        ],
    )
    async def test_an_account_or_a_model_that_no_request_gets_past_is_told_as_one(
        self, tmp_path: Path, kind: str, error: type[Exception]
    ) -> None:
        async with desk(tmp_path, f"lines:{kind},{kind}") as d:
            assert [type(reply) for reply in await d.ask_many(2)] == [error, error]
            assert (d.server.sizes(), d.ledger.count_spent().doubtful) == ([2], 0)

    async def test_after_three_batches_the_row_fails_and_the_money_is_back(self, tmp_path: Path) -> None:
        async with desk(tmp_path, "expire:2", "expire:0", "expire:0", budget=Budget(requests=3)) as d:
            failed = [reply for reply in await d.ask_many(3) if isinstance(reply, ServerFault)]
            assert [fault.kind for fault in failed] == ["batch_expired"]
            assert d.server.sizes() == [3, 1, 1]
            assert (d.ledger.count_spent().requests, d.ledger.count_spent().doubtful) == (2, 0)

    async def test_garbled_lines_strangers_and_doubles_do_no_harm(self, tmp_path: Path) -> None:
        async with desk(tmp_path, "garbled") as d:
            assert all(isinstance(reply, Reply) for reply in await d.ask_many(3))
            assert d.ledger.count_spent().requests == 3

    async def test_a_refusal_in_a_batch_is_paid_told_and_not_asked_again(self, tmp_path: Path) -> None:
        class Refuses(FakeAnthropic):
            def answer(self, body: dict[str, Any], action: str) -> dict[str, Any]:
                return super().answer(body, "refusal:bio" if "r1" in json.dumps(body) else action)

        async with Refuses() as server:
            d = ClaudeDesk(server, tmp_path)  # type: ignore[arg-type]
            replies = await d.ask_many(3)
            assert [type(reply) for reply in replies] == [Reply, *[type(replies[1])], Reply]
            assert isinstance(replies[1], ReplyFault)
            assert replies[1].kind == "refused: bio"
            assert (server.sizes(), d.ledger.count_spent().requests) == ([3], 3)
            await d.close()


class TestFaults:
    @pytest.mark.parametrize(
        "faults",
        [
            {"create": ["429"]},
            {"look": ["500", "html"]},
            {"results": ["500", "cut"]},
            {"list": ["500"], "create": ["500"]},
        ],
        ids=str,
    )
    async def test_faults_are_sat_out(self, tmp_path: Path, faults: dict[str, list[str]]) -> None:
        async with desk(tmp_path, faults=faults) as d:
            assert all(isinstance(reply, Reply) for reply in await d.ask_many(4))
            assert d.server.sizes() == [4]
            assert d.ledger.count_spent().requests == 4

    @pytest.mark.parametrize("fault", ["lost", "html"])
    async def test_a_batch_whose_creation_got_no_answer_is_found_by_what_it_holds(
        self, tmp_path: Path, fault: str
    ) -> None:
        async with desk(tmp_path, faults={"create": [fault]}) as d:
            assert all(isinstance(reply, Reply) for reply in await d.ask_many(4))
            assert d.server.sizes() == [4]
            assert set(d.server.answered.values()) == {1}

    @pytest.mark.parametrize(
        ("fault", "kind", "says"),
        [
            ("401", EndpointRefused, "401"),
            ("404", EndpointRefused, "or take out batch: true"),
            ("400", RequestRejected, ""),
        ],
    )
    async def test_a_refusal_costs_nothing_and_leaves_nothing(
        self, tmp_path: Path, fault: str, kind: type[Exception], says: str
    ) -> None:
        async with desk(tmp_path, faults={"create": [fault]}) as d:
            replies = await d.ask_many(2)
            assert {type(reply) for reply in replies} == {kind}
            assert says in str(replies[0])
            assert "sk-secret" not in str(replies[0])
            assert (d.ledger.count_spent().doubtful, d.records()) == (0, [])

    async def test_a_batch_that_cannot_be_looked_at_ends_the_run_and_stays_noted(self, tmp_path: Path) -> None:
        async with desk(tmp_path, faults={"look": ["500"] * 50}, patience_s=0.2) as d:
            replies = await d.ask_many(2)
            assert {type(reply) for reply in replies} == {StepError}
            assert [record.batch_id for record in d.records()] == ["msgbatch_0"]


class Garbles(FakeAnthropic):
    """A server that says one thing of whatever it is asked."""

    value: Any = None

    def routes(self) -> list[web.AbstractRouteDef]:
        return [web.route("*", "/{path:.*}", self._say)]

    async def _say(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.value)


COUNTS = [None, [], {"processing": "many"}, {"succeeded": None, "errored": 1}]
TIMES = ["yesterday", "", None, "2026-13-01T00:00:00Z"]


@pytest.mark.parametrize(
    ("value", "looked", "found"),
    [
        *((value, "unreadable", "unreadable") for value in (None, 3, "text", [], {"data": [{}]})),
        *((value, "unreadable", None) for value in ({}, {"data": 3}, {"data": [3]}, {"id": 3}, {"has_more": True})),
        *(({"processing_status": "ended", "request_counts": counts}, "completed", None) for counts in COUNTS),
        *(({"data": [{"id": "msgbatch_0", "created_at": at}]}, "unreadable", "unreadable") for at in TIMES),
    ],
    ids=repr,
)
async def test_nonsense_about_batches_is_a_fault_of_the_server_and_no_error_of_ours(
    tmp_path: Path, value: Any, looked: str, found: str | None
) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text('{"custom_id": "a", "body": {"model": "m", "messages": []}}\n')
    async with Garbles() as server:
        server.value = value
        d = ClaudeDesk(server, tmp_path)  # type: ignore[arg-type]
        api = d.model.batch_api
        assert await kind_or(api.create(str(path), "mark")) == "unreadable"
        batch = await kind_or(api.look("msgbatch_0"))
        assert (batch.status if isinstance(batch, Batch) else batch) == looked
        assert await kind_or(api.find(str(path), "mark", 0.0)) == found
        await d.close()


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (None, "server_error"),
        ([], "server_error"),
        ({"type": "dreamt"}, "server_error"),
        ({"type": "errored"}, "server_error"),
        (
            {"type": "errored", "error": {"type": "error", "error": {"type": "new_error", "message": "?"}}},
            "server_error",
        ),
        ({"type": "errored", "error": {"error": {"type": "permission_error", "message": "no"}}}, "rejected"),
        ({"type": "expired"}, "batch_expired"),
        ({"type": "canceled"}, "batch_cancelled"),
        (
            {"type": "succeeded", "message": {"type": "error", "error": {"type": "api_error", "message": "?"}}},
            "server_error",
        ),
    ],
    ids=repr,
)
async def test_a_line_of_results_is_an_error_of_a_known_kind_where_it_is_no_reply(
    tmp_path: Path, result: Any, kind: str
) -> None:
    async with desk(tmp_path) as d:
        found = d.model.batch_api.outcome({"custom_id": "a", "result": result})
        assert isinstance(found, CallError)
        assert found.kind == kind
        assert d.model.batch_api.outcome({"result": {"type": "succeeded", "message": {"a": "ß"}}}) == '{"a": "ß"}'


async def kind_or(asked: Awaitable[Any]) -> Any:
    """What comes, or the kind of fault."""
    try:
        return await asked
    except ServerFault as fault:
        return fault.kind


def stranger(name: str, size: int, ending: str = "ok", like: FakeBatch | None = None) -> FakeBatch:
    """A batch of somebody else with the same key, or of these requests."""
    params = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "Theirs."}]}
    theirs = [{"custom_id": f"{name}-{number}", "params": params} for number in range(size)]
    return FakeBatch(name, theirs if like is None else like.requests, ending)


class TestTakingUp:
    @pytest.mark.parametrize("action", ["lost_hang", ""])
    async def test_a_batch_of_an_earlier_process_is_waited_for_and_not_handed_in_again(
        self, tmp_path: Path, action: str
    ) -> None:
        async with desk(tmp_path, "never", faults={"create": [action]}) as d:
            await interrupted(d, "create" if action else "look")
            later = await next_process(d)
            d.server.desk.release.set()
            assert (later.ledger.count_spent().doubtful, len(later.records())) == (6, 1)
            assert await later.batches.take_up(lambda name: later.model)
            spent = later.ledger.count_spent()
            assert (spent.requests, spent.doubtful, later.ledger.count_repeated()) == (6, 0, 0)
            assert all(reply.replayed for reply in await later.ask_many(6))
            assert d.server.sizes() == [6]
            assert not later.store.folder.exists()
            await later.close()

    async def test_a_batch_that_may_be_the_one_is_waited_for_as_long_as_it_goes_on(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with desk(tmp_path, "never", faults={"create": ["lost_hang"]}) as d:
            await interrupted(d, "create")
            later = await next_process(d)
            taking = asyncio.ensure_future(later.batches.take_up(lambda name: later.model))
            await d.server.until("list", 4)
            assert not taking.done()
            d.server.desk.release.set()
            assert await taking
            assert caplog.text.count("batch msgbatch_0 may be the one that was handed in") == 1
            assert d.server.sizes() == [6]
            assert later.ledger.count_spent().requests == 6
            await later.close()

    async def test_a_run_whose_folder_was_moved_says_where_it_has_to_be(self, tmp_path: Path) -> None:
        before, after = tmp_path / "before", tmp_path / "after"
        before.mkdir()
        async with desk(before, faults={"create": ["lost_hang"]}) as d:
            await interrupted(d, "create")
            await d.close()
            before.rename(after)
            later = ClaudeDesk(d.server, after)  # type: ignore[arg-type]
            with pytest.raises(StepError, match=f"{before}.*cannot be read: No such file") as caught:
                await later.batches.take_up(lambda name: later.model)
            assert "put the run's folder back" in caught.value.fix
            assert len(later.records()) == 1
            await later.close()

    async def test_batches_of_others_are_told_apart_by_what_they_hold(self, tmp_path: Path) -> None:
        async with desk(tmp_path, faults={"create": ["lost_hang"]}) as d:
            await interrupted(d, "create")
            [ours] = d.server.desk.batches
            d.server.desk.batches[:] = [stranger("older", 6), ours, stranger("newer", 6), stranger("other", 7)]
            later = await next_process(d)
            assert await later.batches.take_up(lambda name: later.model)
            assert (later.ledger.count_spent().requests, d.server.desk.requests["create"]) == (6, 1)
            assert all(reply.replayed for reply in await later.ask_many(6))
            await later.close()

    async def test_of_two_batches_of_the_same_requests_the_later_one_is_taken(self, tmp_path: Path) -> None:
        """An earlier one has expired, and its requests were handed in again."""
        async with desk(tmp_path, "never", faults={"create": ["lost_hang"]}) as d:
            await interrupted(d, "create")
            [ours] = d.server.desk.batches
            d.server.desk.batches.insert(0, stranger("earlier", 6, "expire:0", like=ours))
            later = await next_process(d)
            taking = asyncio.ensure_future(later.batches.take_up(lambda name: later.model))
            await d.server.until("list", 4)
            d.server.desk.release.set()
            assert await taking
            assert later.ledger.count_spent().requests == 6
            assert d.server.desk.requests["create"] == 1
            await later.close()

    async def test_a_batch_among_more_than_a_page_of_others_is_found_and_older_ones_are_not_looked_at(
        self, tmp_path: Path
    ) -> None:
        async with desk(tmp_path) as d:
            await interrupted(d, "create")
            [ours] = d.server.desk.batches
            old = stranger("old", 6, like=ours)
            old.made_at -= timedelta(days=2)
            d.server.desk.batches[:] = [old, ours, *(stranger(f"s{number}", 7) for number in range(230))]
            path = tmp_path / "requests.jsonl"
            path.write_text("".join(json.dumps({"custom_id": each["custom_id"]}) + "\n" for each in ours.requests))
            api, since = d.open(batch=True).batch_api, ours.made_at.timestamp()
            assert await api.find(str(path), "", since) == "msgbatch_0"
            pages = d.server.desk.requests["list"]
            assert await api.find(str(path), "", since) is None, "what was found is looked for no more"
            assert d.server.desk.requests["list"] - pages == 3

    async def test_what_was_not_handed_in_is_forgotten_and_free(self, tmp_path: Path) -> None:
        async with desk(tmp_path, faults={"create": ["hang"]}) as d:
            await interrupted(d, "create")
            later = await next_process(d)
            assert await later.batches.take_up(lambda name: later.model)
            assert (later.ledger.count_spent().requests, later.ledger.count_spent().doubtful) == (0, 0)
            assert all(isinstance(reply, Reply) for reply in await later.ask_many(6, sampling=WARM))
            assert d.server.sizes() == [6]
            await later.close()

    async def test_what_a_taken_up_batch_leaves_unanswered_is_asked_again(self, tmp_path: Path) -> None:
        async with desk(tmp_path, "never") as d:
            await interrupted(d, "look")
            d.server.desk.batches[0].ending = "expire:2"
            later = await next_process(d)
            assert await later.batches.take_up(lambda name: later.model)
            assert (later.ledger.count_spent().requests, later.ledger.count_spent().doubtful) == (2, 0)
            await later.ask_many(6)
            assert d.server.sizes() == [6, 4]
            assert set(d.server.answered.values()) == {1}
            await later.close()
