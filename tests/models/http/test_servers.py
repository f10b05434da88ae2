"""Several servers of one model: they share its requests, one of them may be gone, and none of them is in a key."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd import models
from blackbox_kd.errors import EndpointRefused, ServerFault
from blackbox_kd.models import Model, Setup
from blackbox_kd.models.http import servers
from blackbox_kd.schema import Request, Row, Sampling
from tests.support.fake_quirks import QuirkyServer
from tests.support.fake_server import FakeServer
from tests.support.runs import execute, write_rows

PROVIDERS = ("openai", "vllm")
MESSAGES = [{"role": "user", "content": "What is 2 + 2?"}]
ROWS = 60


def free_port() -> str:
    """The URL of a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def opened(provider: str, *urls: str, base_url: str = "http://127.0.0.1:9/v1", **fields: Any) -> Model:
    values = {"provider": provider, "model": "m", "base_url": base_url, "servers": list(urls), **fields}
    module = models.provider(provider)
    model: Model = module.open_model(module.Config.model_validate(values), Setup("m", Path(), Path(), {}))
    return model


async def send(model: Model, number: int = 0) -> str:
    asked = Request([{"role": "user", "content": f"{number}?"}], Sampling(), Row(id=str(number)))
    return (await model.send(model.wire(asked), asked))[0]


def recipe(base_url: str, provider: str = "openai", **fields: Any) -> dict[str, Any]:
    teacher = {"provider": provider, "model": "m", "base_url": base_url, "price": {"input": 1, "output": 1}} | fields
    step = {"step": "generate", "model": "teacher", "prompt": "student/plain"}
    return {"name": "demo", "data": {"train": {"path": "train.jsonl"}}, "models": {"teacher": teacher}, "steps": [step]}


def write(folder: Path) -> None:
    write_rows(folder / "train.jsonl", [{"instruction": f"What is {n} + 1?"} for n in range(ROWS)])


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_requests_go_to_the_server_with_the_fewest_in_flight(provider: str) -> None:
    async with FakeServer(latency="0.4") as slow, FakeServer(latency="0.02") as fast:
        model = opened(provider, slow.url, fast.url, max_concurrency=4)
        limit = asyncio.Semaphore(4)

        async def one(number: int) -> None:
            async with limit:
                await send(model, number)

        await asyncio.gather(*map(one, range(40)))
        await model.close()
        assert len(slow.seen) + len(fast.seen) == 40
        assert len(fast.seen) > 2 * len(slow.seen) > 0


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_base_url_is_asked_only_if_it_is_one_of_the_servers(provider: str) -> None:
    async with FakeServer() as first, FakeServer() as second:
        model = opened(provider, second.url, base_url=first.url)
        await asyncio.gather(*(send(model, number) for number in range(4)))
        await model.close()
        assert (len(first.seen), len(second.seen)) == (0, 4)


async def test_a_server_that_cannot_be_reached_is_passed_over_and_not_tried_for_each_request() -> None:
    async with FakeServer() as alive:
        model: Any = opened("openai", free_port(), alive.url)
        for number in range(5):
            await send(model, number)
        assert len(alive.seen) == 5
        dead = model._http._servers[0]
        assert dead.out_until > 0
        await model.close()


async def test_a_request_that_may_have_been_worked_on_is_not_sent_to_another_at_once() -> None:
    async with FakeServer(["reset"]) as broken, FakeServer() as alive:
        model = opened("openai", broken.url, alive.url)
        with pytest.raises(ServerFault) as caught:
            await send(model)
        assert (caught.value.kind, len(alive.seen)) == ("connection", 0)
        await send(model)
        await model.close()
        assert (sum(broken.stats()["paths"].values()), len(alive.seen)) == (1, 1)


class StubClient:
    """Answers when it is told to, or fails."""

    def __init__(self, kind: str = "") -> None:
        self.kind = kind
        self.asked = 0
        self.release = asyncio.Event()

    async def post(self, body: Any) -> tuple[str, dict[str, str]]:
        self.asked += 1
        await self.release.wait()
        if self.kind:
            raise ServerFault("it is gone", kind=self.kind)
        return "{}", {}


