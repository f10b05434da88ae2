"""Jobs of Mistral with a real ledger and a server made of its SDK's types: handed in once, completed, in any order."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from blackbox_kd.calls.budget import Budget
from blackbox_kd.errors import RequestRejected, StepError
from blackbox_kd.models import Model, Setup, mistral
from blackbox_kd.schema import Reply, Sampling
from tests.calls.batch.test_queue import PRICE, Desk
from tests.support.teachers.mistral import FakeMistral


class MistralDesk(Desk):
    """A caller of Mistral's; see `Desk`."""

    server: FakeMistral  # type: ignore[assignment]

    def open(self, **fields: Any) -> Model:
        values = {"provider": "mistral", "model": "mistral-small-2603", "base_url": self.server.url, "price": PRICE}
        config = mistral.Config.model_validate(values | {"key_env": "KEY"} | fields)
        return mistral.open_model(config, Setup("teacher", Path(), Path(), {"KEY": "sk-secret"}))


@asynccontextmanager
async def desk(path: Path, *batches: str, budget: Budget | None = None, **server: Any) -> AsyncIterator[MistralDesk]:
    async with FakeMistral(batches=batches, **server) as fake:
        opened = MistralDesk(fake, path, budget)  # type: ignore[arg-type]
        try:
            yield opened
        finally:
            await opened.close()


async def next_process(first: MistralDesk) -> MistralDesk:
    await first.close()
    return MistralDesk(first.server, first.path)  # type: ignore[arg-type]


async def test_rows_are_one_job_for_one_model_at_half_the_price_and_each_gets_its_own_reply(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        replies = await d.ask_many(12, sampling=Sampling(0.7, max_tokens=64, seed=3, stop=("END",)))
        assert d.server.sizes() == [12]
        [job] = d.server.created
        assert (job.model, job.endpoint) == ("mistral-small-2603", "/v1/chat/completions")
        line = json.loads(d.server.files[d.server.uploads[0]].splitlines()[0])
        assert line.keys() == {"custom_id", "body"}
        assert line["body"] == {
            "messages": [{"role": "user", "content": "What is r0?"}],
            "temperature": 0.7,
            "max_tokens": 64,
            "stop": ["END"],
            "random_seed": 3,
        }
        ordinary = d.open(batch=False)
        asked = Sampling(0.7, max_tokens=64, seed=3, stop=("END",))
        again = [await d.ask(f"r{number}", model=ordinary, sampling=asked) for number in range(12)]
        assert [reply.text for reply in again] == [reply.text for reply in replies]
        assert all(reply.replayed for reply in again), "a reply of a job is found without it"
        assert len({reply.text for reply in replies}) > 6, "results came last first, and are not mixed up"
        assert replies[0].cost_usd == pytest.approx(0.5 * (3 * 1 + 4 * 10) / 1e6)
        await ordinary.close()


@pytest.mark.parametrize("ending", ["late:5", "late:0", "cancel:5", "statuses:429,500,503"])
async def test_what_a_job_leaves_unanswered_is_handed_in_again_and_nothing_twice(tmp_path: Path, ending: str) -> None:
    async with desk(tmp_path, ending) as d:
        replies = await d.ask_many(12)
        left = {"late:5": 7, "late:0": 12, "cancel:5": 7}.get(ending, 3)
        assert d.server.sizes() == [12, left]
        assert all(isinstance(reply, Reply) for reply in replies)
        assert set(d.server.answered.values()) == {1}
        assert (d.ledger.count_spent().requests, d.ledger.count_spent().doubtful) == (12, 0)
        assert not list(tmp_path.glob("**/*.sent.jsonl"))
        kinds = {"late": "batch_expired", "cancel": "batch_cancelled", "statuses": "server_error"}
        assert kinds[ending.partition(":")[0]] in d.caller.summary()[0]["faults"]


async def test_a_job_that_was_not_begun_fails_its_rows_with_the_words_of_the_endpoint(tmp_path: Path) -> None:
    async with desk(tmp_path, "fail:The file has a line that is no JSON") as d:
        replies = await d.ask_many(3)
        assert d.server.sizes() == [3]
        assert {type(reply) for reply in replies} == {RequestRejected}
        assert "batch job-0 failed: The file has a line that is no JSON" in str(replies[0])


async def test_a_rejected_line_fails_its_row_alone(tmp_path: Path) -> None:
    async with desk(tmp_path, "statuses:400") as d:
        replies = await d.ask_many(3)
        assert d.server.sizes() == [3]
        assert [type(reply).__name__ for reply in replies].count("RequestRejected") == 1


@pytest.mark.parametrize("fault", ["lost", "lost_hang"])
async def test_a_job_whose_creation_got_no_answer_is_found_and_not_handed_in_again(tmp_path: Path, fault: str) -> None:
    async with desk(tmp_path, faults=[fault]) as d:
        d.model = d.open(batch=True, timeout_s=0.3)
        replies = await d.ask_many(4)
        assert (d.server.sizes(), len(d.server.uploads)) == ([4], 1)
        assert all(isinstance(reply, Reply) for reply in replies)
        assert d.server.requests["list"] == 1


async def test_the_job_of_an_ended_process_is_taken_up(tmp_path: Path) -> None:
    async with desk(tmp_path, "never") as d:
        asking = asyncio.ensure_future(d.ask_many(6))
        await d.server.until("look", 2)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        later = await next_process(d)
        d.server.release.set()
        assert await later.batches.take_up(lambda name: later.model)
        replies = await later.ask_many(6)
        assert all(reply.replayed for reply in replies)
        assert d.server.sizes() == [6]
        assert later.ledger.count_spent().requests == 6
        await later.close()


async def test_a_job_among_more_than_a_page_of_others_is_found(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        await d.ask("r1")
        [job] = d.server.created
        d.server.created += [job.model_copy(update={"id": f"other-{number}", "metadata": None, "input_files": []})
                             for number in range(230)]  # fmt: skip
        api = d.model.batch_api
        assert await api.find("file-0", "no such mark", job.created_at) == "job-0"
        assert await api.find("file-9", job.metadata["blackbox_kd"], job.created_at) == "job-0"
        assert d.server.requests["list"] == 6
        assert await api.find("file-9", "no such mark", job.created_at + 7200.0) is None
        assert d.server.requests["list"] == 7, "what is older is not looked at"


async def test_a_budget_holds_for_jobs(tmp_path: Path) -> None:
    async with desk(tmp_path, budget=Budget(requests=5)) as d:
        await d.ask_many(8)
        assert sum(d.server.sizes()) == d.ledger.count_spent().requests == 5


class PagesForLooks(FakeMistral):
    """A gateway before it answers with a page."""

    async def _look(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>", content_type="text/html")


async def test_a_page_in_place_of_an_answer_is_a_fault_that_leaves_the_job_noted(tmp_path: Path) -> None:
    async with PagesForLooks() as server:
        d = MistralDesk(server, tmp_path, patience_s=0.1)  # type: ignore[arg-type]
        [error] = await d.ask_many(1)
        assert isinstance(error, StepError)
        assert "what came is no JSON object" in error.what
        assert len(d.records()) == 1
        await d.close()
