"""OpenAI-compatible endpoints and vLLM servers: what is sent, and what every kind of answer turns into."""

import asyncio
import html
import json
import logging
import socket
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from pydantic import ValidationError

from blackbox_kd.errors import (
    CallError,
    EndpointRefused,
    QuotaSpent,
    RequestRejected,
    ServerFault,
    SetupError,
)
from blackbox_kd.models import Model, Setup, openai, vllm
from blackbox_kd.models.http.client import Address, HttpClient
from blackbox_kd.schema import Request, Row, Sampling
from blackbox_kd.sdk.sampling import SamplingConfig
from tests.support.fake_server import FakeServer

KEY = "sk-test-0123456789abcdef"
MESSAGES = [{"role": "user", "content": "What is 2 + 2?"}]


def setup(**env: str) -> Setup:
    return Setup("teacher", Path(), Path(), env)


def open_openai(env: Mapping[str, str] | None = None, **fields: Any) -> Model:
    config = openai.Config.model_validate({"provider": "openai", "model": "gpt-5-mini", **fields})
    return openai.open_model(config, setup(**(env or {})))


def request(sampling: Sampling | None = None, sample: int = 0, attempt: int = 0) -> Request:
    return Request(MESSAGES, sampling or Sampling(), Row(id="r1"), sample, attempt)


async def send(model: Model, sampling: Sampling | None = None) -> tuple[str, Mapping[str, str]]:
    asked = request(sampling)
    return await model.send(model.wire(asked), asked)


@asynccontextmanager
async def served(
    *plan: str, timeout_s: float = 30.0, name: str = "gpt-5-mini", **server: Any
) -> AsyncIterator[tuple[Model, FakeServer]]:
    """A model behind a server that does what is planned."""
    async with FakeServer(plan, **server) as fake:
        env = {"OPENAI_BASE_URL": fake.url, "OPENAI_API_KEY": KEY}
        model = open_openai(env, timeout_s=timeout_s, model=name)
        try:
            yield model, fake
        finally:
            await model.close()


async def error_of(action: str, kind: type[CallError], **options: Any) -> CallError:
    async with served(action, **options) as (model, fake):
        with pytest.raises(kind) as caught:
            await send(model)
        assert fake.url in str(caught.value)
        return caught.value


