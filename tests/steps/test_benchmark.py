"""The step `benchmark`: what it asks for, what it records, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import RecipeError
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.steps import benchmark
from tests.support.fakes import FakeContext, outcomes, rows
from tests.support.reached import reach


def config(**fields: Any) -> benchmark.Config:
    return benchmark.Config.model_validate(
        {"step": "benchmark", "models": ["student@base", "student"], "tasks": ["rivers"], **fields}
    )


async def test_results_comparisons_and_overlap_are_recorded_and_the_rows_pass_by() -> None:
    ctx = FakeContext()
    ctx.trains = {"student"}
    overlap = {"rows": 4, "exact": 1, "near": 0, "examples": ["q"]}
    results = {"student@base": [reach([1, 1, 1, 0])], "student": [reach([1, 0, 0, 0])]}
    ctx.reached = (results, [overlap], "lm_eval 0.4.13")
    table = rows({"prompt": "a"}, {"prompt": "b"})
    assert await outcomes(benchmark, table, config(few_shot=5, limit=4, chat=True), ctx) == table
    assert ctx.benchmarked == [
        (["student@base", "student"], {"tasks": ["rivers"], "few_shot": 5, "limit": 4, "chat": True})
    ]
    [base, student] = ctx.recorded["benchmarks"]
    assert (base["model"], base["metrics"]["acc"]["value"]) == ("student@base", 0.75)
    assert (student["task"], student["overlap"], student["harness"]) == ("rivers", overlap, "lm_eval 0.4.13")
    assert student["chat"] is True
    [gain] = ctx.recorded["comparisons"]
    assert (gain["model"], gain["against"], gain["lost"], gain["is_benchmark"]) == ("student", "student@base", 2, True)


def load(folder: Path, task: str, *, allow_code: bool = False, **fields: Any) -> None:
    values = {
        "name": "demo", "data": {"train": {"rows": [{"q": "a"}]}},
        "models": {"one": {"provider": "transformers", "model": str(folder)}},
        "steps": [{"step": "benchmark", "models": ["one"], "tasks": [task], **fields}],
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(json.dumps(values))
    load_recipe(folder / "recipe.yaml", allow_code=allow_code, env={})


def test_a_task_of_a_file_is_code_and_a_name_is_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "letters.yaml").write_text("task: letters")
    with pytest.raises(RecipeError, match=r"tasks\[0\]: 'letters.yaml' can run code[^$]*add --allow-code"):
        load(tmp_path, "letters.yaml")
    with pytest.raises(RecipeError, match=r"tasks\[0\]: 'other.yaml' does not exist"):
        load(tmp_path, "other.yaml", allow_code=True)
    with pytest.raises(RecipeError, match="limit"):
        load(tmp_path, "arc_easy", limit=0)


def test_a_task_named_twice_is_said_and_no_call_is_counted() -> None:
    assert [found[0] for found in config(tasks=["a", "b", "a"]).problems()] == ["tasks"]
    assert config().problems() == []
    assert config().calls_per_row() == 0
    assert config().needs()["lm_eval"] == "benchmarks"
