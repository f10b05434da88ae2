"""Two runs side by side: what differs in their recipes, row by row in their tables, in their cost and their metrics."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.recipe import yaml_source
from blackbox_kd.recipe.yaml_source import format_path
from blackbox_kd.runs import browse
from blackbox_kd.runs.report.comparisons import list_measures

COSTS = ("requests", "tokens", "usd")
LOSSES = ("dropped", "failed")
BOOKS = ("usage", "cost_usd")
"""Columns that are of no interest as long as others differ."""
MOST_CHANGES = 50
"""Changed values of a recipe that are told."""
_NUMBERED = re.compile(r"\d{2,}_")
Place = tuple[str | int, ...]


def compare_runs(one: Path, other: Path, examples: int = 3) -> dict[str, Any]:
    """What differs between two runs, as JSON holds it; what is told of both is a pair.

    Args:
        one: a run's folder.
        other: the other one's.
        examples: changed rows of each table that are shown, and ids of rows that only one has.

    Raises:
        DataError: a table holds what is no row.
    """
    runs = [one, other]
    reports = [browse.read_report(run) for run in runs]
    pairs, alone = _match_tables(one, other)
    return {
        "runs": [_describe(run, report) for run, report in zip(runs, reports, strict=True)],
        "recipe": _compare_recipes(one, other),
        "tables": [_compare_tables(name, files, examples) for name, files in pairs.items()],
        "only_tables": alone,
        "cost": {
            key: [report.get("spent", {}).get(key) for report in reports] for key in ("requests", "tokens", "usd")
        },
        "metrics": _compare_metrics(*reports),
    }


def _describe(run: Path, report: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("recipe", "seed", "status", "ended", "written_at")
    return {"run": str(run), **{key: report.get(key) for key in keys}}


def _match_tables(one: Path, other: Path) -> tuple[dict[str, tuple[Path, Path]], list[list[str]]]:
    """Tables of the same name, and names that only one run has.

    A table that the recipe gives no name has its step's, with the step's position: in a recipe with one step more it
    stands elsewhere, and is known by the step as long as that step is there once.
    """
    found = [_drop_losses(browse.name_tables(run)) for run in (one, other)]
    names = [name for name in found[0] if name in found[1]]
    pairs = {name: (found[0][name], found[1][name]) for name in names}
    left = [{name: path for name, path in tables.items() if name not in pairs} for tables in found]
    by_step = [_by_step(tables) for tables in left]
    for step, name in by_step[0].items():
        if (twin := by_step[1].get(step)) is not None:
            pairs[f"{name} / {twin}"] = left[0].pop(name), left[1].pop(twin)
    return pairs, [list(tables) for tables in left]


def _drop_losses(tables: Mapping[str, Path]) -> dict[str, Path]:
    return {name: path for name, path in tables.items() if name not in LOSSES}


def _by_step(tables: Mapping[str, Path]) -> dict[str, str]:
    """Names of tables by that of their step, where there is but one of it."""
    steps = {name: _NUMBERED.sub("", name, count=1) for name in tables if _NUMBERED.match(name)}
    times = Counter(steps.values())
    return {step: name for name, step in steps.items() if times[step] == 1}


def _read(file: Path) -> Iterator[tuple[str, bytes, int]]:
    """The id, the line and the offset of each row."""
    offset = 0
    with file.open("rb") as lines:
        for line in lines:
            yield str(_parse(file, line)["id"]), line, offset
            offset += len(line)


def _parse(file: Path, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
        row["id"]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{file}: a line is no row: {line[:80]!r}", fix="run the recipe again; it is written anew"
        ) from error
    found: dict[str, Any] = row
    return found


def _compare_tables(name: str, files: tuple[Path, Path], examples: int) -> dict[str, Any]:
    known = {row: (hashlib.sha256(line).digest(), offset) for row, line, offset in _read(files[0])}
    rows, same, changed = [len(known), 0], 0, 0
    columns, shown, new = Counter[str](), list[dict[str, Any]](), list[str]()
    with files[0].open("rb") as before:
        for row, line, _ in _read(files[1]):
            rows[1] += 1
            if (there := known.pop(row, None)) is None:
                new.append(row)
                continue
            if there[0] == hashlib.sha256(line).digest():
                same += 1
                continue
            before.seek(there[1])
            values = _parse(files[0], before.readline()), _parse(files[1], line)
            keys = sorted(dict.fromkeys([*values[0], *values[1]]), key=lambda key: key in BOOKS)
            differing = [key for key in keys if _differs(key, *values)]
            same, changed = (same, changed + 1) if differing else (same + 1, changed)
            columns.update(differing)
            if differing and len(shown) < examples:
                kept = [key for key in differing if key not in BOOKS] or differing
                told = {key: [each.get(key) for each in values] for key in kept}
                shown.append({"id": row, "columns": told})
    counts = {"table": name, "rows": rows, "same": same, "changed": changed, "only": [len(known), len(new)]}
    ids = [[*known][:examples], new[:examples]]
    return {**counts, "columns": dict(columns.most_common()), "examples": shown, "only_ids": ids}


def _differs(key: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return (key in one) != (key in other) or one.get(key) != other.get(key)


def _compare_recipes(one: Path, other: Path) -> list[dict[str, Any]]:
    """Values that differ in the recipes as they were run; None where one has none."""
    values = [dict(_flatten(_read_recipe(run))) for run in (one, other)]
    paths = dict.fromkeys([*values[0], *values[1]])
    differing = [path for path in paths if values[0].get(path) != values[1].get(path)]
    return [
        {"path": format_path(path), "values": [each.get(path) for each in values]} for path in differing[:MOST_CHANGES]
    ]


def _read_recipe(run: Path) -> Any:
    try:
        return yaml_source.read((run / "recipe.yaml").read_text(encoding="utf-8")).values
    except OSError:
        return None


def _flatten(values: Any, path: Place = ()) -> Iterator[tuple[Place, Any]]:
    """The values that are no mappings and no lists, with their paths."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _flatten(value, (*path, key))
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from _flatten(value, (*path, index))
    elif path:
        yield path, values


def _compare_metrics(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What both runs have measured, or one of them, by model, table and metric; of a loop the last round's."""
    found = [_list_metrics(report) for report in (one, other)]
    places = dict.fromkeys([*found[0], *found[1]])
    return [
        {
            "model": model,
            "table": table,
            "metric": metric,
            "values": [each.get((model, table, metric)) for each in found],
        }
        for model, table, metric in places
    ]


def _list_metrics(report: Mapping[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    found = {}
    for entry in report.get("evaluations", []):
        for metric, measured in list_measures(entry).items():
            if measured["value"] is not None:
                place = entry["model"], entry["table"], metric
                found[place] = {"value": measured["value"], "ci95": measured["ci95"], "n": entry["n"]}
    for entry in report.get("win_rates", []):
        if entry["win_rate"] is not None:
            measured = {"value": entry["win_rate"], "ci95": entry["ci95"], "n": entry["n"]}
            found[entry["model"], entry["table"], f"win rate by {entry['judge']}"] = measured
    return found