class TestWhatIsSent:
    def test_the_wire_is_the_url_and_the_body_without_what_is_left_to_the_endpoint(self) -> None:
        model = open_openai({"OPENAI_API_KEY": KEY})
        assert model.wire(request()) == {
            "url": "https://api.openai.com/v1/chat/completions",
            "body": {"model": "gpt-5-mini", "messages": MESSAGES},
        }

    @pytest.mark.parametrize("end", ["", "/", "/chat/completions", "/responses", "/responses/"])
    @pytest.mark.parametrize(("api", "path"), [("chat", "/chat/completions"), ("responses", "/responses")])
    def test_a_url_may_be_the_one_that_the_vendors_pages_have(self, end: str, api: str, path: str) -> None:
        model = open_openai(base_url=f"http://127.0.0.1:9/v1{end}", api=api)
        assert model.wire(request())["url"] == f"http://127.0.0.1:9/v1{path}"

    def test_sampling_fields_go_over_as_they_are(self) -> None:
        model = open_openai({"OPENAI_API_KEY": KEY}, extra_body={"top_k": 5, "reasoning_effort": "low"})
        sampling = Sampling(0.7, 0.9, 256, ("END",), 3, {"reasoning_effort": "high"})
        body = model.wire(request(sampling))["body"]
        assert body == {
            "model": "gpt-5-mini",
            "messages": MESSAGES,
            "temperature": 0.7,
            "top_p": 0.9,
            "max_completion_tokens": 256,
            "stop": ["END"],
            "seed": 3,
            "top_k": 5,
            "reasoning_effort": "high",
        }

    @pytest.mark.parametrize(
        ("fields", "name"),
        [
            ({}, "max_completion_tokens"),
            ({"base_url": "http://127.0.0.1:8000/v1"}, "max_tokens"),
            ({"max_tokens_field": "max_tokens"}, "max_tokens"),
            ({"base_url": "http://[::1]/v1", "max_tokens_field": "max_completion_tokens"}, "max_completion_tokens"),
        ],
    )
    def test_max_tokens_has_the_name_that_the_endpoint_knows(self, fields: dict[str, Any], name: str) -> None:
        model = open_openai({"OPENAI_API_KEY": KEY}, **fields)
        assert model.wire(request(Sampling(max_tokens=9)))["body"][name] == 9

    def test_samples_and_attempts_of_a_row_have_seeds_of_their_own(self) -> None:
        model = open_openai({"OPENAI_API_KEY": KEY})
        asked = [request(Sampling(seed=7), sample, attempt) for sample in range(4) for attempt in range(3)]
        seeds = [model.wire(each)["body"]["seed"] for each in asked]
        assert seeds[0] == 7
        assert len(set(seeds)) == len(seeds)

    @pytest.mark.parametrize("field", ["stream", "n", "messages", "model", "max_tokens", "max_completion_tokens"])
    def test_fields_that_decide_what_is_paid_and_read_cannot_be_set(self, field: str) -> None:
        with pytest.raises(ValueError, match=f"'{field}' cannot be set"):
            open_openai({"OPENAI_API_KEY": KEY}, extra_body={field: 1})
        with pytest.raises(ValueError, match=f"'{field}' cannot be set"):
            SamplingConfig(step="generate", extra={field: 1})

    async def test_the_body_on_the_wire_is_the_one_that_the_ledger_keeps(self) -> None:
        async with served(name="gpt-4.1-mini") as (model, fake):
            sampling = Sampling(0.5, max_tokens=9)
            await send(model, sampling)
            assert fake.seen == [model.wire(request(sampling))["body"]]
            assert fake.seen_headers[0]["Authorization"] == f"Bearer {KEY}"

    async def test_text_in_any_script_arrives_as_it_is(self) -> None:
        async with served() as (model, fake):
            messages = [{"role": "user", "content": "Größe in 東京? \ud83d"}]
            asked = Request(messages, Sampling(), Row(id="r"))
            await model.send(model.wire(asked), asked)
            assert fake.seen[0]["messages"][0]["content"] == "Größe in 東京? ?"

    def test_vllms_own_fields_are_top_level_fields_of_the_body(self) -> None:
        config = vllm.Config(
            provider="vllm",
            model="m",
            top_k=20,
            min_p=0.1,
            chat_template_kwargs={"enable_thinking": False},
            extra_body={"prompt_logprobs": 1},
        )
        model = vllm.open_model(config, setup())
        wire = model.wire(request(Sampling(max_tokens=5, extra={"top_k": 3})))
        assert wire["url"] == "http://127.0.0.1:8000/v1/chat/completions"
        assert wire["body"] == {
            "model": "m",
            "messages": MESSAGES,
            "max_tokens": 5,
            "top_k": 3,
            "min_p": 0.1,
            "chat_template_kwargs": {"enable_thinking": False},
            "prompt_logprobs": 1,
        }


