"""Chat completions as OpenAI's own package has them: each end and each fault, read as what it is."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from blackbox_kd.calls.completion import Completion
from blackbox_kd.errors import CallError, EndpointRefused, QuotaSpent, ReplyFault, RequestRejected, ServerFault
from blackbox_kd.models import Model, Setup, openai
from blackbox_kd.schema import Request, Row, Sampling
from tests.support.runs import execute
from tests.support.teachers.chat import FakeChat, build_reply

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}]
COMPLETION = {
    "choices": [{"message": {"content": "The answer is 7."}}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11},
}


def configured(**fields: Any) -> openai.Config:
    return openai.Config.model_validate({"provider": "openai", "model": "gpt-4.1-mini", **fields})


def opened(url: str, **fields: Any) -> Model:
    return openai.open_model(configured(base_url=url, **fields), Setup("teacher", Path(), Path(), {}))


@asynccontextmanager
async def served(*plan: str, **fields: Any) -> AsyncIterator[tuple[Model, FakeChat]]:
    async with FakeChat(plan) as fake:
        model = opened(fake.url, **fields)
        try:
            yield model, fake
        finally:
            await model.close()


async def send(model: Model, sampling: Sampling | None = None) -> str:
    asked = Request(MESSAGES, sampling or Sampling(), Row(id="r1"))
    return (await model.send(model.wire(asked), asked))[0]


async def ask(action: str) -> Any:
    async with served(action) as (model, _):
        return Completion(await send(model), model.convert).reply(None, str)


async def test_all_that_a_recipe_can_say_is_what_the_package_knows() -> None:
    extra = {"response_format": {"type": "json_object"}, "reasoning_effort": "low", "verbosity": "low", "user": "me"}
    async with served(model="m") as (model, fake):
        await send(model, Sampling(0.7, 0.9, 99, ("END",), 3, extra))
        assert fake.seen[0].keys() == {
            *("model", "messages", "temperature", "top_p", "max_tokens", "stop", "seed"),
            *extra,
        }


async def test_a_good_end_is_a_reply() -> None:
    reply = await ask("ok")
    assert reply.text.startswith("The answer is")
    assert (reply.model, reply.usage.prompt_tokens, reply.usage.completion_tokens) == ("gpt-4.1-mini", 7, 4)


async def test_cached_and_hidden_tokens_and_another_model_are_told() -> None:
    assert (await ask("cached")).usage.cached_tokens == 3
    assert (await ask("reasoned")).usage.reasoning_tokens == 20
    assert (await ask("other_model")).model == "another-model"


@pytest.mark.parametrize(
    ("action", "error", "kind"),
    [
        ("cut", ReplyFault, "truncated"),
        ("filtered", ReplyFault, "refused"),
        ("refusal", ReplyFault, "refused"),
        ("calls", ReplyFault, "unreadable"),
        ("overloaded", ServerFault, "server_error"),
        ("rate_limited:3", ServerFault, "rate_limit"),
        ("quota", QuotaSpent, "quota"),
        ("wrong_key", EndpointRefused, "endpoint_refused"),
        ("no_model", EndpointRefused, "endpoint_refused"),
        ("too_long", RequestRejected, "rejected"),
    ],
)
async def test_an_end_that_is_no_reply_is_told(action: str, error: type[CallError], kind: str) -> None:
    with pytest.raises(error) as caught:
        await ask(action)
    assert caught.value.kind == kind


class TestTheFake:
    @pytest.mark.parametrize(
        "extra",
        [
            {"top_k": 5},
            {"thinking_token_budget": 100},
            {"max_output_tokens": 3},
            {"messages": [{"role": "user", "content": "a", "id": "b"}]},
            {"messages": [{"role": "nobody", "content": "a"}]},
            {"response_format": {"type": "json_schema", "name": "a", "schema": {}}},
        ],
    )
    async def test_a_request_with_what_the_types_do_not_name_is_refused(self, extra: dict[str, Any]) -> None:
        async with served() as (model, _):
            with pytest.raises(RequestRejected, match="400"):
                await model._http.post({"model": "m", "messages": MESSAGES, **extra})  # type: ignore[attr-defined]

    @pytest.mark.parametrize("field", ["id", "choices", "model", "created", "object"])
    def test_a_reply_without_a_field_of_the_type_is_none(self, field: str) -> None:
        whole = build_reply("ok", {"model": "m"}, COMPLETION)
        with pytest.raises(ValueError, match=field):
            ChatCompletion.model_validate({name: value for name, value in whole.items() if name != field})

    @pytest.mark.parametrize("word", ["end_turn", "stopped", "max_tokens", ""])
    def test_a_reason_that_the_vendor_does_not_give_is_none_of_its_replies(self, word: str) -> None:
        whole = build_reply("ok", {"model": "m"}, COMPLETION)
        whole["choices"][0]["finish_reason"] = word
        with pytest.raises(ValueError, match="finish_reason"):
            ChatCompletion.model_validate(whole)


class TestDistillable:
    @pytest.mark.parametrize(
        ("extra_body", "provider"),
        [
            ({}, {"enforce_distillable_text": True}),
            ({"provider": {"order": ["a"]}}, {"order": ["a"], "enforce_distillable_text": True}),
            ({"provider": {"enforce_distillable_text": False}}, {"enforce_distillable_text": True}),
        ],
    )
    def test_it_is_a_part_of_what_is_asked_as_it_decides_who_answers(
        self, extra_body: dict[str, Any], provider: dict[str, Any]
    ) -> None:
        def at(url: str, **fields: Any) -> Model:
            setup = Setup("teacher", Path(), Path(), {"OPENROUTER_API_KEY": "sk-or-0123456789"})
            config = configured(base_url=url, key_env="OPENROUTER_API_KEY", extra_body=extra_body, **fields)
            return openai.open_model(config, setup)

        url, asked = "https://openrouter.ai/api/v1", Request(MESSAGES, Sampling(), Row(id="r1"))
        nowhere = Setup("t", Path(), Path(), {})
        plain, only = at(url), at(url, distillable_only=True)
        assert only.wire(asked)["body"]["provider"] == provider
        assert only.config.identity(nowhere) != plain.config.identity(nowhere)
        assert at(url, distillable_only=False).wire(asked) == plain.wire(asked)

    def test_what_others_do_not_know_is_not_asked_of_them(self) -> None:
        setup = Setup("teacher", Path(), Path(), {"OPENAI_API_KEY": "sk-0123456789"})
        for url in (None, "https://api.openai.com/v1", "https://openrouter.ai.evil.example/v1"):
            [(field, what, fix)] = configured(base_url=url, distillable_only=True).missing(setup)
            assert field == "distillable_only"
            assert "does not tell which models others may be trained on" in what
            assert fix == "take it out, or base_url: https://openrouter.ai/api/v1"


async def test_a_batch_of_requests_that_the_types_take_is_completed(tmp_path: Path) -> None:
    async with FakeChat(batches=["lines:429", "complete"]) as fake:
        teacher = {
            "provider": "openai",
            "model": "m",
            "base_url": fake.url,
            "batch": True,
            "price": {"input": 1, "output": 1},
        }
        values = {
            "name": "demo",
            "data": {"train": {"path": "train.jsonl"}},
            "models": {"teacher": teacher},
            "steps": [{"step": "generate", "model": "teacher", "prompt": "student/plain"}],
        }
        job = await asyncio.to_thread(execute, tmp_path, values)
        assert job.report["funnel"][0]["out"] == 6
        assert fake.files.sizes() == [6, 1]
        assert json.loads((tmp_path / "run/report.json").read_text())["spent"]["requests"] == 6
