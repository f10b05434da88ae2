"""The texts of `blackbox-kd steps NAME`: what a step reads, writes and takes, from its docstring and its config."""

import sys
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from blackbox_kd import answers
from blackbox_kd.errors import UserError, did_you_mean
from blackbox_kd.sdk.fields import find_answers
from blackbox_kd.sdk.registry import Registry, Step
from blackbox_kd.sdk.step_config import StepConfig


def _find_step(name: str) -> Step:
    registry = Registry()
    try:
        return registry.get(name)
    except KeyError:
        fix = did_you_mean(name, registry.names()) or "name one of them"
        steps = f"steps: {', '.join(registry.names())}"
        raise UserError(f"there is no step {name!r}", exists=steps, fix=fix) from None


def list_steps() -> str:
    """One line for each step."""
    registry = Registry()
    found = [registry.get(name) for name in registry.names()]
    return "\n".join(f"{step.name:<10} {step.kind:<6} {step.doc.splitlines()[0]}" for step in found)


def describe_step(name: str) -> str:
    """What a step does, and each of its fields; of a step with several forms, first those that all forms have."""
    step = _find_step(name)
    lines = [f"{step.name} ({step.kind} step)", "", step.doc.strip()]
    fields = {form: _describe_fields(form) for form in step.all_forms}
    first, *others = fields.values()
    common = {name: text for name, text in first.items() if all(other.get(name) == text for other in others)}
    lines += ["", "Fields", *common.values()]
    for form, own in fields.items() if others else ():
        how = f"{form.told_by}: {' or '.join(map(str, form.told_values()))}".rstrip(" ")
        lines += ["", f"With {how}", *(text for name, text in own.items() if name not in common)]
    if any(find_answers(form) for form in fields):
        lines += ["", "Kinds of answers", *(_describe_kind(kind) for kind in answers.kinds())]
    return "\n".join(lines)


def _describe_kind(name: str) -> str:
    kind = answers.find(name)
    about = (sys.modules[kind.__module__].__doc__ or "").strip().splitlines()[0]
    return "\n".join([f"  {name}", f"      {about}", *_describe_fields(kind, " " * 6).values()])


def _describe_fields(form: type[BaseModel], indent: str = "  ") -> dict[str, str]:
    """What is said of each field, by its name."""
    found = {}
    for name, entry in form.model_fields.items():
        default = "required" if entry.is_required() else _describe_default(entry.get_default(call_default_factory=True))
        about = f"{indent}    {' '.join((entry.description or '').split())}"
        found[name] = f"{indent}{entry.alias or name} ({default})\n{about}"
    return found


def _describe_default(value: Any) -> str:
    """What a field is when it is left out, as a recipe would write it."""
    if value is None:
        return "may be left out"
    return f"default {str(value).lower() if isinstance(value, bool) else repr(value)}"


def document_steps(name: str | None) -> list[dict[str, Any]]:
    """The same for programs."""
    registry = Registry()
    chosen = [_find_step(name)] if name else [registry.get(each) for each in registry.names()]
    return [
        {
            "name": step.name,
            "kind": step.kind,
            "about": step.doc.splitlines()[0],
            "reads": list(dict.fromkeys(name for kind in step.kinds for name in kind.reads)),
            "writes": list(dict.fromkeys(name for kind in step.kinds for name in kind.writes)),
            "drops": list(dict.fromkeys(reason for kind in step.kinds for reason in kind.drops)),
            "schema": _build_schema(step.all_forms),
        }
        for step in chosen
    ]


def document_answers() -> list[dict[str, Any]]:
    """The kinds of answers, for programs."""
    kinds = [(name, answers.find(name)) for name in answers.kinds()]
    return [{"name": name, "schema": kind.model_json_schema(by_alias=True)} for name, kind in kinds]


def _build_schema(forms: list[type[StepConfig]]) -> dict[str, Any]:
    """The JSON Schema of a step's fields."""
    if len(forms) == 1:
        return forms[0].model_json_schema(by_alias=True)
    parts, definitions = models_json_schema([(form, "validation") for form in forms], by_alias=True)
    return {"oneOf": list(parts.values()), **definitions}