async def test_one_request_finds_out_whether_a_server_that_has_failed_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "PASSED_OVER_S", 0.0)
    failing, well = StubClient("unreachable"), StubClient()
    shared = servers.SharedServers("http://a/v1/chat/completions", [failing, well])  # type: ignore[list-item]
    for stub in (failing, well):
        stub.release.set()
    await shared.post({})
    assert (failing.asked, well.asked) == (1, 1)
    for stub in (failing, well):
        stub.release.clear()
    waiting = [asyncio.ensure_future(shared.post({})) for _ in range(6)]
    await asyncio.sleep(0.01)
    assert (failing.asked, well.asked) == (2, 6)
    failing.kind = ""
    for stub in (failing, well):
        stub.release.set()
    await asyncio.gather(*waiting)
    await asyncio.gather(*(shared.post({}) for _ in range(6)))
    assert failing.asked > 3


async def test_what_a_server_refuses_is_refused() -> None:
    async with FakeServer(["404"]) as one, FakeServer() as other:
        model = opened("openai", one.url, other.url)
        with pytest.raises(EndpointRefused):
            await send(model)
        await model.close()
        assert len(other.seen) == 0


async def test_where_none_can_be_reached_the_last_one_is_named() -> None:
    urls = [free_port(), free_port()]
    model = opened("openai", *urls)
    with pytest.raises(ServerFault) as caught:
        await send(model)
    await model.close()
    assert caught.value.kind == "unreachable"
    assert any(url in caught.value.what for url in urls)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_server_that_comes_or_goes_costs_no_call(tmp_path: Path, provider: str) -> None:
    write(tmp_path)
    async with FakeServer() as first, FakeServer() as second:
        await asyncio.to_thread(execute, tmp_path, recipe(first.url, provider))
        for number, urls in enumerate(([first.url, second.url], [second.url], [])):
            values = recipe(first.url, provider, servers=urls)
            job = await asyncio.to_thread(execute, tmp_path, values, run_dir=f"run{number}")
            assert job.report["models"][0]["replayed"] == ROWS
            await asyncio.to_thread(execute, tmp_path, values)  # the same run goes on, as it is the same model
        assert (len(first.seen), len(second.seen)) == (ROWS, 0)


async def test_what_was_learnt_another_budget_and_another_server_cost_no_call(tmp_path: Path) -> None:
    write(tmp_path)
    async with QuirkyServer() as quirky, FakeServer() as other:
        values = recipe(quirky.url, model="needmct")
        await asyncio.to_thread(execute, tmp_path, values)
        asked = quirky.asked["needmct"]
        assert ROWS < asked <= 2 * ROWS
        changed = recipe(quirky.url, model="needmct", servers=[other.url])
        for number, again in enumerate((values, {**values, "budget": {"usd": 5}}, {**changed, "budget": {"usd": 6}})):
            await asyncio.to_thread(execute, tmp_path, again, run_dir=f"run{number}")
            await asyncio.to_thread(execute, tmp_path, again)
        assert (quirky.asked["needmct"], len(other.seen)) == (asked, 0)


async def test_a_run_goes_on_where_one_of_its_servers_dies(tmp_path: Path) -> None:
    write(tmp_path)
    dying = FakeServer(latency="0.05")
    async with FakeServer(latency="0.05") as living:
        await dying.__aenter__()
        values = recipe("http://127.0.0.1:9/v1", servers=[dying.url, living.url], max_concurrency=8)
        going = asyncio.ensure_future(asyncio.to_thread(execute, tmp_path, values))
        for _ in range(1000):
            if len(dying.seen) >= 8:
                break
            await asyncio.sleep(0.01)
        await dying.__aexit__()
        job = await going
        assert job.report["funnel"][0]["out"] == ROWS
        assert 8 <= len(dying.seen) < ROWS / 2
        assert len(dying.seen) + len(living.seen) >= ROWS


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        (["gpu-2:8000/v1"], "servers: base_url: 'gpu-2:8000/v1' is not a URL"),
        (["http://a/v1", "http://a/v1/"], "servers: http://a/v1 stands there twice"),
        (["http://a/v1?key=secret"], "servers: base_url: http://a/... goes on after its path (key)"),
    ],
)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_no_server_is_refused(provider: str, urls: list[str], said: str) -> None:
    with pytest.raises(ValueError, match="servers") as caught:
        opened(provider, *urls)
    assert said in str(caught.value)
    assert "secret" not in caught.value.errors()[0]["msg"]  # type: ignore[attr-defined]


def test_files_are_handed_in_at_one_endpoint() -> None:
    with pytest.raises(ValueError, match="batch: true hands in at one endpoint"):
        opened("openai", "http://a/v1", batch=True)
