"""The engine and the check ask a step by its methods: a field of a plugin means what the plugin says."""

import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import RecipeError
from blackbox_kd.recipe.load import load_recipe
from tests.support.runs import execute, rows_of
from tests.support.steps import config_of

ROW_STEP = """
from blackbox_kd.sdk import Context, Row, StepConfig, row_step


class Config(StepConfig):
    rows: int = 2
    samples: int = 0
    models: int = 7
    against: str = "instruction"
    method: str = "sft"
    novelty: str = "yes"


@row_step(writes=["height"])
async def run(row: Row, config: Config, ctx: Context) -> Row:
    return row | {"height": config.rows * config.samples}
"""
TABLE_STEP = """
from collections.abc import AsyncIterator

from blackbox_kd.sdk import Context, Row, StepConfig, Table, table_step


class Config(StepConfig):
    rows: int = 2
    models: int = 7
    judge: str = "none"
    answer: str = "number"
    by: int = 3


@table_step(%s)
async def run(table: Table, config: Config, ctx: Context) -> AsyncIterator[Row]:
    for row in table:
        yield row | {"width": config.rows}
"""


SHOWN = {"evaluation": "test", "model": "teacher"}


def recipe(*steps: dict[str, Any], **head: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"train": {"path": "train.jsonl"}}
    if "test" in {step.get("input") for step in steps}:
        data["test"] = {"path": "test.jsonl", "held_out": True}
    named = [name for step in steps for name in (step.get("model"), *step.get("models", []))]
    models = {name: {"provider": "scripted"} for name in named if isinstance(name, str)}
    return {"name": "demo", "data": data, "models": models, "steps": list(steps), **head}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "measure.py").write_text(ROW_STEP)
    (tmp_path / "widen.py").write_text(TABLE_STEP % "")
    (tmp_path / "examine.py").write_text(TABLE_STEP % "held_out=True, aside=True")
    return tmp_path


def test_a_row_step_with_a_field_called_rows_sees_each_row_once(folder: Path) -> None:
    run = execute(folder, recipe({"step": "measure", "rows": 3}, plugins=["measure.py"]), allow_code=True)
    found = rows_of(run.path / "tables" / "01_measure.jsonl")
    assert sorted(row["instruction"] for row in found) == [f"What is {n} + 1?" for n in range(6)]
    assert {row["height"] for row in found} == {0}


def test_a_table_step_with_a_field_called_models_that_is_no_list_runs(folder: Path) -> None:
    run = execute(folder, recipe({"step": "widen"}, plugins=["widen.py"]), allow_code=True)
    assert [row["width"] for row in rows_of(run.path / "tables" / "01_widen.jsonl")] == [2] * 6


def test_a_field_called_samples_makes_no_calls_of_itself() -> None:
    assert config_of("split", {"outputs": {"a": "1 == 1"}}).calls_per_row() == 0
    asked = config_of("generate", {"model": "m", "prompt": "p", "samples": 3}).calls_by_model()
    assert asked == {"m": 3}


def problems(folder: Path, values: dict[str, Any]) -> list[str]:
    for name in ("train", "test"):
        (folder / f"{name}.jsonl").write_text(f'{{"instruction": "{name}", "reference": "b"}}\n')
    (folder / "recipe.yaml").write_text(json.dumps(values))
    try:
        load_recipe(folder / "recipe.yaml", allow_code=True, env={})
    except RecipeError as error:
        return [problem.message for problem in error.problems]
    return []


def test_fields_called_against_and_method_hide_no_column_and_learn_nothing(folder: Path) -> None:
    student = {"provider": "transformers", "model": "HuggingFaceTB/SmolLM2-135M-Instruct"}
    values = recipe(
        {"step": "measure"},
        {"step": "format", "completion": "instruction"},
        {"step": "train", "model": "student"},
        {"step": "measure", "input": "train"},
        plugins=["measure.py"],
    )
    values["models"] = {"student": student}
    assert problems(folder, values) == []


def test_a_step_that_may_read_held_out_rows_is_no_exam_for_its_fields_names(folder: Path) -> None:
    values = recipe(
        {"step": "examine", "input": "test"},
        {"step": "generate", "input": "train", "model": "teacher", "prompt": "student/plain", "context": SHOWN},
        plugins=["examine.py"],
    )
    assert problems(folder, values) == [
        "no evaluation of model 'teacher' on table 'test' comes before this step.",
    ]
