"""Gemini by its own API: what is sent, and what every kind of answer turns into."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.genai import types
from pydantic import ValidationError

from blackbox_kd.calls import ends
from blackbox_kd.calls.completion import Completion
from blackbox_kd.errors import (
    CallError,
    EndpointRefused,
    QuotaSpent,
    Refusal,
    ReplyFault,
    RequestRejected,
    ServerFault,
    SetupError,
)
from blackbox_kd.models import Model, Setup, gemini
from blackbox_kd.models.http.generate_content import GenerateContent
from blackbox_kd.models.http.listing import Listed
from blackbox_kd.models.http.listing import find as find_listed
from blackbox_kd.models.http.parameters import find
from blackbox_kd.models.http.status import CLOSED
from blackbox_kd.recipe.checks.models import find_refused
from blackbox_kd.schema import Message, Reply, Request, Row, Sampling, Usage
from tests.support.teachers.gemini import FakeGemini

KEY = "AIza-test-0123456789abcdef"
ASKED: list[Message] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}]


def setup(**env: str) -> Setup:
    return Setup("teacher", Path(), Path(), env)


def entry(**fields: Any) -> gemini.Config:
    return gemini.Config.model_validate({"provider": "gemini", "model": "gemini-3.8-flash", **fields})


def request(sampling: Sampling | None = None, messages: list[Message] | None = None, **of: int) -> Request:
    return Request(messages or ASKED, sampling or Sampling(), Row(id="r1"), **of)


@asynccontextmanager
async def served(*plan: str, **fields: Any) -> AsyncIterator[tuple[Model, FakeGemini]]:
    """A model behind a server that does what is planned."""
    async with FakeGemini(plan, key=KEY) as fake:
        model = gemini.open_model(entry(**{"base_url": fake.url, "key_env": "KEY"} | fields), setup(KEY=KEY))
        try:
            yield model, fake
        finally:
            await model.close()


async def send(model: Model, asked: Request) -> Completion:
    body, _ = await model.send(model.wire(asked), asked)
    return Completion(body, model.convert)


async def reply_to(action: str, sampling: Sampling | None = None, **fields: Any) -> Reply:
    async with served(action, **fields) as (model, _):
        return (await send(model, request(sampling))).reply(None, str)


async def sent_of(sampling: Sampling | None = None, messages: list[Message] | None = None, **fields: Any) -> Any:
    """What the server got, which it has parsed by the SDK's types."""
    async with served(**fields) as (model, fake):
        await send(model, request(sampling, messages))
        return fake.seen[0]


async def error_of(action: str, kind: type[CallError], **fields: Any) -> CallError:
    async with served(action, **fields) as (model, fake):
        with pytest.raises(kind) as caught:
            await send(model, request(Sampling(0.5)))
        assert fake.url in str(caught.value)
        assert KEY not in str(caught.value)
        return caught.value


