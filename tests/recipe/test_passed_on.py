"""Fields of TRL and PEFT that a recipe passes on, and adapters that are trained on: `check` tells what is wrong."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import RecipeError
from blackbox_kd.recipe.checks import passed_on
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.weights.methods import CONFIGS
from tests.support.runs import write_rows
from tests.support.tiny import tiny_model

DPO = {"chosen": "yes", "rejected": "no"}


def told(folder: Path, *trainings: dict[str, Any], adapter: dict[str, Any] | None = None) -> list[str]:
    """What `check` says of trainings of a student, one after another: each problem's place, message and fix."""
    student = {"provider": "transformers", "model": str(tiny_model())}
    if adapter is not None:
        (folder / "own").mkdir()
        (folder / "own" / "adapter_config.json").write_text(json.dumps(adapter))
        student["adapter"] = "own"
    write_rows(folder / "rows.jsonl", [{"prompt": "a", "completion": "b"}])
    write_rows(folder / "pairs.jsonl", [{"prompt": "a", **DPO}])
    values = {
        "name": "demo",
        "data": {"rows": {"path": "rows.jsonl"}, "pairs": {"path": "pairs.jsonl"}},
        "models": {"student": student},
        "steps": [
            {"step": "train", "model": "student", "input": "pairs" if one.get("method") == "dpo" else "rows", **one}
            for one in trainings
        ],
    }
    (folder / "recipe.yaml").write_text(json.dumps(values))
    try:
        load_recipe(folder / "recipe.yaml", env={})
    except RecipeError as error:
        found = [f"{problem.path}: {problem.message} {problem.expected} -> {problem.fix}" for problem in error.problems]
        return [each for each in found if "'pairs'" not in each and "'rows'" not in each]
    return []


@pytest.mark.parametrize(
    ("fields", "message", "fix"),
    [
        ({"trl": {"optm": "adafactor"}}, "SFTConfig has no field 'optm'", "did you mean 'optim'?"),
        ({"trl": {"lr_scheduler": "linear"}}, "no field 'lr_scheduler'", "did you mean 'lr_scheduler_type'?"),
        ({"trl": {"evaluation_strategy": "epoch"}}, "no field", "did you mean 'eval_strategy'?"),
        ({"trl": {"zzz": 1}}, "SFTConfig has no field 'zzz'", "take it out"),
        ({"trl": {"lr": 1e-4}}, "a field of its own", "write learning_rate: at the step, beside trl:"),
        ({"trl": {"learning_rate": 1e-4}}, "a field of its own", "write learning_rate: at the step"),
        ({"trl": {"num_train_epochs": 3}}, "a field of its own", "write epochs: at the step"),
        ({"trl": {"warmup_ratio": 0.1}}, "a field of its own", "write warmup: at the step"),
        ({"trl": {"report_to": "wandb"}}, "a field of its own", "write report_to: at the step, beside trl:"),
        ({"trl": {"output_dir": "x"}}, "cannot be passed on: where a training is kept", "take it out"),
        ({"trl": {"push_to_hub": True}}, "a training uploads nothing", "take it out"),
        ({"trl": {"adam_beta2": "high"}}, "'high'} is not what SFTConfig takes: float", "change it"),
        ({"trl": {"packing_strategy": 3}}, "is not what SFTConfig takes: str", "change it"),
        ({"trl": {"tf32": 1}}, "is not what SFTConfig takes: bool | None", "change it"),
        ({"trl": {"dataloader_num_workers": True}}, "is not what SFTConfig takes: int", "change it"),
        ({"lora": {"rank": 4}}, "a field of its own", "write r: at the step, beside lora:"),
        ({"lora": {"use_dorra": True}}, "LoraConfig has no field 'use_dorra'", "did you mean 'use_dora'?"),
        ({"lora": {"target": "all-linear"}}, "LoraConfig has no field 'target'", "did you mean 'target_"),
        ({"lora": {"bias": "some"}}, "is not what LoraConfig takes: Literal['none', 'all', 'lora_only']", "change it"),
        ({"lora": {"task_type": "CAUSAL_LM"}}, "the student decides it", "take it out"),
        ({"lora": {"use_dora": True}, "adapter": "full"}, "has no effect with adapter: full", "adapter: lora"),
        ({"load": {"bits": 4}, "adapter": "full"}, "weights of few bits cannot be trained", "adapter: lora"),
        ({"load": {"bits": 4}, "continue": "merge"}, "cannot be merged into weights of few bits", "take load: out"),
        ({"load": {"bits": 5}}, "must be 4 or 8, not 5", "write load.bits: 4"),
        ({"attn": "spda"}, "field 'attn' must be", "did you mean 'sdpa'?"),
        ({"layers": 0.5, "lora": {"layers_to_transform": [0]}}, "both choose layers", "take one of them out"),
    ],
)
def test_what_cannot_be_passed_on_is_told_with_what_would_do(
    tmp_path: Path, fields: dict[str, Any], message: str, fix: str
) -> None:
    [found] = told(tmp_path, fields)
    assert message in found.partition(" -> ")[0]
    assert fix in found.partition(" -> ")[2]