class TestKeys:
    def test_a_missing_key_is_named_and_so_is_the_way_to_set_it(self) -> None:
        with pytest.raises(SetupError) as caught:
            open_openai()
        assert "the variable OPENAI_API_KEY is not set" in str(caught.value)
        assert "export OPENAI_API_KEY=" in str(caught.value)

    def test_the_variable_that_the_recipe_names_is_the_one_that_counts(self) -> None:
        with pytest.raises(SetupError, match="the variable GATEWAY_KEY is not set"):
            open_openai({"OPENAI_API_KEY": KEY}, base_url="https://gateway.example/v1", key_env="GATEWAY_KEY")

    async def test_openais_key_does_not_go_to_other_hosts_that_a_recipe_names(self) -> None:
        async with FakeServer() as fake:
            model = open_openai({"OPENAI_API_KEY": KEY}, base_url=fake.url)
            await send(model)
            await model.close()
            assert fake.seen_headers[0]["Authorization"] == "Bearer EMPTY"

    async def test_a_server_on_this_machine_needs_no_key(self) -> None:
        async with FakeServer() as fake:
            model = open_openai({"OPENAI_BASE_URL": fake.url})
            await send(model)
            await model.close()
            assert fake.seen_headers[0]["Authorization"] == "Bearer EMPTY"

    @pytest.mark.parametrize("wrong", ["sk a b", "sk-\u2013dash", "sk\nInjected: yes"])
    def test_what_cannot_be_a_key_is_refused_without_being_shown(self, wrong: str) -> None:
        with pytest.raises(SetupError, match="OPENAI_API_KEY") as caught:
            open_openai({"OPENAI_API_KEY": wrong})
        assert wrong not in str(caught.value)

    async def test_a_line_break_after_a_key_is_no_part_of_it(self) -> None:
        async with FakeServer() as fake:
            model = open_openai({"OPENAI_BASE_URL": fake.url, "OPENAI_API_KEY": f"{KEY}\n"})
            await send(model)
            await model.close()
            assert fake.seen_headers[0]["Authorization"] == f"Bearer {KEY}"

    async def test_a_key_that_the_server_repeats_is_not_shown(self) -> None:
        error = await error_of("echo", EndpointRefused)
        assert "Bearer [key]" in str(error)
        assert KEY not in repr(error)

    @pytest.mark.parametrize("way", ["json", "url", "html", "plain"])
    @pytest.mark.parametrize("action", ["echo", "redirect", "repeat"])
    async def test_a_key_that_the_server_repeats_in_escapes_or_in_a_header_is_not_shown(
        self, action: str, way: str
    ) -> None:
        async with served(f"{action}:{way}") as (model, _):
            try:
                said = json.loads((await send(model))[0])["choices"][0]["message"]["content"]
            except EndpointRefused as error:
                said = "".join(traceback.format_exception(error))
        plain = html.unescape(unquote(said))
        assert KEY not in plain
        assert ("[key]" in plain) == (action != "redirect")
        assert ("elsewhere.invalid/v1" in said) == (action == "redirect")

    async def test_a_key_in_what_cannot_be_read_as_http_is_in_no_traceback(self) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\nX-Sent: Bearer {KEY}\x00\r\n\r\n".encode())
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            model = open_openai({"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_API_KEY": KEY})
            with pytest.raises(ServerFault) as caught:
                await send(model)
            await model.close()
        assert KEY not in "".join(traceback.format_exception(caught.value))

    async def test_in_a_reply_a_key_is_hidden_and_a_word_that_is_the_key_of_a_local_server_is_not(self) -> None:
        async with FakeServer(rule=f"Answer {KEY} in a test.") as fake:
            for key, text in ((KEY, "Answer [key] in a test."), ("test", f"Answer {KEY} in a test.")):
                model = open_openai({"OPENAI_BASE_URL": fake.url, "OPENAI_API_KEY": key})
                assert text in (await send(model))[0]
                await model.close()

    def test_the_key_is_in_no_representation(self) -> None:
        model = open_openai({"OPENAI_API_KEY": KEY})
        assert KEY not in repr(vars(model)) + repr(vars(model._http)) + json.dumps(model.wire(request()))  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        "url", ["api.openai.com/v1", "ftp://host/v1", "https://user:secret@host/v1", "https://host/v1?key=secret"]
    )
    def test_a_base_url_that_cannot_be_used_or_holds_a_secret_is_refused(self, url: str) -> None:
        with pytest.raises(ValidationError, match="base_url") as caught:
            openai.Config(provider="openai", model="m", base_url=url)
        assert "secret" not in str(caught.value.errors()[0]["msg"])
        with pytest.raises(SetupError, match="OPENAI_BASE_URL"):
            open_openai({"OPENAI_BASE_URL": url, "OPENAI_API_KEY": KEY})

    def test_a_vllm_key_that_is_named_has_to_be_there(self) -> None:
        config = vllm.Config(provider="vllm", model="m", key_env="VLLM_KEY")
        with pytest.raises(SetupError, match="the variable VLLM_KEY is not set"):
            vllm.open_model(config, setup())


