from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pytest

from blackbox_kd.cli import run
from blackbox_kd.steps import train
from blackbox_kd.training.artefacts import Job, hash_job
from blackbox_kd.weights import methods
from tests.support.fakes import FakeContext, outcomes, rows


async def test_the_table_and_every_setting_go_to_training_and_the_rows_pass_on() -> None:
    table = rows({"instruction": "a", "response": "b"})
    ctx = FakeContext()
    config = train.Config(step="train", model="student", r=8, epochs=3)
    assert await outcomes(train, table, config, ctx) == table
    [(model, method, settings, trained_on)] = ctx.trained
    assert (model, method, trained_on) == ("student", "sft", table)
    assert (settings["r"], settings["epochs"], settings["adapter"], settings["start"]) == (8, 3, "lora", "latest")


async def test_training_takes_the_seed_of_the_run_unless_it_has_its_own() -> None:
    ctx = FakeContext()
    await outcomes(train, [], train.Config(step="train", model="student"), ctx)
    await outcomes(train, [], train.Config(step="train", model="student", seed=3), ctx)
    assert [settings["seed"] for _, _, settings, _ in ctx.trained] == [7, 3]


@pytest.mark.parametrize(
    ("fields", "numbers"),
    [
        ({}, {"learning_rate": 2e-4, "epochs": 2, "beta": None, "sft_weight": None}),
        ({"adapter": "full"}, {"learning_rate": 2e-5}),
        ({"method": "dpo"}, {"learning_rate": 5e-6, "epochs": 1, "beta": 0.1, "sft_weight": 0.2}),
        ({"method": "dpo", "adapter": "full"}, {"learning_rate": 5e-7}),
        ({"method": "dpo", "epochs": 3, "sft_weight": 0, "learning_rate": 1e-4}, {"epochs": 3, "sft_weight": 0}),
        ({"method": "kto"}, {"learning_rate": 1e-5, "epochs": 1, "beta": 0.1}),
        ({"method": "kto", "adapter": "full"}, {"learning_rate": 1e-6}),
        (
            {"method": "distill", "teacher": "big"},
            {"learning_rate": 1e-5, "beta": 1.0, "temperature": 1.0, "on_policy": 1.0, "max_tokens": 512},
        ),
        (
            {"method": "gkd", "teacher": "big", "beta": 0},
            {"learning_rate": 2e-4, "beta": 0, "temperature": 0.9, "on_policy": 0.5, "max_tokens": 128},
        ),
        (
            {"method": "gold", "teacher": "big", "max_tokens": 64},
            {"learning_rate": 1e-6, "beta": None, "temperature": 0.9, "on_policy": 0.5, "max_tokens": 64},
        ),
        ({"method": "topk"}, {"learning_rate": 2e-4, "epochs": 2, "temperature": 1.0, "top": "top_logprobs"}),
    ],
)
async def test_what_is_left_out_takes_the_numbers_of_the_method(
    fields: dict[str, Any], numbers: dict[str, Any]
) -> None:
    ctx = FakeContext()
    await outcomes(train, [], train.Config.model_validate({"step": "train", "model": "student", **fields}), ctx)
    [(_, method, settings, _)] = ctx.trained
    assert method == fields.get("method", "sft")
    assert {name: settings[name] for name in numbers} == numbers