def test_fields_of_the_libraries_pass_and_each_method_has_those_of_its_own_trainer(tmp_path: Path) -> None:
    trl = {"optim": "adafactor", "adam_beta2": 0.95, "neftune_noise_alpha": 5, "lr_scheduler_type": "linear"}
    lora = {"use_dora": True, "target_modules": ["q_proj"], "init_lora_weights": "pissa"}
    assert told(tmp_path, {"trl": trl, "lora": lora}) == []
    (tmp_path / "dpo").mkdir()
    assert (
        told(tmp_path / "dpo", {"method": "dpo", "trl": {"loss_type": ["ipo"], "precompute_ref_log_probs": True}}) == []
    )
    (tmp_path / "other").mkdir()
    [found] = told(tmp_path / "other", {"trl": {"precompute_ref_log_probs": True}})
    assert "SFTConfig has no field 'precompute_ref_log_probs'" in found
    (tmp_path / "both").mkdir()
    [found] = told(tmp_path / "both", {"method": "dpo", "sft_weight": 0.5, "trl": {"loss_type": ["ipo"]}})
    assert "sft_weight: is a part of the loss" in found


OF_SOME = {"beta", "packing", "max_length", "lmbda", "temperature", "max_new_tokens", "max_completion_length"} | {
    *("teacher_model_name_or_path", "teacher_tokenizer_name_or_path"),
}
"""Fields of the step that TRL has for some methods alone."""


@pytest.mark.parametrize("kind", [*dict.fromkeys(CONFIGS.values()), "peft.tuners.lora.config:LoraConfig"])
def test_the_fields_that_are_read_are_those_of_the_dataclass(kind: str) -> None:
    import importlib

    module, name = kind.split(":")
    real = {field.name for field in dataclasses.fields(getattr(importlib.import_module(module), name)) if field.init}
    assert real <= passed_on.read_fields(kind).keys()
    field = "lora" if name == "LoraConfig" else "trl"
    assert set(passed_on.OURS[field]) - OF_SOME <= real
    assert passed_on.read_fields("no_such_package.config:Config") == {}


def test_every_alias_and_every_refusal_names_a_field_of_a_library() -> None:
    trl = set().union(*(passed_on.read_fields(kind) for kind in CONFIGS.values()))
    assert set(passed_on.OURS["trl"]) <= trl
    lora = set(passed_on.read_fields("peft.tuners.lora.config:LoraConfig"))
    assert set(passed_on.ALIASES.values()) <= trl | lora
    assert set(passed_on.REFUSED["trl"]) <= trl
    assert set(passed_on.REFUSED["lora"]) <= lora


def test_an_adapter_that_is_trained_on_keeps_its_shape_and_check_says_so(tmp_path: Path) -> None:
    [found] = told(tmp_path, {"r": 8}, {"method": "dpo", "r": 16})
    assert "r: 16, and the adapter that it trains on has 8 (steps[0] (train))." in found
    assert found.endswith("-> take r: out, or continue: merge, or start: base")


@pytest.mark.parametrize(
    ("trainings", "wrong"),
    [
        ([{"r": 8}, {}], []),
        ([{"r": 8}, {"r": 16, "start": "base"}], []),
        ([{"r": 8}, {"r": 16, "continue": "merge"}], []),
        ([{"adapter": "full"}, {"r": 16}], []),
        ([{}, {"r": 32}], []),
        ([{}, {"r": 16}], ["r: 16"]),
        ([{"r": 8}, {"alpha": 64}], ["alpha: 64"]),
        ([{"r": 8}, {"lora": {"use_dora": True}}], []),
        ([{"lora": {"use_dora": False}}, {"lora": {"use_dora": True}}], ["use_dora: true"]),
        ([{"r": 8}, {}, {"r": 4}], ["r: 4"]),
    ],
)
def test_only_what_a_recipe_says_of_an_adapter_must_be_as_it_was(
    tmp_path: Path, trainings: list[dict[str, Any]], wrong: list[str]
) -> None:
    found = told(tmp_path, *trainings)
    assert len(found) == len(wrong)
    assert all(part in each for part, each in zip(wrong, found, strict=True))


def test_an_adapter_that_the_recipe_brings_is_looked_at(tmp_path: Path) -> None:
    found = told(tmp_path, {"r": 16}, adapter={"r": 8, "lora_alpha": 16})[-1]
    assert "r: 16, and the adapter that it trains on has 8 (models.student)." in found
