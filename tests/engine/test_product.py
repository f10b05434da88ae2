"""Which tables are a run's data set where the recipe does not say: those that trained what the evidence is about."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine import product
from blackbox_kd.engine.versions import Versions
from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs.lineage import Lineage
from blackbox_kd.tables.stored import StoredTable
from tests.support.runs import KEYS


def chosen(recipe: Recipe, trainings: Sequence[str], restored: str | None = None) -> list[str]:
    """The versions whose tables are the data set, after these trainings, such as `student`, `control`, `student`."""
    versions = Versions()
    for name in trainings:
        version = str(versions.name_next(name))
        versions.add(name, Path(version), StoredTable(f"#{version}", Path(version), 1, version))
    if restored is not None:
        versions.restore(restored)
    found = product.choose_tables(recipe, Lineage(recipe), {}, versions)
    return [table.sha256 for table in found.values()]


BUNDLED = {
    "adversarial_loop": (["student"] * 4, None, "student@4"),
    "candle": (["student"], None, "student@1"),
    "chat_last_turn": (["student", "all_turns", "control"], None, "student@1"),
    "classify": (["student", "control"], None, "student@1"),
    "classroom_filter": (["student"], None, "student@1"),
    "cot_rationales": (["student"], None, "student@1"),
    "ddk_mix": (["student"] * 3, None, "student@3"),
    "difference_sampling": (["reference", "student"], None, "student@1"),
    "disagreement_aug": (["student"] * 3, None, "student@3"),
    "documents_qa": (["student", "closed", "control"], None, "student@1"),
    "drag": (["student"], None, "student@1"),
    "extract_json": (["student", "control"], None, "student@1"),
    "first": (["teacher", "student"], None, "student@1"),
    "gad_text": (["student"] * 3, None, "student@3"),
    "iterative_refinement": (["student", "student", "student", "control", "gold"], "student@2", "student@2"),
    "many_teachers": (["student"], None, "student@1"),
    "mentor": (["mentor", "student", "control"], None, "student@1"),
    "mistake_feedback": (["student"], None, "student@1"),
    "nesycd": (["student"] * 2, None, "student@2"),
    "pcoreset_select": (["student"] * 3, None, "student@3"),
    "pgkd": ([*["student"] * 3, "control", "gold"], "student@2", "student@2"),
    "preference_pairs": (["student", "control", "student"], None, "student@2"),
    "progressive": (["student"] * 2, None, "student@2"),
    "prompt_distill": (["student", "control"], None, "student@1"),
    "puzzle": (["student"], None, "student@1"),
    "quickstart": (["student"], None, "student@1"),
    "reasoning_traces": (["student", "control"], None, "student@1"),
    "rule_distill": (["student"] * 2, None, "student@2"),
    "self_taught": (["student", "student", "student", "control"], "student@2", "student@2"),
    "seqkd": (["student"], None, "student@1"),
    "skd": (["teacher", "student", "student"], None, "student@2"),
    "socratic": (["asker", "student"], None, "student@1"),
    "sparse_logits": (["teacher", "student"], None, "student@1"),
    "strategy_library": (["student", "control"], None, "student@1"),
    "symbolic_kd": (["critic", "student"], None, "critic@1"),  # its `dataset:` says otherwise
    "text_to_sql": (["student", "control"], None, "student@1"),
    "tool_calls": (["student", "control"], None, "student@1"),
    "topics": (["student", "control"], None, "student@1"),
    "traces": (["student", "control"], None, "student@1"),
}
"""Of each bundled recipe that trains: its trainings, what its loop may restore, and whose rows the data set has."""


@pytest.mark.parametrize("name", BUNDLED)
def test_the_data_set_of_a_bundled_recipe_is_what_its_student_learnt_from(name: str) -> None:
    trainings, restored, expected = BUNDLED[name]
    recipe = load_recipe(find_bundled("recipes") / f"{name}.yaml", env=KEYS)
    assert chosen(recipe, trainings, restored) == [expected]


def test_every_bundled_recipe_that_trains_is_looked_at() -> None:
    files = find_bundled("recipes").glob("*.yaml")
    assert {file.stem for file in files if "step: train" in file.read_text()} == BUNDLED.keys()


def recipe(tmp_path: Path, trainings: Sequence[str], exams: Sequence[Any]) -> Recipe:
    """A recipe that trains these models and then evaluates these lists of them."""
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"instruction": "{name}?", "response": "1", "reference": "1"}}\n')
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "tiny/model.safetensors").touch()
    names = dict.fromkeys([*trainings, *(n.partition("@")[0] for e in exams for n in _models(e)), "teacher"])
    models = {n: {"provider": "transformers", "model": "tiny"} for n in names if n != "teacher"}
    judged = any(isinstance(exam, dict) for exam in exams)
    asked = judged or any("teacher" in exam for exam in exams)
    values = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}, "test": {"path": "test.jsonl", "held_out": True}},
        "models": {**models, **({"teacher": {"provider": "scripted"}} if asked else {})},
        "steps": [
            *({"step": "train", "model": name, "input": "train"} for name in trainings),
            *({"step": "evaluate", "input": "test", "answer": "exact", **_exam(exam)} for exam in exams),
        ],
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(values))
    return load_recipe(tmp_path / "recipe.yaml")


def _models(exam: Any) -> list[str]:
    return list(exam["models"] if isinstance(exam, dict) else exam)


def _exam(exam: Any) -> dict[str, Any]:
    return exam if isinstance(exam, dict) else {"models": exam}


@pytest.mark.parametrize(
    ("trainings", "exams", "restored", "expected"),
    [
        (["student", "control"], [["student@base", "student"], ["student", "control"]], None, "student@1"),
        (["student", "control"], [["student", "control"]], None, "student@1"),
        (["student", "plain"], [["student@base", "student"], ["student", "plain"]], None, "student@1"),
        (["student", "plain"], [["plain", "student"]], None, "student@1"),
        (["mentor", "student"], [["student@base", "student", "mentor"]], None, "student@1"),
        (["mentor", "student"], [["teacher", "mentor", "student"]], None, "student@1"),
        (["student", "student"], [["student@base", "student@1"]], None, "student@1"),
        (["student", "student"], [["student@base", "student@1", "student"]], None, "student@2"),
        (["student", "student"], [["student@base", "student"]], "student@1", "student@1"),
        (["student", "student"], [["student@base", "student"]], "student@base", "student@2"),
        (
            ["student", "control_arm"],
            [["student@base", "student"], ["control_arm@base", "control_arm"]],
            None,
            "student@1",
        ),
        (["student", "other"], [["student@base", "student"], ["teacher", "other@base"]], None, "student@1"),
        (["first", "second"], [["teacher"]], None, "second@1"),
        (["first", "Control"], [["teacher"]], None, "first@1"),
        (["control"], [["teacher"]], None, "control@1"),
        (
            ["student", "plain"],
            [{"models": ["student", "plain"], "judge": "teacher", "against_model": "plain"}],
            None,
            "student@1",
        ),
    ],
    ids=lambda value: str(value).replace("'", ""),
)
def test_own_the_model_that_the_evidence_is_about(
    tmp_path: Path, trainings: list[str], exams: list[Any], restored: str | None, expected: str
) -> None:
    assert chosen(recipe(tmp_path, trainings, exams), trainings, restored) == [expected]
