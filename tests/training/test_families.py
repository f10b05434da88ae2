"""Every family of models is asked and trained as transformers and TRL do it: tiny ones, with random weights."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from blackbox_kd.errors import DataError
from blackbox_kd.models.local.engine import Engine, LocalRequest, Written
from blackbox_kd.training import dpo, sft
from blackbox_kd.training.artefacts import Job
from blackbox_kd.training.machine import Machines
from blackbox_kd.weights import load
from tests.support import jobs
from tests.support.families import FAMILIES, family
from tests.support.jobs import assistant, said, user

ASKED = ["say a 3", "and what of b, which is longer than the window of those that have one?", "c", "say a 4", "d?"]
LEAKING = ("qwen3_5", "lfm2", "bloom", "mamba", "gpt_oss")
"""Families whose rows would see each other when packed: by a state, by positions, or without a mask of their own."""
APART = ("mamba", "gpt_oss", "gemma4", "llama")
"""Trained in the quick part, too: each needs something of its own."""
OTHERS = [pytest.param(name, marks=() if name in APART else pytest.mark.slow) for name in FAMILIES]


def request(text: str, *, scored: bool = False) -> LocalRequest:
    said = [assistant(text)] if scored else []
    return LocalRequest([user(text), *said], 0.0, 1.0, 0, 12, (), 0, scored=scored)


def answer(engine: Engine, asked: list[LocalRequest]) -> list[Written]:
    """What an engine makes of requests that come all at once."""
    ended, new = {}, asked
    while len(ended) < len(asked):
        ended |= dict(engine.advance(new))
        new = []
    return [ended[each] for each in asked]


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_are_those_of_generate_and_likelihoods_those_of_a_forward_pass(name: str) -> None:
    place = str(family(name))
    engine = Engine(place, None, "float32", "cpu", {}, rows=3)
    tokenizer, model = load.load_tokenizer(place), load.load_model(place, "float32").eval()
    ends = load.find_ends(tokenizer, model)
    for written in answer(engine, [request(text) for text in ASKED]):
        ids = torch.tensor([written.prompt])
        wanted = model.generate(ids, do_sample=False, max_new_tokens=12, eos_token_id=ends, pad_token_id=ends[0])
        new = wanted[0, len(written.prompt) :]
        assert written.tokens == len(new)
        assert written.text == tokenizer.decode([token for token in new if token not in ends], skip_special_tokens=True)
    [scored] = answer(engine, [request("a", scored=True)])
    ids = torch.tensor([scored.prompt])
    with torch.no_grad():
        found = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    assert [each.logprob for each in scored.found or []] == pytest.approx(found.tolist(), abs=1e-4)


def write(folder: Path, method: str, name: str, rows: list[dict[str, Any]], **fields: Any) -> Job:
    chosen = {"max_steps": 3, "batch_size": len(rows), **fields}
    path = jobs.write_job(folder, method, rows, model=family(name), **chosen)
    return Job.model_validate_json(path.read_text())


def train(method: str, job: Job) -> dict[str, Any]:
    return {"sft": sft, "dpo": dpo}[method].train(job, "job", Machines(), lambda event: None).write()


def turns(count: int = 8) -> list[dict[str, Any]]:
    return [{"prompt": [user(f"say a {n}")], "completion": [assistant("yes " * (n % 3) + "yes")]} for n in range(count)]


@pytest.mark.parametrize("name", OTHERS)
async def test_a_family_is_trained_by_weighted_rows_and_asked_with_its_adapter(name: str, tmp_path: Path) -> None:
    weighted = [{**row, "weight": 1.0 + number % 2} for number, row in enumerate(turns())]
    result = await asyncio.to_thread(train, "sft", write(tmp_path, "sft", name, weighted))
    assert result["last_loss"] < result["first_loss"]
    texts = "model.language_model." if name.startswith("gemma") else ""
    from safetensors import safe_open

    with safe_open(tmp_path / "out" / "adapter_model.safetensors", "pt") as weights:
        assert all(key.startswith(f"base_model.model.{texts}") for key in weights.keys())  # noqa: SIM118
    place, learnt = str(family(name)), request("yes", scored=True)
    before, after = (
        sum(found.logprob for found in answer(Engine(place, adapter, "float32", "cpu", {}), [learnt])[0].found or [])
        for adapter in (None, str(tmp_path / "out"))
    )
    assert abs(after - before) > 0.1


def test_where_padding_is_by_the_end_of_a_text_the_end_is_learnt(tmp_path: Path) -> None:
    from blackbox_kd.training.model import load_tokenizer
    from blackbox_kd.training.preflight import check_template
    from blackbox_kd.training.sft_trainer import WeightedRows

    job = write(tmp_path, "sft", "llama", turns())
    tokenizer = load_tokenizer(job)
    assert load.load_tokenizer(job.model).pad_token is None
    assert tokenizer.pad_token == tokenizer.eos_token == "<|eot_id|>"
    texts = check_template(tokenizer, turns(), ["completion"]).texts["completion"]
    rows = [{"input_ids": text.ids, "labels": text.labels, "weight": 1.0} for text in texts[:3]]
    batch = WeightedRows(tokenizer.pad_token_id).torch_call(rows)
    assert (batch["labels"] == tokenizer.eos_token_id).sum(1).tolist() == [1, 1, 1]
    assert batch["attention_mask"].sum(1).tolist() == [len(row["input_ids"]) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_loss_is_that_of_plain_trl(name: str, tmp_path: Path) -> None:
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    ours = train("sft", write(tmp_path, "sft", name, turns(), max_steps=1))
    model = load.load_model(str(family(name)), "float32")
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(tmp_path / "plain"),
            max_steps=1,
            per_device_train_batch_size=8,
            use_cpu=True,
            bf16=False,
            logging_steps=1,
            report_to="none",
            gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_list(turns()),
        processing_class=load.load_tokenizer(str(family(name))),
        peft_config=LoraConfig(r=4, target_modules=["in_proj"] if name == "mamba" else "all-linear"),
    )
    trainer.train()
    assert ours["first_loss"] == pytest.approx(trainer.state.log_history[0]["loss"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_packed_rows_are_trained_as_alone_or_refused(name: str, tmp_path: Path) -> None:
    packed = write(tmp_path, "sft", name, turns(), packing=True, max_steps=1)
    if name in LEAKING:
        with pytest.raises(DataError, match="packed"):
            train("sft", packed)
    else:
        (alone := tmp_path / "alone").mkdir()
        wanted = train("sft", write(alone, "sft", name, turns(), max_steps=1))["first_loss"]
        assert train("sft", packed)["first_loss"] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["lora", "full"])
@pytest.mark.parametrize("name", FAMILIES)
async def test_preferences_are_learnt_and_what_is_left_loads(name: str, adapter: str, tmp_path: Path) -> None:
    pairs = [{"prompt": row["prompt"], "chosen": row["completion"], "rejected": [assistant("no")]} for row in turns()]
    rate = {"learning_rate": 1e-3} if adapter == "full" else {}
    result = await asyncio.to_thread(train, "dpo", write(tmp_path, "dpo", name, pairs, adapter=adapter, **rate))
    assert result["preferences"]["margin"]["first"] == pytest.approx(0, abs=1e-5)
    assert result["preferences"]["margin"]["last"] > 0
    out = tmp_path / "out"
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"]
    lora = adapter == "lora"
    assert isinstance(await said(tmp_path, out if lora else None, family(name) if lora else out), str)
