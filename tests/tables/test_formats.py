"""Rows of others -> prompt and completion."""

from collections import Counter
from typing import Any

import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.tables.formats import convert, convert_all, not_for, recognise


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def dialogue(*turns: str) -> str:
    return "".join(f"\n\n{speaker}: {text}" for speaker, text in zip(["Human", "Assistant"] * 9, turns, strict=False))


SYSTEM = {"role": "system", "content": "Be brief."}
TAUGHT = {"prompt": [user("1 + 1?")], "completion": [assistant("2")]}


@pytest.mark.parametrize(
    ("columns", "shape"),
    [
        (["prompt", "completion", "id"], "completion"),
        (["messages"], "messages"),
        (["conversations", "id"], "sharegpt"),
        (["instruction", "input", "output"], "alpaca"),
        (["instruction", "response", "reference"], "own"),
        (["prompt", "chosen", "rejected"], "preference"),
        (["chosen", "rejected"], "preference"),
        (["instruction", "response", "prompt", "completion"], "completion"),
    ],
)
def test_a_shape_is_recognised_by_its_columns(columns: list[str], shape: str) -> None:
    assert recognise(columns) == shape


def test_unknown_columns_are_named_with_the_shapes_known() -> None:
    with pytest.raises(DataError) as error:
        recognise(["question", "answer"])
    assert str(error.value).startswith("the columns answer, question make no shape that training knows\n  known: pref")
    assert "own (instruction, response); alpaca (instruction, output)" in str(error.value)
    assert "\n  fix: rename columns" in str(error.value)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "1 + 1?", "completion": "2"},
        {"prompt": [user("1 + 1?")], "completion": [assistant("2")]},
        {"prompt": [user("1 + 1?")], "completion": "2"},
        {"messages": [user("1 + 1?"), assistant("2")]},
        {"messages": [user("1 + 1?"), assistant("2"), user("Thanks")]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "1 + 1?"}]}, assistant("2")]},
        {"conversations": [{"from": "human", "value": "1 + 1?"}, {"from": "gpt", "value": "2"}]},
        {"conversations": [user("1 + 1?"), assistant("2")]},
        {"instruction": "1 + 1?", "output": "2", "input": ""},
        {"instruction": "1 + 1?", "output": "2"},
        {"instruction": "1 + 1?", "response": "2"},
    ],
)
def test_every_shape_becomes_a_prompt_and_a_completion(row: dict[str, Any]) -> None:
    assert convert(row, recognise(row)) == TAUGHT


def test_the_input_of_alpaca_follows_the_instruction() -> None:
    row = {"instruction": "Add.", "input": "1 + 1", "output": "2"}
    assert convert(row, "alpaca")["prompt"] == [user("Add.\n\n1 + 1")]


def test_the_last_turn_of_the_assistant_is_learnt_and_all_before_it_is_the_prompt() -> None:
    turns = [SYSTEM, user("a"), assistant("b"), user("c"), assistant("d")]
    assert convert({"messages": turns}, "messages") == {"prompt": turns[:4], "completion": turns[4:]}


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "1 + 1?", "response": "2"},
        {"instruction": "1 + 1?", "output": "2"},
        {"conversations": [{"from": "human", "value": "1 + 1?"}, {"from": "gpt", "value": "2"}]},
    ],
)
def test_a_system_column_becomes_the_system_message(row: dict[str, Any]) -> None:
    assert convert({**row, "system": "Be brief."}, recognise(row))["prompt"] == [SYSTEM, user("1 + 1?")]


