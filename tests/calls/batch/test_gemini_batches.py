"""Batches of Gemini with a real ledger, and a server of its SDK's types: handed in once, completed, in any order."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.calls.budget import Budget
from blackbox_kd.errors import EndpointRefused, QuotaSpent, RequestRejected, ServerFault, StepError
from blackbox_kd.models import Model, Setup, gemini
from blackbox_kd.models.http import gemini_batches
from blackbox_kd.models.http.batches import Batch
from blackbox_kd.schema import Reply, Sampling
from tests.calls.batch.test_queue import DEFAULT, PRICE, Desk
from tests.support.teachers.gemini import FakeGemini


class GeminiDesk(Desk):
    """A caller of Gemini's; see `Desk`."""

    server: FakeGemini  # type: ignore[assignment]

    def open(self, **fields: Any) -> Model:
        values = {"provider": "gemini", "model": "gemini-3.1-pro", "base_url": self.server.url, "price": PRICE}
        config = gemini.Config.model_validate(values | {"key_env": "KEY"} | fields)
        return gemini.open_model(config, Setup("teacher", Path(), Path(), {"KEY": "AIza-secret-0123456789"}))


@asynccontextmanager
async def desk(path: Path, *batches: str, budget: Budget | None = None, **server: Any) -> AsyncIterator[GeminiDesk]:
    async with FakeGemini(batches=batches, **server) as fake:
        opened = GeminiDesk(fake, path, budget)  # type: ignore[arg-type]
        try:
            yield opened
        finally:
            await opened.close()


async def next_process(first: GeminiDesk) -> GeminiDesk:
    await first.close()
    return GeminiDesk(first.server, first.path)  # type: ignore[arg-type]


async def test_rows_are_one_file_at_half_the_price_and_each_gets_its_own_reply(tmp_path: Path) -> None:
    async with desk(tmp_path, "shuffled") as d:
        sampling = Sampling(0.7, max_tokens=64, seed=3, stop=("END",))
        replies = await d.ask_many(12, sampling=sampling)
        assert d.server.sizes() == [12]
        [batch] = d.server.created
        assert (batch.model, len(batch.display_name)) == ("gemini-3.1-pro", 32)
        assert d.server.desk.keys == {"AIza-secret-0123456789"}
        line = json.loads(d.server.desk.files[batch.file].splitlines()[0])
        assert line["request"] == {
            "contents": [{"role": "user", "parts": [{"text": "What is r0?"}]}],
            "generationConfig": {"temperature": 0.7, "maxOutputTokens": 64, "stopSequences": ["END"], "seed": 3},
        }
        ordinary = d.open(batch=False)
        again = [await d.ask(f"r{number}", model=ordinary, sampling=sampling) for number in range(12)]
        assert [reply.text for reply in again] == [reply.text for reply in replies]
        assert all(reply.replayed for reply in again), "a reply of a batch is found without it"
        assert len({reply.text for reply in replies}) > 6, "results came in another order, and are not mixed up"
        assert replies[0].cost_usd == pytest.approx(0.5 * (3 * 1 + 4 * 10) / 1e6)
        await ordinary.close()


async def test_results_that_stand_in_the_batch_are_taken_from_there(tmp_path: Path) -> None:
    async with desk(tmp_path, "lines:8", inline=True) as d:
        replies = await d.ask_many(5)
        assert all(isinstance(reply, Reply) for reply in replies)
        assert d.server.sizes() == [5, 1]
        assert d.server.desk.requests["content"] == 0


async def test_states_and_results_have_the_forms_of_either_version_of_the_api(tmp_path: Path) -> None:
    async with desk(tmp_path, faults={"look": ["snake"] * 9}) as d:
        assert all(isinstance(reply, Reply) for reply in await d.ask_many(5))
        assert d.server.sizes() == [5]


async def test_a_file_is_uploaded_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemini_batches, "CHUNK_BYTES", 100)
    async with desk(tmp_path) as d:
        assert all(isinstance(reply, Reply) for reply in await d.ask_many(5))
        assert (d.server.sizes(), len(d.server.desk.uploads)) == ([5], 1)


