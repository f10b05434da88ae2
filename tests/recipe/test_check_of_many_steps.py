"""Checking a recipe takes as much work as it has steps: twice as many steps, twice as many calls of functions."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from blackbox_kd.errors import RecipeError
from blackbox_kd.recipe.load import load_recipe

ASK = {"step": "generate", "model": "teacher", "prompt": "student/plain"}
CHAIN = [
    ASK,
    {"step": "check", "answer": "number"},
    {"step": "filter", "keep": "correct"},
    {"step": "evaluate", "input": "test", "models": ["teacher"]},
]

STEPS: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "a chain": lambda n: [step for _ in range(n // 4) for step in CHAIN],
    "own columns": lambda n: [ASK | {"as": f"reply{i}"} for i in range(n)],
    "own tables": lambda n: [ASK | {"output": f"table{i}"} for i in range(n)],
    "one loop": lambda n: [{"loop": {"rounds": 2, "steps": [ASK | {"input": "train"}, *([CHAIN[1]] * n)]}}],
    "many loops": lambda n: [{"loop": {"rounds": 2, "steps": [ASK | {"input": "train"}]}}] * (n // 2),
    "own_unknown_tables": lambda n: [ASK | {"input": f"tabel{i}", "output": f"table{i}"} for i in range(n)],
    "own_unknown_columns": lambda n: [{"step": "filter", "keep": f"column{i} > 1"} for i in range(n)],
}


def calls_for(file: Path, steps: list[dict[str, Any]]) -> int:
    """How many functions are called to load a recipe with these steps."""
    data = {"train": {"path": "rows.jsonl"}, "test": {"path": "held.jsonl", "held_out": True}}
    models = {"teacher": {"provider": "scripted"}}
    file.write_text(json.dumps({"name": "demo", "data": data, "models": models, "steps": steps}))
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        load_recipe(file, env={})
    except RecipeError:
        pass
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("kind", STEPS)
def test_twice_as_many_steps_take_no_more_than_twice_the_work(tmp_path: Path, kind: str) -> None:
    (tmp_path / "rows.jsonl").write_text('{"instruction": "What is 2 + 3?", "reference": "5"}\n')
    (tmp_path / "held.jsonl").write_text('{"instruction": "And 3 + 4?", "reference": "7"}\n')
    file = tmp_path / "demo.yaml"
    calls_for(file, STEPS[kind](8))  # what is looked up once
    few, many = (calls_for(file, STEPS[kind](n)) for n in (80, 160))
    assert many < 2.2 * few
