"""Responses of OpenAI: what is meant as chat completions goes over in their form, and comes back from it."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import Response

from blackbox_kd.calls.batch.store import Noted, Store, write_line
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
from blackbox_kd.models import Model, Setup, openai
from blackbox_kd.models.http.responses_api import ADDED, ResponsesApi
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.schema import Reply, Request, Row, Sampling
from tests.support.runs import execute, rows_of, write_rows
from tests.support.teachers.openai_types import RESPONSES, parse
from tests.support.teachers.responses import THOUGHT, FakeResponses, build_reply

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}]
TALK = [
    *MESSAGES,
    {"role": "assistant", "content": "It is 4."},
    {"role": "user", "content": "And 3 + 3?"},
]
SCHEMA = {"name": "sum", "strict": True, "schema": {"type": "object", "properties": {}, "additionalProperties": False}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}, "strict": True}}
FLAT_TOOL = {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": True}


def open_model(url: str, **fields: Any) -> Model:
    values = {"provider": "openai", "model": "gpt-5-mini", "base_url": url, "api": "responses", **fields}
    return openai.open_model(openai.Config.model_validate(values), Setup("teacher", Path(), Path(), {}))


@asynccontextmanager
async def served(*plan: str, **fields: Any) -> AsyncIterator[tuple[Model, FakeResponses]]:
    async with FakeResponses(plan) as fake:
        model = open_model(fake.url, **fields)
        try:
            yield model, fake
        finally:
            await model.close()


async def send(model: Model, sampling: Sampling | None = None, messages: list[dict[str, str]] = MESSAGES) -> Any:
    asked = Request(messages, sampling or Sampling(), Row(id="r1"))
    return (await model.send(model.wire(asked), asked))[0]


async def ask(action: str, **fields: Any) -> Reply[str]:
    """The reply that a planned answer is read as."""
    async with served(action, **fields) as (model, _):
        return Completion(await send(model), model.convert).reply(None, str)


async def fault_of(action: str, kind: type[CallError] = ReplyFault) -> CallError:
    with pytest.raises(kind) as caught:
        await ask(action)
    return caught.value


class TestWhatIsSent:
    async def test_a_question_is_input_and_the_system_text_instructions_and_nothing_is_stored(self) -> None:
        async with served() as (model, fake):
            await send(model, Sampling(max_tokens=77), TALK)
            assert fake.seen == [
                {
                    "model": "gpt-5-mini",
                    "instructions": "Be brief.",
                    "input": TALK[1:],
                    "max_output_tokens": 77,
                    "reasoning": {"summary": "auto"},
                    "store": False,
                }
            ]

    async def test_the_key_is_of_the_body_of_chat_completions(self) -> None:
        model = open_model("http://127.0.0.1:9/v1")
        wire = model.wire(Request(MESSAGES, Sampling(0.5, max_tokens=7), Row(id="r1")))
        assert wire == {
            "url": "http://127.0.0.1:9/v1/responses",
            "body": {"model": "gpt-5-mini", "messages": MESSAGES, "temperature": 0.5, "max_tokens": 7},
        }

    @pytest.mark.parametrize(
        ("model", "fields", "reasoning"),
        [
            ("gpt-4.1-mini", {}, None),
            ("gpt-5-mini", {}, {"summary": "auto"}),
            ("gpt-5-mini", {"thinking": "low"}, {"effort": "low", "summary": "auto"}),
            ("gpt-5.4", {}, None),
            ("gpt-5.4", {"thinking": "high"}, {"effort": "high", "summary": "auto"}),
            ("gpt-6-luna", {"thinking": "off"}, {"effort": "none"}),
            ("gpt-5-mini", {"extra_body": {"reasoning": {"summary": "detailed"}}}, {"summary": "detailed"}),
            (
                "gpt-5-mini",
                {"thinking": "low", "extra_body": {"reasoning": {"summary": "concise"}}},
                {"effort": "low", "summary": "concise"},
            ),
        ],
    )
    async def test_a_summary_is_asked_for_where_the_model_reasons(
        self, model: str, fields: dict[str, Any], reasoning: Any
    ) -> None:
        async with served(model=model, **fields) as (opened, fake):
            await send(opened)
            assert fake.seen[0].get("reasoning") == reasoning

    @pytest.mark.parametrize(
        ("extra", "field", "value"),
        [
            (
                {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
                "text",
                {"format": {"type": "json_schema", **SCHEMA}},
            ),
            ({"response_format": {"type": "json_object"}}, "text", {"format": {"type": "json_object"}}),
            ({"verbosity": "low"}, "text", {"verbosity": "low"}),
            (
                {"text": {"verbosity": "low"}, "response_format": {"type": "json_object"}},
                "text",
                {"verbosity": "low", "format": {"type": "json_object"}},
            ),
            ({"tools": [TOOL]}, "tools", [FLAT_TOOL]),
            (
                {"tool_choice": {"type": "function", "function": {"name": "add"}}},
                "tool_choice",
                {"type": "function", "name": "add"},
            ),
            ({"tool_choice": "required"}, "tool_choice", "required"),
            ({"store": True}, "store", True),
            ({"service_tier": "flex"}, "service_tier", "flex"),
        ],
    )  # fmt: skip
    async def test_other_fields_go_over_in_the_form_that_they_have_there(
        self, extra: dict[str, Any], field: str, value: Any
    ) -> None:
        async with served() as (model, fake):
            await send(model, Sampling(extra=extra))
            assert fake.seen[0][field] == value

    def test_calls_and_results_of_tools_are_items(self) -> None:
        call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
        talk = [
            {"role": "user", "content": "2 + 2?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "4"},
        ]
        sent = ResponsesApi().translate({"model": "m", "messages": talk})
        assert parse(RESPONSES, sent)["input"] == [
            {"role": "user", "content": "2 + 2?"},
            {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "4"},
        ]

    @pytest.mark.parametrize(
        "messages",
        [
            [{"role": "user", "content": ""}],
            [{"role": "system", "content": "One."}, {"role": "system", "content": "Two."}, MESSAGES[1]],
            [MESSAGES[1], {"role": "system", "content": "Now be long."}, MESSAGES[1]],
            [{"role": "system", "content": "Only this."}],
        ],
    )
    def test_no_message_is_lost(self, messages: list[dict[str, str]]) -> None:
        sent = parse(RESPONSES, ResponsesApi().translate({"model": "m", "messages": messages}))
        said = [*filter(None, sent.get("instructions", "").split("\n\n")), *(item["content"] for item in sent["input"])]
        assert said == [message["content"] for message in messages]

    async def test_what_the_recipe_did_not_ask_for_is_left_out_where_responses_have_it_not(self) -> None:
        async with served() as (model, fake):
            await send(model, Sampling(0.2, stop=("END",), seed=3, defaults=frozenset({"temperature"})))
            assert fake.seen[0].keys() == {"model", "instructions", "input", "reasoning", "store"}

    def test_a_name_of_max_tokens_is_of_chat_completions(self) -> None:
        with pytest.raises(ValueError, match="max_tokens_field: max_tokens is of chat completions"):
            open_model("http://127.0.0.1:9/v1", max_tokens_field="max_tokens")


class TestReplies:
    async def test_a_message_is_the_reply(self) -> None:
        reply = await ask("ok")
        assert reply.text.startswith("The answer is")
        assert (reply.finish_reason, reply.model, reply.reasoning) == ("stop", "gpt-5-mini", "")
        assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (7, 4)

    async def test_a_summary_of_reasoning_is_kept_beside_the_reply_and_its_tokens_are_counted(self) -> None:
        for action in ("reasoning", "open_reasoning"):
            reply = await ask(action)
            assert (reply.text[:13], reply.reasoning) == ("The answer is", THOUGHT)
            assert (reply.usage.completion_tokens, reply.usage.reasoning_tokens) == (24, 20)

    async def test_a_final_answer_is_the_reply_and_not_what_is_said_on_the_way(self) -> None:
        assert "looking" not in (await ask("phases")).text

    async def test_tokens_of_the_cache_are_counted(self) -> None:
        async with served("cached") as (model, _):
            said = model.convert(json.loads(await send(model)))["usage"]
        assert said["prompt_tokens_details"] == {"cached_tokens": 3, "cache_write_tokens": 3}
        assert (await ask("cached")).usage.cached_tokens == 3

    async def test_a_model_that_another_stood_in_for_is_named(self) -> None:
        assert (await ask("other_model")).model == "another-model"

    @pytest.mark.parametrize(
        ("action", "kind", "words"),
        [
            ("cut", "truncated", "cut off"),
            ("steered", "truncated", "cut off"),
            ("many", "truncated", "cut off"),
            ("filtered", "refused", "a content filter of the endpoint withheld it (finish_reason 'content_filter')"),
            ("refusal", "refused", "the model refused: I cannot help with that."),
            ("calls", "unreadable", "the reply calls a tool, and none was offered"),
            ("cancelled", "unreadable", "the endpoint broke the reply off (finish_reason 'cancelled')"),
            ("in_progress", "unreadable", "how the reply ended is not known (finish_reason 'in_progress')"),
            ("empty", "empty", "the reply has no text"),
            ("failed:invalid_prompt", "refused: invalid_prompt", "it is invalid_prompt"),
            ("failed:bio_policy", "refused: bio_policy", "it is bio_policy"),
            ("failed:misalignment_policy_violation", "refused: misalignment_policy_violation", "it is misalignment"),
        ],
    )
    async def test_an_end_that_is_no_reply_is_told(self, action: str, kind: str, words: str) -> None:
        fault = await fault_of(action)
        assert fault.kind == kind
        assert words in fault.what
        assert isinstance(fault, Refusal) == kind.startswith("refused: ")

    async def test_a_withheld_reply_that_is_billed_is_one_of_the_ledger(self) -> None:
        async with served("failed:bio_policy") as (model, _):
            completion = Completion(await send(model), model.convert)
        assert completion.usage is not None
        assert completion.usage.prompt_tokens == 7

    async def test_a_cut_reply_is_taken_where_a_step_takes_it(self) -> None:
        async with served("cut") as (model, _):
            reply = Completion(await send(model), model.convert).reply(None, str, accept_truncated=True)
        assert (reply.text, reply.finish_reason) == ("The answe", "length")

    async def test_a_call_of_a_tool_is_read(self) -> None:
        async with served("calls") as (model, _):
            choice = model.convert(json.loads(await send(model)))["choices"][0]
        function = {"name": "add", "arguments": '{"a": 1}'}
        assert choice["finish_reason"] == "function_call"
        assert choice["message"]["tool_calls"] == [{"id": "call_1", "type": "function", "function": function}]

    @pytest.mark.parametrize(
        ("action", "error", "kind"),
        [
            ("failed:server_error", ServerFault, "server_error"),
            ("failed:rate_limit_exceeded", ServerFault, "rate_limit"),
            ("failed:vector_store_timeout", ServerFault, "server_error"),
            ("failed:invalid_image", ServerFault, "unnamed_error"),
            ("overloaded", ServerFault, "server_error"),
            ("rate_limited:3", ServerFault, "rate_limit"),
            ("quota", QuotaSpent, "quota"),
            ("wrong_key", EndpointRefused, "endpoint_refused"),
            ("no_model", EndpointRefused, "endpoint_refused"),
            ("too_long", RequestRejected, "rejected"),
        ],
    )
    async def test_a_fault_is_one_whatever_its_status(self, action: str, error: type[CallError], kind: str) -> None:
        fault = await fault_of(action, error)
        assert fault.kind == kind
        assert getattr(fault, "retry_after_s", None) == (3 if action == "rate_limited:3" else None)


class TestAnyBody:
    def test_what_is_no_response_stays_as_it_is(self) -> None:
        convert = ResponsesApi().convert
        for value in (
            None,
            3,
            "text",
            [],
            {},
            {"error": {"code": "x"}},
            {"output": "text"},
            {"choices": [], "output": []},
        ):
            assert convert(value) is value

    def test_no_damage_to_a_response_breaks_the_reader(self) -> None:
        chance = random.Random(0)
        whole = [
            build_reply(action, {"model": "m"}, COMPLETION)
            for action in ("reasoning", "phases", "calls", "failed:bio_policy", "cut")
        ]
        for _ in range(2000):
            value = json.loads(json.dumps(chance.choice(whole)))
            damage(value, chance)
            completion = Completion(json.dumps(value), ResponsesApi().convert)
            try:
                completion.reply(None, str)
            except ReplyFault:
                continue


COMPLETION = {
    "choices": [{"message": {"content": "The answer is 7."}}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11},
}


def damage(value: Any, chance: random.Random) -> None:
    """Puts something else in some place of a value."""
    while True:
        places = list(value) if isinstance(value, dict) else range(len(value))
        place = chance.choice(places)
        if not isinstance(value[place], dict | list) or not value[place] or chance.random() < 0.3:
            value[place] = chance.choice([None, 3, "text", [], {}, [None], {"a": 1}, True, [[]], "completed"])
            return
        value = value[place]


class TestTheFake:
    """The suite's judge of requests and replies is itself one that refuses."""

    @pytest.mark.parametrize(
        "extra",
        [
            {"stop": ["x"]},
            {"seed": 1},
            {"n": 2},
            {"max_tokens": 3},
            {"reasoning": {"level": "low"}},
            {"text": {"format": {"type": "json_schema", "json_schema": SCHEMA}}},
            {"input": [{"role": "user", "content": "a", "name": "b"}]},
            {"tools": [TOOL]},
        ],
    )
    async def test_a_request_with_what_the_types_do_not_name_is_refused(self, extra: dict[str, Any]) -> None:
        async with FakeResponses() as fake:
            model = open_model(fake.url)
            body = {"model": "m", "input": "What is 2 + 2?", **extra}
            with pytest.raises(RequestRejected, match="400"):
                await model._http.post(body)  # type: ignore[attr-defined]
            await model.close()

    @pytest.mark.parametrize("field", ["id", "output", "model", "tools", "parallel_tool_calls", "created_at"])
    def test_a_reply_without_a_field_of_the_type_is_none(self, field: str) -> None:
        whole = build_reply("ok", {"model": "m"}, COMPLETION)
        with pytest.raises(ValueError, match=field):
            Response.model_validate({name: value for name, value in whole.items() if name != field})

    @pytest.mark.parametrize(
        ("action", "path", "value"),
        [
            ("ok", ["status"], "finished"),
            ("cut", ["incomplete_details", "reason"], "length"),
            ("ok", ["output", 0, "type"], "text"),
            ("ok", ["output", 0, "content", 0, "type"], "text"),
            ("failed:server_error", ["error", "code"], "broken"),
        ],
    )
    def test_a_word_that_the_vendor_does_not_say_is_none_of_its_replies_and_none_of_ours(
        self, action: str, path: list[Any], value: str
    ) -> None:
        """A fake whose words were others would say what the types refuse, and what we do not take for a good end."""
        whole = build_reply(action, {"model": "m"}, COMPLETION)
        place: Any = whole
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value
        with pytest.raises(ValueError, match=r"validation error"):
            Response.model_validate(whole)
        if path[0] in ("status", "incomplete_details"):
            with pytest.raises(ReplyFault):
                Completion(json.dumps(whole), ResponsesApi().convert).reply(None, str)


