"""TRL's KTOTrainer over rows that are tokens already, whose reference point is that of a whole update."""

from collections.abc import Mapping
from typing import Any

import torch
from trl import KTOTrainer
from trl.trainer.kto_trainer import use_adapter

from blackbox_kd.training.passes import InPasses, Loader


class LabelsTrainer(InPasses, KTOTrainer):  # type: ignore[misc]
    """Trains on rows of `prompt_ids`, `completion_ids`, `KL_completion_ids` and `label`.

    An answer counts as good by how much likelier it has become than answers of the same update that belong to other
    prompts. TRL takes their mean over a pass; here it is that of the update, so that memory does not decide it.
    """

    _drift: Any = 0.0
    """How much likelier those other answers have become in this update, in nats."""
    _asked = 0

    def measure_rows(self, table: Any) -> list[int]:
        """See `InPasses`."""
        columns = (table[name] for name in ("prompt_ids", "completion_ids", "KL_completion_ids"))
        return [len(asked) + max(len(own), len(other)) for asked, own, other in zip(*columns, strict=True)]

    def count_items(self, one: Mapping[str, Any]) -> Any:
        """See `InPasses`: rows."""
        return torch.tensor(len(one["label"]))

    def get_train_dataloader(self) -> Loader:
        """Updates in the order of the table: the other answers of a row are those of its update."""
        return self._load(self.train_dataset, "training", None)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """See `InPasses`."""
        self._drift = self._measure_drift(model, inputs)
        return super().training_step(model, inputs, num_items_in_batch)

    def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> tuple[Any, None, None]:
        """See `InPasses`."""
        self._drift = self._measure_drift(model, inputs)
        return super().prediction_step(model, inputs, *args, **kwargs)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean over the rows of a pass, times its share of the update."""
        share, self._asked = inputs.pop("share", 1.0), 0
        known = {"ref_KL_logps": torch.zeros(1)} if self.precompute_ref_logps else {}
        return super().compute_loss(model, {**inputs, **known}, return_outputs) * share

    def _compute_kl_logps(self, model: Any, batch: Any) -> Any:
        """What TRL asks for first of the model, then of the reference: their difference is what was measured."""
        self._asked += 1
        return torch.as_tensor(self._drift if self._asked == 1 else 0.0, device=self.accelerator.device)

    def _measure_drift(self, model: Any, inputs: Any) -> Any:
        """The mean over all rows of an update, on all processes."""
        passes = [one for one in self._prepare_inputs(inputs)["passes"] if one["share"]]
        sums = torch.zeros(2, device=self.accelerator.device)
        with torch.no_grad(), self.compute_loss_context_manager():
            for one in passes:
                before = one["ref_KL_logps"] if self.precompute_ref_logps else self._ask_reference(one)
                now = super()._compute_kl_logps(model, one)
                sums += torch.stack([(now - before).sum(), torch.tensor(len(now), device=sums.device)])
        total, rows = self.accelerator.reduce(sums)
        return total / rows.clamp(min=1)

    def _ask_reference(self, one: Any) -> Any:
        plain = self.accelerator.unwrap_model(self.model)
        if self.ref_model is not None or not hasattr(plain, "peft_config"):
            return super()._compute_kl_logps(self.ref_model, one)
        with use_adapter(plain, adapter_name="ref" if "ref" in plain.peft_config else None):
            return super()._compute_kl_logps(self.model, one)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """The rows as they are; TRL would write them through the chat template once more."""
        return dataset
