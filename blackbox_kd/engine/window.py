"""How many rows are in flight at once."""

import math
from collections.abc import Iterable

from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.recipe.spec import PlannedStep

WINDOW = 64
"""Rows that are worked on side by side when no model sets the pace."""


AHEAD = 1.5
"""Rows for each request that models take at once: enough that some may wait for the disk or before they are sent
again. More only wait in line, at a cost in time and memory."""


def find_window(steps: Iterable[PlannedStep], models: ModelPool) -> int:
    """Rows in flight: enough to keep every model that the steps name busy, and to fill batches."""
    most_calls: dict[str, int] = {}
    for planned in steps:
        calls = planned.config.calls_by_model()
        for name in planned.list_names("model"):
            most_calls[name] = max(most_calls.get(name, 1), math.ceil(calls.get(name, 0)))
    configs = {name: models.config(name) for name in most_calls}
    batched = max((config.in_flight // most_calls[name] for name, config in configs.items()), default=0)
    return max(WINDOW, int(AHEAD * sum(config.max_concurrency for config in configs.values())), batched)
