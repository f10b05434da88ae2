"""Tools that are run: what a model is shown of its calls, what a row keeps of it, and what ends it."""

import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import RecipeError, SetupError
from tests.support.runs import execute, rows_of, write_rows

NUMBERS = {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}, "required": ["a", "b"]}
TOOLS = [{"type": "function", "function": {"name": "divide", "description": "a by b", "parameters": NUMBERS}}]
FILE = """
import json
def divide(a, b):
    return {"quotient": a / b}

def reply(messages, row, sample):
    told = [message for message in messages if message["role"] == "tool"]
    if row.get("endless") or len(told) < len(row["asked"]):
        a, b = row["asked"][min(len(told), len(row["asked"]) - 1)]
        call = {"name": "divide", "arguments": {"a": a, "b": b}}
        return {"text": f"call {len(told)}", "tool_calls": json.dumps([call])}
    return f"The answer is {told[-1]['content'] if told else 'known'}."
"""
ROWS = [
    {"instruction": "none", "asked": []},
    {"instruction": "one", "asked": [[6, 2]]},
    {"instruction": "two", "asked": [[1, 0], [9, 3]]},
]
ASK = {"step": "generate", "model": "agent", "prompt": "student/plain", "tools": "tools.json", "run_tools": "tools.py"}


def run(folder: Path, *steps: dict[str, Any], rows: list[dict[str, Any]] = ROWS, **head: Any) -> Any:
    write_rows(folder / "train.jsonl", rows)
    (folder / "tools.json").write_text(json.dumps(TOOLS))
    (folder / "tools.py").write_text(FILE)
    agent = {"provider": "scripted", "function": "tools.py:reply"}
    values = {"name": "run", "data": {"train": {"path": "train.jsonl"}}, "models": {"agent": agent}}
    return execute(folder, {**values, "steps": [*steps], **head}, allow_code=True)


def written(folder: Path) -> dict[str, Any]:
    table = max((folder / "run" / "tables").glob("*.jsonl"))
    return {row["instruction"]: row for row in rows_of(table)}


def test_a_model_is_asked_on_with_what_its_calls_have_brought_until_it_calls_nothing(tmp_path: Path) -> None:
    run(tmp_path, ASK)
    found = written(tmp_path)
    assert found["none"]["response"] == "The answer is known."
    assert found["one"]["response"] == 'The answer is {"quotient": 3.0}.'
    assert [message["role"] for message in found["two"]["trace"]] == ["assistant", "tool"] * 2 + ["assistant"]
    assert found["one"]["tool_calls"] == [], "those of the last reply"
    assert found["two"]["usage"]["completion_tokens"] > found["one"]["usage"]["completion_tokens"]


def test_a_call_that_fails_tells_the_model_why_and_does_not_fail_the_row(tmp_path: Path) -> None:
    run(tmp_path, ASK)
    first, second = (message for message in written(tmp_path)["two"]["trace"] if message["role"] == "tool")
    assert first["content"] == "error: ZeroDivisionError: division by zero"
    assert (second["content"], second["name"]) == ('{"quotient": 3.0}', "divide")


def test_a_model_that_goes_on_calling_fails_its_row_after_as_many_replies_as_may_call(tmp_path: Path) -> None:
    endless = {"instruction": "endless", "asked": [[1, 2]], "endless": True}
    run(tmp_path, {**ASK, "most_calls": 2}, rows=[*ROWS, endless], max_failed_share=0.5)
    assert written(tmp_path).keys() == {"none", "one", "two"}, "two replies may call"
    [failed] = rows_of(tmp_path / "run" / "failed.jsonl")
    assert "it calls tools in more than 2 replies" in json.dumps(failed)


def test_a_trace_is_learnt_turn_by_turn_and_an_answer_without_a_call_is_its_only_turn(tmp_path: Path) -> None:
    run(tmp_path, ASK, {"step": "format", "completion": "trace"})
    rows = written(tmp_path)
    assert [len(rows[name]["completion"]) for name in ("none", "one", "two")] == [1, 3, 5]
    assert rows["one"]["completion"][0]["tool_calls"][0]["function"]["name"] == "divide"
    assert rows["one"]["tools"][0]["function"]["name"] == "divide"


def test_an_exam_runs_the_calls_reads_the_last_reply_and_says_how_many_replies_called(tmp_path: Path) -> None:
    rows = [row | {"reference": "3"} for row in ROWS]
    exam = {"step": "evaluate", "models": ["agent"], "answer": "number", "input": "train"}
    job = run(tmp_path, {**exam, "tools": "tools.json", "run_tools": "tools.py"}, rows=rows)
    assert job.report["evaluations"][0]["right"] == 2
    answers = rows_of(next((tmp_path / "run/tables").glob("*evaluate*")))
    assert {row["instruction"]: row["called"] for row in answers} == {"none": 0, "one": 1, "two": 2}


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({"tools": None}, "run_tools: runs what tools: offers, and there are none"),
        ({"run_tools": None, "most_calls": 3}, "most_calls: means nothing without run_tools"),
        ({"run_tools": "other.py"}, "'other.py' does not exist"),
        ({"regex": "a+"}, "run_tools: brings several replies, and regex: is of one"),
    ],
)
def test_what_cannot_be_run_is_a_problem_of_the_recipe(tmp_path: Path, step: dict[str, Any], why: str) -> None:
    given = {name: value for name, value in {**ASK, **step}.items() if value is not None}
    with pytest.raises(RecipeError, match=why):
        run(tmp_path, given)


def test_tools_are_code_which_a_recipe_may_not_run_by_itself(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", ROWS)
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS))
    (tmp_path / "tools.py").write_text("raise SystemExit('it was run')")
    teacher = {"agent": {"provider": "scripted"}}
    values = {"name": "run", "data": {"train": {"path": "train.jsonl"}}, "models": teacher, "steps": [ASK]}
    with pytest.raises(RecipeError, match="can run code, which a recipe may not do by itself"):
        execute(tmp_path, values)


def test_a_tool_without_a_function_ends_the_run(tmp_path: Path) -> None:
    tools = [TOOLS[0] | {"function": TOOLS[0]["function"] | {"name": "divides"}}]  # type: ignore[operator]
    with pytest.raises(SetupError, match="has no function 'divides'"):
        run(tmp_path, {**ASK, "tools": tools, "model": "caller"}, models={"caller": CALLS_IT})


CALLS_IT = {"provider": "scripted", "replies": [{"tool_calls": '[{"name": "divides", "arguments": {"a": 1, "b": 2}}]'}]}


def test_the_tools_stand_beside_the_recipe_of_a_run_which_can_be_run_again(tmp_path: Path) -> None:
    run(tmp_path, ASK)
    assert (tmp_path / "run" / "tools.py").read_text() == FILE
    assert "run_tools: tools.py" in (tmp_path / "run" / "recipe.yaml").read_text()
