"""What a model takes: by the table of vendors' models, by the recipe, and as the body that is sent says it."""

from pathlib import Path
from typing import Any

import pytest

from blackbox_kd import models
from blackbox_kd.models import Setup
from blackbox_kd.models.http.body import fold_system, leave_out
from blackbox_kd.models.http.config import EndpointConfig
from blackbox_kd.models.http.parameters import Parameters, find
from blackbox_kd.schema import Request, Row, Sampling


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("gpt-4o", 16_384),
        ("gpt-4o-2024-05-13", 4096),
        ("gpt-4o-mini-2024-07-18", 16_384),
        ("openai/gpt-4.1-mini", 32_768),
        ("gpt-4", 8192),
        ("gpt-4-turbo-2024-04-09", 4096),
        ("gpt-5-chat-latest", 16_384),
        ("o3-mini", 100_000),
        ("claude-3-5-haiku-20241022", 8192),
        ("anthropic/claude-opus-4-1@20250805", 32_000),
        ("Claude-Opus-4-5", 64_000),
        ("models/gemini-2.5-flash-lite", 65_536),
    ],
)
def test_a_vendors_model_may_write_as_much_as_the_vendor_says(model: str, most: int) -> None:
    assert find(model).most_tokens == most


@pytest.mark.parametrize("model", ["gpt-4ox", "gpt-5.99", "llama-3.3-70b", "my-own", "", "o11", "gpt"])
def test_own_another_models_limit_is_nobodys(model: str) -> None:
    assert find(model).most_tokens is None


SAMPLED = {"temperature", "top_p"}


@pytest.mark.parametrize(
    ("model", "body", "refused"),
    [
        ("gpt-5", {}, True),
        ("openai/gpt-5-nano-2025-08-07", {}, True),
        ("gpt-5-chat-latest", {}, False),
        ("gpt-5.1", {}, False),
        ("gpt-5.2-2025-12-11", {"reasoning_effort": "low"}, True),
        ("gpt-5.3-chat-latest", {}, True),
        ("gpt-5.4-pro-2026-03-05", {"reasoning_effort": "none"}, True),
        ("gpt-5.4-mini", {}, False),
        ("gpt-5.5", {}, True),
        ("gpt-6-luna", {"reasoning_effort": "none"}, False),
        ("gpt-6-astra", {"reasoning_effort": "none"}, True),
        ("o4-mini", {}, True),
        ("anthropic/claude-sonnet-4.6", {}, False),
        ("anthropic/claude-opus-4.7", {}, True),
        ("claude-haiku-5-5-20261001", {}, True),
        ("own-gpt-5", {}, False),
        ("gpt-5.9", {}, False),
        ("gpt-oss-20b", {}, False),
    ],
)
def test_which_models_take_no_temperature(model: str, body: dict[str, str], refused: bool) -> None:
    assert (find(model).find_refused(body) >= SAMPLED) == refused
    assert find(model, ()).find_refused(body) == frozenset(), "a recipe that says it, knows better"
    assert find(model, ("top_k",)).find_refused(body) == {"top_k"}


@pytest.mark.parametrize(
    ("model", "body", "ignored"),
    [
        ("gemini-3.8-flash", {}, True),
        ("deepseek-v4-pro", {}, True),
        ("deepseek-flash", {"reasoning_effort": "low"}, True),
        ("deepseek-flash", {"reasoning_effort": "none"}, False),
        ("deepseek-flash", {"thinking_token_budget": 90}, True),
        ("deepseek-coder", {}, False),
    ],
)
def test_what_is_ignored_is_not_refused(model: str, body: dict[str, Any], ignored: bool) -> None:
    assert ("temperature" in find(model).find_ignored(body)) == ignored
    assert not find(model).find_refused(body)


