"""TRL's DPOTrainer over rows that are tokens already: those that were looked at before, with the tools in them."""

from collections.abc import Mapping
from typing import Any

from trl import DPOTrainer

from blackbox_kd.training.passes import InPasses

PLAIN = "sft"
"""TRL's name of the plain loss on the chosen text."""


class TokensTrainer(InPasses, DPOTrainer):  # type: ignore[misc]
    """Trains on rows of `prompt_ids`, `chosen_ids` and `rejected_ids`.

    The preference loss is the mean over the pairs of an update, the plain loss on the chosen texts the mean over their
    tokens in it. TRL takes both over a pass, so that tokens of short passes would count for more.
    """

    loss_types: list[str]
    loss_weights: list[float]

    def measure_rows(self, table: Any) -> list[int]:
        """See `InPasses`: both texts of a pair are in the pass, each as long as the longer one."""
        columns = (table[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids"))
        return [2 * (len(asked) + max(len(one), len(other))) for asked, one, other in zip(*columns, strict=True)]

    def count_items(self, one: Mapping[str, Any]) -> Any:
        """See `InPasses`: the tokens of the chosen texts."""
        chosen, _ = one["completion_mask"][..., 1:].chunk(2, dim=0)
        return chosen.sum()

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """See the class."""
        share = inputs.pop("share", 1.0)
        weights = dict(zip(self.loss_types, self.loss_weights, strict=True))
        if num_items_in_batch is None or PLAIN not in weights:
            return super().compute_loss(model, inputs, return_outputs) * share
        kept: list[Any] = []

        def run(**asked: Any) -> Any:
            kept.append(model(**asked))
            return kept[-1]

        others = {name: weight for name, weight in weights.items() if name != PLAIN}
        self.loss_types, self.loss_weights = list(others), list(others.values())
        try:
            loss = super().compute_loss(run, inputs)
        finally:
            self.loss_types, self.loss_weights = list(weights), list(weights.values())
        mask = inputs["completion_mask"][..., 1:]
        chosen, _ = (kept[0].log_probs[:, -mask.shape[1] :] * mask).chunk(2, dim=0)
        processes = self.accelerator.num_processes
        return loss * share - weights[PLAIN] * chosen.sum() * bool(share) * processes / num_items_in_batch

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """The rows as they are; TRL would write them through the chat template once more."""
        return dataset