@pytest.mark.parametrize(
    ("method", "field", "value", "others"),
    [
        ("sft", "beta", 0.1, ["dpo", "kto", "distill", "gkd"]),
        ("sft", "sft_weight", 0.5, ["dpo"]),
        ("dpo", "packing", False, ["sft"]),
        ("kto", "loss", "hinge", ["dpo"]),
        ("kto", "teacher", "big", ["distill", "gkd", "gold"]),
        ("sft", "top", "likeliest", ["topk"]),
        ("sft", "temperature", 0.7, ["distill", "gkd", "gold", "topk"]),
        ("sft", "on_policy", 0.5, ["gkd", "gold"]),
        ("dpo", "max_tokens", 64, ["distill", "gkd", "gold"]),
    ],
)
def test_a_field_of_other_methods_is_refused(method: str, field: str, value: object, others: list[str]) -> None:
    config = train.Config.model_validate({"step": "train", "model": "student", "method": method, field: value})
    [(at, message, fix)] = config.problems()
    assert (at, fix) == (field, f"take it out, or method: {others[0]}")
    told = f"{field}: {value} has no effect with method: {method}, only with method: {' or '.join(others)}."
    assert message == told


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "gkd"}, "method: gkd learns from a teacher."),
        ({"method": "gold"}, "method: gold learns from a teacher."),
        ({"method": "distill", "teacher": "big", "beta": 1.5}, "1.5 is no share of two divergences."),
        ({"method": "dpo", "beta": 0}, "0 would let nothing hold the model back, and teach nothing."),
        (
            {"method": "kto", "batch_size": 1},
            "method: kto measures an answer by others of its update, and there are none.",
        ),
        (
            {"method": "dpo", "loss": "hinge", "trl": {"loss_type": "ipo"}},
            "loss: is a part of the loss, which trl: {loss_type, loss_weights} writes as a whole.",
        ),
        ({"method": "gkd", "teacher": "big", "beta": 0}, None),
        ({"method": "dpo", "loss": "hinge"}, None),
    ],
)
def test_what_a_method_cannot_do_with_or_without_is_told(fields: dict[str, Any], message: str | None) -> None:
    config = train.Config.model_validate({"step": "train", "model": "student", **fields})
    assert [what for _, what, _ in config.problems()] == ([] if message is None else [message])


def test_the_command_line_and_the_trainings_know_the_same_methods() -> None:
    assert get_args(methods.Method) == run.METHODS
    for method in run.METHODS:
        assert find_spec(f"blackbox_kd.training.{method}") is not None
        assert {method in found for found in (methods.DEFAULTS, methods.CONFIGS, methods.FULL_RATES)} == {True}


def test_a_teacher_is_read_and_not_asked_and_no_setting_of_the_job() -> None:
    config = train.Config(step="train", model="student", method="gkd", teacher="big")
    assert not config.calls_by_model()
    assert config.same_tokens() == {"model": "student", "teacher": "big"}
    assert train.Config(step="train", model="student", method="gold", teacher="big").same_tokens() == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "patience: has no effect without eval_share: there is no evaluation loss to get better."),
        (
            {"eval_share": 0.1, "trl": {"save_strategy": "no", "eval_strategy": "no"}},
            "patience: goes by the best checkpoint, which trl: {eval_strategy, save_strategy} chooses otherwise.",
        ),
        ({"eval_share": 0.1, "trl": {"eval_steps": 20}}, None),
    ],
)
def test_patience_is_refused_where_there_is_no_evaluation_loss_to_go_by(
    fields: dict[str, Any], message: str | None
) -> None:
    config = train.Config.model_validate({"step": "train", "model": "student", "patience": 2, **fields})
    assert [(at, what) for at, what, _ in config.problems()] == ([] if message is None else [("patience", message)])


def test_a_job_that_is_without_patience_says_nothing_of_it() -> None:
    plain = train.Config(step="train", model="student", eval_share=0.1)
    assert "patience" not in plain.settings()
    assert train.Config(step="train", model="student", eval_share=0.1, patience=2).settings()["patience"] == 2


def test_where_losses_are_shown_as_well_is_no_other_training_and_needs_its_package(tmp_path: Path) -> None:
    plain = train.Config(step="train", model="student")
    shown = train.Config(step="train", model="student", report_to=["wandb", "trackio"])
    assert "report_to" not in plain.settings()
    assert {name: extra for name, extra in shown.needs().items() if name not in plain.needs()} == {
        "wandb": "wandb",
        "trackio": "trackio",
    }
    (tmp_path / "rows.jsonl").write_text("{}")
    values = {"model": "m", "data": str(tmp_path / "rows.jsonl"), "output": str(tmp_path / "out")}
    jobs = [Job.model_validate({**values, "settings": {**each.settings(), "seed": 1}}) for each in (plain, shown)]
    assert hash_job("sft", jobs[0]) == hash_job("sft", jobs[1])