@pytest.mark.parametrize(
    ("ending", "left", "kind"),
    [
        ("partial:5", 7, "server_error"),
        ("missing:5", 7, "left_out"),
        ("expire", 12, "batch_expired"),
        ("expire:5", 7, "batch_expired"),
        ("cancel", 12, "batch_cancelled"),
        ("cancel:5", 7, "batch_cancelled"),
        ("lines:8,13,14,4", 4, "server_error"),
        ("fail:13", 12, "batch_failed"),
    ],
)
async def test_what_a_batch_leaves_unanswered_is_handed_in_again_and_nothing_twice(
    tmp_path: Path, ending: str, left: int, kind: str
) -> None:
    async with desk(tmp_path, ending) as d:
        replies = await d.ask_many(12)
        assert d.server.sizes() == [12, left]
        assert all(isinstance(reply, Reply) for reply in replies)
        assert set(d.server.answered.values()) == {1}
        assert (d.ledger.count_spent().requests, d.ledger.count_spent().doubtful) == (12, 0)
        assert kind in d.caller.summary()[0]["faults"]


async def test_a_batch_that_was_not_begun_fails_its_rows_with_the_words_of_the_endpoint(tmp_path: Path) -> None:
    async with desk(tmp_path, "fail:3") as d:
        replies = await d.ask_many(3)
        assert d.server.sizes() == [3]
        assert {type(reply) for reply in replies} == {RequestRejected}
        assert "batches/b0 failed: it failed with 3" in str(replies[0])


async def test_a_rejected_line_fails_its_row_alone(tmp_path: Path) -> None:
    async with desk(tmp_path, "lines:3") as d:
        replies = await d.ask_many(3)
        assert d.server.sizes() == [3]
        assert [type(reply).__name__ for reply in replies].count("RequestRejected") == 1


async def test_a_refusal_in_a_batch_is_paid_told_and_asked_again_only_where_it_names_no_harm(tmp_path: Path) -> None:
    class Refuses(FakeGemini):
        def answer(self, model: str, body: dict[str, Any], action: str) -> dict[str, Any]:
            text = json.dumps(body)
            planned = {"r1": "SAFETY", "r2": "block:PROHIBITED_CONTENT", "r3": "RECITATION"}
            return super().answer(model, body, next((planned[row] for row in planned if row in text), action))

    async with Refuses() as server:
        d = GeminiDesk(server, tmp_path)  # type: ignore[arg-type]
        replies = await d.ask_many(4)
        assert isinstance(replies[0], Reply)
        kinds = ["refused: dangerous_content", "refused: dangerous_content", "refused: recitation"]
        assert [reply.kind for reply in replies[1:]] == kinds
        assert (server.sizes(), d.ledger.count_spent().requests) == ([4, 1, 1], 6)
        await d.close()


async def test_a_field_that_no_line_may_have_is_learnt_and_left_out(tmp_path: Path) -> None:
    async with desk(tmp_path, "refuse:temperature") as d:
        assert all(isinstance(reply, Reply) for reply in await d.ask_many(4, sampling=DEFAULT))
        assert d.server.sizes() == [4, 4]
        assert d.ledger.find_refused(d.model.endpoint, "gemini-3.1-pro") == ["temperature"]


async def test_a_field_that_the_recipe_asks_for_ends_the_run(tmp_path: Path) -> None:
    async with desk(tmp_path, "refuse:temperature") as d:
        replies = await d.ask_many(4)
        assert d.server.sizes() == [4]
        assert {type(reply) for reply in replies} == {EndpointRefused}
        assert "it does not take 'temperature'" in str(replies[0])


@pytest.mark.parametrize("fault", ["lost", "lost_hang", "500"])
async def test_a_batch_whose_creation_got_no_answer_is_handed_in_once(tmp_path: Path, fault: str) -> None:
    async with desk(tmp_path, faults={"create": [fault]}) as d:
        d.model = d.open(batch=True, timeout_s=0.3)
        replies = await d.ask_many(4)
        assert (d.server.sizes(), len(d.server.desk.uploads)) == ([4], 1)
        assert all(isinstance(reply, Reply) for reply in replies)
        assert d.server.desk.requests["list"] == (2 if fault == "500" else 1)


