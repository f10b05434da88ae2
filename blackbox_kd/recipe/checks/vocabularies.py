"""Models that a step compares token by token: where their tokenizers are at hand, they are held against each other."""

from pathlib import Path
from typing import Any

from blackbox_kd.models import WeightsConfig
from blackbox_kd.recipe.checks.flow import Flow
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.schema import ModelRef
from blackbox_kd.weights import vocabulary


def check(flow: Flow, planned: PlannedStep) -> None:
    """Reports a model whose tokens are not those of the first one, which a training would else find out."""
    names = planned.config.same_tokens()
    found = {field: _read(flow, name) for field, name in names.items()}
    first, *others = found or [""]
    for field in others:
        student, teacher = found[first], found[field]
        if student is None or teacher is None or student is teacher:
            continue
        if why := vocabulary.explain_difference(student, teacher):
            what = f"the tokens of {names[field]!r} are not those of {names[first]!r}: {why}."
            flow.report(planned, field, what, "", vocabulary.FIX)


def _read(flow: Flow, name: str) -> Any:
    config = flow.recipe.models.get(name) or flow.recipe.models.get(ModelRef.parse(name).name)
    if not isinstance(config, WeightsConfig):
        return None
    try:
        return vocabulary.read(Path(flow.recipe.folder) / config.model)
    except (OSError, ValueError):
        return None
