"""The texts of `blackbox-kd steps NAME`: what a step reads, writes and takes, from its docstring and its config."""

from typing import Any

from blackbox_kd.errors import UserError, did_you_mean
from blackbox_kd.sdk.registry import Registry, Step


def _step(name: str) -> Step:
    registry = Registry()
    try:
        return registry.get(name)
    except KeyError:
        fix = did_you_mean(name, registry.names()) or "name one of them"
        message = f"there is no step {name!r}\n  steps: {', '.join(registry.names())}\n  fix: {fix}"
        raise UserError(message) from None


def list_steps() -> str:
    """One line for each step."""
    registry = Registry()
    found = [registry.get(name) for name in registry.names()]
    return "\n".join(f"{step.name:<10} {step.kind:<6} {step.doc.splitlines()[0]}" for step in found)


def describe_step(name: str) -> str:
    """What a step does, and each of its fields."""
    step = _step(name)
    lines = [f"{step.name} ({step.kind} step)", "", step.doc.strip(), "", "Fields"]
    for field, entry in step.config.model_fields.items():
        default = "required" if entry.is_required() else f"default {entry.get_default(call_default_factory=True)!r}"
        lines.append(f"  {entry.alias or field} ({default})")
        lines.append(f"      {' '.join((entry.description or '').split())}")
    return "\n".join(lines)


def document_steps(name: str | None) -> list[dict[str, Any]]:
    """The same for programs."""
    registry = Registry()
    chosen = [_step(name)] if name else [registry.get(each) for each in registry.names()]
    return [
        {
            "name": step.name,
            "kind": step.kind,
            "about": step.doc.splitlines()[0],
            "reads": list(step.reads),
            "writes": list(step.writes),
            "drops": list(step.drops),
            "schema": step.config.model_json_schema(by_alias=True),
        }
        for step in chosen
    ]