async def test_a_batch_is_found_on_a_later_page_of_the_list(tmp_path: Path) -> None:
    async with desk(tmp_path, faults={"create": ["", "", "", "", "lost"]}, looks=0) as d:
        for number in range(5):
            assert isinstance(await d.ask(f"r{number}"), Reply)
        assert d.server.sizes() == [1] * 5
        assert d.server.desk.requests["list"] == 3


async def test_an_upload_that_is_cut_off_is_made_anew(tmp_path: Path) -> None:
    async with desk(tmp_path, faults={"upload": ["503", "lost"]}) as d:
        assert all(isinstance(reply, Reply) for reply in await d.ask_many(4))
        assert d.server.sizes() == [4]


async def test_results_are_asked_for_again_after_faults(tmp_path: Path) -> None:
    async with desk(tmp_path, faults={"look": ["503"], "content": ["500", "503"]}) as d:
        assert all(isinstance(reply, Reply) for reply in await d.ask_many(4))
        assert set(d.server.answered.values()) == {1}


async def test_the_batch_of_an_ended_process_is_taken_up(tmp_path: Path) -> None:
    async with desk(tmp_path, "never") as d:
        asking = asyncio.ensure_future(d.ask_many(6))
        await d.server.desk.until("look", 2)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        later = await next_process(d)
        d.server.desk.release.set()
        assert await later.batches.take_up(lambda name: later.model)
        replies = await later.ask_many(6)
        assert all(isinstance(reply, Reply) and reply.replayed for reply in replies)
        assert d.server.sizes() == [6]
        assert not later.records()
        await later.close()


async def test_a_batch_of_which_nothing_can_be_learnt_stays_noted(tmp_path: Path) -> None:
    async with desk(tmp_path, faults={"look": ["401"]}) as d:
        replies = await d.ask_many(3)
        assert {type(reply) for reply in replies} == {StepError}
        assert len(d.records()) == 1


@pytest.mark.parametrize("answer", ["{}", "<html>", "[]", '{"error": {"code": 503, "message": "x"}}'])
async def test_an_answer_that_is_no_batch_is_asked_for_again(tmp_path: Path, answer: str) -> None:
    async with desk(tmp_path, faults={"look": [f"says:{answer}"] * 2}) as d:
        assert all(isinstance(reply, Reply) for reply in await d.ask_many(3))
        assert d.server.sizes() == [3]


async def test_an_error_in_place_of_the_list_is_no_sign_that_there_is_no_batch(tmp_path: Path) -> None:
    said = 'says:{"error": {"code": 503, "message": "x"}}'
    async with desk(tmp_path, faults={"create": ["lost"], "list": [said, said]}) as d:
        assert all(isinstance(reply, Reply) for reply in await d.ask_many(3))
        assert d.server.sizes() == [3]


async def test_an_account_that_is_limited_in_a_batch_ends_the_run(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        ended = {"candidates": [{"finishReason": "PUP_LIMITED_DISABLED"}]}
        assert isinstance(d.model.batch_api.outcome({"key": "k", "response": ended}), QuotaSpent)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ({"error": {"code": 8, "message": "slow"}}, ServerFault),
        ({"error": {"code": 16, "message": "no"}}, EndpointRefused),
        ({"error": {"code": 5, "message": "models/m is not found"}}, EndpointRefused),
        ({"error": {"code": 402, "message": "own: depleted"}}, QuotaSpent),
        ({"status": {"code": 3, "message": "no"}}, RequestRejected),
        ({"error": {"code": 99, "message": "own"}}, ServerFault),
        ({"error": {"code": "own"}}, ServerFault),
        ({"response": {"error": {"code": 503, "message": "x"}}}, ServerFault),
        ({"response": []}, ServerFault),
        ({}, ServerFault),
    ],
)
async def test_a_line_without_a_reply_is_an_error_of_its_class(tmp_path: Path, line: Any, error: type) -> None:
    async with desk(tmp_path) as d:
        assert type(d.model.batch_api.outcome({"custom_id": "k", **line})) is error


async def test_a_batch_that_says_nothing_of_why_it_failed_is_worth_another_try(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        fault = d.model.batch_api.explain_unanswered(Batch("batches/b", "failed", (), 0, ()))
        assert (type(fault), fault.kind) == (ServerFault, "batch_failed")
