"""Fields of TRL and PEFT that go on to a real training, adapters that are merged, and what training.json says of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import DataError, UserError
from blackbox_kd.training.artefacts import Job, hash_job
from blackbox_kd.training.job import build_arguments
from tests.support import jobs, looks
from tests.support.jobs import assistant, said, user

ROWS = [{"prompt": [user(f"say {number}")], "completion": [assistant("yes yes yes")]} for number in range(16)]
PAIRS = [
    {"prompt": [user(f"say {n}")], "chosen": [assistant("yes yes")], "rejected": [assistant("no")]} for n in range(8)
]


def job(folder: Path, output: str = "out", **fields: Any) -> Path:
    return jobs.write_job(folder, "sft", ROWS, output, **{"max_steps": 2, **fields})


async def test_training_json_holds_what_was_used_and_the_adapter_what_was_passed_on(tmp_path: Path) -> None:
    trl = {"optim": "adafactor", "lr_scheduler_type": "linear", "loss_type": "dft"}
    lora = {"use_dora": True, "target_modules": ["q_proj", "v_proj"], "use_rslora": True}
    path = job(tmp_path, trl=trl, lora=lora, attn="eager", dtype="float32")
    result, _ = await jobs.run("sft", path)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["use_dora"], config["use_rslora"], sorted(config["target_modules"])) == (
        True,
        True,
        ["q_proj", "v_proj"],
    )
    assert {name: result["trl"][name] for name in (*trl, "learning_rate", "warmup_steps", "max_steps")} == {
        **trl, "learning_rate": 1e-2, "warmup_steps": 0.03, "max_steps": 2
    }  # fmt: skip
    assert result["lora"] == {"r": 8, "lora_alpha": 16, **lora} | {"target_modules": ["q_proj", "v_proj"]}
    # Dynamic fine-tuning weighs a token's loss, of about 5 nats here, by its probability: the loss is TRL's, not ours.
    assert 0 < result["first_loss"] < 0.5
    assert result["loaded"] == {"dtype": "float32", "attn": "eager"}
    assert str(tmp_path) not in json.dumps({name: result[name] for name in ("trl", "lora", "loaded")})


async def test_preferences_are_taught_by_a_loss_that_is_passed_on(tmp_path: Path) -> None:
    path = jobs.write_job(tmp_path, "dpo", PAIRS, max_steps=1, trl={"loss_type": ["ipo"]})
    result, _ = await jobs.run("dpo", path)
    assert result["trl"]["loss_type"] == ["ipo"]
    # IPO's loss of a model that is its own reference is (1 / (2 beta))^2, whatever the rows.
    assert result["first_loss"] == pytest.approx((1 / (2 * 0.1)) ** 2, rel=1e-4)


async def test_an_adapter_of_another_rank_is_refused_or_merged_under_a_new_one(tmp_path: Path) -> None:
    await jobs.run("sft", job(tmp_path, "first", r=4, max_steps=30))
    first = tmp_path / "first"
    with pytest.raises(UserError, match=r"r: the adapter that training goes on from has r 4, and the recipe wants 8"):
        await jobs.run("sft", job(tmp_path, adapter_from=first))
    result, _ = await jobs.run("sft", job(tmp_path, adapter_from=first, max_steps=1, **{"continue": "merge"}))
    assert (result["lora"]["r"], (tmp_path / "out" / "adapter_config.json").exists()) == (8, False)
    # The new adapter has learnt one step of nothing new: the weights say what the first adapter says.
    assert await said(tmp_path, None, tmp_path / "out") == await said(tmp_path, first) != await said(tmp_path, None)


def test_what_a_library_refuses_is_an_error_that_names_the_field(tmp_path: Path) -> None:
    from trl import SFTConfig

    with pytest.raises(DataError, match=r"trl: .*not_an_optimizer"):
        build_arguments(
            SFTConfig, {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False}, {"optim": "not_an_optimizer"}
        )
    with pytest.raises(DataError, match=r"lora: .*nonsense"):
        looks.lora(jobs.settings("sft", lora={"nonsense": 1}))


def test_what_a_recipe_leaves_out_keeps_the_hash_that_a_job_had(tmp_path: Path) -> None:
    """The hash of version 0.1, of the same fields; `given` says what of a shape was written and is no other job."""
    values = json.loads(job(tmp_path).read_text())
    assert values["settings"].keys() - {"given"} == {
        "adapter", "r", "alpha", "dropout", "layers", "learning_rate", "epochs", "max_steps", "batch_size",
        "max_length", "long_rows", "packing", "eval_share", "warmup", "weight_decay", "max_grad_norm", "beta",
        "sft_weight", "seed",
    }  # fmt: skip
    del values["settings"]["given"]
    assert hash_job("sft", Job.model_validate(values)) == hash_job(
        "sft", Job.model_validate_json(job(tmp_path).read_text())
    )
    values["settings"]["trl"] = {"optim": "adafactor"}
    assert hash_job("sft", Job.model_validate(values)) != hash_job(
        "sft", Job.model_validate_json(job(tmp_path).read_text())
    )
