"""2,000 mutated recipes: each is refused with a message of ours, or is one that can be run."""

import asyncio
import json
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import BlackboxError, RecipeError, StepMistake
from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.budget import BudgetConfig
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.spec import Recipe
from tests.recipe.mutations import mutate
from tests.steps.test_versions import EXAM, MODELS, ROWS, STEPS
from tests.support.runs import KEYS, write_rows

BUNDLED = [yaml.safe_load(file.read_text()) for file in sorted(find_bundled("recipes").glob("*.yaml"))]
SEEDS = st.integers(min_value=0, max_value=2**32)
MUTATED = settings(
    max_examples=1000, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


def write_recipe(folder: Path) -> dict[str, Any]:
    """The values of a recipe with every step, whose models are scripts; its rows are in the folder."""
    write_rows(folder / "train.jsonl", ROWS)
    write_rows(folder / "exam.jsonl", EXAM)
    steps = [step if step["step"] == "split" else {"output": f"t{number}"} | step for number, step in enumerate(STEPS)]
    data = {"train": {"path": "train.jsonl"}, "exam": {"path": "exam.jsonl", "held_out": True}}
    return {"name": "all", "seed": 5, "data": data, "models": MODELS, "steps": steps}


def load(folder: Path, values: dict[str, Any]) -> Recipe | None:
    """The recipe of some values; None if it is refused, in words that a person can read."""
    (folder / "recipe.yaml").write_text(json.dumps(values), encoding="utf-8")
    refusal: BlackboxError
    try:
        return load_recipe(folder / "recipe.yaml", env=KEYS)
    except BlackboxError as error:
        refusal = error
    said = str(refusal)
    assert said.strip()
    assert len(said) < 40_000
    assert "Traceback" not in said
    assert "bug" not in said
    if isinstance(refusal, RecipeError):
        assert all(problem.message and problem.fix for problem in refusal.problems), said
    return None


def execute(folder: Path, recipe: Recipe) -> None:
    """Runs a recipe on two rows of each table: what goes wrong then is no mistake of a step, nor of the program."""
    recipe.head.budget = BudgetConfig(requests=300)
    places = {"cache": folder / "cache", "run_dir": folder / "run", "ledger": folder / "ledger.sqlite"}
    job = Run(recipe, RunOptions(**places, limit=2, env={}))
    ended: BlackboxError | None = None
    try:
        asyncio.run(job.execute())
    except BlackboxError as error:
        ended = error
    assert not isinstance(ended, StepMistake), ended
    assert "bug" not in str(ended)
    failed: Counter[str] = sum((Counter(entry["failed"]) for entry in job.report["funnel"]), Counter())
    assert all(kind.islower() for kind in failed), f"a step has made a mistake: {failed}"


@pytest.mark.slow
@MUTATED
@given(seed=SEEDS)
def test_a_mutated_recipe_of_the_bundled_ones_is_refused_in_our_words_or_accepted(seed: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        load(Path(folder), mutate(rng, rng.choice(BUNDLED)))


@pytest.mark.slow
@MUTATED
@given(seed=SEEDS)
def test_a_mutated_recipe_that_is_accepted_can_be_run(seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = load(folder, mutate(random.Random(seed), write_recipe(folder)))
        if recipe is not None and all(model.provider == "scripted" for model in recipe.models.values()):
            execute(folder, recipe)


def test_own_recipes_that_were_not_mutated_are_accepted_and_run(tmp_path: Path) -> None:
    recipe = load(tmp_path, write_recipe(tmp_path))
    assert recipe is not None
    execute(tmp_path, recipe)
