"""What decides the rows of a table step: a finished step with the same fingerprint is not run again."""

import json
from pathlib import Path
from typing import Any

from blackbox_kd import answers
from blackbox_kd.engine import equal
from blackbox_kd.engine.state import RunState
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.schema import digest
from blackbox_kd.tables.stored import StoredTable

FIELDS_OF_0_1: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("fields_of_0_1.json").read_text("utf-8"))
"""Fields of the table steps of version 0.1 and their defaults, which stand in the fingerprints that it has left."""
FIELDS_OF_ALL: dict[str, Any] = {"step": None, "input": None, "output": None}


def describe_step(planned: PlannedStep) -> dict[str, Any]:
    """What a step is, as far as its rows depend on it.

    A field that has its default is left out: a release that adds a field makes no finished step another one. What a
    default that changes does to the rows, the step's version says. What a step runs on is left out, too.
    """
    step = planned.step
    fields = planned.config.model_dump(exclude_defaults=True, exclude=planned.config.runs_on())
    kind = planned.config.answer_kind()
    code = step.code + (answers.identify(kind) if kind is not None else "")
    return {"step": step.name, "version": step.version, "code": code, "fields": fields}


def compute_fingerprints(planned: PlannedStep, table: StoredTable | None, shared: RunState) -> list[str]:
    """The fingerprint of a step; behind it that which version 0.1 gave to a step that writes the same rows.

    Args:
        planned: the step.
        table: the table that it reads, if it reads one.
        shared: the tables, models and reports that its fields name.
    """
    inputs = _describe_inputs(planned, table, shared)
    found = [digest({**describe_step(planned), **inputs})]
    fields = _write_fields_as_0_1(planned)
    if fields is not None and planned.step.version == 1:
        order = ("seed", "table", "tables", "models", "prompts")
        found.append(digest([fields, *(inputs[name] for name in order), planned.step.code, inputs["reports"]]))
    return found


def _describe_inputs(planned: PlannedStep, table: StoredTable | None, shared: RunState) -> dict[str, Any]:
    """What a step reads besides its fields."""
    shown = planned.list_names("reported table")
    registry = shared.recipe.registry
    own = {name: code for name in planned.list_names("metric") if (code := registry.find_metric(name).code)}
    files = [name for at, name in planned.config.files().items() if at in planned.config.runs_code()]
    return {
        **({"metrics": own} if own else {}),
        **({"files": [(shared.recipe.folder / name).read_text(encoding="utf-8") for name in files]} if files else {}),
        **equal.describe(shared, planned),
        "seed": shared.recipe.head.seed,
        "table": table and table.sha256,
        "tables": {name: shared.tables[name].sha256 for name in planned.list_names("table")},
        "models": {
            name: shared.models.identity(name) for name in planned.list_names("model", "student", "trained model")
        },
        "prompts": {name: shared.recipe.prompts[name].source for name in planned.list_names("prompt")},
        "reports": {
            key: [entry for entry in kept if entry.get("table") in shown]
            for key, kept in shared.records.find_all().items()
            if shown
        },
    }


def _write_fields_as_0_1(planned: PlannedStep) -> dict[str, Any] | None:
    """The fields of a step as version 0.1 wrote them out; None if it had not all of those that are given."""
    fields = planned.config.model_dump()
    if planned.step.code:
        return fields
    known = {**FIELDS_OF_ALL, **FIELDS_OF_0_1.get(planned.step.name, {})}
    if not planned.config.model_dump(exclude_defaults=True, exclude=planned.config.runs_on()).keys() <= known.keys():
        return None
    return known | {name: value for name, value in fields.items() if name in known}
