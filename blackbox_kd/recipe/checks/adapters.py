"""Adapters that are trained on: their rank stays what it is, whatever a later step says."""

import json
from pathlib import Path
from typing import Any

from blackbox_kd.models import WeightsConfig
from blackbox_kd.recipe.checks.flow import Flow
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.recipe.yaml_source import quote

_NAMES = {"lora_alpha": "alpha", "lora_dropout": "dropout"}
"""What the step calls fields of PEFT."""


def check(flow: Flow, planned: PlannedStep) -> None:
    """Reports a training that goes on from an adapter and wants it of another shape; notes what it leaves."""
    adapter = planned.config.new_adapter()
    for model in planned.list_names("student"):
        came_with = model not in flow.adapters or (adapter is not None and adapter.from_base)
        before = _read_own(flow, model) if came_with else flow.adapters[model]
        if adapter is None or before is None:
            flow.adapters[model] = None if adapter is None else (planned.label, adapter.shape)
            continue
        whose, shape = before
        for name in sorted(adapter.given & shape.keys()):
            wanted, found = adapter.shape[name], shape[name]
            if wanted != found and isinstance(wanted, str | list) == isinstance(found, str | list):
                what = f"{name}: {quote(wanted)}, and the adapter that it trains on has {quote(found)}"
                fix = f"take {name}: out, or continue: merge, or start: base"
                flow.report(planned, name, f"{what} ({whose}).", "", fix)
        flow.adapters[model] = before


def _read_own(flow: Flow, model: str) -> tuple[str, dict[str, Any]] | None:
    """Whose adapter a model of the recipe comes with, and its shape; None if it has none, or none that can be read."""
    config = flow.recipe.models.get(model)
    if not isinstance(config, WeightsConfig) or config.adapter is None:
        return None
    try:
        found = json.loads((Path(flow.recipe.folder) / config.adapter / "adapter_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return f"models.{model}", {_NAMES.get(name, name): value for name, value in found.items()}
