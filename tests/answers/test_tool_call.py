"""Calls of tools, in whatever form a model writes them."""

import json
from typing import Any

import pytest

from blackbox_kd import answers
from blackbox_kd.errors import DataError

KIND = answers.kind("tool_call")
PARIS = {"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}
ROME = {"name": "get_weather", "arguments": {"city": "Rome", "days": 1}}
OPENAI = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Paris", "days": 3}'},
}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([PARIS]),
        json.dumps(PARIS),
        json.dumps([OPENAI]),
        json.dumps({"role": "assistant", "content": None, "tool_calls": [OPENAI]}),
        json.dumps([{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [OPENAI]}]),
        f"<tool_call>\n{json.dumps(PARIS)}\n</tool_call>",
        f"I shall look.\n<tool_call>{json.dumps(PARIS)}</tool_call>",
        f"<tool_call>\n{json.dumps(PARIS)}",
        f"<think>{json.dumps(ROME)}</think>\n<tool_call>{json.dumps(PARIS)}</tool_call>",
        '{"name": "get_weather", "parameters": {"city": "Paris", "days": 3}}',
        '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Paris", "days": 3}}',
        f"[TOOL_CALLS] [{json.dumps(PARIS)}]",
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris", "days": 3}',
        f"```json\n{json.dumps([PARIS])}\n```",
        f"I would call {json.dumps(PARIS)} now.",
        '<function=get_weather>{"city": "Paris", "days": 3}</function>',
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
        "</function>\n</tool_call>",
        "get_weather(city='Paris', days=3)",
        '[get_weather(city="Paris", days=3)]',
        '<tool_call>get_weather(city="Paris", days=3)</tool_call>',
    ],
)
def test_a_call_is_read_in_every_form(text: str) -> None:
    read = KIND.read(text, {})
    assert json.loads(str(read)) == [PARIS]
    assert answers.judge("tool_call", text, json.dumps([PARIS]), {})[1]
    assert answers.judge("tool_call", text, [OPENAI], {})[1]


def test_several_calls_are_read_in_order() -> None:
    for text in (
        json.dumps([PARIS, ROME]),
        f"<tool_call>{json.dumps(PARIS)}</tool_call>\n<tool_call>{json.dumps(ROME)}</tool_call>",
        "[get_weather(city='Paris', days=3), get_weather(city='Rome', days=1)]",
        f"{json.dumps(PARIS)}\n{json.dumps(ROME)}",
        f"```json\n{json.dumps(PARIS)}\n```\n```json\n{json.dumps(ROME)}\n```",
    ):
        assert json.loads(str(KIND.read(text, {}))) == [PARIS, ROME]


@pytest.mark.parametrize(
    "text",
    ["", "It is sunny in Paris.", "[]",
     '{"name": "Ann", "age": 3}', '{"role": "assistant", "content": "Hi"}', "print(1)", "f(x) = 3", "[1] says so",
     '{"role": "assistant", "content": "Hi", "tool_calls": null}',
     '[{"role": "user", "content": "?"}, {"role": "assistant", "content": "Hi"}]'],
)  # fmt: skip
def test_a_text_without_a_call_calls_nothing(text: str) -> None:
    assert answers.judge("tool_call", text, [], {}) == ("[]", True)
    assert answers.judge("tool_call", text, [PARIS], {}) == ("[]", False)


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "f", "arguments": {"a": </tool_call>',
        "<tool_call>",
        "[TOOL_CALLS] oops",
        '<function=f>{"a": </function>',
    ],
)
def test_a_call_that_is_broken_off_is_no_answer(text: str) -> None:
    assert answers.judge("tool_call", text, [], {}) == (None, False)


@pytest.mark.parametrize(
    ("given", "wanted", "fields", "right"),
    [
        ([PARIS], [PARIS], {}, True),
        ([PARIS, ROME], [ROME, PARIS], {}, True),
        ([PARIS, ROME], [ROME, PARIS], {"order": "fixed"}, False),
        ([PARIS, ROME], [PARIS, ROME], {"order": "fixed"}, True),
        ([PARIS], [PARIS, ROME], {}, False),
        ([PARIS, PARIS], [PARIS], {}, False),
        ([PARIS, PARIS], [PARIS, PARIS], {}, True),
        ([PARIS, PARIS], [PARIS, ROME], {}, False),
        ([PARIS | {"name": "weather"}], [PARIS], {}, False),
        ([{"name": "f", "arguments": {"n": "3"}}], [{"name": "f", "arguments": {"n": 3}}], {}, True),
        ([{"name": "f", "arguments": {"n": 3, "m": None}}], [{"name": "f", "arguments": {"n": 3}}], {}, True),
        ([{"name": "f", "arguments": {"n": 3, "m": 1}}], [{"name": "f", "arguments": {"n": 3}}], {}, False),
        ([{"name": "f", "arguments": {}}], [{"name": "f", "arguments": {}}], {}, True),
        ([{"name": "f", "arguments": {"n": 3.001}}], [{"name": "f", "arguments": {"n": 3}}], {"tolerance": 0.01}, True),
        ([{"name": "f", "arguments": {"t": [1, 2]}}], [{"name": "f", "arguments": {"t": [2, 1]}}], {}, False),
        ([{"name": "f", "arguments": {"t": [1, 2]}}], [{"name": "f", "arguments": {"t": [2, 1]}}],
         {"lists": "sets"}, True),
        ([{"name": "f", "arguments": {"d": "5 March 2024"}}], [{"name": "f", "arguments": {"d": "2024-03-05"}}],
         {}, True),
    ],
)  # fmt: skip
def test_names_and_arguments_are_compared(
    given: list[Any], wanted: list[Any], fields: dict[str, Any], right: bool
) -> None:
    assert answers.judge({"tool_call": fields}, json.dumps(given), wanted, {})[1] is right


@pytest.mark.parametrize("reference", [None, "", "Paris", "7", {"a": 1}, [PARIS, 3]])
def test_a_reference_that_holds_no_calls_fails_its_row(reference: object) -> None:
    with pytest.raises(DataError, match="holds no calls"):
        answers.judge("tool_call", json.dumps([PARIS]), reference, {})


def test_arguments_are_told_by_the_tool_and_their_name() -> None:
    given = [PARIS | {"arguments": {"city": "Paris", "days": 2}}, {"name": "now", "arguments": {}}]
    assert KIND.match_fields(json.dumps(given), json.dumps([ROME, PARIS]), {}) == {
        "get_weather.city": (1, 0, 1),
        "get_weather.days": (0, 1, 2),
        "get_weather": (1, 0, 1),
        "now": (0, 1, 0),
    }
    assert answers.canonical("tool_call", [OPENAI], {}) == json.dumps([PARIS])
