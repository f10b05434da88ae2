"""TRL's SFTTrainer with a loss that costs less on a CPU, and with rows that may weigh differently.

TRL 1.16 computes the output head at every position outside CUDA (`add_fused_lm_head`, `compact`), prompts included.
A small student spends a third of its work there, so on a CPU the head is computed from the first completion token on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch.nn.functional import cross_entropy
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from blackbox_kd.errors import DataError
from blackbox_kd.training.masks import IGNORED
from blackbox_kd.training.passes import InPasses


class CompletionTrainer(InPasses, SFTTrainer):  # type: ignore[misc]
    """Trains on completions: the sum of their tokens' losses, each times the `weight` of its row if rows have one.

    The sum of an update is divided by its tokens (`mean_over="tokens"`), or by the rows that a whole update has: then
    a row counts by its weight alone, whatever stands beside it.
    """

    def __init__(self, *args: Any, mean_over: Literal["tokens", "rows"] = "tokens", **kwargs: Any) -> None:
        if "weight" in kwargs["train_dataset"].column_names:
            if kwargs["args"].loss_type != "nll" or kwargs["args"].label_smoothing_factor:
                what = "rows that differ in `weight` or `task` are learnt by the plain loss alone"
                raise DataError(what, fix="take loss_type and label_smoothing_factor out of trl:")
            kwargs["data_collator"] = WeightedRows(kwargs["processing_class"].pad_token_id)
        super().__init__(*args, **kwargs)
        self._mean_over = mean_over
        used = self.args
        self._is_plain = used.loss_type == "nll" and not used.label_smoothing_factor and not self.aux_loss_enabled
        self._on_cpu = self.accelerator.device.type == "cpu"
        if self._on_cpu:
            # A slice along the tokens is strided, and a linear layer would copy its weights once a row to take it.
            self.model.get_output_embeddings().register_forward_pre_hook(lambda module, args: (args[0].contiguous(),))

    def measure_rows(self, table: Any) -> list[int]:
        """See `InPasses`."""
        return [len(ids) for ids in table["input_ids"]]

    def count_items(self, one: Mapping[str, Any]) -> Any:
        """See `InPasses`."""
        return (one["labels"][..., 1:] != IGNORED).sum()

    def find_collator(self) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """See `InPasses`; TRL's own puts rows one behind the other, with their positions and where each begins."""
        made = DataCollatorForLanguageModeling(self.data_collator.pad_token_id, padding_free=True)
        return made if self.room.packed else self.data_collator  # type: ignore[no-any-return]

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """See the class; without weights, TRL's own off the CPU and for experts, with the loss of their routers."""
        weight, share = inputs.pop("weight", None), inputs.pop("share", 1.0)
        if return_outputs or (weight is None and not (self._on_cpu and self._is_plain)):
            if share:  # TRL divides the routers' loss, a mean over a pass, by this number
                self.current_gradient_accumulation_steps = 1 / share
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch) * bool(share)
        wanted = inputs["labels"][:, 1:] != IGNORED
        losses = self._compute_losses(model, inputs) if self._on_cpu else -self._run_fused_head(model, inputs)
        if weight is not None:
            losses = losses * weight[:, None]
        processes = self.accelerator.num_processes if num_items_in_batch is not None else 1
        if self._mean_over == "rows":
            if num_items_in_batch is None or not self.model.training:
                return losses.sum() * share / len(losses)
            return losses.sum() * bool(share) * processes / self.args.per_device_train_batch_size
        tokens = wanted.sum() if num_items_in_batch is None else num_items_in_batch
        return losses.sum() * bool(share) * processes / torch.as_tensor(tokens).clamp(min=1)

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
