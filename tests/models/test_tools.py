"""Tools, calls of them and what they gave back, as each vendor's own types take them; and the calls of its replies."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from mistralai.client import models as mistral_types

from blackbox_kd.calls.completion import Completion
from blackbox_kd.errors import ReplyFault
from blackbox_kd.models.http.advice import advise
from blackbox_kd.models.http.body import build_body
from blackbox_kd.models.http.chat import ChatCompletions, WireFormat
from blackbox_kd.models.http.dialects import MISTRAL
from blackbox_kd.models.http.generate_content import GenerateContent
from blackbox_kd.models.http.messages_api import MessagesApi
from blackbox_kd.models.http.parameters import NOTHING_KNOWN
from blackbox_kd.models.http.responses_api import ResponsesApi
from blackbox_kd.schema import Request, Row, Sampling
from tests.support.teachers import anthropic_types, gemini
from tests.support.teachers.mistral import FakeMistral
from tests.support.teachers.openai_types import COMPLETIONS, RESPONSES, parse

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "By city.", "parameters": SCHEMA}}
SIGNED = {"google": {"thought_signature": "c2lnbmVk"}}


def call(number: int, city: str, **more: Any) -> dict[str, Any]:
    function = {"name": "weather", "arguments": json.dumps({"city": city})}
    return {"id": f"call_{number}", "type": "function", "function": function, **more}


TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Oslo and Rome?"},
    {"role": "assistant", "content": "", "tool_calls": [call(0, "Oslo", extra_content=SIGNED), call(1, "Rome")]},
    {"role": "tool", "tool_call_id": "call_0", "content": '{"sky": "dry"}', "name": "weather"},
    {"role": "tool", "tool_call_id": "call_1", "content": "rain", "name": "weather"},
    {"role": "assistant", "content": "Dry, and rain."},
    {"role": "user", "content": "And Bonn?"},
]


def judge_mistral(body: dict[str, Any]) -> Any:
    return FakeMistral().parse(mistral_types.ChatCompletionRequest, body)


FORMATS: dict[str, tuple[WireFormat, Callable[[dict[str, Any]], Any]]] = {
    "chat": (ChatCompletions(), lambda body: parse(COMPLETIONS, body)),
    "responses": (ResponsesApi(), lambda body: parse(RESPONSES, body)),
    "anthropic": (MessagesApi(NOTHING_KNOWN), anthropic_types.parse_request),
    "gemini": (
        GenerateContent(NOTHING_KNOWN),
        gemini.parse_request,
    ),
    "mistral": (MISTRAL, judge_mistral),
}


def translated(name: str, messages: list[dict[str, Any]] = TALK) -> dict[str, Any]:
    """What is sent; a judge of the vendor's types has had nothing against it."""
    wire_format, judge = FORMATS[name]
    request = Request(messages, Sampling(max_tokens=64), Row(id="r1"), tools=[WEATHER])
    body = wire_format.translate(build_body("m", request, "max_tokens", {}))
    assert judge(json.loads(json.dumps(body)))
    return body


@pytest.mark.parametrize("name", FORMATS)
def test_a_conversation_with_tools_is_what_the_vendors_types_know(name: str) -> None:
    assert "weather" in json.dumps(translated(name))


def test_the_request_is_meant_as_chat_completions_have_it_and_without_tools_it_is_as_before() -> None:
    asked = Request(TALK[:2], Sampling(), Row(id="r1"))
    assert build_body("m", asked, "max_tokens", {}) == {"model": "m", "messages": TALK[:2]}
    offered = Request(TALK[:2], Sampling(), Row(id="r1"), tools=[WEATHER])
    assert build_body("m", offered, "max_tokens", {})["tools"] == [WEATHER]


def test_claude_is_told_of_calls_and_results_in_blocks() -> None:
    sent = translated("anthropic")
    assert sent["tools"] == [{"name": "weather", "description": "By city.", "input_schema": SCHEMA}]
    assert sent["messages"][1:3] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "call_0", "name": "weather", "input": {"city": "Oslo"}},
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Rome"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_0", "content": '{"sky": "dry"}'},
                {"type": "tool_result", "tool_use_id": "call_1", "content": "rain"},
            ],
        },
    ]


def test_gemini_has_its_signature_back_and_results_as_objects_side_by_side() -> None:
    assert translated("gemini")["contents"][1:3] == [
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}, "thoughtSignature": "c2lnbmVk"},
                {"functionCall": {"name": "weather", "args": {"city": "Rome"}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "weather", "response": {"sky": "dry"}}},
                {"functionResponse": {"name": "weather", "response": {"result": "rain"}}},
            ],
        },
    ]


