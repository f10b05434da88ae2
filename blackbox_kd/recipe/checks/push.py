"""Whether a recipe makes the models that it sends to the Hub."""

from blackbox_kd.errors import did_you_mean
from blackbox_kd.recipe.checks.flow import Flow
from blackbox_kd.recipe.yaml_source import quote


def check(flow: Flow) -> None:
    """Reports models of `push:` that no step trains."""
    push = flow.recipe.head.push
    for name in () if push is None else push.models:
        if name not in flow.students and name not in flow.broken:
            trained = sorted(flow.students)
            fix = did_you_mean(name, trained) or "name a model that a step train trains, or take it out"
            told = f"models that are trained: {', '.join(trained) or 'none'}"
            flow.add(("push", "models", name), "push", f"no step trains {quote(name)}.", told, fix)