class TestReplies:
    async def test_the_raw_body_and_the_headers_come_back(self) -> None:
        async with served(headers={"x-ratelimit-limit-requests": "500"}) as (model, _):
            body, headers = await send(model)
        assert json.loads(body)["choices"][0]["message"]["content"].startswith("The answer is")
        assert headers["X-RateLimit-Limit-Requests"] == "500"

    async def test_a_compressed_body_is_read(self) -> None:
        async with served("gzip") as (model, _):
            body, _headers = await send(model)
        assert json.loads(body)["model"] == "gpt-5-mini"

    @pytest.mark.parametrize(("action", "begins"), [("html", "<!DOCTYPE html>"), ("null", '{"id"'), ("deep", "[[[")])
    async def test_whatever_comes_with_status_200_comes_back_as_it_is(self, action: str, begins: str) -> None:
        async with served(action) as (model, _):
            body, _headers = await send(model)
        assert body.startswith(begins)

    async def test_connections_are_kept_and_no_more_than_allowed_are_open(self) -> None:
        async with FakeServer(latency="0.01") as fake:
            model = open_openai(base_url=fake.url, max_concurrency=3)
            await asyncio.gather(*(send(model) for _ in range(12)))
            await model.close()
            assert fake.stats()["most_in_flight"] == 3
            assert fake.stats()["connections"] == 3


class TestAnswersThatAreNoReplies:
    @pytest.mark.parametrize(
        ("action", "after"), [("429", None), ("429:1", 1.0), ("429:200", 200.0), ("429:ms", 0.02), ("429:soon", None)]
    )
    async def test_a_rate_limit_says_when_to_come_back(self, action: str, after: float | None) -> None:
        error = await error_of(action, ServerFault)
        assert (error.kind, error.retry_after_s) == ("rate_limit", after)
        assert "429 Too Many Requests: this is a 429" in str(error)

    async def test_a_date_to_come_back_at_is_understood(self) -> None:
        error = await error_of("429:date", ServerFault)
        assert error.retry_after_s is not None
        assert 25 < error.retry_after_s <= 30

    @pytest.mark.parametrize("action", ["insufficient_quota", "402"])
    async def test_an_empty_account_is_no_rate_limit(self, action: str) -> None:
        error = await error_of(action, QuotaSpent)
        assert error.kind == "quota"
        assert "add credit" in str(error)

    @pytest.mark.parametrize("status", ["408", "409", "500", "502", "503", "504", "529"])
    async def test_a_broken_server_is_not_the_requests_fault(self, status: str) -> None:
        error = await error_of(status, ServerFault)
        assert error.kind == "server_error"
        assert f": {status} " in str(error)

    async def test_a_broken_server_may_say_when_to_come_back(self) -> None:
        assert (await error_of("503:7", ServerFault)).retry_after_s == 7

    @pytest.mark.parametrize(("status", "hint"), [("401", "key_env"), ("404", "`model` and `base_url`")])
    async def test_a_wrong_key_or_model_says_what_to_check(self, status: str, hint: str) -> None:
        error = await error_of(status, EndpointRefused)
        assert error.kind == "endpoint_refused"
        assert hint in str(error)

    async def test_a_redirection_is_not_followed_with_the_key(self) -> None:
        assert "https://elsewhere.invalid/v1" in str(await error_of("redirect", EndpointRefused))

    @pytest.mark.parametrize("status", ["400", "403", "413", "418", "422"])
    async def test_a_wrong_request_is_told_with_the_servers_words(self, status: str) -> None:
        error = await error_of(status, RequestRejected)
        assert error.kind == "rejected"
        assert f"this is a {status}" in str(error)

    async def test_long_words_are_shortened(self) -> None:
        assert len(str(await error_of("long", RequestRejected))) < 500