def test_responses_have_calls_as_items_and_schemas_that_are_not_held_to_their_strict_subset() -> None:
    sent = translated("responses")
    assert [item.get("type", "message") for item in sent["input"]] == [
        *("message", "function_call", "function_call"),
        *("function_call_output", "function_call_output", "message", "message"),
    ]
    assert sent["tools"][0] | {"description": ""} == {
        "type": "function", "name": "weather", "description": "", "parameters": SCHEMA, "strict": False,
    }  # fmt: skip


def test_mistral_has_ids_of_nine_letters_and_digits_that_still_belong_together() -> None:
    messages = translated("mistral")["messages"]
    ids = [call["id"] for call in messages[2]["tool_calls"]]
    assert [message["tool_call_id"] for message in messages[3:5]] == ids
    assert all(len(each) == 9 and each.isalnum() for each in ids)
    assert "extra_content" not in json.dumps(messages)


REPLIES: dict[str, dict[str, Any]] = {
    "chat": {
        "choices": [{"message": {"content": None, "tool_calls": [call(0, "Bonn")]}, "finish_reason": "tool_calls"}],
    },
    "responses": {
        "status": "completed",
        "output": [{"type": "function_call", "call_id": "call_0", "name": "weather", "arguments": '{"city": "Bonn"}'}],
    },
    "anthropic": {
        "type": "message",
        "stop_reason": "tool_use",
        "content": [{"type": "tool_use", "id": "call_0", "name": "weather", "input": {"city": "Bonn"}}],
    },
    "gemini": {
        "candidates": [
            {
                "content": {"parts": [{"functionCall": {"name": "weather", "args": {"city": "Bonn"}}}]},
                "finishReason": "STOP",
            }
        ]
    },
    "mistral": {
        "choices": [{"message": {"content": "", "tool_calls": [call(0, "Bonn")]}, "finish_reason": "tool_calls"}],
    },
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_of_calls_alone_is_one_where_tools_were_offered(name: str) -> None:
    completion = Completion(json.dumps(REPLIES[name]), FORMATS[name][0].convert)
    reply = completion.reply(None, lambda text, calls: [text, *calls], tools=[WEATHER], has_tools=True)
    [function] = [each["function"] for each in reply.tool_calls]
    assert (function["name"], json.loads(function["arguments"])) == ("weather", {"city": "Bonn"})
    assert reply.value == ["", *reply.tool_calls]
    assert reply.finish_reason == "tool_calls"
    with pytest.raises(ReplyFault) as caught:
        completion.reply(None, str)
    assert caught.value.kind in ("unreadable", "empty")


def test_a_signature_of_gemini_stays_with_its_call() -> None:
    parts = [{"functionCall": {"name": "weather", "args": {"city": "Bonn"}}, "thoughtSignature": "c2lnbmVk"}]
    body = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
    completion = Completion(json.dumps(body), GenerateContent(NOTHING_KNOWN).convert)
    reply = completion.reply(None, lambda text, calls: calls, tools=[WEATHER], has_tools=True)
    said = [{"role": "user", "content": "?"}, {"role": "assistant", "content": reply.text, "tool_calls": reply.value}]
    assert translated("gemini", said)["contents"][1] == {"role": "model", "parts": parts}


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ({"name": "news", "arguments": "{}"}, "the reply calls 'news', and the tools are weather"),
        ({"name": "weather", "arguments": "{}"}, "do not fit its schema ('city' is a required property)"),
        ({"name": "weather", "arguments": '{"city": 3}'}, "do not fit its schema (city: 3 is not of type 'string')"),
        ({"name": "weather", "arguments": '{"city": "Bo'}, "are no JSON"),
        ({"name": "weather", "arguments": "[]"}, "are no object"),
        ({"name": "weather", "arguments": {"city": "Bonn"}}, "a call of no form that is known"),
        ({"arguments": "{}"}, "a call of no form that is known"),
    ],
)
def test_a_call_that_no_tool_takes_is_not_used(function: dict[str, Any], why: str) -> None:
    message = {"content": None, "tool_calls": [{"id": "a", "type": "function", "function": function}]}
    completion = Completion(json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]}))
    with pytest.raises(ReplyFault) as caught:
        completion.reply(None, lambda text, calls: calls, tools=[WEATHER], has_tools=True)
    assert (caught.value.kind, why in caught.value.what) == ("tool_calls", True)


def test_what_a_vllm_server_was_started_without_is_said() -> None:
    said = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    assert advise(400, "", said).startswith("start vLLM with --enable-auto-tool-choice --tool-call-parser NAME")
