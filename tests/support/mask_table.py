"""What a student is trained on, to read: the decoded tokens of rows, and which of them the loss is on.

Rows go the way that they go in a training: read for the student's template, looked at, and given to TRL, whose trainer
makes the ids and the labels. A line is a stretch of text; `x` before it says that its tokens are learnt.
"""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from blackbox_kd.training import job, preflight, sft
from blackbox_kd.training.artefacts import Settings
from blackbox_kd.training.machine import Machine
from blackbox_kd.training.masks import IGNORED
from blackbox_kd.training.sft_trainer import CompletionTrainer
from blackbox_kd.training.split import split_rows
from blackbox_kd.weights import load
from tests.support.jobs import settings as job_settings
from tests.support.tiny import byte_tokenizer, tiny_model

FAMILIES = {
    "SmolLM2": ("", ("<|im_start|>", "<|im_end|>"), "<|im_end|>"),
    "Qwen3": ("qwen3", ("<|im_start|>", "<|im_end|>"), "<|im_end|>"),
    "Llama 3": (
        "llama3",
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>",
    ),
    "tools": ("", ("<|im_start|>", "<|im_end|>"), "<|im_end|>"),
    "Gemma": ("gemma", ("<bos>", "<start_of_turn>", "<end_of_turn>"), "<end_of_turn>"),
}
"""TRL's template, control tokens, and the one that ends a turn; SmolLM2's own template comes with its weights."""
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The chat template of SmolLM2-135M-Instruct, word for word."""


def find_template(family: str) -> str:
    """The chat template of a family, as TRL keeps it; SmolLM2's own, or ours with tools."""
    import trl

    if family == "tools":
        return load.BUNDLED["tools"]
    name = FAMILIES[family][0]
    return (Path(trl.__file__).parent / f"chat_templates/{name}.jinja").read_text() if name else SMOLLM2


def make_tokenizer(family: str) -> Any:
    """A tokenizer of bytes with the template and the control tokens of a family."""
    _, control, end = FAMILIES[family]
    tokenizer = byte_tokenizer(4096)
    tokenizer.add_special_tokens({"additional_special_tokens": list(control)})
    tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token = control[0], end, end
    tokenizer.chat_template = find_template(family)
    return tokenizer


def prepare(tokenizer: Any, rows: Iterable[dict[str, Any]], **settings: Any) -> list[tuple[list[int], list[int]]]:
    """Token ids and labels of rows with TRL's columns, in the order of the rows, as the stage `sft` trains on them."""
    from transformers import AutoModelForCausalLM

    how = Settings.model_validate(job_settings("sft", **settings))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        read = job.read_rows(data, tokenizer, ["prompt", "completion"])
        lengths = preflight.check_template(tokenizer, read, ["completion"], earlier=how.turns == "all")
        columns = sft.weigh_rows(read, lengths.texts["completion"])
        parts, _ = sft.number_tasks(split_rows(columns, read, how)[0])
        trainer = CompletionTrainer(
            model=AutoModelForCausalLM.from_pretrained(tiny_model()),
            args=sft.make_arguments(how, Path(folder), parts, max(lengths.tokens), Machine("cpu", "float32", 0)),
            train_dataset=parts["train"],
            processing_class=tokenizer,
        )
        return [(list(row["input_ids"]), list(row["labels"])) for row in trainer.train_dataset]


def write(tokenizer: Any, ids: list[int], labels: list[int]) -> str:
    """A row as a table: a line of text a line, cut where the mask changes."""
    assert all(label in (IGNORED, token) for token, label in zip(ids, labels, strict=True))
    stretches: list[tuple[bool, list[int]]] = []
    for token, label in zip(ids, labels, strict=True):
        learnt = label != IGNORED
        if not stretches or stretches[-1][0] != learnt or tokenizer.decode(stretches[-1][1][-1:]) == "\n":
            stretches.append((learnt, []))
        stretches[-1][1].append(token)
    lines = (f"{'x' if learnt else ' '} | {tokenizer.decode(part)}" for learnt, part in stretches)
    return "\n".join(line.replace("\n", "⏎").rstrip() for line in lines)


def show(family: str, *rows: dict[str, Any], **settings: Any) -> str:
    """The tables of rows for a family, an empty line between two."""
    tokenizer = make_tokenizer(family)
    return "\n\n".join(write(tokenizer, ids, labels) for ids, labels in prepare(tokenizer, rows, **settings))
