"""Preferences taught to a tiny model by TRL: what moves, what they are measured against, and what is left behind."""

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import UserError
from blackbox_kd.training import dpo, job
from blackbox_kd.training.artefacts import Job, hash_job
from blackbox_kd.weights import conversation
from tests.support import jobs
from tests.support.jobs import assistant, said, user
from tests.support.runs import rows_of
from tests.support.tiny import tiny_gemma3, tiny_model

BETA = 0.1


def pairs(count: int, better: str = "yes yes yes", worse: str = "no no") -> list[dict[str, Any]]:
    return [
        {"prompt": [user(f"say {'abc'[n % 3]} {n}")], "chosen": [assistant(better)], "rejected": [assistant(worse)]}
        for n in range(count)
    ]


def tiny(adapter: Path | None = None) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model())
    return PeftModel.from_pretrained(model, adapter) if adapter else model


def mean_logps(model: Any, rows: list[dict[str, Any]], side: str) -> float:
    """The log-probability of a side's texts under a model, by hand: the sum over tokens, the mean over rows."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model())
    total = 0.0
    for row in rows:
        prompt = conversation.encode(tokenizer, row["prompt"], None, asks=True)
        both = conversation.encode(tokenizer, [*row["prompt"], *row[side]], None)
        with torch.no_grad():
            logps = model(torch.tensor([both])).logits[0, :-1].log_softmax(-1)
        total += sum(float(logps[at - 1, both[at]]) for at in range(len(prompt), len(both)))
    return total / len(rows)


def references(output: Path, side: str) -> list[float]:
    """The reference's mean log-probability at each step, from what was logged: a reward is beta times a difference."""
    log = [entry for entry in rows_of(output / "training_log.jsonl") if f"logps/{side}" in entry]
    return [entry[f"logps/{side}"] - entry[f"rewards/{side}"] / BETA for entry in log]


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that `sft` has made: it says "no no" a lot."""
    folder = tmp_path_factory.mktemp("before")
    rows = [{"prompt": row["prompt"], "completion": row["rejected"]} for row in pairs(16)]
    asyncio.run(jobs.run("sft", jobs.write_job(folder, "sft", rows, max_steps=30)))
    return folder / "out"


async def test_preferences_are_learnt_on_the_adapter_of_a_fine_tuned_model(tmp_path: Path, fine_tuned: Path) -> None:
    rows = pairs(8)
    path = jobs.write_job(tmp_path, "dpo", rows, adapter_from=fine_tuned, max_steps=12)
    result, events = await jobs.run("dpo", path)
    learnt = result["preferences"]
    assert learnt["margin"]["last"] > learnt["margin"]["first"] + 1
    assert learnt["accuracy"]["last"] == 1.0
    assert result["first_loss"] == pytest.approx(math.log(2) + 0.2 * -mean_of_tokens(fine_tuned, rows), abs=0.05)
    assert (result["rows"], result["steps"], result["warnings"], result["fine_tuned_before"]) == (8, 12, [], True)
    assert result["length_ratio"] == pytest.approx(13 / 7, abs=0.001)
    assert result["completion_tokens"] == {"chosen": 8 * 13, "rejected": 8 * 7}
    assert events[-1]["steps"] == 12
    out = tmp_path / "out"
    for side in ("chosen", "rejected"):
        seen = references(out, side)
        assert len(seen) == 12
        assert seen == pytest.approx([mean_logps(tiny(fine_tuned), rows, side)] * 12, rel=1e-3)
    assert abs(references(out, "rejected")[0] - mean_logps(tiny(), rows, "rejected")) > 1
    assert not [path.name for path in out.iterdir() if path.is_dir()], "no second adapter, no checkpoints"
    assert await said(tmp_path, out) != await said(tmp_path, fine_tuned)


def mean_of_tokens(adapter: Path, rows: list[dict[str, Any]]) -> float:
    return mean_logps(tiny(adapter), rows, "chosen") / 13


@pytest.mark.slow
@pytest.mark.usefixtures("_cold_start")
async def test_a_killed_training_goes_on_to_the_same_adapter(tmp_path: Path, fine_tuned: Path) -> None:
    rows = pairs(16)
    how: dict[str, Any] = {"adapter_from": fine_tuned, "max_steps": 30, "learning_rate": 1e-3}
    await jobs.run("dpo", jobs.write_job(tmp_path, "dpo", rows, "quiet", **how))
    path = jobs.write_job(tmp_path, "dpo", rows, "killed", **how)
    await asyncio.to_thread(jobs.kill_at, 15, "dpo", path)
    result, events = await jobs.run("dpo", path)
    assert min(event["step"] for event in events) > 10
    assert result["steps"] == 30
    adapters = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("quiet", "killed")]
    assert adapters[0] == adapters[1]


async def test_a_new_adapter_is_measured_against_the_base_and_a_student_never_trained_is_warned_of(
    tmp_path: Path,
) -> None:
    rows = [row | {"weight": 2} for row in pairs(8)]
    result, events = await jobs.run("dpo", jobs.write_job(tmp_path, "dpo", rows, max_steps=4))
    assert references(tmp_path / "out", "chosen") == pytest.approx([mean_logps(tiny(), rows, "chosen")] * 4, rel=1e-3)
    assert result["warnings"] == [dpo.UNTRAINED, dpo.UNWEIGHTED.format("dpo")]
    assert [event["warning"] for event in events if event["event"] == "warning"] == result["warnings"]
    assert (tmp_path / "out/adapter_model.safetensors").exists()


async def test_all_weights_are_measured_against_the_model_with_its_adapter_merged(
    tmp_path: Path, fine_tuned: Path
) -> None:
    rows = pairs(8)
    how: dict[str, Any] = {
        "adapter": "full",
        "adapter_from": fine_tuned,
        "max_steps": 6,
        "learning_rate": 1e-3,
        "eval_share": 0.25,
    }
    result, _ = await jobs.run("dpo", jobs.write_job(tmp_path, "dpo", rows + pairs(3, "yes yes", "no"), **how))
    assert (result["rows"], result["rows_for_evaluation_loss"]) == (8, 3)
    assert result["preferences"]["margin"]["first"] == pytest.approx(0, abs=1e-4)
    assert result["preferences"]["margin"]["last"] > 0.1
    assert result["preferences"]["evaluation_margin"]["last"] > 0
    assert await said(tmp_path, None, tmp_path / "out") != await said(tmp_path, fine_tuned)
    again = json.loads((tmp_path / "out.json").read_text()) | {"model": str(tmp_path / "out"), "adapter_from": None}
    assert dpo.is_fine_tuned(Job.model_validate(again))


async def test_a_pair_whose_worse_text_would_be_cut_is_refused(tmp_path: Path) -> None:
    rows = [*pairs(3), *pairs(1, worse="z" * 150)]
    with pytest.raises(UserError) as caught:
        await jobs.run("dpo", jobs.write_job(tmp_path, "dpo", rows, max_length=64))
    assert "train (dpo): 1 of 4 rows (25.0 %) are longer than max_length 64 tokens" in str(caught.value)


async def test_a_model_that_sees_pictures_too_learns_preferences(tmp_path: Path) -> None:
    path = jobs.write_job(tmp_path, "dpo", pairs(8), model=tiny_gemma3(), adapter="full", max_steps=1)
    result, _ = await jobs.run("dpo", path)
    assert (result["steps"], result["rows"]) == (1, 8)
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_control_tokens_in_any_text_of_a_pair_are_made_harmless(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    [row] = pairs(1, "yes<|im_end|>", "<|im_start|>no")
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model())
    [safe] = job.read_rows(path, tokenizer, ["prompt", *dpo.SIDES])
    assert (safe["chosen"], safe["rejected"]) == ([assistant("yes< |im_end|>")], [assistant("< |im_start|>no")])


def test_a_job_has_another_name_once_what_it_starts_from_was_trained_anew(tmp_path: Path) -> None:
    path = jobs.write_job(tmp_path, "dpo", pairs(1), adapter_from=tmp_path)
    values = Job.model_validate_json(path.read_text())
    names = [hash_job("dpo", values), hash_job("sft", values)]
    for made in ("first", "second"):
        (tmp_path / "training.json").write_text(json.dumps({"job": made}))
        names.append(hash_job("dpo", values))
    assert len(set(names)) == 4
