"""The loss that training on a CPU uses is TRL's own, row by row, and a row's weight scales it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from blackbox_kd.training import preflight, sft
from blackbox_kd.training.masks import IGNORED, Tokens
from blackbox_kd.training.passes import Room
from blackbox_kd.training.sft_trainer import CompletionTrainer
from tests.support.tiny import tiny_model

ROWS = [("Hi", "yes"), ("What is two and two, and why?", "It is four."), ("Say it", "no no no")]


def messages(ask: str, say: str) -> dict[str, Any]:
    return {"prompt": [{"role": "user", "content": ask}], "completion": [{"role": "assistant", "content": say}]}


def trainer(kind: type[SFTTrainer], folder: Path, weights: list[float] | None = None, **how: Any) -> Any:
    rows = [messages(ask, say) for ask, say in ROWS]
    for row, weight in zip(rows, weights or [], strict=False):
        row["weight"] = weight
    return trainer_of(Dataset.from_list(rows), kind, folder, **how)


def trainer_of(rows: Dataset, kind: type[SFTTrainer], folder: Path, mean_over: str | None = None, **how: Any) -> Any:
    arguments = SFTConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        max_length=None,
        **how,
    )
    more = {"mean_over": mean_over} if mean_over else {}
    return kind(
        model=AutoModelForCausalLM.from_pretrained(tiny_model()),
        args=arguments,
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(tiny_model()),
        **more,
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
    (update,) = weighted.get_train_dataloader()
    assert sorted(float(one["weight"][0]) for one in update["passes"]) == [0.0, 1.0, 2.5]


TASKS = [
    ("label", 2.0, "a"),
    ("why", 0.5, "It is four, for two and two are four."),
    ("label", 2.0, "bc"),
    ("other", 1.0, "no"),
]


def by_task(weights: list[float]) -> tuple[Dataset, dict[str, Any]]:
    """The rows of TASKS as training gets them, and what their tasks hold; a byte is a token, and two end a turn."""
    rows = [
        messages("Why?", say) | {"task": task, "weight": w} for (task, _, say), w in zip(TASKS, weights, strict=True)
    ]
    said = preflight.check_template(AutoTokenizer.from_pretrained(tiny_model()), rows, ["completion"])
    columns = sft.weigh_rows(rows, said.texts["completion"])
    parts, tasks = sft.number_tasks({"train": Dataset.from_list(columns)})
    return parts["train"], tasks


def test_the_loss_of_tasks_is_the_weighted_sum_of_their_mean_losses_by_token(tmp_path: Path) -> None:
    weights = [weight for _, weight, _ in TASKS]
    dataset, tasks = by_task(weights)
    assert {name: (task["rows"], task["completion_tokens"]) for name, task in tasks.items()} == {
        "label": (2, 3 + 4),
        "why": (1, 39),
        "other": (1, 4),
    }
    plain = trainer_of(dataset.remove_columns("weight"), SFTTrainer, tmp_path)
    sums = [20 * loss(plain, [number]) for number in range(4)]
    by_hand = 2.0 * (sums[0] + sums[2]) / 7 + 0.5 * sums[1] / 39 + 1.0 * sums[3] / 4

    def steps(size: int, tokens: int) -> list[float]:
        """The losses of an epoch's steps, of a model that does not change."""
        how = {"per_device_train_batch_size": size, "learning_rate": 0.0}
        made = trainer_of(dataset, CompletionTrainer, tmp_path, "rows", num_train_epochs=1, logging_steps=1, **how)
        made.room = Room(tokens)
        made.train()
        return [entry["loss"] for entry in made.state.log_history if "loss" in entry]

    for size, tokens in ((4, 1000), (4, 1), (2, 1000), (1, 1)):
        losses = steps(size, tokens)
        assert len(losses) == 4 / size
        assert sum(losses) / len(losses) == pytest.approx(by_hand, rel=1e-4)


def texts(*learnt: int) -> list[Tokens]:
    """Texts behind a prompt of one token."""
    return [Tokens([7] + [1] * count, [IGNORED] + [1] * count) for count in learnt]


def test_rows_without_a_task_beside_rows_of_tasks_are_a_task_of_their_own() -> None:
    rows = [
        messages("a", "b") | {"task": "label", "weight": 2.0},
        messages("a", "b") | {"task": "why", "weight": 0.5},
        messages("a", "b"),
        messages("a", "b") | {"task": "somebody's label"},
        messages("a", "b") | {"task": None, "weight": 4.0},
    ]
    parts, tasks = sft.number_tasks({"train": Dataset.from_list(sft.weigh_rows(rows, texts(3, 10, 4, 4, 2)))})
    assert tasks == {
        "label": {"rows": 1, "completion_tokens": 3, "mean_weight": 2.0},
        "why": {"rows": 1, "completion_tokens": 10, "mean_weight": 0.5},
        "(none)": {"rows": 3, "completion_tokens": 10, "mean_weight": 2.0},
    }
    assert parts["train"]["weight"] == pytest.approx([2 * 5 / 3, 0.5 * 5 / 10, 5 / 10, 5 / 10, 4 * 5 / 10])


def test_a_label_of_somebody_else_is_no_task_and_one_task_alone_changes_nothing() -> None:
    rows = [messages("a", "b") | {"task": "sums"}, messages("a", "b") | {"task": "dates"}]
    learnt = {"input_ids": [7, 1, 1, 1], "labels": [IGNORED, 1, 1, 1]}
    assert sft.weigh_rows(rows, texts(3, 3)) == [learnt] * 2
    one = [messages("a", "b") | {"task": "explain", "weight": 1.0}] * 2
    parts, tasks = sft.number_tasks({"train": Dataset.from_list(sft.weigh_rows(one, texts(3, 3)))})
    assert parts["train"].column_names == ["input_ids", "labels"]
    assert tasks == {"explain": {"rows": 2, "completion_tokens": 6, "mean_weight": 1.0}}
