"""Jobs of more than a question and a text: conversations, calls of tools, replies that come with their reasoning."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.jobs.conftest import Job, column, conversations

CHAT = """
name: support
data:
  chats: {path: chats.jsonl}
models:
  teacher: {provider: openai, base_url: SERVER, model: gpt-x}
  student: {provider: transformers, model: STUDENT}
steps:
  - {step: generate, model: teacher, prompt: chat/last_turn, as: better}
  - {step: format, prompt: student/chat, completion: better}
  - {step: train, model: student, turns: all, max_steps: 2}
"""


def last(body: Mapping[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def test_the_last_turn_of_a_chat_is_written_anew_and_all_turns_are_learnt(job: Job) -> None:
    def chat(name: str) -> list[dict[str, str]]:
        said = ["Be brief.", f"Hi, {name} here", f"Hello {name}!", "Where is my parcel?", "dunno"]
        roles = ("system", "user", "assistant", "user", "assistant")
        return [{"role": role, "content": text} for role, text in zip(roles, said, strict=True)]

    def say(body: Mapping[str, Any]) -> str:
        assert [message["content"] for message in body["messages"]][-1] == "Where is my parcel?"
        return f"It comes today, {body['messages'][1]['content'].split()[1]}."

    job.write("chats.jsonl", [{"messages": chat(name)} for name in ("Ann", "Bob", "Zoë")])
    result = job.run(CHAT, say)
    assert conversations(result) == [
        f"system: Be brief.\nuser: Hi, {name} here\nassistant: Hello {name}!\nuser: Where is my parcel?\n"
        f"assistant: It comes today, {name}."
        for name in ("Ann", "Bob", "Zoë")
    ]
    [training] = result.report["trainings"]
    assert (training["turns"], training["turns_left_out"]) == (6, 0)


TOOLS = """
name: calls
data:
  train: {path: train.jsonl}
  test: {path: test.jsonl, held_out: true}
models:
  teacher: {provider: openai, base_url: SERVER, model: gpt-x}
  student: {provider: transformers, model: STUDENT, chat_template: tools}
steps:
  - {step: generate, input: train, model: teacher, prompt: tools/call, tools: tools.json}
  - {step: check, answer: tool_call, against: null}
  - {step: filter, keep: "answer != '[]'"}
  - {step: format}
  - {step: train, model: student, max_steps: 2}
  - {step: evaluate, input: test, models: [student@base, student, teacher], max_tokens: 8}
"""
PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Weather now.", "parameters": PLACE}}
ASKED = "user: Does it rain in {}?\nassistant: "


def call_weather(body: Mapping[str, Any]) -> str | dict[str, Any]:
    assert body["tools"] == [WEATHER]
    if (found := re.search(r"in (\w+)\?", last(body))) is None:
        return "Where?"
    called = {"name": "weather", "arguments": json.dumps({"city": found[1]}, ensure_ascii=False)}
    return {"content": None, "tool_calls": [{"id": "call_9", "type": "function", "function": called}]}


def test_calls_of_tools_go_from_the_teacher_to_the_students_exam(job: Job) -> None:
    job.write("tools.json", json.dumps([WEATHER]))
    asked = [f"Does it rain in {city}?" for city in ("Oslo", "Rome", "Besançon")]
    job.write("train.jsonl", [{"instruction": text} for text in (*asked, "Does it rain?")])
    wanted = [{"name": "weather", "arguments": {"city": "Lima"}}]
    job.write("test.jsonl", [{"instruction": "Is there sun in Lima?", "reference": wanted}])
    result = job.run(TOOLS, call_weather)
    assert conversations(result) == [
        ASKED.format(city) + f'weather {{"city": "{city}"}}' for city in ("Besançon", "Oslo", "Rome")
    ]
    assert result.dataset is not None
    assert [json.loads(row["tools"]) for row in result.dataset["default"].to_pylist()] == [[WEATHER]] * 3
    dropped = json.loads(result.tables["dropped"].to_pylist()[0]["row"])
    assert (dropped["response"], dropped["answer"]) == ("Where?", "[]")
    called = {call["arguments"]["city"] for [call] in column(result, "04_format", "answer")}
    assert called == {"Oslo", "Rome", "Besançon"}
    assert {each["model"]: each["accuracy"] for each in result.report["evaluations"]}["teacher"] == 1.0


REASONING = """
name: reasons
data:
  train: {path: train.jsonl}
models:
  teacher: {provider: openai, base_url: SERVER, model: thinker, thinking: high}
  long: {provider: transformers, model: STUDENT}
  short: {provider: transformers, model: STUDENT}
steps:
  - {step: generate, model: teacher, prompt: student/plain}
  - {step: check, answer: number}
  - {step: filter, keep: correct, output: right}
  - {step: format, reasoning: think, output: kept}
  - {step: train, model: long, max_steps: 2}
  - {step: format, input: right, reasoning: drop, output: dropped}
  - {step: train, model: short, max_steps: 2}
dataset: {long: kept, short: dropped}
"""


@pytest.mark.slow
def test_what_a_teacher_reasons_is_kept_for_one_student_and_dropped_for_another(job: Job) -> None:
    def say(body: Mapping[str, Any]) -> dict[str, str]:
        assert body["reasoning_effort"] == "high"
        [number] = map(int, re.findall(r"is (\d+)", last(body)))
        answer = number + 1 if number != 3 else 7
        return {"content": f"The answer is {answer}.", "reasoning_content": f"One more than {number}."}

    job.write("train.jsonl", [{"instruction": f"What is {n} + 1?", "reference": n + 1} for n in (1, 2, 3, 4)])
    result = job.run(REASONING, say)
    assert conversations(result, "long") == [
        f"user: What is {n} + 1?\nassistant: <think>\nOne more than {n}.\n</think>\n\nThe answer is {n + 1}."
        for n in (1, 2, 4)
    ]
    assert conversations(result, "short") == [
        f"user: What is {n} + 1?\nassistant: The answer is {n + 1}." for n in (1, 2, 4)
    ]
    assert column(result, "dropped", "reason") == ["not (correct)"]
    assert sorted(result.models) == ["long@1", "short@1"]
