"""How many rows are in flight at once."""

from collections.abc import Iterable

from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.sdk.fields import references

WINDOW = 64
"""Rows that are worked on side by side when no model sets the pace."""


AHEAD = 1.5
"""Rows for each request that models take at once: enough that some may wait for the disk or before they are sent
again. More only wait in line, at a cost in time and memory."""


def find_window(steps: Iterable[PlannedStep], models: ModelPool) -> int:
    """Rows in flight: enough to keep every model that the steps name busy, and to fill batches."""
    steps = list(steps)
    named = {mention.value for planned in steps for mention in references(planned.config) if mention.kind == "model"}
    configs = [models.config(name) for name in named]
    samples = max(getattr(planned.config, "samples", 1) for planned in steps)
    batched = max((getattr(config, "in_flight", 0) // samples for config in configs), default=0)
    return max(WINDOW, int(AHEAD * sum(config.max_concurrency for config in configs)), batched)