class TestWhatIsSent:
    def test_what_is_meant_is_a_body_of_chat_completions_and_the_url_is_googles(self) -> None:
        model = gemini.open_model(entry(), setup(GEMINI_API_KEY=KEY))
        assert model.wire(request(Sampling(0.5, max_tokens=9))) == {
            "url": "https://generativelanguage.googleapis.com/v1beta/models/gemini-3.8-flash:generateContent",
            "body": {"model": "gemini-3.8-flash", "messages": ASKED, "temperature": 0.5, "max_tokens": 9},
        }

    async def test_messages_are_contents_and_the_system_text_an_instruction(self) -> None:
        messages = [*ASKED, {"role": "assistant", "content": "4"}, {"role": "user", "content": "And 3 + 3?"}]
        assert await sent_of(messages=messages) == {
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "What is 2 + 2?"}]},
                {"role": "model", "parts": [{"text": "4"}]},
                {"role": "user", "parts": [{"text": "And 3 + 3?"}]},
            ],
        }

    async def test_a_system_text_without_words_is_none(self) -> None:
        assert "systemInstruction" not in await sent_of(messages=[{"role": "system", "content": ""}, ASKED[1]])

    async def test_a_system_text_is_folded_where_the_recipe_says_so(self) -> None:
        sent = await sent_of(system="fold")
        assert sent == {"contents": [{"role": "user", "parts": [{"text": "Be brief.\n\nWhat is 2 + 2?"}]}]}

    async def test_sampling_fields_are_where_the_vendor_has_them(self) -> None:
        sampling = Sampling(0.5, 0.9, 64, ("END", "\n\n"), 3, {"top_k": 5, "presence_penalty": 0.5})
        assert (await sent_of(sampling, model="gemini-3.1-pro"))["generationConfig"] == {
            "temperature": 0.5,
            "topP": 0.9,
            "topK": 5,
            "maxOutputTokens": 64,
            "stopSequences": ["END", "\n\n"],
            "seed": 3,
            "presencePenalty": 0.5,
        }

    async def test_own_fields_of_the_recipe_go_as_they_are_and_a_steps_fields_over_them(self) -> None:
        safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}]
        own = {"safetySettings": safety, "generationConfig": {"responseLogprobs": True, "temperature": 0.1}}
        sent = await sent_of(Sampling(0.5, extra={"labels": {"run": "a"}}), extra_body=own)
        assert sent["safetySettings"] == safety
        assert sent["labels"] == {"run": "a"}
        assert sent["generationConfig"] == {"responseLogprobs": True, "temperature": 0.5}

    @pytest.mark.parametrize("seed", [2**31 - 1, 2**31 + 7, 5 * 10**12])
    async def test_seeds_have_32_bits_and_samples_and_attempts_still_differ(self, seed: int) -> None:
        async with served() as (model, fake):
            for sample in range(3):
                for attempt in range(3):
                    await send(model, request(Sampling(seed=seed), sample=sample, attempt=attempt))
            seeds = [body["generationConfig"]["seed"] for body in fake.seen]
        assert len(set(seeds)) == 9
        assert all(0 <= each < 2**31 for each in seeds)

    @pytest.mark.parametrize(
        ("form", "sent"),
        [
            (
                {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {"type": "object"}}},
                {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}},
            ),
            ({"type": "json_object"}, {"responseMimeType": "application/json"}),
            ({"type": "text"}, {"responseMimeType": "text/plain"}),
        ],
    )
    async def test_structured_output_is_a_type_and_a_schema(self, form: Any, sent: Any) -> None:
        found = await sent_of(Sampling(extra={"response_format": form}))
        assert found["generationConfig"] == sent

    async def test_functions_are_declared_together_and_own_tools_stay(self) -> None:
        function = {"name": "add", "description": "Adds.", "parameters": {"type": "object"}, "strict": True}
        tools = [{"type": "function", "function": function}, {"codeExecution": {}}]
        choice = {"type": "function", "function": {"name": "add"}}
        sent = await sent_of(Sampling(extra={"tools": tools, "tool_choice": choice}))
        declared = {"name": "add", "description": "Adds.", "parametersJsonSchema": {"type": "object"}}
        assert sent["tools"] == [{"functionDeclarations": [declared]}, {"codeExecution": {}}]
        assert sent["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["add"]}}

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("response_format", {"type": "json_schema"}),
            ("response_format", "json"),
            ("tools", 3),
            ("tools", [3]),
            ("tool_choice", {"function": 3}),
            ("tool_choice", ["auto"]),
            ("reasoning_effort", ["low"]),
        ],
    )
    def test_what_a_recipe_has_in_a_field_is_for_the_endpoint_to_refuse(self, field: str, value: Any) -> None:
        for model in ("gemini-3.8-flash", "gemini-2.5-flash"):
            assert GenerateContent(find(model)).translate({"model": model, "messages": ASKED, field: value})

    @pytest.mark.parametrize("own", [3, "text", [1], {"thinkingConfig": "own"}])
    async def test_what_no_field_can_be_written_into_ends_the_run(self, own: Any) -> None:
        async with served(extra_body={"generationConfig": own}, thinking="low") as (model, fake):
            with pytest.raises(EndpointRefused, match="is no mapping of fields"):
                await send(model, request())
            assert fake.seen == []

    async def test_text_in_any_script_arrives_as_it_is(self) -> None:
        sent = await sent_of(messages=[{"role": "user", "content": "Größe in 東京? \ud83d"}])
        assert sent["contents"][0]["parts"][0]["text"] == "Größe in 東京? ?"

    async def test_a_models_full_name_is_one_in_the_url(self) -> None:
        assert await sent_of(model="models/gemini-3.8-flash")


