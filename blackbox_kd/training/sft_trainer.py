"""TRL's SFTTrainer with a loss that costs less on a CPU, and with rows that may weigh differently.

TRL 1.16 computes the output head at every position outside CUDA (`add_fused_lm_head`, `compact`), prompts included.
A small student spends a third of its work there, so on a CPU the head is computed from the first completion token on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch.nn.functional import cross_entropy
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from blackbox_kd.errors import DataError
from blackbox_kd.training.masks import IGNORED


class CompletionTrainer(SFTTrainer):  # type: ignore[misc]
    """Trains on completions: the sum of their tokens' losses, each times the `weight` of its row if rows have one.

    The sum of a batch is divided by its tokens (`mean_over="tokens"`), or by the rows that a whole batch has: then a
    row counts by its weight alone, whatever stands beside it in the batch.
    """

    def __init__(self, *args: Any, mean_over: Literal["tokens", "rows"] = "tokens", **kwargs: Any) -> None:
        if "weight" in kwargs["train_dataset"].column_names:
            if kwargs["args"].packing:
                raise DataError("rows that differ in `weight` or `task` cannot be packed", fix="leave packing out")
            kwargs["data_collator"] = WeightedRows(kwargs["processing_class"].pad_token_id)
        super().__init__(*args, **kwargs)
        self._mean_over = mean_over
        self._on_cpu = self.accelerator.device.type == "cpu"
        if self._on_cpu:
            # A slice along the tokens is strided, and a linear layer would copy its weights once a row to take it.
            self.model.get_output_embeddings().register_forward_pre_hook(lambda module, args: (args[0].contiguous(),))

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """See the class; without weights, off the CPU, TRL's own."""
        weight = inputs.pop("weight", None)
        if return_outputs or (weight is None and not self._on_cpu):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        wanted = inputs["labels"][:, 1:] != IGNORED
        losses = self._compute_losses(model, inputs) if self._on_cpu else -self._run_fused_head(model, inputs)
        if weight is not None:
            losses = losses * weight[:, None]
        if self._mean_over == "rows":
            whole = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
            return losses.sum() / (len(losses) if num_items_in_batch is None else whole)
        tokens = wanted.sum() if num_items_in_batch is None else num_items_in_batch
        share = self.accelerator.num_processes if num_items_in_batch is not None else 1
        return losses.sum() * share / torch.as_tensor(tokens).clamp(min=1)

    def _compute_losses(self, model: Any, inputs: dict[str, Any]) -> Any:
        """Losses of B rows by the tokens from the first completion on; 0 where nothing is trained."""
        labels = inputs.pop("labels")
        first = max(1, int((labels != IGNORED).any(0).int().argmax()))
        logits = model(**inputs, use_cache=False, logits_to_keep=labels.shape[1] - first + 1).logits[:, :-1]
        flat = cross_entropy(
            logits.flatten(0, 1).float(), labels[:, first:].flatten(), ignore_index=IGNORED, reduction="none"
        )
        return flat.view(logits.shape[:2])

    def _run_fused_head(self, model: Any, inputs: dict[str, Any]) -> Any:
        """Log-probabilities of B rows by T - 1 tokens, from TRL's fused head; 0 where nothing is trained."""
        return model(**inputs, use_cache=False, fused_lm_head=True).log_probs

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if "weight" not in self._signature_columns:
            self._signature_columns.append("weight")


class WeightedRows(DataCollatorForLanguageModeling):  # type: ignore[misc]
    """TRL's batches, with `weight`: one number a row."""

    def torch_call(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """A padded batch of B rows."""
        batch: dict[str, Any] = super().torch_call(examples)
        return batch | {"weight": torch.tensor([float(example["weight"]) for example in examples])}
