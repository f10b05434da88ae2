"""TRL's trainers with a teacher, over rows that are tokens already: the losses are TRL's, the passes are ours."""

import os
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from trl import DistillationTrainer
from trl.experimental.gkd import GKDTrainer
from trl.experimental.gold import GOLDTrainer
from trl.experimental.utils import piece_byte_len

from blackbox_kd.training.on_policy import OnPolicy, Tokens, Writing


class BothTrainer(OnPolicy, GKDTrainer):  # type: ignore[misc]
    """GKD: the mean divergence over the tokens of an update, of both models at the answers alone."""

    def __init__(self, writing: Writing, **given: Any) -> None:
        self.writing = writing
        super().__init__(data_collator=self.make_tensors, **given)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL computes the output head at prompts too, a share of the work that the loss does not look at."""
        share = inputs.get("share", 1.0)
        labels = inputs["labels"][:, self.find_answers(inputs) :]
        asked = {
            "input_ids": inputs["input_ids"],
            "attention_mask": inputs["attention_mask"],
            "use_cache": False,
            "logits_to_keep": labels.shape[1] + 1,
        }
        said = model(**asked).logits[:, :-1]
        with torch.no_grad():
            wanted = self.teacher_model(**asked).logits[:, :-1]
        items = self.count_items(inputs) if num_items_in_batch is None else num_items_in_batch
        loss = self.generalized_jsd_loss(said, wanted, labels, self.beta, num_items_in_batch=items)
        return loss * bool(share) * self.accelerator.num_processes


class OwnTrainer(OnPolicy, DistillationTrainer):  # type: ignore[misc]
    """The divergence on the student's own texts: its mean over the tokens of an update."""

    def __init__(self, writing: Writing, **given: Any) -> None:
        self.writing = writing
        super().__init__(**given)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's own, of texts that are written already."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        first = self.find_answers(inputs)
        items = self.count_items(inputs) if num_items_in_batch is None else num_items_in_batch
        parts = {
            "prompt_ids": ids[:, :first],
            "prompt_mask": mask[:, :first],
            "completion_ids": ids[:, first:],
            "completion_mask": mask[:, first:],
            "num_items_in_batch": torch.as_tensor(items),
        }
        return super().compute_loss(model, parts, num_items_in_batch=items) * bool(inputs.get("share", 1.0))


class OtherTokensTrainer(OnPolicy, GOLDTrainer):  # type: ignore[misc]
    """GOLD across tokenizers: the mean over the rows of an update, each the mean over its pieces."""

    def __init__(self, writing: Writing, **given: Any) -> None:
        self.writing = writing
        super().__init__(data_collator=self.make_tensors, **given)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's own, times the share of the pass."""
        share = inputs.get("share", 1.0)
        return super().compute_loss(model, {name: inputs[name] for name in inputs if name != "share"}) * share

    def make_tensors(self, rows: Sequence[Tokens]) -> dict[str, Any]:
        """The tensors of B rows, with their texts, and for each token of an answer where its bytes begin and end."""
        made = super().make_tensors(rows)
        tokenizer, width = self.processing_class, made["input_ids"].shape[1]
        first = max(len(row["prompt_ids"]) for row in rows)
        offsets = torch.zeros((len(rows), width, 2), dtype=torch.long)
        for number, row in enumerate(rows):
            sizes = [piece_byte_len(piece) for piece in tokenizer.convert_ids_to_tokens(row["completion_ids"])]
            ends = torch.tensor(sizes, dtype=torch.long).cumsum(0)
            offsets[number, first : first + len(sizes)] = torch.stack([ends - torch.tensor(sizes), ends], dim=1)
        texts = {
            f"original_{name}_text": [
                tokenizer.decode(row[f"{name}_ids"], skip_special_tokens=False, clean_up_tokenization_spaces=False)
                for row in rows
            ]
            for name in ("prompt", "completion")
        }
        return made | texts | {"byte_offsets": offsets}
