"""Real training with TRL, on a tiny model: the process, its refusals, its resume, and what it leaves behind."""

import asyncio
import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import StepError, UserError
from blackbox_kd.training import launch
from blackbox_kd.weights import load
from tests.support import jobs
from tests.support.jobs import assistant, said, user
from tests.support.tiny import base_model, tiny_gemma3


def job(folder: Path, rows: list[tuple[str, str]], output: str = "out", **fields: Any) -> Path:
    lines = [{"prompt": [user(ask)], "completion": [assistant(say)]} for ask, say in rows]
    return jobs.write_job(folder, "sft", lines, output, **fields)


async def run(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return await jobs.run("sft", path)


def rows(count: int) -> list[tuple[str, str]]:
    return [(f"say {random.Random(n).choice('abc')} {n}", "yes yes yes") for n in range(count)]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """The folder of an adapter, what was told of its training, and the events under way."""
    folder = tmp_path_factory.mktemp("learnt")
    return (folder / "out", *asyncio.run(run(job(folder, rows(48)))))


async def test_lora_training_lowers_the_loss_and_the_adapter_changes_what_the_model_says(
    tmp_path: Path, learnt: tuple[Path, dict[str, Any], list[dict[str, Any]]]
) -> None:
    out, result, events = learnt
    assert result["last_loss"] < 0.8 * result["first_loss"]
    assert result["rows"] == 48
    assert result["steps"] == 60
    assert events[-1]["steps"] == 60
    assert {"adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "training_log.jsonl"} <= {
        path.name for path in out.iterdir()
    }
    assert not (out / "checkpoints").exists()
    assert await said(tmp_path, out) != await said(tmp_path, None)


async def test_a_finished_job_is_not_trained_again_and_no_other_job_takes_its_place(tmp_path: Path) -> None:
    path = job(tmp_path, rows(16), max_steps=2)
    first, _ = await run(path)
    again, events = await run(path)
    assert again == first
    assert events == []
    with pytest.raises(UserError, match="another training has finished here"):
        await run(job(tmp_path, rows(16), max_steps=3))
    assert json.loads((tmp_path / "out" / "training.json").read_text()) == first


async def test_full_fine_tuning_writes_weights_that_load_by_themselves(tmp_path: Path) -> None:
    await run(job(tmp_path, rows(16), adapter="full", max_steps=4))
    out = tmp_path / "out"
    assert (out / "model.safetensors").exists()
    assert not (out / "adapter_config.json").exists()
    assert await said(tmp_path, None, out) != await said(tmp_path, None)


async def test_a_later_version_goes_on_from_an_earlier_adapter(
    tmp_path: Path, learnt: tuple[Path, dict[str, Any], list[dict[str, Any]]]
) -> None:
    adapter, first, _ = learnt
    later, _ = await run(job(tmp_path, rows(48), adapter_from=adapter, max_steps=4))
    assert later["first_loss"] < 0.8 * first["first_loss"]


async def test_upper_layers_alone_can_be_trained(tmp_path: Path) -> None:
    await run(job(tmp_path, rows(16), layers=0.5, max_steps=2))
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["layers_to_transform"] == [1]


@pytest.mark.parametrize("layers", [None, 0.5])
async def test_a_model_that_sees_pictures_too_learns_in_the_part_that_writes_text(
    tmp_path: Path, layers: float | None
) -> None:
    from safetensors import safe_open

    result, _ = await run(job(tmp_path, rows(16), model=tiny_gemma3(), layers=layers, max_steps=2))
    assert (result["steps"], result["max_length"] <= 512) == (2, True)
    with safe_open(tmp_path / "out" / "adapter_model.safetensors", "pt") as weights:
        places = {name.partition(".layers.")[0] + name.split(".layers.")[1][:2] for name in weights.keys()}  # noqa: SIM118
    upper = "base_model.model.model.language_model1."
    assert places == {upper} if layers else places == {upper, upper.replace("1", "0")}
    assert await said(tmp_path, tmp_path / "out", tiny_gemma3())


@pytest.mark.parametrize("adapter", ["lora", "full"])
async def test_a_student_from_a_base_checkpoint_stops_where_its_answers_end(tmp_path: Path, adapter: str) -> None:
    steps = {"max_steps": 1} if adapter == "lora" else {"learning_rate": 3e-3}
    await run(job(tmp_path, rows(48), model=base_model(), adapter=adapter, **steps))
    out = tmp_path / "out"
    tokenizer = load.load_tokenizer(str(out))
    assert tokenizer.eos_token == "<|im_end|>"
    ends = json.loads((out / "generation_config.json").read_text())["eos_token_id"]
    assert tokenizer.convert_ids_to_tokens(ends) == ["<|im_end|>", "<|endoftext|>"]
    if adapter == "full":
        assert await said(tmp_path, None, out) == "yes yes yes"
        assert json.loads((out / "config.json").read_text())["eos_token_id"] == ends[0]


async def test_rows_that_would_be_cut_are_refused_with_numbers_and_a_fix_that_works(tmp_path: Path) -> None:
    long = [*rows(9), ("say it", "z" * 150)]
    with pytest.raises(UserError) as caught:
        await run(job(tmp_path, long, max_length=64, max_steps=1))
    message = str(caught.value)
    assert "train (sft): 1 of 10 rows (10.0 %) are longer than max_length 64 tokens" in message
    assert "fix: max_length: 184, or long_rows: drop" in message
    dropped, _ = await run(job(tmp_path, long, max_length=64, long_rows="drop", max_steps=1))
    assert (dropped["rows"], dropped["rows_left_out"]) == (9, 1)
    whole, _ = await run(job(tmp_path, long, "whole", max_length=184, max_steps=1))
    assert (whole["rows"], whole["rows_left_out"]) == (10, 0)


async def test_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no rows to train on"):
        await run(job(tmp_path, []))


async def test_tasks_of_a_table_are_told_and_each_counts_by_its_weight(tmp_path: Path) -> None:
    tasks = [("predict", "a", 1.0), ("explain", "because of a", 0.5), ("explain", "because", 0.5)] * 4
    lines = [{"prompt": [user("?")], "completion": [assistant(say)], "task": t, "weight": w} for t, say, w in tasks]
    result, _ = await jobs.run("sft", jobs.write_job(tmp_path, "sft", lines, batch_size=12, max_steps=10))
    assert result["tasks"] == {
        "predict": {"rows": 4, "completion_tokens": 4 * 3, "mean_weight": 1.0},
        "explain": {"rows": 8, "completion_tokens": 4 * (14 + 9), "mean_weight": 0.5},
    }
    assert result["last_loss"] < result["first_loss"]


async def test_a_share_for_the_evaluation_loss_is_kept_from_training(tmp_path: Path) -> None:
    result, _ = await run(job(tmp_path, rows(40), eval_share=0.25, epochs=4))
    assert (result["rows"], result["rows_for_evaluation_loss"]) == (30, 10)
    assert result["best_evaluation_loss"] > 0


async def test_a_crash_of_the_process_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    path = job(tmp_path, rows(8))
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"model": str(tmp_path / "nothing-here")}))
    with pytest.raises(StepError, match=r"train \(sft\): the training process ended with status 1"):
        await run(path)


