"""What makes a finished table step another one, and what does not."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blackbox_kd.engine import fingerprint
from blackbox_kd.engine.fingerprint import compute_fingerprints
from blackbox_kd.engine.records import Records
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.tables.stored import StoredTable
from tests.support.runs import QUESTIONS, write_rows
from tests.support.tiny import tiny_model

TABLE = StoredTable("train", Path("00_train.jsonl"), 6, "a" * 64)


def load(folder: Path, step: dict[str, Any], **changes: Any) -> tuple[PlannedStep, Recipe]:
    write_rows(folder / "train.jsonl", QUESTIONS)
    values = {"name": "demo", "data": {"train": {"path": "train.jsonl"}}, "steps": [step], **changes}
    (folder / "recipe.yaml").write_text(json.dumps(values))
    recipe = load_recipe(folder / "recipe.yaml", allow_code=True, env={})
    return recipe.steps[0], recipe


def names(planned: PlannedStep, recipe: Recipe, table: StoredTable = TABLE) -> list[str]:
    shared: Any = SimpleNamespace(recipe=recipe, tables={"train": TABLE}, models=None, records=Records())
    return compute_fingerprints(planned, table, shared)


def names_of(folder: Path, step: dict[str, Any], **changes: Any) -> list[str]:
    return names(*load(folder, step, **changes))


SELECT = {"step": "select", "per": "instruction", "best": 1}


@pytest.mark.parametrize(
    ("step", "same"),
    [
        (SELECT, SELECT | {"by": "first", "rows": None}),
        ({"step": "split", "outputs": {"a": 0.5}}, {"step": "split", "outputs": {"a": 0.5}, "balance": "none"}),
        (
            {"step": "filter", "novelty": {"column": "reference"}},
            {"step": "filter", "novelty": {"column": "reference", "max": 0.7, "against": []}},
        ),
        ({"step": "mix", "tables": {"train": 1}}, {"step": "mix", "tables": {"train": 1.0}, "shuffle": True}),
    ],
)
def test_a_default_that_is_written_out_makes_no_other_step(
    tmp_path: Path, step: dict[str, Any], same: dict[str, Any]
) -> None:
    assert names_of(tmp_path, step) == names_of(tmp_path, same)
    left_by_0_1 = step["step"] != "filter"  # whose novelty writes other rows than version 0.1 did
    assert len(set(names_of(tmp_path, step))) == 1 + left_by_0_1


@pytest.mark.parametrize("other", [{"best": 2}, {"by": "random"}, {"input": "train"}, {"rows": 3}])
def test_a_field_with_another_value_makes_another_step(tmp_path: Path, other: dict[str, Any]) -> None:
    assert not set(names_of(tmp_path, SELECT)) & set(names_of(tmp_path, SELECT | other))


def test_another_seed_or_other_rows_make_another_step(tmp_path: Path) -> None:
    planned, recipe = load(tmp_path, SELECT)
    found = set(names(planned, recipe))
    assert not found & set(names(planned, recipe, StoredTable("train", TABLE.path, 6, "b" * 64)))
    assert not found & set(names_of(tmp_path, SELECT, seed=8))


def test_a_field_that_a_release_adds_makes_another_step_only_where_it_is_given(tmp_path: Path) -> None:
    planned, recipe = load(tmp_path, SELECT)

    class Later(type(planned.config)):  # type: ignore[misc]
        ties: str = "first"

    given = planned.config.model_dump(exclude_defaults=True)
    assert names(replace(planned, config=Later(**given)), recipe) == names(planned, recipe)
    [new] = names(replace(planned, config=Later(**given, ties="all")), recipe)
    assert new not in names(planned, recipe)


def test_a_step_whose_version_was_raised_is_another_one_for_what_earlier_releases_have_left_too(tmp_path: Path) -> None:
    planned, recipe = load(tmp_path, SELECT)
    [new] = names(replace(planned, step=replace(planned.step, version=2)), recipe)
    assert new not in names(planned, recipe)


def test_a_step_of_ones_own_is_another_one_once_its_code_is(tmp_path: Path) -> None:
    text = (
        '"""Turns a table around."""\n'
        "from blackbox_kd.sdk import StepConfig, table_step\n"
        "class Config(StepConfig):\n"
        "    mark: str = '!'\n"
        "@table_step()\n"
        "async def run(table, config: Config, ctx):\n"
        "    for row in reversed(list(table)):\n"
        "        yield row\n"
    )
    (tmp_path / "turn.py").write_text(text)
    before = names_of(tmp_path, {"step": "turn"}, plugins=["turn.py"])
    assert names_of(tmp_path, {"step": "turn", "mark": "!"}, plugins=["turn.py"]) == before
    (tmp_path / "turn.py").write_text(text.replace("reversed(list(table))", "table"))
    assert not set(names_of(tmp_path, {"step": "turn"}, plugins=["turn.py"])) & set(before)


@pytest.mark.parametrize(
    ("step", "left"),
    [
        (SELECT, "e579b154741d9d7a04f98295f3b116dc2ce15fcee495694ef27aea4643d01279"),
        (
            {"step": "split", "outputs": {"a": "reference == '1'"}, "balance": "upsample"},
            "86550c7a3baf94bffb5844cacb883caa694f1d1a96b7b3bf5193f2fe677d5635",
        ),
        (
            {"step": "pair", "better": "instruction", "worse": "reference", "max_similarity": 1},
            "d0ff70d36e55102712b169908773cdb68fc6b376dc55fe3ac5c29d23b6c82490",
        ),
    ],
    ids=["select", "split", "pair"],
)
def test_the_fingerprint_that_version_0_1_has_left_is_known(tmp_path: Path, step: dict[str, Any], left: str) -> None:
    assert names_of(tmp_path, step)[1] == left


@pytest.mark.parametrize(
    ("step", "left"),
    [
        (
            {"step": "filter", "novelty": {"column": "reference", "max": 0.5}, "input": "train"},
            "9bb4a1da4766d69c64a7bf69aaeb385db71289c951a8792703e0193ba2152bfb",
        ),
        (
            {"step": "filter", "share": {"of": "reference", "max": 0.1}},
            "902a57ddbbd9c193181d40a0ab5394490b4afde5a5e18239b5afd4b2c81645a2",
        ),
    ],
    ids=["novelty", "share"],
)
def test_a_step_that_writes_other_rows_by_now_does_not_take_those_of_version_0_1(
    tmp_path: Path, step: dict[str, Any], left: str
) -> None:
    assert load(tmp_path, step)[0].step.version == 3
    assert left not in names_of(tmp_path, step)


def test_a_training_is_the_same_whatever_it_runs_on(tmp_path: Path) -> None:
    from blackbox_kd.steps.train import Config

    (tmp_path / "fsdp2.yaml").write_text("distributed_type: FSDP\n")
    student = {"student": {"provider": "transformers", "model": str(tiny_model())}}
    plain = {"step": "train", "model": "student"}
    spread = plain | {"gpus": 2, "accelerate": "fsdp2.yaml"}
    found = [load(tmp_path, step, models=student)[0] for step in (plain, spread, spread | {"r": 8})]
    described = [fingerprint.describe_step(planned) for planned in found]
    assert described[0] == described[1] != described[2]
    assert found[0].config.runs_on() == {"gpus", "accelerate"}
    settings = [Config.model_validate(step).settings() for step in (plain, spread)]
    assert settings[1] == settings[0] | {"gpus": 2, "accelerate": "fsdp2.yaml"}


def test_a_benchmark_is_another_one_once_a_file_of_its_tasks_is(tmp_path: Path) -> None:
    models = {"student": {"provider": "transformers", "model": str(tiny_model())}}
    step = {"step": "benchmark", "models": ["student"], "tasks": ["ours.yaml"]}
    identities = SimpleNamespace(identity=lambda name: "the same")

    def name() -> str:
        planned, recipe = load(tmp_path, step, models=models)
        known: dict[str, Any] = {"tables": {}, "records": Records(), "find_main_table": lambda planned: None}
        shared: Any = SimpleNamespace(recipe=recipe, models=identities, **known)
        return compute_fingerprints(planned, TABLE, shared)[0]

    (tmp_path / "ours.yaml").write_text("task: ours")
    before = name()
    assert name() == before
    (tmp_path / "ours.yaml").write_text("task: ours\nnum_fewshot: 2")
    assert name() != before