class TestBrokenConnections:
    @pytest.mark.parametrize("action", ["reset", "cut"])
    async def test_a_broken_connection_is_a_fault_of_the_server(self, action: str) -> None:
        error = await error_of(action, ServerFault)
        assert error.kind == "connection"
        assert "the connection broke" in str(error)

    @pytest.mark.parametrize("action", ["hang", "drip"])
    async def test_what_takes_too_long_is_given_up(self, action: str) -> None:
        error = await error_of(action, ServerFault, timeout_s=0.3)
        assert error.kind == "timeout"
        assert "within 0.3 s" in error.what
        assert error.fix == "raise timeout_s: of the model"

    async def test_a_body_that_stops_is_given_up_before_the_time_of_the_call_is_over(self) -> None:
        async with FakeServer(["drip"], drip_s=60.0) as fake:
            chat = HttpClient(Address(fake.url, None, 1, timeout_s=30.0, gap_s=0.2))
            with pytest.raises(ServerFault, match=r"stopped for 0\.2 s") as caught:
                await chat.post({})
            await chat.close()
        assert caught.value.kind == "timeout"

    async def test_an_absurd_body_is_not_read_and_its_connection_is_dropped(self) -> None:
        async with served("huge") as (model, fake):
            with pytest.raises(ServerFault, match="more than 32 MB") as caught:
                await send(model)
            assert caught.value.kind == "too_large"
            await send(model)
            assert fake.stats()["connections"] == 2

    async def test_a_port_where_nobody_listens_is_named(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
            model = open_openai(base_url=url)
            with pytest.raises(ServerFault) as caught:
                await send(model)
            await model.close()
        assert caught.value.kind == "unreachable"
        assert str(caught.value) == f"{url}/chat/completions: cannot be reached: Connection refused"

    async def test_a_host_that_does_not_exist_is_named(self) -> None:
        model = open_openai(base_url="http://no-such-host.invalid/v1")
        with pytest.raises(ServerFault, match=r"no-such-host\.invalid") as caught:
            await send(model)
        await model.close()
        assert caught.value.kind == "unreachable"

    async def test_a_call_that_is_cancelled_leaves_the_connections_in_order(self) -> None:
        async with served("hang") as (model, _):
            hanging = asyncio.ensure_future(send(model))
            await asyncio.sleep(0.05)
            hanging.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hanging
            body, _headers = await send(model)
            assert json.loads(body)["choices"]


async def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeServer() as proxy:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "localhost")
        model = open_openai(base_url="http://models.example/v1")
        body, _headers = await send(model)
        await model.close()
        assert json.loads(body)["model"] == "gpt-5-mini"
        assert proxy.stats()["paths"] == {"http://models.example/v1/chat/completions": 1}


async def test_nothing_is_logged_about_a_call(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="blackbox_kd"):
        async with served("ok", "401", "429:1") as (model, _):
            await send(model)
            for _ in range(2):
                with pytest.raises(CallError):
                    await send(model)
    assert caplog.text == ""


def test_identities_depend_on_where_a_model_is_and_not_on_how_fast_it_is_asked() -> None:
    def identity(env: str = "", **fields: Any) -> str:
        config = openai.Config.model_validate({"provider": "openai", "model": "m", **fields})
        return config.identity(setup(OPENAI_BASE_URL=env))

    assert identity() == identity(max_concurrency=3, rpm=7, key_env="X", timeout_s=5, price={"input": 1, "output": 1})
    assert len({identity(), identity("http://127.0.0.1/v1"), identity(model="n"), identity(extra_body={"a": 1})}) == 4
