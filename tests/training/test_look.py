"""A training that is looked at: what it sees of rows, by tokenizer, template and configs, without its weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import UserError
from blackbox_kd.training import launch, memory
from blackbox_kd.training.artefacts import Job, read_preflight
from blackbox_kd.training.machine import Machine, measure_activations
from blackbox_kd.training.overview import list_warnings, look
from blackbox_kd.training.seen import Preflight
from blackbox_kd.weights.load import load_config
from tests.support import jobs
from tests.support.jobs import assistant, user
from tests.support.tiny import tiny_model

NOTHING = Machine("cpu", "float32", 2**30)
CHAT = [user("one?"), assistant("two"), user("and?")]


def bare_folder(tmp_path: Path) -> Path:
    """The tiny model without a file of weights."""
    folder = tmp_path / "no-weights"
    shutil.copytree(tiny_model(), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    assert not [path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin")]
    return folder


async def seen(method: str, path: Path) -> dict[str, Any]:
    await launch.run_look(method, path)
    found: dict[str, Any] = read_preflight(Job.model_validate_json(path.read_text()))["preflight"]
    return found


async def test_all_that_is_seen_of_rows_needs_no_weights(tmp_path: Path) -> None:
    rows = [{"prompt": [user(f"say {n}")], "completion": [assistant(str(n))], "id": f"r{n}"} for n in range(6)]
    rows += [rows[2], {"prompt": CHAT, "completion": [assistant("<|im_end|> x <|im_end|>")]}]
    rows += [{"prompt": [user("long")], "completion": [assistant("z" * 150)]}]
    rows += [{"prompt": [user("?")], "completion": [assistant("4")], "id": "odd", "tools": "[]"}]
    rows[4]["completion"] = [{**assistant("4"), "weight": 0}]
    job = jobs.write_job(tmp_path, "sft", rows, model=bare_folder(tmp_path), max_length=128, eval_share=0.01)
    found = await seen("sft", job)
    assert (found["rows"], found["turns"], found["turns_left_out"], found["duplicates"]) == (9, 9, 1, 1)
    assert found["refused"] == [
        {
            "number": 4,
            "where": "row 4 (completion), id 'r4'",
            "reason": "no turn of the assistant is learnt",
            "exists": "",
            "fix": "take the row out, or the weight 0 of its answer",
        }
    ]
    assert found["control_tokens"] == {"<|im_end|>": 2}
    assert found["ends"] == {"<|im_end|>": 9}
    learnt = len("0") * 7 + len("<| im_end|> x <| im_end|>") - 1 + 150
    assert found["trained_tokens"] == pytest.approx(learnt + 2 * 9, abs=4)
    assert (found["too_long"], found["max_length"], found["evaluation_rows"]) == (1, 128, 0)
    assert sum(bar["rows"] for bar in found["lengths"]) == 9
    assert found["lengths"][-1]["above"] < found["longest"] <= found["lengths"][-1]["up_to"]
    assert [line.split(",")[0] for line in found["warnings"]] == ["eval_share 0.01 of 8 rows keeps none back"]
    assert [line.split(":")[0] for line in list_warnings(Preflight.model_validate(found))][1:] == [
        "rows that stand there more than once",
        "turns of the assistant that are read and not learnt",
        "control tokens in the text of rows, which are made harmless",
    ]
    assert found["example"]["completion"] == [
        {"trained": False, "text": "<|im_start|>user\n"},
        {"trained": False, "text": "say 0<|im_end|>\n"},
        {"trained": False, "text": "<|im_start|>assistant\n"},
        {"trained": True, "text": "0<|im_end|>\n"},
    ]
    assert not (tmp_path / "out").exists()


async def test_both_texts_of_a_pair_are_shown(tmp_path: Path) -> None:
    pairs = [{"prompt": [user("say")], "chosen": [assistant("yes")], "rejected": [assistant("no")]}] * 3
    found = await seen("dpo", jobs.write_job(tmp_path, "dpo", pairs, model=bare_folder(tmp_path)))
    assert {side: shown[-1]["text"] for side, shown in found["example"].items()} == {
        "chosen": "yes<|im_end|>\n",
        "rejected": "no<|im_end|>\n",
    }
    assert (found["ends"], found["duplicates"], found["turns"]) == ({"<|im_end|>": 6}, 2, 0)


async def test_rows_that_are_refused_as_a_whole_are_refused_as_by_a_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train \(sft\): there are no rows to train on"):
        await launch.run_look("sft", jobs.write_job(tmp_path, "sft", [], model=bare_folder(tmp_path)))


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_the_memory_of_a_training_is_estimated_as_it_is_measured(tmp_path: Path, adapter: str) -> None:
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    from blackbox_kd.training.model import make_lora

    rows = [{"prompt": [user("say")], "completion": [assistant("y" * n)]} for n in (30, 40, 50)]
    path = jobs.write_job(tmp_path, "sft", rows, adapter=adapter, batch_size=2)
    job = Job.model_validate_json(path.read_text())
    lengths = look("sft", job).lengths
    told = memory.estimate(job, load_config(job.model), lengths, [0, 1, 2], NOTHING)
    assert told is not None
    model = AutoModelForCausalLM.from_pretrained(job.model)
    assert told.parameters == sum(weight.numel() for weight in model.parameters())
    model = get_peft_model(model, make_lora(job, model)) if adapter == "lora" else model
    assert told.trained_parameters == sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    ids = torch.tensor([lengths.texts["completion"][2].ids])
    kept = measure_activations(lambda: model(ids, labels=ids, use_cache=False), model)
    rows_at_once = told.tokens_a_pass / ids.shape[1]
    assert told.activations_mb * 2**20 == pytest.approx(kept * rows_at_once, rel=0.1)
    assert told.total_mb == pytest.approx(told.weights_mb + told.optimizer_mb + told.activations_mb, abs=0.2)


def test_a_model_that_cannot_be_built_without_values_is_not_estimated(tmp_path: Path) -> None:
    rows = [{"prompt": [user("say")], "completion": [assistant("y")]}]
    job = Job.model_validate_json(jobs.write_job(tmp_path, "sft", rows).read_text())
    assert memory.estimate(job, json, look("sft", job).lengths, [0], NOTHING) is None
