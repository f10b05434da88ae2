"""What `show` and `steps` tell."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from blackbox_kd.errors import UserError, did_you_mean
from blackbox_kd.exports import rows_in
from blackbox_kd.sdk.registry import Registry, Step


def _files(run: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted((run / "tables").glob("*.jsonl")):
        yield path.stem, path
    for name in ("dropped", "failed"):
        if (run / f"{name}.jsonl").exists():
            yield name, run / f"{name}.jsonl"


def tables(run: Path) -> list[dict[str, Any]]:
    """The tables of a run, with their numbers of rows.

    `current` is false for those that the latest run in the folder has not come to: an earlier one wrote them.
    """
    current = _report(run).get("tables")
    found = []
    for name, path in _files(run):
        with path.open("rb") as file:
            rows = sum(1 for _ in file)
        is_current = not current or name in ("dropped", "failed", *current)
        found.append({"table": name, "rows": rows, "path": str(path), "current": is_current})
    return found


def dataset(run: Path) -> dict[str, Any] | None:
    """The data set of a run, as `tables` tells of tables; None if there is none."""
    path, told = run / "dataset" / "train.jsonl", _report(run)
    if not path.exists():
        return None
    return {"path": str(path.parent), "rows": rows_in(path.parent), "current": bool(told.get("dataset", True))}


def _report(run: Path) -> dict[str, Any]:
    """The report of the latest run in a folder; empty if it has not ended."""
    try:
        told = json.loads((run / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def rows(run: Path, table: str, count: int) -> list[dict[str, Any]]:
    """The first rows of a table, named by its file or a part of it.

    Raises:
        UserError: the run has no such table.
    """
    files = dict(_files(run))
    name = table if table in files else next((name for name in reversed(files) if table in name), None)
    if name is None:
        fix = did_you_mean(table, list(files)) or "name one of them"
        raise UserError(f"{run} has no table {table!r}\n  tables: {', '.join(files)}\n  fix: {fix}")
    with files[name].open(encoding="utf-8") as file:
        return [json.loads(line) for line in islice(file, max(0, count))]


def _step(name: str) -> Step:
    registry = Registry()
    try:
        return registry.get(name)
    except KeyError:
        fix = did_you_mean(name, registry.names()) or "name one of them"
        message = f"there is no step {name!r}\n  steps: {', '.join(registry.names())}\n  fix: {fix}"
        raise UserError(message) from None


def step_list() -> str:
    """One line for each step."""
    registry = Registry()
    found = [registry.get(name) for name in registry.names()]
    return "\n".join(f"{step.name:<10} {step.kind:<6} {step.doc.splitlines()[0]}" for step in found)


def step_text(name: str) -> str:
    """What a step does, and each of its fields."""
    step = _step(name)
    lines = [f"{step.name} ({step.kind} step)", "", step.doc.strip(), "", "Fields"]
    for field, entry in step.config.model_fields.items():
        default = "required" if entry.is_required() else f"default {entry.get_default(call_default_factory=True)!r}"
        lines.append(f"  {entry.alias or field} ({default})")
        lines.append(f"      {' '.join((entry.description or '').split())}")
    return "\n".join(lines)


def steps(name: str | None) -> list[dict[str, Any]]:
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
