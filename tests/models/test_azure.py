"""Deployments in Azure: which URL is asked, how the key or the token goes, and what its content filter says."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.calls.completion import Completion
from blackbox_kd.errors import CallError, EndpointRefused, RecipeError, RequestRejected, ServerFault, SetupError
from blackbox_kd.models import Model, Setup, azure
from blackbox_kd.recipe import trust
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.schema import Request, Row, Sampling
from tests.support.runs import execute, write_rows
from tests.support.teachers.azure import KEY, TOKEN, FakeAzure

MESSAGES = [{"role": "user", "content": "What is 2 + 2?"}]
RESOURCE = "https://me.openai.azure.com"
OLD = "2024-10-21"
KEYS = {"AZURE_OPENAI_API_KEY": KEY, "AZURE_OPENAI_AD_TOKEN": TOKEN}


def configured(**fields: Any) -> azure.Config:
    return azure.Config.model_validate({"provider": "azure", "model": "teacher-1", **fields})


def opened(env: dict[str, str] | None = None, **fields: Any) -> Model:
    return azure.open_model(configured(**fields), Setup("teacher", Path(), Path(), env or {}))


@asynccontextmanager
async def served(*plan: str, **fields: Any) -> AsyncIterator[tuple[Model, FakeAzure]]:
    async with FakeAzure(plan) as fake:
        model = opened(KEYS, base_url=fake.url, **fields)
        try:
            yield model, fake
        finally:
            await model.close()


def request(**sampling: Any) -> Request:
    return Request(MESSAGES, Sampling(**sampling), Row(id="r1"))


async def send(model: Model, **sampling: Any) -> str:
    asked = request(**sampling)
    return (await model.send(model.wire(asked), asked))[0]


class TestWhereItIs:
    @pytest.mark.parametrize(
        ("fields", "url"),
        [
            ({}, f"{RESOURCE}/openai/v1/chat/completions"),
            ({"api": "responses"}, f"{RESOURCE}/openai/v1/responses"),
            ({"api_version": OLD}, f"{RESOURCE}/openai/deployments/teacher-1/chat/completions"),
            (
                {"api_version": OLD, "model": "a b/c"},
                f"{RESOURCE}/openai/deployments/a%20b%2Fc/chat/completions",
            ),
        ],
    )
    def test_the_url_is_that_of_the_version(self, fields: dict[str, Any], url: str) -> None:
        assert opened(KEYS, base_url=RESOURCE, **fields).wire(request())["url"] == url

    @pytest.mark.parametrize(
        "given",
        [
            RESOURCE,
            f"{RESOURCE}/",
            f"{RESOURCE}/openai",
            f"{RESOURCE}/openai/v1/",
            f"{RESOURCE}/openai/deployments/gpt-4o",
            f"{RESOURCE}/openai/deployments/gpt-4o/chat/completions",
        ],
    )
    def test_the_resource_is_found_in_whatever_was_copied_of_its_url(self, given: str) -> None:
        for where in ({"base_url": given}, {}):
            env = KEYS | ({} if where else {"AZURE_OPENAI_ENDPOINT": given})
            assert opened(env, **where).wire(request())["url"] == f"{RESOURCE}/openai/v1/chat/completions"

    def test_a_gateway_in_front_may_have_a_path_of_its_own(self) -> None:
        model = opened(KEYS, base_url="https://gateway.example/team-1/openai/v1")
        assert model.wire(request())["url"] == "https://gateway.example/team-1/openai/v1/chat/completions"

    def test_what_is_missing_is_named_with_what_mends_it(self) -> None:
        for env, base_url, said in (
            (KEYS, None, "the variable AZURE_OPENAI_ENDPOINT is not set"),
            ({}, RESOURCE, "needs a key, and the variable AZURE_OPENAI_API_KEY is not set"),
            ({**KEYS, "AZURE_OPENAI_ENDPOINT": "me.openai.azure.com"}, None, "AZURE_OPENAI_ENDPOINT: base_url: 'me"),
            ({"AZURE_OPENAI_API_KEY": "a b"}, RESOURCE, "AZURE_OPENAI_API_KEY holds cannot be a key"),
        ):
            with pytest.raises(SetupError) as caught:
                opened(env, **({"base_url": base_url} if base_url else {}))
            assert said in caught.value.what
            assert caught.value.fix

    @pytest.mark.parametrize("fields", [{"api": "responses"}, {"batch": True}])
    def test_what_only_v1_has_is_not_asked_of_a_version_before_it(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="is of the v1 API, and api_version: names another"):
            configured(api_version=OLD, **fields)

    @pytest.mark.parametrize("version", ["v1", "latest", "2024", "2024-10-21&key=x"])
    def test_a_version_is_a_date(self, version: str) -> None:
        with pytest.raises(ValueError, match="api_version"):
            configured(api_version=version)


class TestWhatIsSent:
    @pytest.mark.parametrize("fields", [{}, {"api_version": OLD}, {"api": "responses"}])
    @pytest.mark.parametrize("auth", ["key", "token"])
    async def test_the_key_goes_in_its_own_header_and_a_token_as_a_bearers(
        self, auth: str, fields: dict[str, Any]
    ) -> None:
        async with served(auth=auth, **fields) as (model, fake):
            body = await send(model, max_tokens=9)
            assert Completion(body, model.convert).reply(None, str).text.startswith("The answer is")
            sent = fake.seen_headers[0]
            assert (sent.get("api-key"), sent.get("Authorization")) == (
                (KEY, None) if auth == "key" else (None, f"Bearer {TOKEN}")
            )

    async def test_all_versions_say_the_same(self) -> None:
        said = []
        for fields in ({}, {"api_version": OLD}, {"api": "responses"}):
            async with served(**fields) as (model, _):
                said.append(Completion(await send(model), model.convert).reply(None, str).text)
        assert len(set(said)) == 1

    async def test_each_version_has_the_name_of_max_tokens_that_it_knows(self) -> None:
        for fields, name in (
            ({}, "max_completion_tokens"),
            ({"api_version": OLD}, "max_tokens"),
            ({"api": "responses"}, "max_output_tokens"),
        ):
            async with served(**fields) as (model, fake):
                await send(model, max_tokens=9)
                assert fake.seen[0][name] == 9

    async def test_a_key_of_the_other_kind_is_refused(self) -> None:
        async with FakeAzure() as fake:
            model = opened({"AZURE_OPENAI_API_KEY": TOKEN}, base_url=fake.url)
            with pytest.raises(EndpointRefused, match="401"):
                await send(model)
            await model.close()

    async def test_headers_of_the_recipe_may_carry_the_key(self) -> None:
        async with FakeAzure() as fake:
            model = opened({"SOME": KEY}, base_url=fake.url, headers={"API-Key": "$SOME"})
            await send(model)
            await model.close()

    def test_a_version_is_in_no_key_and_how_the_key_goes_in_no_identity(self) -> None:
        def identity(**fields: Any) -> str:
            return configured(base_url=RESOURCE, **fields).identity(Setup("t", Path(), Path(), {}))

        old, new = (opened(KEYS, base_url=RESOURCE, api_version=each) for each in (OLD, "2025-04-01-preview"))
        assert old.wire(request()) == new.wire(request())
        assert identity() == identity(auth="token", key_env="X", rpm=3, headers={"X-Team": "a"}, query={"a": "b"})
        assert identity(api_version=OLD) == identity(api_version="2025-04-01-preview")
        assert len({identity(), identity(api_version=OLD), identity(api="responses"), identity(model="n")}) == 4


class TestWhatComes:
    async def fault_of(self, action: str, error: type[CallError], **fields: Any) -> CallError:
        async with served(action, **fields) as (model, _):
            with pytest.raises(error) as caught:
                Completion(await send(model), model.convert).reply(None, str)
            return caught.value

    @pytest.mark.parametrize("fields", [{}, {"api_version": OLD}])
    async def test_a_prompt_that_is_filtered_fails_its_row_under_its_category(self, fields: dict[str, Any]) -> None:
        fault = await self.fault_of("prompt_filtered", RequestRejected, **fields)
        assert fault.kind == "refused: violence"
        assert "(violence (medium), jailbreak)" in fault.what

    async def test_a_reply_that_is_filtered_fails_its_row_under_its_category(self) -> None:
        fault = await self.fault_of("filtered", CallError)
        assert fault.kind == "refused: violence"
        assert "Azure's content filter: violence (medium), jailbreak" in fault.what

    async def test_a_deployment_that_is_not_there_is_named(self) -> None:
        assert "deployment" in (await self.fault_of("no_deployment", EndpointRefused)).what

    async def test_a_busy_deployment_is_waited_for(self) -> None:
        fault = await self.fault_of("busy", ServerFault)
        assert (fault.kind, fault.retry_after_s) == ("rate_limit", 3)  # type: ignore[attr-defined]

    async def test_a_version_that_is_not_there_is_no_wrong_request(self) -> None:
        await self.fault_of("ok", EndpointRefused, api_version="2020-01-01")

    async def test_keys_and_tokens_that_come_back_are_not_shown(self) -> None:
        for fields in ({"auth": "key"}, {"auth": "token"}, {"api_version": OLD}):
            fault = await self.fault_of("echo", RequestRejected, **fields)
            assert "[key]" in fault.what
            assert KEY not in repr(fault)
            assert TOKEN not in repr(fault)

    @pytest.mark.parametrize(
        "results",
        [
            None,
            3,
            [],
            {"violence": None},
            {"violence": {"filtered": "yes"}},
            {"error": {"code": "content_filter_error"}},
        ],
    )
    def test_what_a_filter_says_in_other_forms_breaks_nothing(self, results: Any) -> None:
        choice = {"finish_reason": "content_filter", "message": None, "content_filter_results": results}
        with pytest.raises(CallError) as caught:
            Completion(json.dumps({"choices": [choice]}), opened(KEYS, base_url=RESOURCE).convert).reply(None, str)
        assert caught.value.kind == "refused"


STEPS = [
    {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": None},
    {"step": "check", "answer": "number"},
    {"step": "format"},
]


def recipe(url: str, **fields: Any) -> dict[str, Any]:
    teacher = {"provider": "azure", "model": "gpt-5-mini", "base_url": url, "price": {"input": 1, "output": 10}}
    return {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": teacher | fields},
        "steps": STEPS,
    }


class TestRuns:
    async def test_a_batch_of_v1_is_handed_in_with_the_key_in_its_header(self, tmp_path: Path) -> None:
        async with FakeAzure(batches=["expire:2"]) as fake:
            job = await asyncio.to_thread(execute, tmp_path, recipe(fake.url, batch=True), env=KEYS)
            assert (job.report["funnel"][0]["out"], fake.files.sizes()) == (6, [6, 4])
            assert fake.files.keys == {None}
            assert fake.batch_keys == {KEY}
            await asyncio.to_thread(execute, tmp_path, recipe(fake.url), env=KEYS, run_dir="second")
            assert fake.seen == []

    async def test_a_filtered_prompt_costs_its_row_and_no_other(self, tmp_path: Path) -> None:
        async with FakeAzure(["prompt_filtered"]) as fake:
            values = recipe(fake.url, max_concurrency=1) | {"max_failed_share": 0.5}
            job = await asyncio.to_thread(execute, tmp_path, values, env=KEYS)
            assert job.report["funnel"][0]["failed"] == {"refused: violence": 1}
            assert job.report["funnel"][0]["out"] == 5


def write(folder: Path, **fields: Any) -> Path:
    write_rows(folder / "train.jsonl", [{"instruction": "a", "reference": "1"}])
    values = recipe(RESOURCE, **fields)
    (folder / "recipe.yaml").write_text(json.dumps(values))
    return folder / "recipe.yaml"


def test_a_key_goes_to_the_users_own_resource_without_a_word_and_to_a_recipes_only_if_he_agrees(tmp_path: Path) -> None:
    recipe_of_stranger = load_recipe(write(tmp_path), env=KEYS)
    with pytest.raises(RecipeError, match=r"the key in AZURE_OPENAI_API_KEY would be sent to me\.openai\.azure\.com"):
        trust.settle(recipe_of_stranger, KEYS, tmp_path)
    trust.settle(recipe_of_stranger, KEYS | {"AZURE_OPENAI_ENDPOINT": RESOURCE}, tmp_path)
