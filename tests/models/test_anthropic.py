"""Claude through Anthropic's Messages API: what is sent, what every kind of answer turns into, and what is kept."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from blackbox_kd.calls.completion import Completion
from blackbox_kd.errors import (
    CallError,
    EndpointRefused,
    QuotaSpent,
    ReplyFault,
    RequestRejected,
    ServerFault,
    SetupError,
)
from blackbox_kd.models import Model, Setup, anthropic
from blackbox_kd.models.http.listing import Listed, find
from blackbox_kd.schema import Message, Reply, Request, Row, Sampling
from tests.support.teachers.anthropic import FakeAnthropic

KEY = "sk-ant-0123456789abcdef"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}]
LONG = [{"role": "system", "content": "Reason step by step, please. " * 60}, MESSAGES[1]]


def setup(**env: str) -> Setup:
    return Setup("teacher", Path(), Path(), env)


def open_claude(env: Mapping[str, str] | None = None, **fields: Any) -> Model:
    config = anthropic.Config.model_validate({"provider": "anthropic", "model": "claude-haiku-5-5", **fields})
    return anthropic.open_model(config, setup(**(env or {})))


def request(sampling: Sampling | None = None, messages: list[Message] | None = None, **fields: Any) -> Request:
    return Request(messages or MESSAGES, sampling or Sampling(), Row(id="r1"), **fields)


@asynccontextmanager
async def served(
    *plan: str, fake: FakeAnthropic | None = None, **fields: Any
) -> AsyncIterator[tuple[Model, FakeAnthropic]]:
    """A model behind a server that does what is planned."""
    async with fake or FakeAnthropic(plan, key=KEY) as server:
        model = open_claude({"ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_API_KEY": KEY}, **fields)
        try:
            yield model, server
        finally:
            await model.close()


async def send(model: Model, asked: Request | None = None) -> tuple[str, Mapping[str, str]]:
    asked = asked or request()
    return await model.send(model.wire(asked), asked)


async def replied(model: Model, asked: Request | None = None, **how: Any) -> Reply:
    body, _ = await send(model, asked)
    return Completion(body, model.convert).reply(None, str, **how)


async def error_of(action: str, kind: type[CallError]) -> CallError:
    async with served(action) as (model, fake):
        with pytest.raises(kind) as caught:
            await replied(model)
        assert fake.seen
    return caught.value


class TestWhatIsSent:
    def test_the_wire_is_what_the_recipe_means_whatever_the_api_makes_of_it(self) -> None:
        model = open_claude({"ANTHROPIC_API_KEY": KEY}, thinking="low")
        sampling = Sampling(temperature=0.3, max_tokens=9, stop=("END",))
        assert model.wire(request(sampling, cap=5, refused=frozenset({"top_p"}))) == {
            "url": "https://api.anthropic.com/v1/messages",
            "body": {
                "model": "claude-haiku-5-5",
                "messages": MESSAGES,
                "reasoning_effort": "low",
                "temperature": 0.3,
                "max_tokens": 9,
                "stop": ["END"],
            },
        }

    async def test_the_key_and_the_version_are_headers_and_no_bearer_token_is_sent(self) -> None:
        async with served() as (model, fake):
            await send(model)
        headers = fake.seen_headers[0]
        assert (headers["x-api-key"], headers["anthropic-version"]) == (KEY, "2023-06-01")
        assert "Authorization" not in headers

    async def test_a_temperature_goes_to_a_model_that_takes_it_and_no_other(self) -> None:
        warm = request(Sampling(temperature=0.3, top_p=0.9, max_tokens=9))
        async with served(model="claude-opus-4-5") as (model, fake):
            assert (await replied(model, warm)).text.startswith("The answer is")
            assert (fake.seen[0]["temperature"], fake.seen[0]["top_p"]) == (0.3, 0.9)
        async with served(model="claude-opus-4-8") as (model, fake):
            await replied(model, warm)
            assert not {"temperature", "top_p"} & fake.seen[0].keys()

    async def test_a_seed_has_no_field_and_is_not_sent(self) -> None:
        async with served() as (model, fake):
            await send(model, request(Sampling(seed=3)))
            assert "seed" not in fake.seen[0]

    @pytest.mark.parametrize(("cap", "most"), [(None, 128_000), (700, 700)])
    async def test_the_most_tokens_are_those_of_the_call_or_of_the_model(self, cap: int | None, most: int) -> None:
        async with served() as (model, fake):
            await send(model, request(cap=cap))
            assert fake.seen[0]["max_tokens"] == most

    async def test_a_system_text_may_be_folded(self) -> None:
        async with served(system="fold") as (model, fake):
            await send(model)
            assert fake.seen[0]["messages"] == [{"role": "user", "content": "Be brief.\n\nWhat is 2 + 2?"}]
            assert "system" not in fake.seen[0]

    async def test_what_comes_again_is_kept_and_counted_apart(self) -> None:
        async with served() as (model, fake):
            first, second = [await replied(model, request(messages=LONG)) for _ in range(2)]
        assert fake.seen[0]["system"][0]["cache_control"] == {"type": "ephemeral"}
        assert (first.usage.cached_tokens, second.usage.cached_tokens) == (0, 300)
        assert first.usage.prompt_tokens == second.usage.prompt_tokens == 305

    async def test_nothing_is_kept_where_the_recipe_says_so_and_the_key_is_the_same(self) -> None:
        async with served(cache=False) as (model, fake):
            await replied(model, request(messages=LONG))
            assert fake.seen[0]["system"] == LONG[0]["content"]
            plain = open_claude({"ANTHROPIC_BASE_URL": fake.url})
            assert plain.wire(request(messages=LONG)) == model.wire(request(messages=LONG))
            env = setup(ANTHROPIC_BASE_URL=fake.url)
            assert plain.config.identity(env) == model.config.identity(env)

    async def test_thinking_comes_back_beside_the_text_and_its_tokens_are_told(self) -> None:
        async with served(thinking="low") as (model, fake):
            reply = await replied(model)
            assert fake.seen[0]["output_config"] == {"effort": "low"}
        assert (reply.reasoning, reply.usage.reasoning_tokens) == ("It is a sum. I add.", 7)
        assert reply.usage.completion_tokens == 11
        async with served(thinking="off") as (model, fake):
            reply = await replied(model)
            assert fake.seen[0]["thinking"] == {"type": "disabled"}
        assert (reply.reasoning, reply.usage.reasoning_tokens) == ("", 0)


class TestKeys:
    @pytest.mark.parametrize("name", ["a missing key", "the base url"])
    def test_a_missing_key_is_named_and_so_is_the_way_to_set_it(self, name: str) -> None:
        env = {"ANTHROPIC_BASE_URL": "https://gateway.example"} if name == "the base url" else {}
        with pytest.raises(SetupError, match="the variable ANTHROPIC_API_KEY is not set") as caught:
            open_claude(env)
        assert "export ANTHROPIC_API_KEY=" in caught.value.fix

    async def test_anthropics_key_does_not_go_to_other_hosts_that_a_recipe_names(self) -> None:
        async with FakeAnthropic() as fake:
            env = {"ANTHROPIC_API_KEY": KEY, "OWN_KEY": "own"}
            for fields, sent in (({}, None), ({"key_env": "OWN_KEY"}, "own"), ({"key_env": "ANTHROPIC_API_KEY"}, KEY)):
                model = open_claude(env, base_url=fake.url, **fields)
                await send(model)
                await model.close()
                assert fake.seen_headers[-1].get("x-api-key") == sent

    @pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/", "/v1/messages"])
    def test_a_url_may_end_where_vendors_let_it_end(self, end: str) -> None:
        for model in (
            open_claude(base_url=f"http://127.0.0.1:9/anthropic{end}"),
            open_claude({"ANTHROPIC_BASE_URL": f"http://127.0.0.1:9/anthropic{end}"}),
        ):
            assert model.wire(request())["url"] == "http://127.0.0.1:9/anthropic/v1/messages"

    def test_what_is_no_url_or_no_key_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="base_url"):
            open_claude(base_url="api.anthropic.com")
        with pytest.raises(SetupError, match="ANTHROPIC_BASE_URL"):
            open_claude({"ANTHROPIC_BASE_URL": "api.anthropic.com", "ANTHROPIC_API_KEY": KEY})
        with pytest.raises(SetupError, match="stands in the place of a key"):
            open_claude({"ANTHROPIC_API_KEY": "sk-ant-xxx"})

    async def test_the_key_is_in_no_representation_and_no_error(self) -> None:
        async with FakeAnthropic(key="another") as fake:
            model = open_claude({"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": KEY})
            assert KEY not in repr(vars(model)) + repr(vars(model._http)) + json.dumps(model.wire(request()))  # type: ignore[attr-defined]
            with pytest.raises(EndpointRefused, match="invalid x-api-key") as caught:
                await send(model)
            await model.close()
        assert KEY not in repr(caught.value)
        assert "key_env" in caught.value.fix


class TestReplies:
    async def test_the_raw_body_is_what_is_kept(self) -> None:
        async with served("as:claude-sonnet-5-5") as (model, _):
            body, _ = await send(model)
        assert json.loads(body)["type"] == "message"
        assert json.loads(body)["model"] == "claude-sonnet-5-5"

    @pytest.mark.parametrize("action", ["ok", "end:end_turn", "end:stop_sequence", "redacted"])
    async def test_good_ends_have_the_text_of_all_blocks(self, action: str) -> None:
        async with served(action) as (model, _):
            assert (await replied(model)).text.startswith("The answer is")

    @pytest.mark.parametrize(
        ("action", "kind", "says"),
        [
            ("end:max_tokens", "truncated", "raise max_tokens"),
            ("end:model_context_window_exceeded", "truncated", "the context of the model is full"),
            ("end:tool_use", "unreadable", "calls a tool, and none was offered"),
            ("call", "unreadable", "calls a tool, and none was offered"),
            ("end:pause_turn", "unreadable", "broke the reply off"),
            ("end:null", "unreadable", "finish_reason is missing"),
            ("rename:finished", "unreadable", "not known (finish_reason 'finished')"),
            ("refusal", "refused", "the model refused"),
            ("refusal:reasoning_extraction", "refused: reasoning_extraction", "This is about reasoning_extraction"),
            ("half:frontier_llm", "refused: frontier_llm", "This is about frontier_llm"),
            ("empty", "empty", "no text"),
            ("drop:content", "unreadable", "no choices"),
            ("drop:type", "unreadable", "no choices"),
            ("drop:stop_reason", "unreadable", "finish_reason is missing"),
        ],
    )
    async def test_other_ends_are_told_apart(self, action: str, kind: str, says: str) -> None:
        error = await error_of(action, ReplyFault)
        assert error.kind == kind
        assert says in error.what

    async def test_a_call_of_a_tool_that_was_offered_is_a_reply(self) -> None:
        tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
        async with served("call") as (model, fake):
            asked = request(Sampling(extra={"tools": [tool]}))
            reply = await replied(model, asked, has_tools=True)
            assert fake.seen[0]["tools"] == [{"name": "add", "input_schema": {"type": "object", "properties": {}}}]
        assert reply.finish_reason == "tool_use"

    @pytest.mark.parametrize("field", ["usage", "input_tokens", "output_tokens"])
    async def test_a_reply_without_its_counts_has_none(self, field: str) -> None:
        async with served(f"drop:{field}") as (model, _):
            body, _ = await send(model)
        assert Completion(body, model.convert).usage is None


class TestErrors:
    @pytest.mark.parametrize(
        ("action", "error", "kind", "says"),
        [
            ("401", EndpointRefused, "endpoint_refused", "invalid x-api-key"),
            ("402", QuotaSpent, "quota", "no means of payment"),
            ("403", RequestRejected, "rejected", "does not have permission"),
            ("404", EndpointRefused, "endpoint_refused", "model: claude-nobody"),
            ("413", RequestRejected, "rejected", "exceeds the maximum size"),
            ("429:7", ServerFault, "rate_limit", "50 requests per minute"),
            ("ramp:9", ServerFault, "rate_limit", "429"),
            ("spend", QuotaSpent, "quota", "monthly API usage threshold"),
            ("credit", QuotaSpent, "quota", "credit balance is too low"),
            ("limit", QuotaSpent, "quota", "specified API usage limits"),
            ("500", ServerFault, "server_error", "Internal server error"),
            ("504", ServerFault, "server_error", "timed out"),
            ("529:3", ServerFault, "server_error", "Overloaded"),
            ("long", RequestRejected, "rejected", "prompt is too long"),
        ],
    )
    async def test_each_error_is_of_its_class(self, action: str, error: type[CallError], kind: str, says: str) -> None:
        found = await error_of(action, error)
        assert found.kind == kind
        assert says in found.what
        wait_s = {"429:7": 7.0, "ramp:9": 9.0, "529:3": 3.0}.get(action)
        assert found.retry_after_s == wait_s

    async def test_a_field_that_a_model_is_found_not_to_take_is_named(self) -> None:
        async with served("refuse:temperature", model="claude-of-next-year") as (model, _):
            with pytest.raises(RequestRejected) as caught:
                await send(model, request(Sampling(temperature=0.2, max_tokens=9)))
        assert caught.value.field == "temperature"


class TestItsList:
    @pytest.mark.parametrize(
        ("name", "found"),
        [
            ("claude-haiku-5-5", Listed()),
            ("claude-opus-4-5", Listed(date(2027, 1, 22))),
            ("claude-3-opus-20240229", Listed(date(2026, 1, 5), is_gone=True)),
            ("claude-nobody", None),
        ],
    )
    async def test_the_list_of_models_says_which_there_are_and_when_they_end(self, name: str, found: Any) -> None:
        async with served() as (model, fake):
            told = await model.list_models()
            assert told is not None
            assert told[0] == f"{fake.url}/v1/models"
            assert find(json.loads(told[1]), name) == found

    async def test_a_wrong_key_is_an_error_that_does_not_show_it(self) -> None:
        async with served(fake=FakeAnthropic(key="sk-ant-another")) as (model, _):
            with pytest.raises(EndpointRefused, match="invalid x-api-key") as caught:
                await model.list_models()
            assert KEY not in str(caught.value)
