"""Replies with calls of tools: what is offered, what comes of a reply, and what of one that no tool takes."""

import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import RecipeError, TooManyFailed
from tests.support.runs import execute, rows_of, write_rows

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "By city.", "parameters": SCHEMA}}
SEEDS = [{"instruction": f"Rain in {city}?", "city": city, "offered": [WEATHER]} for city in ("Oslo", "Rome")]
CALLS = '[{"name": "weather", "arguments": {"city": "{{ city }}"}}]'


def recipe(reply: dict[str, Any], **step: Any) -> dict[str, Any]:
    ask = {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 1.0, "as": "reply", **step}
    teacher = {"provider": "scripted", "replies": [reply]}
    head = {"name": "called", "data": {"train": {"path": "train.jsonl"}}, "max_failed_share": 0.9}
    return {**head, "models": {"teacher": teacher}, "steps": [ask]}


def run(folder: Path, reply: dict[str, Any], seeds: list[dict[str, Any]] = SEEDS, **step: Any) -> Any:
    write_rows(folder / "train.jsonl", seeds)
    return execute(folder, recipe(reply, **step))


def written(folder: Path) -> list[Any]:
    """The rows that the step has written."""
    return rows_of(folder / "run" / "dataset" / "train.jsonl")


@pytest.mark.parametrize("tools", ["offered", [WEATHER], {"tools": [WEATHER]}, "weather.json"])
def test_the_calls_of_a_reply_are_a_column(tmp_path: Path, tools: Any) -> None:
    (tmp_path / "weather.json").write_text(json.dumps([WEATHER]))
    run(tmp_path, {"tool_calls": CALLS}, tools=tools)
    [first, _] = written(tmp_path)
    assert (first["reply"], first["finish_reason"]) == ("", "tool_calls")
    assert first["tool_calls"] == [
        {"id": "call_0", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    ]


def test_a_reply_of_text_calls_nothing(tmp_path: Path) -> None:
    run(tmp_path, {"text": "It is dry."}, tools="offered")
    assert [(row["reply"], row["tool_calls"]) for row in written(tmp_path)] == [("It is dry.", [])] * 2


def test_a_row_may_offer_none_and_definitions_may_be_json_text(tmp_path: Path) -> None:
    seeds = [SEEDS[0] | {"offered": json.dumps([WEATHER])}, SEEDS[1] | {"offered": []}]
    run(tmp_path, {"tool_calls": CALLS}, seeds, tools="offered")
    assert [row["tool_calls"][0]["function"]["arguments"] for row in written(tmp_path)] == ['{"city": "Oslo"}']


@pytest.mark.parametrize(
    ("reply", "step", "why"),
    [
        (
            CALLS.replace("weather", "news"),
            {"tries": 2},
            r"2 tool_calls(.|\n)*calls 'news', and the tools are weather \(2",
        ),
        (CALLS, {"tries": 1, "retry_until": "len(tool_calls) > 1"}, "2 retry_until"),
        (CALLS, {"temperature": 0.0, "retry_until": None, "tools": [{"name": "b"}]}, "calls 'weather'(.|\n)*1 attempt"),
    ],
)
def test_a_call_that_cannot_be_used_is_asked_for_anew_and_then_fails_its_row(
    tmp_path: Path, reply: str, step: dict[str, Any], why: str
) -> None:
    with pytest.raises(TooManyFailed, match=why):
        run(tmp_path, {"tool_calls": reply}, **{"tools": "offered", **step})


def test_a_column_that_holds_no_definitions_fails_the_row(tmp_path: Path) -> None:
    seeds = [SEEDS[0] | {"offered": [{"name": "a b"}]}, SEEDS[1]]
    run(tmp_path, {"tool_calls": CALLS}, seeds, tools="offered")
    assert len(written(tmp_path)) == 1


@pytest.mark.parametrize(
    ("tools", "why"),
    [
        ([{"type": "function", "function": {}}], "has no name"),
        ([{"name": "a b"}], "no tool can be called 'a b'"),
        ([{"name": "a", "parameters": {"type": "object", "properties": 3}}], "the parameters of the tool 'a'"),
        ([{"name": "a", "parameters": []}], "the parameters of the tool 'a' are no JSON schema"),
        ([{"name": "a", "parameters": {"$ref": "http://b/c.json"}}], "nothing outside of it is read"),
        ([{"name": "a"}, {"name": "a"}], "two tools are called 'a'"),
        ([{"type": "web_search"}], "has no name"),
        ([], "there are none"),
        ("missing.json", "there is no file 'missing.json' beside the recipe"),
        ("nobody", "reads column 'nobody'"),
    ],
)
def test_definitions_that_no_endpoint_would_take_are_a_problem_of_the_recipe(
    tmp_path: Path, tools: Any, why: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        run(tmp_path, {"tool_calls": CALLS}, tools=tools)
    assert why in str(caught.value)