@pytest.mark.parametrize(
    ("model", "name", "value", "wrong", "fix"),
    [
        ("gpt-6-astra", "reasoning_effort", "none", "it cannot be told not to reason", "write thinking: low"),
        ("gpt-6.2-sol", "reasoning_effort", "none", "it cannot be told not to reason", "write thinking: low"),
        ("openai/gpt-5-mini", "reasoning_effort", "none", "it cannot be told not to reason", "write thinking: low"),
        ("gpt-5-pro", "reasoning_effort", "none", "it cannot be told not to reason", "write thinking: high"),
        ("magistral-medium-2509", "reasoning_effort", "none", "it cannot be told", "write thinking: low"),
        ("openai/gpt-oss-120b", "reasoning_effort", "none", "it cannot be told not to reason", "write thinking: low"),
        ("openai.gpt-oss-20b-1:0", "reasoning_effort", "max", "are low, medium, high", "write thinking: low or"),
        ("gpt-5-pro", "reasoning_effort", "low", "its levels of reasoning are high", "write thinking: high"),
        ("deepseek-flash", "reasoning_effort", "medium", "are low, high, max", "write thinking: off or low or high"),
        ("mistral-medium-3-5", "reasoning_effort", "low", "are high", "write thinking: off or high"),
        ("deepseek-flash", "response_format", {"type": "json_schema"}, "it takes json_object", "type: json_object"),
        ("gpt-4o-2024-05-13", "response_format", {"type": "json_schema"}, "it takes json_object", "json_object"),
        (
            "gpt-4-0613",
            "response_format",
            {"type": "json_object"},
            "it takes no form",
            "ask for the form in the prompt",
        ),
    ],
)
def test_a_value_that_a_model_does_not_take_is_told_with_one_that_it_does(
    model: str, name: str, value: Any, wrong: str, fix: str
) -> None:
    told = find(model).refuse_value(name, value)
    assert told is not None
    assert wrong in told[0]
    assert fix in told[1]
    assert find(model, ()).refuse_value(name, value) is None, "a recipe that says it, knows better"


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        ("gpt-6-luna", "reasoning_effort", "none"),
        ("gpt-5.1", "reasoning_effort", "none"),
        ("gpt-6-astra", "reasoning_effort", "max"),
        ("deepseek-flash", "reasoning_effort", "max"),
        ("deepseek-flash", "reasoning_effort", "none"),
        ("mistral-large-4-0", "reasoning_effort", "low"),
        ("deepseek-v4-pro", "response_format", {"type": "text"}),
        ("deepseek-v4-pro", "response_format", {"type": "json_object"}),
        ("gpt-4.1", "response_format", {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}),
        ("nobody-knows", "reasoning_effort", "ultra"),
        ("nobody-knows", "response_format", {"type": "grammar"}),
        ("nobody-knows", "thinking_token_budget", 3),
        ("gpt-5", "temperature", 0.3),
    ],
)
def test_a_value_that_a_model_takes_or_of_which_nothing_is_known_is_no_problem(
    model: str, name: str, value: Any
) -> None:
    assert find(model).refuse_value(name, value) is None


def test_a_number_of_tokens_of_reasoning_is_kept_to_what_the_model_takes() -> None:
    bounded, unable = Parameters(budget=[128, 32_768]), Parameters(budget=[])
    assert bounded.refuse_value("thinking_token_budget", 128) is None
    wrong = "it takes 128 to 32,768 tokens of reasoning"
    assert bounded.refuse_value("thinking_token_budget", 100) == (wrong, "write thinking: 128")
    assert bounded.refuse_value("thinking_token_budget", 40_000) == (wrong, "write thinking: 32768")
    told = unable.refuse_value("thinking_token_budget", 2000)
    assert told == ("it takes no number of tokens for its reasoning", "write thinking: low, medium, high or off")


def test_a_model_that_cannot_stop_reasoning_has_room_for_it_whatever_is_asked() -> None:
    assert find("gpt-6.2-astra").find_room({"reasoning_effort": "none"}) == 8192


@pytest.mark.parametrize(
    ("model", "body", "room"),
    [
        ("gpt-5-mini", {}, 8192),
        ("gpt-5.1", {}, 0),
        ("gpt-5.1", {"reasoning_effort": "high"}, 16_384),
        ("gpt-6-luna", {"reasoning_effort": "none"}, 0),
        ("m", {}, 0),
        ("m", {"thinking_token_budget": 700}, 700),
        ("m", {"reasoning_effort": "own"}, 8192),
    ],
)
def test_a_model_that_reasons_has_room_for_it(model: str, body: dict[str, Any], room: int) -> None:
    assert find(model).find_room(body) == room


def entry(provider: str, **fields: Any) -> EndpointConfig:
    values = {"provider": provider, "model": "m", "base_url": "http://127.0.0.1:9/v1", **fields}
    config = models.provider(provider).Config.model_validate(values)
    assert isinstance(config, EndpointConfig)
    return config


@pytest.mark.parametrize(
    ("model", "field", "value", "fix"),
    [
        ("anthropic/claude-opus-5.5", "reasoning_effort", "none", "write thinking: low"),
        ("claude-fable-5-2", "reasoning_effort", "none", "write thinking: low"),
        ("claude-mythos-5-1", "thinking_token_budget", 2000, "write thinking: low, medium or high"),
        ("gemini-3-pro-preview", "thinking_token_budget", 2000, "write thinking: low or high"),
        ("gemini-3.6-flash", "thinking_token_budget", 2000, "write thinking: low, medium, high or off"),
        ("claude-haiku-5-5", "thinking_token_budget", 2000, "write thinking: low, medium, high or off"),
        ("claude-opus-4-7", "thinking_token_budget", 2000, "write thinking: low, medium, high or off"),
        ("claude-haiku-4-5-20251001", "thinking_token_budget", 500, "write thinking: 1024"),
        ("claude-opus-4-1", "thinking_token_budget", 32_000, "write thinking: 31999"),
        ("claude-sonnet-5-5", "reasoning_effort", "none", None),
        ("claude-haiku-5-5", "reasoning_effort", "none", None),
        ("claude-haiku-4-5", "reasoning_effort", "low", None),
        ("claude-opus-4-6", "thinking_token_budget", 2000, None),
        ("claude-opus-5-5", "reasoning_effort", "max", None),
        ("claude-of-next-year", "thinking_token_budget", 20, None),
    ],
)
def test_which_claude_takes_its_thinking_how(model: str, field: str, value: Any, fix: str | None) -> None:
    found = find(model).refuse_value(field, value)
    assert (found and found[1]) == fix
    assert find(model, ()).refuse_value(field, value) is None


