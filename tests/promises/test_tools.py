"""Tools from seeds to a measured student: real weights with the template that recipes name, as their own takes none."""

import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import RecipeError, UserError
from tests.support.runs import Said, execute, rows_of, write_rows
from tests.support.tiny import SMOLLM2, tiny_model

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Weather now.", "parameters": SCHEMA}}
CITIES = ("Oslo", "Rome", "Bonn", "Kyiv", "Lima", "Bern", "Nice", "Riga")


def seed(city: str) -> dict[str, Any]:
    return {"instruction": f"Does it rain in {city}?", "city": city, "tools": json.dumps([WEATHER])}


def recipe(student: dict[str, Any], **train: Any) -> dict[str, Any]:
    teacher = {"provider": "scripted", "replies": [{"tool_calls": CALLS}]}
    return {
        "name": "called",
        "data": {"train": {"path": "train.jsonl"}, "test": {"path": "test.jsonl", "held_out": True}},
        "models": {"teacher": teacher, "student": {"provider": "transformers", **student}},
        "steps": [
            {"step": "generate", "model": "teacher", "prompt": "student/plain", "tools": "tools", "temperature": 1.0},
            {"step": "format"},
            {"step": "train", "model": "student", "seed": 1, **train},
            {
                "step": "evaluate",
                "input": "test",
                "models": ["student@base", "student", "teacher"],
                "answer": "tool_call",
                "max_tokens": 48,
            },
        ],
    }


CALLS = '[{"name": "weather", "arguments": {"city": "{{ city }}"}}]'


def place(folder: Path) -> None:
    write_rows(folder / "train.jsonl", map(seed, CITIES[:6]))
    wanted = [json.dumps([{"name": "weather", "arguments": {"city": city}}]) for city in CITIES[6:]]
    write_rows(
        folder / "test.jsonl", (seed(city) | {"reference": w} for city, w in zip(CITIES[6:], wanted, strict=True))
    )


@pytest.mark.slow
def test_a_student_learns_to_call_what_its_teacher_called(tmp_path: Path, smollm2_cache: Path) -> None:
    place(tmp_path)
    values = recipe({"model": SMOLLM2, "chat_template": "tools"}, max_steps=12, batch_size=6, learning_rate=1e-3, r=16)
    done = execute(tmp_path, values, cache=smollm2_cache)
    [row, *_] = rows_of(tmp_path / "run/dataset/train.jsonl")
    assert row["prompt"] == [{"role": "user", "content": "Does it rain in Oslo?"}]
    assert row["completion"] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "call_0", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
            ],
        }
    ]
    assert json.loads(row["tools"]) == [WEATHER]
    answers = [entry for path in (tmp_path / "run/tables").glob("*evaluate*.jsonl") for entry in rows_of(path)]
    said = {(entry["model"], entry["city"]): entry for entry in answers}
    for city in CITIES[6:]:
        assert json.loads(said["teacher", city]["answer"]) == [{"name": "weather", "arguments": {"city": city}}]
        assert json.loads(said["student", city]["answer"])[0]["name"] == "weather"
        assert said["student@base", city]["correct"] is False
    found = {entry["model"]: entry["accuracy"] for entry in done.report["evaluations"]}
    assert (found["teacher"], found["student@base"], found["student"] > 0) == (1.0, 0.0, True)


@pytest.mark.parametrize("step", [0, 3])
def test_a_template_at_hand_that_takes_no_tools_is_a_problem_of_the_recipe(tmp_path: Path, step: int) -> None:
    place(tmp_path)
    values = recipe({"model": str(tiny_model())}, max_steps=1)
    values["steps"] = values["steps"][:1] if step == 0 else values["steps"]
    values["steps"][0]["model"] = "student" if step == 0 else "teacher"
    with pytest.raises(RecipeError, match=r"template of model 'student.*' takes no tools, and the step offers some"):
        execute(tmp_path, values)


def test_a_student_whose_template_takes_no_tools_is_not_trained_to_leave_them_out(tmp_path: Path) -> None:
    place(tmp_path)
    values = recipe({"model": str(tiny_model())}, max_steps=1)
    values["steps"] = values["steps"][:3]
    del values["data"]["test"]
    with pytest.raises(UserError, match=r"takes no tools(.|\n)*write chat_template: tools beside its name"):
        execute(tmp_path, values)


def test_all_turns_of_a_chat_are_learnt_but_those_of_weight_0_which_are_counted(tmp_path: Path) -> None:
    chat = [("user", "Hi"), ("assistant", "Yes?"), ("user", "One?"), ("assistant", "Two."), ("user", "And?")]
    messages = [{"role": role, "content": said} for role, said in [*chat, ("assistant", "Three.")]]
    messages[3]["weight"] = 0
    write_rows(tmp_path / "train.jsonl", [{"messages": messages, "response": "3."}] * 4)
    values = recipe({"model": str(tiny_model())}, max_steps=1, turns="all")
    values["steps"] = [{"step": "format", "prompt": "student/chat"}, values["steps"][2]]
    del values["data"]["test"], values["models"]["teacher"]
    view = Said()
    done = execute(tmp_path, values, view=view)
    told = done.report["trainings"][0]
    assert (told["turns"], told["turns_left_out"], told["notes"]) == (8, 4, [])
    assert "warning: turns of the assistant that are read and not learnt: 4" in view.lines
    assert "turns of the assistant: 8 learnt, 4 read alone" in (tmp_path / "run/report.md").read_text()