async def test_patience_ends_a_training_keeps_the_best_weights_and_counts_over_kills(tmp_path: Path) -> None:
    noise = [(f"say a {n}", "".join(random.Random(n).choices("abcdef", k=8))) for n in range(24)]
    fields: dict[str, Any] = {"eval_share": 0.25, "patience": 2, "max_steps": 60, "learning_rate": 3e-2}
    fields["trl"] = {"eval_steps": 2, "save_steps": 2, "logging_steps": 1}
    quiet, events = await run(job(tmp_path, noise, "quiet", **fields))
    assert quiet["steps"] < quiet["planned_steps"] == 60
    assert quiet["steps"] - quiet["best_step"] == 4
    log = [json.loads(line) for line in (tmp_path / "quiet" / "training_log.jsonl").open()]
    evaluated = {entry["step"]: entry["eval_loss"] for entry in log if "eval_loss" in entry}
    assert min(evaluated, key=evaluated.__getitem__) == quiet["best_step"]
    assert evaluated[quiet["best_step"]] == quiet["best_evaluation_loss"]
    assert [event["eval_loss"] for event in events if "eval_loss" in event] == [*evaluated.values()]
    assert all(entry["seconds_left"] > 0 for entry in log)
    path = job(tmp_path, noise, "killed", **fields)
    await asyncio.to_thread(jobs.kill_at, quiet["steps"] - 1, "sft", path)
    await asyncio.to_thread(jobs.kill_at, quiet["steps"], "sft", path, "train_runtime")
    result, events = await run(path)
    assert [event for event in events if event["event"] == "step"] == []
    told = ("steps", "planned_steps", "best_step", "best_evaluation_loss", "last_loss", "trl")
    assert {name: result[name] for name in told} == {name: quiet[name] for name in told}
    adapters = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("quiet", "killed")]
    assert adapters[0] == adapters[1]
    again = [json.loads(line) for line in (tmp_path / "killed" / "training_log.jsonl").open()]
    losses = [[(e["step"], e["loss"]) for e in each if "loss" in e] for each in (log, again)]
    assert losses[0] == losses[1]


async def test_rows_of_one_prompt_are_all_learnt_and_it_is_told_that_nothing_is_left_for_an_evaluation_loss(
    tmp_path: Path,
) -> None:
    told = "all 8 rows have one prompt, so none is kept back by eval_share: there is no evaluation loss"
    same = [("say it", f"yes {n}") for n in range(8)]
    result, events = await run(job(tmp_path, same, eval_share=0.25, patience=2, max_steps=2))
    assert (result["rows"], result["rows_for_evaluation_loss"], result["steps"]) == (8, 0, 2)
    assert (result["warnings"], result["best_evaluation_loss"]) == ([told], None)
    assert told in [event.get("warning") for event in events]


@pytest.mark.usefixtures("_cold_start")
async def test_cancelling_the_run_ends_the_process(tmp_path: Path) -> None:
    path = job(tmp_path, rows(64), epochs=500)
    begun = asyncio.Event()
    task = asyncio.ensure_future(launch.run_training("sft", path, lambda event: begun.set()))
    await asyncio.wait_for(begun.wait(), 120)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout  # noqa: ASYNC221
    assert str(path) not in listed
