"""The loss of texts of whose tokens a teacher has told the likeliest ones: a divergence over these and all others."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from blackbox_kd.training.masks import IGNORED
from blackbox_kd.training.sft_trainer import CompletionTrainer

COLUMNS = ("top_at", "top_ids", "top_shares", "top_other")
LEAST = 1e-9
"""The least share of other tokens: a student that is sure of the likeliest ones has none left in float32."""


class TopTrainer(CompletionTrainer):
    """Trains on completions: the mean over the tokens of an update, of a divergence or, untold, of the plain loss."""

    def __init__(self, **given: Any) -> None:
        super().__init__(data_collator=TopRows(given["processing_class"].pad_token_id), **given)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """See the class."""
        share, labels = inputs.pop("share", 1.0), inputs.pop("labels")
        first = max(1, int((labels != IGNORED).any(0).int().argmax()))
        names = ("top_ids", "top_shares", "top_other", "known")
        ids, shares, other, known = (inputs.pop(name)[:, first:] for name in names)
        kept = labels.shape[1] - first + 1
        logits = model(**inputs, use_cache=False, logits_to_keep=kept).logits[:, :-1].float()
        wanted = labels[:, first:]
        plain = cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="none")
        logps = logits.gather(-1, ids) - logits.logsumexp(-1, keepdim=True)
        rest = (1 - (logps.exp() * (shares > 0)).sum(-1)).clamp(min=LEAST).log()
        diverged = (torch.xlogy(shares, shares) - shares * logps).sum(-1) + torch.xlogy(other, other) - other * rest
        total = torch.where(known, diverged, plain.view(wanted.shape)).sum()
        items = (wanted != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        processes = self.accelerator.num_processes if num_items_in_batch is not None else 1
        return total * bool(share) * processes / torch.as_tensor(items).clamp(min=1)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns += [name for name in COLUMNS if name not in self._signature_columns]


class TopRows(DataCollatorForLanguageModeling):  # type: ignore[misc]
    """TRL's batches of B rows by T tokens, with K ids and shares at each token, and whether it is told of."""

    def torch_call(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """A padded batch of B rows."""
        batch: dict[str, Any] = super().torch_call(examples)
        rows, width = batch["labels"].shape
        most = max((len(ids) for example in examples for ids in example["top_ids"]), default=0) or 1
        ids = torch.zeros((rows, width, most), dtype=torch.long)
        shares, other = torch.zeros((rows, width, most)), torch.zeros((rows, width))
        known = torch.zeros((rows, width), dtype=torch.bool)
        for row, example in enumerate(examples):
            for at, top, told, left in zip(*(example[name] for name in COLUMNS), strict=True):
                ids[row, at, : len(top)] = torch.tensor(top, dtype=torch.long)
                shares[row, at, : len(top)] = torch.tensor(told)
                other[row, at], known[row, at] = left, True
        return batch | {"top_ids": ids, "top_shares": shares, "top_other": other, "known": known}