class TestThinking:
    @pytest.mark.parametrize(
        ("model", "thinking", "sent"),
        [
            ("gemini-3.8-flash", "high", {"thinkingLevel": "HIGH", "includeThoughts": True}),
            ("gemini-4-argon", "low", {"thinkingLevel": "LOW", "includeThoughts": True}),
            ("gemini-3.5-flash-lite", "off", {"thinkingLevel": "MINIMAL"}),
            ("gemini-3.6-flash", "off", {"thinkingLevel": "MINIMAL"}),
            ("gemini-9-new", "medium", {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
            ("gemini-2.5-flash", "off", {"thinkingBudget": 0}),
            ("gemini-2.5-flash-lite", "low", {"thinkingBudget": 2048, "includeThoughts": True}),
            ("gemini-2.5-pro", "high", {"thinkingBudget": 16_384, "includeThoughts": True}),
            ("gemini-2.5-pro", 500, {"thinkingBudget": 500, "includeThoughts": True}),
        ],
    )
    async def test_it_is_a_level_or_a_budget_by_the_model(self, model: str, thinking: Any, sent: Any) -> None:
        found = await sent_of(model=model, thinking=thinking)
        assert found["generationConfig"] == {"thinkingConfig": sent}

    async def test_own_fields_of_the_thinking_config_stay_beside_it(self) -> None:
        own = {"generationConfig": {"thinkingConfig": {"includeThoughts": False}, "topK": 3.0}}
        found = await sent_of(Sampling(), model="gemini-3.6-flash", thinking="off", extra_body=own)
        config = found["generationConfig"]
        assert config == {"thinkingConfig": {"thinkingLevel": "MINIMAL", "includeThoughts": False}, "topK": 3.0}

    @pytest.mark.parametrize(
        ("model", "thinking", "said"),
        [
            ("gemini-3.8-flash", "off", "it cannot be told not to reason"),
            ("gemini-3.7-flash-preview", "off", "it cannot be told not to reason"),
            ("gemini-4-argon", "off", "it cannot be told not to reason"),
            ("gemini-2.5-pro", "off", "it cannot be told not to reason"),
            ("gemini-3-pro-preview", "medium", "its levels of reasoning are low, high"),
            ("gemini-3.8-flash", 2000, "it takes no number of tokens for its reasoning"),
            ("gemini-2.5-pro", 100, "it takes 128 to 32,768 tokens of reasoning"),
            ("gemini-2.5-flash-lite", 30_000, "it takes 512 to 24,576 tokens of reasoning"),
            ("gemini-3.6-flash", "off", ""),
            ("gemini-2.5-flash", "off", ""),
            ("gemini-9-new", "off", ""),
            ("gemini-9-new", 9, ""),
        ],
    )
    def test_what_a_model_does_not_take_is_a_problem_of_its_entry(self, model: str, thinking: Any, said: str) -> None:
        found = [what for _, what, _ in find_refused(entry(model=model, thinking=thinking))]
        assert len(found) == bool(said)
        assert all(said in what for what in found)

    async def test_thoughts_are_the_reasoning_and_their_tokens_part_of_the_reply(self) -> None:
        plain, thought = await reply_to("ok"), await reply_to("ok", thinking="high")
        assert (plain.reasoning, thought.reasoning) == ("", "The parts are added.")
        assert thought.text == plain.text
        assert thought.usage.completion_tokens == plain.usage.completion_tokens + 5
        assert (plain.usage.reasoning_tokens, thought.usage.reasoning_tokens) == (0, 5)

    def test_a_reply_that_thinks_has_room_for_it(self) -> None:
        assert find("gemini-4-argon").find_room({}) == 8192
        assert find("gemini-2.5-flash-lite").find_room({}) == 0
        assert find("gemini-2.5-flash").find_room({"reasoning_effort": "none"}) == 0


class TestReplies:
    async def test_a_reply_is_text_tokens_and_the_model_that_wrote_it(self) -> None:
        reply = await reply_to("as:gemini-3.9-flash")
        assert reply.text.startswith("The answer is ")
        assert reply.finish_reason == "stop"
        assert reply.model == "gemini-3.9-flash"
        assert reply.usage == Usage(prompt_tokens=7, completion_tokens=4)

    async def test_cached_tokens_are_part_of_the_prompt(self) -> None:
        usage = (await reply_to("cached")).usage
        assert usage == Usage(prompt_tokens=7, completion_tokens=4, cached_tokens=6)

    def test_no_reason_of_the_sdk_is_unknown(self) -> None:
        for reason in types.FinishReason:
            assert ends.classify(reason.value.casefold()) is not ends.End.UNKNOWN, reason

    @pytest.mark.parametrize("reason", sorted({each.value for each in types.FinishReason} - {"STOP", CLOSED}))
    async def test_no_other_end_than_stop_is_a_usable_reply(self, reason: str) -> None:
        kinds = {ends.End.CUT: "truncated", ends.End.WITHHELD: "refused", ends.End.BROKEN: "unreadable"}
        with pytest.raises(ReplyFault) as caught:
            await reply_to(reason)
        kind = kinds[ends.classify(reason.casefold())]
        category = "dangerous_content" if reason == "SAFETY" else reason.lower()
        assert caught.value.kind == (f"refused: {category}" if kind == "refused" else kind)

    async def test_an_account_that_was_limited_ends_the_run(self) -> None:
        error = await error_of(CLOSED, QuotaSpent)
        assert "has limited this account" in error.what

    async def test_what_is_withheld_has_its_category_in_the_message(self) -> None:
        async with served("SAFETY", "PROHIBITED_CONTENT", "MAX_TOKENS") as (model, _):
            bodies = [(await model.send(model.wire(request()), request()))[0] for _ in range(3)]
        messages = [model.convert(json.loads(body))["choices"][0]["message"] for body in bodies]
        refusal = {"category": "dangerous_content", "explanation": None}
        assert [message.get("refusal") for message in messages] == [refusal, None, None]

    @pytest.mark.parametrize("reason", [each.value for each in types.BlockedReason])
    async def test_a_blocked_prompt_is_a_refusal_with_its_reason(self, reason: str) -> None:
        with pytest.raises(Refusal, match=f"the prompt is blocked, {reason}") as caught:
            await reply_to(f"block:{reason}")
        assert caught.value.kind == "refused: dangerous_content"

    def test_a_blocked_prompt_without_ratings_has_its_reason_for_a_category(self) -> None:
        body = json.dumps({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "modelVersion": "m"})
        with pytest.raises(Refusal) as caught:
            Completion(body, GenerateContent(find("m")).convert).reply(None, str)
        assert caught.value.kind == "refused: prohibited_content"

    @pytest.mark.parametrize("action", ["none", "drop:candidates", "drop:finishReason", "drop:content"])
    async def test_a_reply_that_lacks_a_part_is_not_used(self, action: str) -> None:
        with pytest.raises(ReplyFault) as caught:
            await reply_to(action)
        assert caught.value.kind == ("empty" if action == "drop:content" else "unreadable")

    @pytest.mark.parametrize("word", ["END", "SAFE", "STOPPED"])
    async def test_an_end_that_nobody_knows_is_no_good_one(self, word: str) -> None:
        with pytest.raises(ReplyFault, match="how the reply ended is not known") as caught:
            await reply_to(f"end:{word}")
        assert caught.value.kind == "unreadable"

    async def test_a_reply_without_usage_costs_what_nobody_knows(self) -> None:
        async with served("drop:usageMetadata") as (model, _):
            assert (await send(model, request())).usage is None

    async def test_a_call_of_a_function_is_one_with_its_signature(self) -> None:
        async with served("call") as (model, _):
            body, _ = await model.send(model.wire(request()), request())
            choice = model.convert(json.loads(body))["choices"][0]
            with pytest.raises(ReplyFault, match="calls a tool, and none was offered"):
                Completion(body, model.convert).reply(None, str)
        call = choice["message"]["tool_calls"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert call["function"] == {"name": "add", "arguments": '{"a":2,"b":2}'}
        assert call["extra_content"] == {"google": {"thought_signature": "c2lnbmVk"}}

    @pytest.mark.parametrize(
        ("usage", "read"),
        [
            ({"promptTokenCount": 9, "thoughtsTokenCount": 5, "totalTokenCount": 14}, Usage(9, 5, 0, 5)),
            (
                {"promptTokenCount": 9, "toolUsePromptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 14},
                Usage(12, 2),
            ),
            ({"promptTokenCount": 9, "totalTokenCount": 14}, Usage(9, 5)),
            ({"promptTokenCount": "9", "candidatesTokenCount": 2}, None),
            ({"promptTokenCount": 9, "candidatesTokenCount": True}, None),
            ({}, None),
            ([], None),
        ],
    )
    def test_tokens_are_counted_as_they_are_billed(self, usage: Any, read: Usage | None) -> None:
        candidate = {"content": {"parts": [{"text": "4"}]}, "finishReason": "STOP"}
        body = json.dumps({"candidates": [candidate], "usageMetadata": usage})
        assert Completion(body, GenerateContent(find("m")).convert).usage == read

    def test_a_reply_whose_tokens_all_went_into_thoughts_says_so(self) -> None:
        candidate = {"content": {"parts": []}, "finishReason": "MAX_TOKENS"}
        usage = {"promptTokenCount": 9, "thoughtsTokenCount": 60, "totalTokenCount": 69}
        body = json.dumps({"candidates": [candidate], "usageMetadata": usage})
        with pytest.raises(ReplyFault, match="cut off after 60 tokens, all of them hidden reasoning") as caught:
            Completion(body, GenerateContent(find("m")).convert).reply(None, str)
        assert caught.value.kind == "truncated"

    @pytest.mark.parametrize(
        "value",
        [
            *(None, 3, "text", [], {}, {"error": {"code": 3}}, {"choices": [], "candidates": []}),
            {"candidates": None},
            {"candidates": [None]},
            {"candidates": [{}], "usageMetadata": 3},
            {"candidates": [{"content": {"parts": 3}, "safetyRatings": 3, "finishReason": 3}]},
            {"candidates": [{"content": [], "safetyRatings": [3, {}], "finishReason": ["SAFETY"]}]},
            {"candidates": [{"content": {"parts": [3, {"text": 3}, {"functionCall": 3}]}}]},
            {"candidates": [{"content": {"parts": [{"functionCall": {}}]}, "finishReason": "STOP"}]},
            {"promptFeedback": 3},
        ],
    )
    def test_any_json_is_a_reply_or_a_fault(self, value: Any) -> None:
        completion = Completion(json.dumps(value), GenerateContent(find("m")).convert)
        with pytest.raises(ReplyFault) as caught:
            completion.reply(None, str)
        assert caught.value.kind == "unreadable"


class TestErrors:
    @pytest.mark.parametrize(
        ("action", "error", "kind"),
        [
            ("key", EndpointRefused, "endpoint_refused"),
            ("404", EndpointRefused, "endpoint_refused"),
            ("402", QuotaSpent, "quota"),
            ("403", EndpointRefused, "endpoint_refused"),
            ("long", RequestRejected, "rejected"),
            ("429:46s", ServerFault, "rate_limit"),
            ("429:day", ServerFault, "rate_limit"),
            ("limit0", QuotaSpent, "quota"),
            ("500", ServerFault, "server_error"),
            ("503", ServerFault, "server_error"),
            ("504", ServerFault, "server_error"),
        ],
    )
    async def test_each_is_of_its_class(self, action: str, error: type[CallError], kind: str) -> None:
        assert (await error_of(action, error)).kind == kind

    async def test_a_wrong_key_is_one_though_the_status_is_400(self) -> None:
        error = await error_of("key", EndpointRefused)
        assert "API key not valid" in error.what
        assert "key_env" in error.fix

    async def test_a_prompt_that_is_too_long_says_what_to_do(self) -> None:
        assert "show less in the prompt" in (await error_of("long", RequestRejected)).fix

    async def test_a_limit_says_when_to_come_back(self) -> None:
        assert (await error_of("429:46s", ServerFault)).retry_after_s == 46
        assert (await error_of("429:day", ServerFault)).retry_after_s == 35_640

    async def test_a_field_that_is_not_taken_has_the_name_that_a_step_has_for_it(self) -> None:
        error = await error_of("refuse:temperature", RequestRejected, model="gemini-3.1-pro")
        assert error.field == "temperature"
        assert "leave temperature: out of the step" in error.fix

    async def test_a_field_unknown_to_the_types_is_refused_by_the_server_of_the_tests(self) -> None:
        error = await error_of("ok", RequestRejected, extra_body={"ownField": 1})
        assert "ownField" in error.what

    @pytest.mark.parametrize("field", ["logit_bias", "top_logprobs", "repetition_penalty"])
    def test_a_field_that_the_api_lacks_is_a_problem_of_the_entry(self, field: str) -> None:
        found = find_refused(entry(extra_body={field: 1, "safetySettings": []}))
        assert [(at, "its API has no such field" in what) for at, what, _ in found] == [("extra_body", True)]


class TestKeys:
    def test_a_missing_key_is_named_and_so_is_the_way_to_set_it(self) -> None:
        with pytest.raises(SetupError, match="the variable GEMINI_API_KEY is not set") as caught:
            gemini.open_model(entry(), setup())
        assert "export GEMINI_API_KEY=" in caught.value.fix

    @pytest.mark.parametrize(
        ("env", "variable"),
        [
            ({"GEMINI_API_KEY": KEY}, "GEMINI_API_KEY"),
            ({"GOOGLE_API_KEY": KEY}, "GOOGLE_API_KEY"),
            ({"GEMINI_API_KEY": KEY, "GOOGLE_API_KEY": "AIza-other"}, "GEMINI_API_KEY"),
            ({"GEMINI_API_KEY": " ", "GOOGLE_API_KEY": KEY}, "GOOGLE_API_KEY"),
        ],
    )
    def test_the_first_of_two_variables_counts(self, env: Mapping[str, str], variable: str) -> None:
        assert entry().sends_to(setup(**env)) == ("https://generativelanguage.googleapis.com", variable)
        assert gemini.open_model(entry(), setup(**env))

    async def test_it_goes_in_googles_own_header(self) -> None:
        async with served() as (model, fake):
            await send(model, request())
            headers = fake.seen_headers[0]
        assert headers["x-goog-api-key"] == KEY
        assert "Authorization" not in headers

    async def test_googles_key_does_not_go_to_other_hosts_that_a_recipe_names(self) -> None:
        async with FakeGemini() as fake:
            model = gemini.open_model(entry(base_url=fake.url), setup(GEMINI_API_KEY=KEY, GOOGLE_API_KEY=KEY))
            await send(model, request())
            await model.close()
            assert "x-goog-api-key" not in fake.seen_headers[0]

    @pytest.mark.parametrize("wrong", ["your-api-key", "AIza a b"])
    def test_what_cannot_be_a_key_is_refused_without_being_shown(self, wrong: str) -> None:
        with pytest.raises(SetupError, match="GEMINI_API_KEY") as caught:
            gemini.open_model(entry(), setup(GEMINI_API_KEY=wrong))
        assert wrong not in str(caught.value)


@pytest.mark.parametrize(
    "end", ["", "/", "/v1beta", "/v1beta/", "/v1beta/models", "/v1beta/models/gemini-3.8-flash:generateContent"]
)
def test_a_base_url_ends_before_the_version(end: str) -> None:
    assert entry(base_url=f"http://127.0.0.1:9{end}").base_url == "http://127.0.0.1:9"


def test_what_is_called_models_before_a_version_stays() -> None:
    assert entry(base_url="http://127.0.0.1:9/models/team").base_url == "http://127.0.0.1:9/models/team"


def test_a_model_by_the_name_that_the_api_lists_is_the_same_model() -> None:
    long, short = entry(model="models/gemini-3.8-flash"), entry(model="gemini-3.8-flash")
    assert (long, long.identity(setup())) == (short, short.identity(setup()))


def test_the_endpoint_of_chat_completions_is_for_another_provider() -> None:
    with pytest.raises(ValidationError, match="speaks chat completions"):
        entry(base_url="https://generativelanguage.googleapis.com/v1beta/openai")


def test_identities_depend_on_where_a_model_is_and_not_on_how_fast_it_is_asked() -> None:
    def identity(**fields: Any) -> str:
        return entry(**fields).identity(setup())

    assert identity() == identity(max_concurrency=3, rpm=7, tpm=9, key_env="X", timeout_s=5, batch=True)
    others = [{"base_url": "http://127.0.0.1"}, {"model": "n"}, {"extra_body": {"a": 1}}, {"thinking": "low"}]
    assert len({identity(), *(identity(**each) for each in others)}) == 5


@pytest.mark.parametrize(("name", "found"), [("gemini-3.8-flash", Listed()), ("gemini-2.5-flash", None)])
async def test_the_list_of_models_says_which_there_are(name: str, found: Listed | None) -> None:
    async with served() as (model, fake):
        told = await model.list_models()
        assert told is not None
        assert told[0] == f"{fake.url}/v1beta/models"
        assert find_listed(json.loads(told[1]), name) == found
