"""A body of chat completions as Anthropic's Messages API takes it, and its replies as chat completions."""

import copy
import json
from contextlib import suppress
from typing import Any

import pytest
from pydantic import ValidationError

from blackbox_kd.calls.completion import parse
from blackbox_kd.errors import EndpointRefused, Refusal, ReplyFault
from blackbox_kd.models import anthropic
from blackbox_kd.models.http.cache_marks import CacheMarks
from blackbox_kd.models.http.messages_api import MessagesApi
from blackbox_kd.models.http.parameters import find
from tests.support.teachers.anthropic_types import Refused, parse_request, write_message

QUESTION = {"role": "user", "content": "Why?"}
SHOWN = {"type": "adaptive", "display": "summarized"}


def translated(model: str = "claude-opus-4-8", **fields: Any) -> dict[str, Any]:
    """What becomes of a body; nothing of the body itself is changed."""
    body = {"model": model, "messages": [QUESTION], **fields}
    before = copy.deepcopy(body)
    sent = MessagesApi(anthropic.Config(provider="anthropic", model=model).parameters).translate(body)
    assert body == before
    parse_request(sent)
    return sent


class TestRequests:
    def test_the_least_that_is_sent(self) -> None:
        assert translated() == {"model": "claude-opus-4-8", "max_tokens": 128_000, "messages": [QUESTION]}

    @pytest.mark.parametrize(
        ("model", "fields", "cap"),
        [
            ("claude-haiku-4-5", {"max_tokens": 9}, 9),
            ("claude-haiku-4-5", {"max_completion_tokens": 9}, 9),
            ("claude-haiku-4-5", {}, 64_000),
            ("nobody-knows", {}, 16_384),
        ],
    )
    def test_a_cap_is_always_said_and_never_above_what_a_budget_reckons_with(
        self, model: str, fields: dict[str, Any], cap: int
    ) -> None:
        sent = translated(model, **fields)
        assert sent["max_tokens"] == cap
        assert "max_completion_tokens" not in sent

    @pytest.mark.parametrize(
        ("messages", "system", "turns"),
        [
            ([("system", "Be brief."), ("user", "Why?")], "Be brief.", [("user", "Why?")]),
            ([("system", "A"), ("user", "1"), ("developer", "B")], "A\n\nB", [("user", "1")]),
            ([("system", " "), ("user", "1")], None, [("user", "1")]),
            ([("system", "Alone.")], None, [("user", "Alone.")]),
            (
                [("user", "1"), ("assistant", "2"), ("user", "3")],
                None,
                [("user", "1"), ("assistant", "2"), ("user", "3")],
            ),
        ],
    )
    def test_what_the_system_says_stands_apart(
        self, messages: list[tuple[str, str]], system: str | None, turns: list[tuple[str, str]]
    ) -> None:
        sent = translated(messages=[{"role": role, "content": text} for role, text in messages])
        assert sent.get("system") == system
        assert sent["messages"] == [{"role": role, "content": text} for role, text in turns]

    def test_turns_of_one_role_are_one_turn(self) -> None:
        sent = translated(messages=[QUESTION, {"role": "user", "content": "How?"}])
        blocks = [{"type": "text", "text": text} for text in ("Why?", "How?")]
        assert sent["messages"] == [{"role": "user", "content": blocks}]

    @pytest.mark.parametrize(
        ("model", "fields", "thinking", "effort"),
        [
            ("claude-opus-4-8", {}, None, None),
            ("claude-opus-4-8", {"reasoning_effort": "low"}, SHOWN, "low"),
            ("claude-opus-4-8", {"reasoning_effort": "minimal"}, SHOWN, "low"),
            ("claude-opus-4-8", {"reasoning_effort": "none"}, {"type": "disabled"}, None),
            ("claude-haiku-5-5", {}, SHOWN, None),
            ("claude-haiku-5-5", {"reasoning_effort": "none"}, {"type": "disabled"}, None),
            ("claude-sonnet-5-5", {"reasoning_effort": "none"}, {"type": "between_tools"}, None),
            ("claude-opus-5-5", {"reasoning_effort": "max"}, SHOWN, "max"),
            ("claude-haiku-4-5", {}, None, None),
            ("claude-haiku-4-5", {"reasoning_effort": "medium"}, {"type": "enabled", "budget_tokens": 8192}, None),
            ("claude-haiku-4-5", {"thinking_token_budget": 2000}, {"type": "enabled", "budget_tokens": 2000}, None),
            (
                "claude-haiku-4-5",
                {"thinking_token_budget": 2000, "max_tokens": 1500},
                {"type": "enabled", "budget_tokens": 1499},
                None,
            ),
            (
                "claude-haiku-4-5",
                {"reasoning_effort": "high", "max_tokens": 1025},
                {"type": "enabled", "budget_tokens": 1024},
                None,
            ),
            ("claude-sonnet-4-6", {"reasoning_effort": "high"}, SHOWN, "high"),
            ("claude-sonnet-4-6", {"thinking_token_budget": 3000}, {"type": "enabled", "budget_tokens": 3000}, None),
            ("nobody-knows", {"reasoning_effort": "low"}, SHOWN, "low"),
            ("claude-opus-4-8", {"thinking": {"type": "adaptive"}}, {"type": "adaptive"}, None),
        ],
    )
    def test_thinking_is_said_in_the_form_that_the_model_takes(
        self, model: str, fields: dict[str, Any], thinking: Any, effort: str | None
    ) -> None:
        sent = translated(model, **fields)
        assert sent.get("thinking") == thinking
        assert sent.get("output_config", {}).get("effort") == effort
        assert not {"reasoning_effort", "thinking_token_budget"} & sent.keys()

    @pytest.mark.parametrize(("stop", "sequences"), [(["A", "B"], ["A", "B"]), ("A", ["A"]), ([], None), (None, None)])
    def test_what_ends_a_reply_goes_by_the_apis_name(self, stop: Any, sequences: list[str] | None) -> None:
        assert translated(stop=stop).get("stop_sequences") == sequences

    def test_a_schema_is_said_as_the_form_of_the_output_beside_the_effort(self) -> None:
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
        form = {"type": "json_schema", "json_schema": {"name": "sum", "strict": True, "schema": schema}}
        sent = translated(response_format=form, reasoning_effort="low")
        assert sent["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": schema}}
        assert "output_config" not in translated(response_format={"type": "text"})

    @pytest.mark.parametrize(
        "form", [{"type": "json_object"}, {"type": "json_schema"}, {"type": "grammar"}, "json_object", 3]
    )
    def test_a_form_without_a_schema_is_refused_and_not_left_out(self, form: Any) -> None:
        with pytest.raises(EndpointRefused, match="Claude takes a JSON schema") as caught:
            translated(response_format=form)
        assert "json_schema" in caught.value.fix

    def test_tools_have_the_apis_form_and_its_own_ones_stay(self) -> None:
        parameters = {"type": "object", "properties": {"a": {"type": "integer"}}}
        function = {"name": "add", "description": "Adds.", "parameters": parameters, "strict": True}
        own = {"type": "web_search_20250305", "name": "web_search"}
        sent = translated(tools=[{"type": "function", "function": function}, own])
        mine = {"name": "add", "description": "Adds.", "input_schema": parameters, "strict": True}
        assert sent["tools"] == [mine, own]

    @pytest.mark.parametrize(
        ("choice", "parallel", "said"),
        [
            ("auto", None, {"type": "auto"}),
            ("required", None, {"type": "any"}),
            ("none", None, {"type": "none"}),
            ({"type": "function", "function": {"name": "add"}}, None, {"type": "tool", "name": "add"}),
            (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
            (None, True, None),
        ],
    )
    def test_how_tools_may_be_used_is_said_in_the_apis_words(self, choice: Any, parallel: Any, said: Any) -> None:
        assert translated(tool_choice=choice, parallel_tool_calls=parallel).get("tool_choice") == said

    def test_other_fields_are_the_apis_own_and_go_as_they_are(self) -> None:
        sent = translated(metadata={"user_id": "me"}, service_tier="standard_only", output_config={"effort": "high"})
        assert (sent["metadata"], sent["service_tier"]) == ({"user_id": "me"}, "standard_only")
        assert sent["output_config"] == {"effort": "high"}


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-opus-5-5", "nobody-knows"])
@pytest.mark.parametrize(
    "value", [None, 3, "text", [], [3], {}, {"type": "x"}, {"function": 3}, [{"function": 3}], True]
)
@pytest.mark.parametrize(
    "field",
    [
        *(
            "reasoning_effort",
            "thinking_token_budget",
            "response_format",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
        ),
        *("output_config", "thinking", "system", "stop_sequences", "metadata", "cache_control"),
    ],
)
def test_whatever_a_recipe_has_in_a_field_is_sent_or_refused_and_no_error_of_ours(
    model: str, field: str, value: Any
) -> None:
    body = {"model": model, "messages": [QUESTION], "max_tokens": 2000, "reasoning_effort": "low", field: value}
    with suppress(EndpointRefused):
        json.dumps(MessagesApi(find(model)).translate(body))


def test_a_field_that_others_are_written_into_must_be_one_that_they_can() -> None:
    schema = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
    with pytest.raises(EndpointRefused, match="output_config: 3 is no mapping") as caught:
        translated(output_config=3, response_format=schema)
    assert "FIELD: VALUE" in caught.value.fix


def test_a_system_text_of_the_recipes_own_is_sent_and_not_lost_beside_that_of_the_prompt() -> None:
    assert translated(system="Be brief.")["system"] == "Be brief."
    with pytest.raises(EndpointRefused, match="the prompt has a system text") as caught:
        translated(system="Be brief.", messages=[{"role": "system", "content": "Be long."}, QUESTION])
    assert caught.value.fix == "put it into the prompt"


LONG = "Reason step by step. " * 100
SHOTS = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": LONG}]
MARK = {"type": "ephemeral"}


def marked(api: MessagesApi, *messages: dict[str, str]) -> list[str]:
    """The beginnings of the texts that are marked in a request."""
    sent = api.translate({"model": "claude-haiku-5-5", "messages": [*messages]})
    parse_request(sent)
    contents = [sent.get("system", []), *(message["content"] for message in sent["messages"])]
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    assert all(block["cache_control"] == MARK for block in blocks if "cache_control" in block)
    return [block["text"][:8] for block in blocks if "cache_control" in block]


def with_marks(least: int | None = 512) -> MessagesApi:
    return MessagesApi(find("claude-haiku-5-5"), CacheMarks(least))


class TestMarks:
    def test_a_long_system_text_and_the_examples_after_it_are_marked_and_the_question_is_not(self) -> None:
        system = {"role": "system", "content": f"system {LONG}"}
        assert marked(with_marks(), system, *SHOTS, QUESTION) == ["system R", "Reason s"]
        assert marked(with_marks(), system, QUESTION) == ["system R"]
        assert marked(with_marks(), *SHOTS, QUESTION) == ["Reason s"]

    def test_what_is_too_short_for_the_model_to_keep_is_not_marked(self) -> None:
        assert marked(with_marks(4096), {"role": "system", "content": LONG}, QUESTION) == []
        assert marked(with_marks(None), {"role": "system", "content": "Be brief."}, QUESTION) == []
        assert marked(with_marks(), {"role": "system", "content": "Be brief."}, *SHOTS, QUESTION) == ["Reason s"]

    def test_a_long_question_is_not_marked_as_it_differs_by_row(self) -> None:
        assert marked(with_marks(), {"role": "user", "content": LONG}) == []

    def test_texts_that_differ_by_row_are_not_marked_for_long(self) -> None:
        api = with_marks()
        found = [marked(api, {"role": "system", "content": f"{n} {LONG}"}, QUESTION) for n in range(9)]
        assert [bool(marks) for marks in found] == 4 * [True] + 5 * [False]
        assert marked(api, {"role": "system", "content": f"8 {LONG}"}, QUESTION), "what does come again is kept"

    def test_examples_that_differ_by_row_do_not_cost_the_system_text_its_mark(self) -> None:
        api, system = with_marks(), {"role": "system", "content": f"system {LONG}"}
        for number in range(9):
            shots = [{"role": "user", "content": f"{number}?"}, SHOTS[1]]
            found = marked(api, system, *shots, QUESTION)
        assert found == ["system R"]

    def test_marks_change_no_word_of_what_is_asked(self) -> None:
        body = {"model": "m", "messages": [{"role": "system", "content": LONG}, *SHOTS, QUESTION]}
        plain, with_them = MessagesApi(find("m")).translate(body), with_marks().translate(body)
        stripped = json.loads(json.dumps(with_them).replace(', "cache_control": {"type": "ephemeral"}', ""))
        assert [block["text"] for block in stripped["system"]] == [plain["system"]]
        assert [message["role"] for message in stripped["messages"]] == [
            message["role"] for message in plain["messages"]
        ]
        assert stripped["messages"][1]["content"] == [{"type": "text", "text": LONG}]
        assert "cache_control" not in json.dumps(plain)


def message(*blocks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 5, **fields.pop("usage", {})}
    said = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn"}
    return write_message({**said, "content": list(blocks), "usage": usage, **fields})


def text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "citations": None}


