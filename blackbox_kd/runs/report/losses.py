"""What a run has lost most of its rows by: steps that dropped them for one reason, replies that nobody could read."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs.accounts import Account
from blackbox_kd.runs.examples import describe_example
from blackbox_kd.runs.report.format import format_percent

MOST = 0.5
FEWEST = 3
"""Rows that must be lost for it to be told: of two rows nobody needs to be told which one is gone."""


def find(accounts: Iterable[Account], recipe: Recipe, files: Iterable[Path]) -> list[dict[str, Any]]:
    """For each step that dropped most of its rows for one reason, that reason with an example.

    Reasons for which a step merely takes other rows, such as those of a budget, say nothing against a row.

    Args:
        accounts: of the steps.
        recipe: whose steps they are.
        files: with the rows that were dropped; the first one of a reason is its example.
    """
    expected = {
        label: tuple(reason.partition("{")[0] for reason in planned.step.of(planned.config).passes_over)
        for planned in recipe.steps
        for label in planned.labels
    }
    found: list[dict[str, Any]] = []
    for account in accounts:
        passed_over = expected.get(account.step, ())
        for reason, rows in account.dropped.most_common(1):
            if rows >= FEWEST and rows > MOST * account.ended and not reason.startswith(passed_over):
                where = {"step": account.step} | ({"round": account.round} if account.round else {})
                found.append({**where, "reason": reason, "rows": rows, "of": account.ended})
    examples = _find_examples({(entry["step"], entry["reason"]) for entry in found}, files)
    return [{**entry, "example": examples.get((entry["step"], entry["reason"]))} for entry in found]


def _find_examples(wanted: set[tuple[str, str]], files: Iterable[Path]) -> dict[tuple[str, str], dict[str, Any]]:
    """The first row that was dropped by each step for each reason, of what is wanted."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in _read(files) if wanted else ():
        key = entry["step"], entry["reason"]
        if key in wanted:
            found.setdefault(key, entry["row"])
            if len(found) == len(wanted):
                break
    return found


def _read(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in files:
        if path.exists():
            with path.open(encoding="utf-8") as file:
                yield from map(json.loads, file)


def describe(report: Mapping[str, Any]) -> list[str]:
    """What most rows of a run were lost by, in lines for a screen."""
    lines = [_describe_loss(entry) for entry in report.get("losses", [])]
    return lines + [
        f"in {entry['counts']['unread']:,} of {entry['out']:,} rows {entry['step']} could read no answer"
        for entry in report.get("funnel", [])
        if entry.get("counts", {}).get("unread", 0) > MOST * entry["out"]
    ]


def _describe_loss(entry: Mapping[str, Any]) -> str:
    share = format_percent(entry["rows"] / entry["of"])
    line = (
        f"{entry['step']} dropped {entry['rows']:,} of {entry['of']:,} rows ({share}) for one reason: {entry['reason']}"
    )
    return line + (f"; such as {describe_example(entry['example'])}" if entry["example"] else "")
