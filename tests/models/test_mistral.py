"""Mistral: what is sent, by the types of its own SDK, and what its replies and errors turn into."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.calls.completion import Completion
from blackbox_kd.errors import CallError, EndpointRefused, QuotaSpent, ReplyFault, RequestRejected, ServerFault
from blackbox_kd.models import Model, Setup, mistral, openai
from blackbox_kd.schema import Reply, Request, Row, Sampling
from tests.support.teachers.mistral import FakeMistral

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}]
FULL = Sampling(
    0.7, 0.9, 64, ("END",), 3, {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}}
)


def request(sampling: Sampling | None = None) -> Request:
    return Request(MESSAGES, sampling or Sampling(0.7, max_tokens=64), Row(id="r1"))


def setup(**env: str) -> Setup:
    return Setup("teacher", Path(), Path(), env)


def opened(url: str, **fields: Any) -> Model:
    values = {"provider": "mistral", "model": "mistral-medium-3-5", "base_url": url, "key_env": "KEY"}
    return mistral.open_model(mistral.Config.model_validate(values | fields), setup(KEY="sk-mistral"))


@asynccontextmanager
async def served(*plan: str, **options: Any) -> AsyncIterator[tuple[Model, FakeMistral]]:
    fields = options.pop("fields", {})
    async with FakeMistral(plan, **options) as server:
        model = opened(server.url, **fields)
        try:
            yield model, server
        finally:
            await model.close()


async def ask(model: Model, sampling: Sampling | None = None) -> Reply[str]:
    asked = request(sampling)
    body, _ = await model.send(model.wire(asked), asked)
    return Completion(body, model.convert).reply(None, str)


async def test_every_field_is_sent_as_mistral_calls_it_and_kept_as_chat_completions_do() -> None:
    async with served(fields={"thinking": "high", "extra_body": {"safe_prompt": True}}) as (model, server):
        reply = await ask(model, FULL)
        assert server.seen == [
            {
                "model": "mistral-medium-3-5",
                "messages": MESSAGES,
                "temperature": 0.7,
                "top_p": 0.9,
                "max_tokens": 64,
                "stop": ["END"],
                "random_seed": 3,
                "reasoning_effort": "high",
                "safe_prompt": True,
                **FULL.extra,
            }
        ]
        kept = model.wire(request(FULL))
        assert kept["url"] == f"{server.url}/chat/completions"
        assert kept["body"]["seed"] == 3
        assert "random_seed" not in kept["body"]
        assert server.seen_headers[0]["Authorization"] == "Bearer sk-mistral"
        assert reply.text == server.completion(MESSAGES, "")["choices"][0]["message"]["content"]
        assert (reply.model, reply.usage.prompt_tokens) == ("mistral-medium-3-5", 7)


async def test_the_body_is_the_one_that_another_endpoint_would_be_keyed_by() -> None:
    other = openai.open_model(
        openai.Config.model_validate({"provider": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}), setup()
    )
    mine = opened("http://127.0.0.1:9/v1", model="m")
    assert mine.wire(request(FULL)) == other.wire(request(FULL))


async def test_thinking_comes_beside_the_text() -> None:
    async with served("thinks") as (model, server):
        reply = await ask(model)
        assert reply.reasoning == "So it is."
        assert reply.text == server.completion(MESSAGES, "")["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("finish", "kind", "says"),
    [
        ("length", "truncated", "raise max_tokens"),
        ("model_length", "truncated", "the context of the model is full"),
        ("error", "unreadable", "the endpoint broke the reply off"),
        ("tool_calls", "unreadable", "calls a tool, and none was offered"),
        ("something_new", "unreadable", "how the reply ended is not known"),
    ],
)
async def test_every_end_of_a_reply(finish: str, kind: str, says: str) -> None:
    async with served(finish) as (model, _):
        with pytest.raises(ReplyFault, match=says) as caught:
            await ask(model)
        assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("action", "error", "says"),
    [
        ("capacity", ServerFault, "Service tier capacity exceeded"),
        ("limit", ServerFault, "rate limit"),
        ("down", ServerFault, "503"),
        ("money", QuotaSpent, "add credit"),
        ("key", EndpointRefused, "check the key"),
        ("gone", EndpointRefused, "check `model`"),
        ("prompt", RequestRejected, "show less in the prompt"),
    ],
)
async def test_every_error_is_what_it_means(action: str, error: type[CallError], says: str) -> None:
    async with served(action) as (model, _):
        with pytest.raises(error) as caught:
            await ask(model)
        assert type(caught.value) is error
        assert says in f"{caught.value}"
        assert "sk-mistral" not in f"{caught.value}"


async def test_a_field_that_mistral_does_not_know_is_told_by_its_place() -> None:
    async with served(fields={"extra_body": {"top_a": 1}}) as (model, _):
        with pytest.raises(RequestRejected, match="422") as caught:
            await ask(model)
        assert caught.value.field == "top_a"


async def test_the_server_shows_what_would_be_wrong() -> None:
    """The fake is of use only if it refuses what Mistral does: a field under OpenAI's name, a reply without a part."""
    async with served() as (model, server):
        plain = openai.open_model(
            openai.Config.model_validate({"provider": "openai", "model": "m", "base_url": server.url}), setup()
        )
        with pytest.raises(RequestRejected) as caught:
            await ask(plain, FULL)
        assert caught.value.field == "seed"
        await plain.close()
        server.forbids_extra = False
        assert (await ask(model)).text
        whole = server.reply("ok", {"messages": MESSAGES}, "m")
        for broken in ({**whole, "choices": []}, {**whole, "choices": [{"index": 0, "message": {"content": "4"}}]}):
            with pytest.raises(ReplyFault):
                Completion(json.dumps(broken), model.convert).reply(None, str)


@pytest.mark.parametrize(
    ("base_url", "env", "field"),
    [
        ("https://api.mistral.ai/v1", {}, "provider"),
        ("https://api.mistral.ai/v1", {"MISTRAL_API_KEY": "sk"}, ""),
        ("https://gateway.invalid/v1", {"MISTRAL_API_KEY": "sk"}, ""),
    ],
)
def test_mistrals_own_key_goes_to_mistral_alone(base_url: str, env: dict[str, str], field: str) -> None:
    config = mistral.Config.model_validate({"provider": "mistral", "model": "m", "base_url": base_url})
    assert [at for at, _, _ in config.missing(setup(**env))] == ([field] if field else [])
    _, variable = config.sends_to(setup(**env))
    assert variable == ("MISTRAL_API_KEY" if "api.mistral.ai" in base_url else None)


def test_a_number_of_tokens_of_thinking_has_no_field_at_mistral() -> None:
    config = mistral.Config.model_validate({"provider": "mistral", "model": "m", "thinking": 2000})
    assert "thinking_token_budget" in config.parameters.find_refused(config.own_fields)


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_a_base_url_may_lack_the_version_as_mistrals_own_sdk_has_it(end: str) -> None:
    config = mistral.Config.model_validate(
        {"provider": "mistral", "model": "m", "base_url": f"http://127.0.0.1:9{end}"}
    )
    assert config.base_url == "http://127.0.0.1:9/v1"
