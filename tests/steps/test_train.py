from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.steps import train
from blackbox_kd.training.artefacts import Job, hash_job
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
    ("method", "field", "value"), [("sft", "beta", 0.1), ("sft", "sft_weight", 0.5), ("dpo", "packing", False)]
)
def test_a_field_of_the_other_method_is_refused(method: str, field: str, value: object) -> None:
    config = train.Config.model_validate({"step": "train", "model": "student", "method": method, field: value})
    [(at, message, fix)] = config.problems()
    other = {"sft": "dpo", "dpo": "sft"}[method]
    assert (at, fix) == (field, f"take it out, or method: {other}")
    assert message == f"{field}: {value} has no effect with method: {method}, only with method: {other}."


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
