"""TRL's DPOTrainer over rows that are tokens already: those that were looked at before, with the tools in them."""

from typing import Any

from trl import DPOTrainer


class TokensTrainer(DPOTrainer):  # type: ignore[misc]
    """Trains on rows of `prompt_ids`, `chosen_ids` and `rejected_ids`."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """The rows as they are; TRL would write them through the chat template once more."""
        return dataset