def converted(value: Any) -> Any:
    found = MessagesApi(find("m")).convert(value)
    assert found == MessagesApi(find("m")).convert(copy.deepcopy(value))
    return found


class TestReplies:
    def test_text_and_thinking_are_taken_by_their_types_wherever_they_stand(self) -> None:
        thinking = {"type": "thinking", "thinking": "I add.", "signature": "c2ln"}
        hidden = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
        found = converted(message(thinking, hidden, text_block("The sum"), text_block(" is 3."), thinking))
        said = found["choices"][0]["message"]
        assert (said["content"], said["reasoning_content"]) == ("The sum is 3.", "I add.\n\nI add.")
        reply = parse(json.dumps(found), None)
        assert (reply.text, reply.reasoning, reply.model) == ("The sum is 3.", "I add.\n\nI add.", "claude-x")

    def test_a_call_of_a_tool_has_the_form_of_chat_completions(self) -> None:
        block = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": "ß"}, "caller": None}
        choice = converted(message(block, stop_reason="tool_use"))["choices"][0]
        assert choice["message"]["tool_calls"] == [
            {"id": "toolu_1", "type": "function", "function": {"name": "add", "arguments": '{"a": "ß"}'}}
        ]
        assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_use", "")

    @pytest.mark.parametrize(
        ("usage", "counted"),
        [
            ({}, (3, 5, 0, 0, None)),
            ({"cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}, (123, 5, 100, 20, None)),
            ({"cache_read_input_tokens": None, "cache_creation_input_tokens": None}, (3, 5, 0, 0, None)),
            ({"output_tokens_details": {"thinking_tokens": 4}}, (3, 5, 0, 0, 4)),
            ({"input_tokens": 0, "cache_read_input_tokens": 100}, (100, 5, 100, 0, None)),
        ],
    )
    def test_tokens_of_the_prompt_are_those_of_the_cache_and_the_rest(
        self, usage: dict[str, Any], counted: tuple[int | None, ...]
    ) -> None:
        found = converted(message(text_block("3"), usage=usage))["usage"]
        details = found["prompt_tokens_details"]
        assert counted == (
            found["prompt_tokens"],
            found["completion_tokens"],
            details["cached_tokens"],
            details["cache_write_tokens"],
            found["completion_tokens_details"]["reasoning_tokens"],
        )
        assert found["total_tokens"] == found["prompt_tokens"] + found["completion_tokens"]

    @pytest.mark.parametrize("kept", [None, 0, 15])
    def test_tokens_that_are_kept_for_an_hour_are_told_apart(self, kept: int | None) -> None:
        parts = {"ephemeral_1h_input_tokens": kept, "ephemeral_5m_input_tokens": 5}
        usage = {"cache_creation_input_tokens": 20, "cache_creation": None if kept is None else parts}
        details = converted(message(text_block("3"), usage=usage))["usage"]["prompt_tokens_details"]
        assert (details["cache_write_tokens"], details["cache_write_1h_tokens"]) == (20, kept)

    @pytest.mark.parametrize(
        ("reason", "kind"),
        [
            ("end_turn", ""),
            ("stop_sequence", ""),
            ("max_tokens", "truncated"),
            ("model_context_window_exceeded", "truncated"),
            ("tool_use", "unreadable"),
            ("pause_turn", "unreadable"),
            (None, "unreadable"),
            ("refusal", "refused"),
        ],
    )
    def test_each_reason_to_stop_is_what_it_means(self, reason: str | None, kind: str) -> None:
        body = json.dumps(converted(message(text_block("It is 3."), stop_reason=reason)))
        if not kind:
            assert parse(body, None).text == "It is 3."
            return
        with pytest.raises(ReplyFault) as caught:
            parse(body, None)
        assert caught.value.kind == kind

    @pytest.mark.parametrize("category", ["cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms"])
    @pytest.mark.parametrize("blocks", [(), (text_block("First I"),)], ids=["nothing", "begun"])
    def test_a_refusal_is_one_of_its_category_and_what_it_has_begun_to_say_is_none(
        self, category: str, blocks: tuple[dict[str, Any], ...]
    ) -> None:
        details = {"type": "refusal", "category": category, "explanation": "This is not for us."}
        found = converted(message(*blocks, stop_reason="refusal", stop_details=details))
        assert found["choices"][0]["message"]["content"] == ""
        with pytest.raises(ReplyFault, match=rf"refused \({category}\): This is not for us") as caught:
            parse(json.dumps(found), None, accept_truncated=True)
        assert caught.value.kind == f"refused: {category}"

    @pytest.mark.parametrize("details", [None, {"type": "refusal", "category": None, "explanation": None}])
    def test_a_refusal_without_a_category_is_one_all_the_same(self, details: Any) -> None:
        with pytest.raises(ReplyFault) as caught:
            parse(json.dumps(converted(message(stop_reason="refusal", stop_details=details))), None)
        assert (type(caught.value), caught.value.kind) == (Refusal, "refused"), "it stands"

    @pytest.mark.parametrize(
        "value",
        [
            None,
            3,
            "text",
            [],
            {},
            {"type": "message"},
            {"type": "message", "content": None},
            {"type": "message", "content": "text"},
            {"type": "error", "error": {"type": "api_error", "message": "no"}},
            {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]},
        ],
        ids=repr,
    )
    def test_what_is_no_reply_stays_as_it_is(self, value: Any) -> None:
        assert converted(value) == value

    @pytest.mark.parametrize(
        "fields",
        [
            {"content": [None, 3, "text", {}, {"type": "text"}, {"type": "text", "text": 3}, {"type": "thinking"}]},
            {"content": [{"type": "tool_use"}]},
            {"stop_reason": {"a": 1}},
            {"stop_reason": "refusal", "stop_details": "bio"},
            {"usage": None},
            {"usage": []},
            {"usage": {"input_tokens": "3"}},
            {"usage": {"input_tokens": None, "output_tokens": 1}},
            {"usage": {"output_tokens_details": 3, "input_tokens": 1, "output_tokens": 1}},
            {"usage": {"input_tokens": 1, "output_tokens": 1, "cache_read_input_tokens": "many"}},
            {"usage": {"input_tokens": -5, "output_tokens": {}}},
            {"usage": {"output_tokens": 3}},
            {"usage": {"input_tokens": 3, "output_tokens": 3, "cache_creation": [1]}},
            {"model": 3, "id": []},
        ],
        ids=repr,
    )
    def test_nonsense_in_a_reply_is_no_error_of_ours(self, fields: dict[str, Any]) -> None:
        value = {**message(text_block("It is 3.")), **fields}
        with suppress(ReplyFault):
            assert parse(json.dumps(converted(value)), None).text == "It is 3."


class TestTheTypesOfThePackage:
    """What the fake server takes and says is what the package has types for, so that a slip of ours is seen."""

    @pytest.mark.parametrize(
        "slip",
        [
            {"seed": 3},
            {"stop": ["END"]},
            {"reasoning_effort": "low"},
            {"max_completion_tokens": 9},
            {"response_format": {"type": "json_object"}},
            {"messages": [{"role": "user", "content": "a", "name": "b"}]},
            {"messages": [{"role": "tool", "content": "a"}]},
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "weight": 1}]}]},
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "on"}}]}
                ]
            },
            {"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "2h"}}]},
            {"thinking": {"type": "off"}},
            {"thinking": {"type": "adaptive", "effort": "low"}},
            {"thinking": {"type": "enabled"}},
            {"output_config": {"effort": "none"}},
            {"output_config": {"format": {"type": "json_object"}}},
            {"tools": [{"type": "function", "function": {"name": "add"}}]},
            {"tool_choice": "auto"},
        ],
        ids=repr,
    )
    def test_a_request_in_words_of_another_api_is_refused(self, slip: dict[str, Any]) -> None:
        body = {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [QUESTION]}
        parse_request(body)
        with pytest.raises(Refused) as caught:
            parse_request(body | slip)
        assert caught.value.status == 400

    @pytest.mark.parametrize("field", ["model", "max_tokens", "messages"])
    def test_a_request_without_what_the_api_wants_is_refused(self, field: str) -> None:
        body = {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [QUESTION]}
        del body[field]
        with pytest.raises(Refused, match="Field required"):
            parse_request(body)

    @pytest.mark.parametrize(
        "slip",
        [
            {"stop_reason": "finished"},
            {"stop_reason": "length"},
            {"content": [{"type": "answer", "text": "3"}]},
            {"content": [{"type": "text"}]},
            {"usage": {"prompt_tokens": 3}},
            {"stop_details": {"type": "refusal", "category": "boredom"}},
            {"reasoning": "I add."},
        ],
        ids=repr,
    )
    def test_a_reply_that_the_api_cannot_give_is_none_of_the_fakes(self, slip: dict[str, Any]) -> None:
        with pytest.raises((ValidationError, AssertionError)):
            write_message(message(text_block("3")) | slip)