@pytest.mark.parametrize(
    ("model", "body", "refused"),
    [
        ("claude-haiku-4-5", {}, set()),
        ("claude-haiku-4-5", {"thinking_token_budget": 2000}, {"temperature", "top_p", "top_k"}),
        ("claude-opus-4-6", {"reasoning_effort": "low"}, {"temperature", "top_p", "top_k"}),
        ("claude-opus-4-6", {"reasoning_effort": "none"}, set()),
        ("claude-3-5-haiku", {"reasoning_effort": "low"}, set()),
    ],
)
def test_older_claudes_take_a_temperature_as_long_as_they_do_not_think(
    model: str, body: dict[str, Any], refused: set[str]
) -> None:
    assert find(model).find_refused(body) == refused


@pytest.mark.parametrize(
    ("model", "cached_from"),
    [
        ("claude-opus-4-1-20250805", 1024),
        ("claude-opus-4.5", 4096),
        ("claude-opus-5", 512),
        ("claude-sonnet-5", 1024),
        ("anthropic/claude-sonnet-5.5", 512),
        ("gpt-5", None),
    ],
)
def test_how_long_what_is_kept_must_be_is_known_by_model(model: str, cached_from: int | None) -> None:
    assert find(model).cached_from == cached_from


def test_what_an_api_has_no_field_for_is_refused_whatever_the_recipe_says_of_its_model() -> None:
    for known in (find("claude-haiku-5-5"), find("m", ()), find("m", ("top_k",))):
        found = known.without("responses")
        assert {"seed", "stop"} <= found.absent
        assert found.find_refused({}) == known.find_refused({}) | found.absent


@pytest.mark.parametrize(
    ("provider", "thinking", "sent"),
    [
        ("openai", "off", {"reasoning_effort": "none"}),
        ("openai", "high", {"reasoning_effort": "high"}),
        ("openai", None, {}),
        ("vllm", "off", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("vllm", "low", {"reasoning_effort": "low"}),
        ("vllm", 2000, {"thinking_token_budget": 2000}),
        ("vllm", None, {}),
    ],
)
def test_thinking_is_what_the_provider_calls_it_and_in_the_key_only_if_it_is_set(
    provider: str, thinking: str | int | None, sent: dict[str, Any]
) -> None:
    setup = Setup("teacher", Path(), Path(), {})
    opened = models.provider(provider).open_model(entry(provider, thinking=thinking), setup)
    request = Request([{"role": "user", "content": "Why?"}], Sampling(), Row(id="r1"))
    assert opened.wire(request)["body"] == {"model": "m", "messages": request.messages, **sent}
    plain, same = entry(provider), entry(provider, refuses=["top_p"], system="fold", limits={"max_tokens": 9})
    assert plain.identity(setup) == same.identity(setup)
    assert (plain.identity(setup) == entry(provider, thinking=thinking).identity(setup)) == (thinking is None)


@pytest.mark.parametrize(
    ("messages", "folded"),
    [
        ([("system", "Be brief."), ("user", "Why?")], [("user", "Be brief.\n\nWhy?")]),
        (
            [("system", "A"), ("assistant", "Hi"), ("user", "B"), ("system", "C"), ("user", "D")],
            [("assistant", "Hi"), ("user", "A\n\nC\n\nB"), ("user", "D")],
        ),
        ([("system", "Alone.")], [("user", "Alone.")]),
        ([("user", "Why?")], [("user", "Why?")]),
    ],
)
def test_a_system_text_that_is_folded_stands_before_the_first_question(
    messages: list[tuple[str, str]], folded: list[tuple[str, str]]
) -> None:
    def write(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
        return [{"role": role, "content": content} for role, content in turns]

    asked = write(messages)
    assert fold_system(asked) == write(folded)
    assert asked == write(messages), "what is asked stays as it was"


@pytest.mark.parametrize(
    ("refused", "sent"),
    [
        ({"max_tokens"}, {"max_completion_tokens": 9, "temperature": 1}),
        ({"max_completion_tokens"}, {"max_tokens": 9, "temperature": 1}),
        ({"temperature", "top_k"}, {"max_tokens": 9}),
        (set(), {"max_tokens": 9, "temperature": 1}),
    ],
)
def test_a_limit_that_is_refused_goes_by_its_other_name(refused: set[str], sent: dict[str, int]) -> None:
    assert leave_out({"max_tokens": 9, "temperature": 1}, refused) == sent
    if refused == {"max_completion_tokens"}:
        assert leave_out({"max_completion_tokens": 9}, refused) == {"max_tokens": 9}
