"""The loss that training on a CPU uses is TRL's own, row by row, and a row's weight scales it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from blackbox_kd.training.completion_loss import CompletionTrainer
from tests.tiny import tiny_model

ROWS = [("Hi", "yes"), ("What is two and two, and why?", "It is four."), ("Say it", "no no no")]


def trainer(kind: type[SFTTrainer], folder: Path, weights: list[float] | None = None) -> Any:
    rows: list[dict[str, Any]] = [
        {"prompt": [{"role": "user", "content": ask}], "completion": [{"role": "assistant", "content": say}]}
        for ask, say in ROWS
    ]
    for row, weight in zip(rows, weights or [], strict=False):
        row["weight"] = weight
    arguments = SFTConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        max_length=None,
    )
    return kind(
        model=AutoModelForCausalLM.from_pretrained(tiny_model()),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(tiny_model()),
    )


def loss(of: Any, numbers: list[int]) -> float:
    batch = of.data_collator([of.train_dataset[number] for number in numbers])
    with torch.no_grad():
        return float(of.compute_loss(of.model, batch, num_items_in_batch=torch.tensor(20)))


def test_the_loss_is_trls_own_for_rows_alone_and_padded_together(tmp_path: Path) -> None:
    ours, theirs = trainer(CompletionTrainer, tmp_path), trainer(SFTTrainer, tmp_path)
    for numbers in ([0], [1], [0, 1], [2, 0, 1]):
        assert loss(ours, numbers) == pytest.approx(loss(theirs, numbers), rel=1e-5)


def test_a_rows_weight_scales_its_loss_and_no_other(tmp_path: Path) -> None:
    plain = trainer(CompletionTrainer, tmp_path)
    weighted = trainer(CompletionTrainer, tmp_path, [1.0, 0.0, 2.5])
    expected = loss(plain, [0]) + 2.5 * loss(plain, [2])
    assert loss(weighted, [0, 1, 2]) == pytest.approx(expected, rel=1e-5)
    assert "weight" in weighted.get_train_dataloader().dataset.column_names