STEPS = [
    {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": None},
    {"step": "check", "answer": "number"},
    {"step": "format"},
]


def recipe(url: str, **fields: Any) -> dict[str, Any]:
    teacher = {"provider": "openai", "model": "gpt-5-mini", "base_url": url, "api": "responses"}
    models = {"teacher": teacher | {"price": {"input": 1, "output": 10}} | fields}
    return {"name": "demo", "data": {"train": {"path": "train.jsonl"}}, "models": models, "steps": STEPS}


class TestRuns:
    async def test_a_summary_that_the_account_may_not_have_is_done_without_and_the_next_run_knows(
        self, tmp_path: Path
    ) -> None:
        async with FakeResponses(always="refuses:reasoning.summary") as fake:
            values = recipe(fake.url, thinking="low", max_concurrency=1)
            await asyncio.to_thread(execute, tmp_path, values)
            assert [body.get("reasoning") for body in fake.seen[:3]] == [
                {"effort": "low", "summary": "auto"},
                {"effort": "low"},
                {"effort": "low"},
            ]
            assert len(fake.seen) == 7
            write_rows(tmp_path / "train.jsonl", [{"instruction": "Another?", "reference": "1"}])
            await asyncio.to_thread(execute, tmp_path, values, run_dir="second")
            assert (len(fake.seen), fake.seen[-1]["reasoning"]) == (8, {"effort": "low"})

    async def test_a_level_of_reasoning_that_the_model_does_not_take_ends_the_run_at_its_first_answer(
        self, tmp_path: Path
    ) -> None:
        async with FakeResponses(always="refuses:reasoning.effort") as fake:
            with pytest.raises(SetupError, match="it does not take 'reasoning_effort'"):
                await asyncio.to_thread(execute, tmp_path, recipe(fake.url, thinking="low", max_concurrency=1))
            assert len(fake.seen) == 1

    @pytest.mark.parametrize("batch", [False, True])
    async def test_a_second_run_asks_for_nothing(self, tmp_path: Path, batch: bool) -> None:
        async with FakeResponses() as fake:
            first = await asyncio.to_thread(execute, tmp_path, recipe(fake.url, batch=batch))
            rows = rows_of(tmp_path / "run/tables/03_format.jsonl")
            asked = len(fake.seen), fake.files.sizes()
            assert asked == ((0, [6]) if batch else (6, []))
            assert all("The answer is" in row["completion"][0]["content"] for row in rows)
            again = await asyncio.to_thread(execute, tmp_path, recipe(fake.url), run_dir="second")
            assert (len(fake.seen), fake.files.sizes()) == asked
            replayed = rows_of(tmp_path / "second/tables/03_format.jsonl")
            assert [row["completion"] for row in replayed] == [row["completion"] for row in rows]
            assert again.report["models"][0]["replayed"] == 6
            assert first.report["spent"]["requests"] == 6

    async def test_a_batch_is_handed_in_in_the_form_of_responses_and_stays_one_of_chat_on_our_disk(
        self, tmp_path: Path
    ) -> None:
        async with FakeResponses(batches=["expire:2"]) as fake:
            await asyncio.to_thread(execute, tmp_path, recipe(fake.url, batch=True, thinking="low"))
            assert fake.files.sizes() == [6, 4]
            lines = [line for batch in fake.files.created for line in batch.lines]
            assert all(parse(RESPONSES, line["body"]) for line in lines)
            assert {line["url"] for line in lines} == {"/v1/responses"}
            assert set(fake.files.answered.values()) == {1}

    async def test_a_batch_learns_what_the_model_does_not_take(self, tmp_path: Path) -> None:
        async with FakeResponses(batches=["refuse:reasoning"]) as fake:
            job = await asyncio.to_thread(execute, tmp_path, recipe(fake.url, batch=True))
            assert job.report["funnel"][0]["out"] == 6
            assert fake.files.sizes() == [6, 6]
            assert all("reasoning" not in line["body"] for line in fake.files.created[1].lines)

    def test_a_batch_that_is_taken_up_is_of_what_was_asked(self, tmp_path: Path) -> None:
        asked = {"model": "m", "messages": MESSAGES, "max_tokens": 9}
        noted = {"key": Noted("r1", None, 0, meant={"seed": 3}, added=("store", "reasoning"))}
        store = Store(tmp_path / "ledger.sqlite", "run")
        record = store.note("teacher", "http://a/v1", "http://a/v1/responses", noted)
        store.write_requests(record, [write_line("key", {**ADDED, **asked})])
        [found] = Store(tmp_path / "ledger.sqlite", "run").records()
        body = {**asked, "seed": 3}
        assert store.wires(found) == {"key": {"url": "http://a/v1/responses", "body": body}}

    @pytest.mark.parametrize("ending", ["lines:429,500", "missing:3", "garbled", "cancel:1", "fail:server_error"])
    async def test_what_is_missing_of_a_batch_is_handed_in_again(self, tmp_path: Path, ending: str) -> None:
        async with FakeResponses(batches=[ending]) as fake:
            job = await asyncio.to_thread(execute, tmp_path, recipe(fake.url, batch=True))
            assert job.report["funnel"][0]["out"] == 6
            assert len(fake.files.answered) == 6

    @pytest.mark.parametrize(
        ("field", "value", "at"),
        [("stop", ["END"], "stop"), ("sampling_seed", 3, "sampling_seed"), ("extra", {"seed": 3}, "extra.seed")],
    )
    def test_a_step_that_asks_for_what_responses_have_not_is_told_before_anything_is_sent(
        self, tmp_path: Path, field: str, value: Any, at: str
    ) -> None:
        write_rows(tmp_path / "train.jsonl", [{"instruction": "a", "reference": "1"}])
        for refuses in (None, []):
            values = recipe("http://127.0.0.1:9/v1", refuses=refuses)
            values["steps"] = [{**STEPS[0], field: value}]
            (tmp_path / "recipe.yaml").write_text(json.dumps(values))
            with pytest.raises(
                Exception, match=rf"{at}: .*its API has no such field(.|\n)*or write api: chat at the model"
            ):
                load_recipe(tmp_path / "recipe.yaml", env={})