def test_a_conversation_keeps_its_own_system_message() -> None:
    row = {"messages": [SYSTEM, user("a"), assistant("b")], "system": "Be long."}
    assert convert(row, "messages")["prompt"] == [SYSTEM, user("a")]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "1 + 1?", "chosen": "2", "rejected": "3"},
        {"prompt": [user("1 + 1?")], "chosen": [assistant("2")], "rejected": [assistant("3")]},
        {
            "prompt": "1 + 1?",
            "chosen": [user("1 + 1?"), assistant("2")],
            "rejected": [user("1 + 1?"), assistant("3")],
        },
        {"chosen": [user("1 + 1?"), assistant("2")], "rejected": [user("1 + 1?"), assistant("3")]},
        {"chosen": dialogue("1 + 1?", "2"), "rejected": dialogue("1 + 1?", "3"), "source": "HH-RLHF"},
        {"id": "r0", "chosen": "1 + 1? 2", "rejected": "1 + 1? 3", "score": 4},
    ],
)
def test_preferences_become_a_prompt_and_two_completions(row: dict[str, Any]) -> None:
    assert convert(row, recognise(row)) == {
        "prompt": [user("1 + 1?")],
        "chosen": [assistant("2")],
        "rejected": [assistant("3")],
    }


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"instruction": "a", "response": " "}, "column 'response' is empty"),
        ({"instruction": None, "response": "b"}, "column 'instruction' is empty"),
        ({"instruction": "a", "response": 7}, "column 'response' is int, not text"),
        ({"prompt": "a", "completion": []}, "column 'completion' is empty"),
        ({"prompt": [SYSTEM], "completion": "b"}, "the prompt has no turn of the user"),
        ({"prompt": "a", "completion": [user("b")]}, "the completion does not end with a turn of the assistant"),
        ({"messages": [user("a")]}, "the conversation has no turn of the assistant"),
        ({"messages": [user("a"), assistant("")]}, "the conversation has no turn of the assistant"),
        ({"messages": [assistant("b")]}, "the prompt has no turn of the user"),
        ({"messages": []}, "column 'messages' is empty"),
        ({"messages": ["a"]}, "a turn that is str, not an object"),
        ({"messages": [user("a"), {"role": "bot", "content": "b"}]}, "a turn by 'bot'; known: user"),
        ({"messages": [user("a"), {"role": "assistant", "tool_calls": [1]}]}, "tool calls"),
        ({"messages": [user("a"), {"role": "tool", "content": "b"}]}, "tool calls"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "parts that are no text"),
        ({"messages": [{"role": "user", "content": 7}]}, "content is int, not text"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "'chosen' and 'rejected' are the same"),
        ({"chosen": "b", "rejected": "c"}, "no column 'prompt', and 'chosen' and 'rejected' do not begin alike"),
        ({"question": "a", "chosen": "It is b", "rejected": "It is c"}, "no column 'prompt'; is it one of question"),
        ({"chosen": dialogue("a", "b"), "rejected": dialogue("x", "c")}, "do not answer the same conversation"),
        (
            {"chosen": [user("a"), assistant("b")], "rejected": [user("x"), assistant("c")]},
            "do not answer the same conversation",
        ),
    ],
)
def test_a_row_with_nothing_to_learn_says_why(row: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        convert(row, recognise(row))


def test_bad_rows_are_counted_and_the_others_go_on() -> None:
    rows: list[dict[str, Any]] = [
        {"instruction": "1 + 1?", "response": "2"},
        {"instruction": "a", "response": ""},
        {"instruction": "b", "response": ""},
        {"instruction": "c"},
    ]
    problems: Counter[str] = Counter()
    assert list(convert_all(rows, "own", problems)) == [TAUGHT]
    assert problems == {"column 'response' is empty": 2, "column 'response' is missing": 1}


def test_an_unknown_shape_is_the_callers_fault() -> None:
    with pytest.raises(ValueError, match="unknown shape 'alpacca'; known: preference"):
        convert({}, "alpacca")


def test_a_dialogue_of_several_turns_is_answered_at_its_end() -> None:
    before = ("Why: me?", "Because.\n\nReally.", "Human: that is no turn")
    row = {"chosen": dialogue(*before, "Yes"), "rejected": dialogue(*before, "No")}
    turns = [user(before[0]), assistant(before[1]), user(before[2])]
    assert convert(row, "preference") == {"prompt": turns, "chosen": [assistant("Yes")], "rejected": [assistant("No")]}


@pytest.mark.parametrize(
    ("method", "shape", "fits"), [("sft", "own", True), ("sft", "preference", False), ("dpo", "preference", True)]
)
def test_a_shape_fits_one_method(method: str, shape: str, fits: bool) -> None:
    assert (not_for(method, shape) is None) == fits
