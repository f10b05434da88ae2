"""The loops of a run in words: what each round brought, why the loop ended, and which model it left."""

from collections.abc import Mapping
from typing import Any


def describe(report: Mapping[str, Any]) -> list[str]:
    """The lines of the section; none if the recipe has no loop."""
    loops = [line for entry in report.get("loops", []) for line in _describe_loop(entry)]
    return ["## Rounds", "", *loops] if loops else []


def _describe_loop(entry: Mapping[str, Any]) -> list[str]:
    rounds = f"{entry['rounds']} of at most {entry['most']} rounds"
    lines = [f"{entry['step']}: {rounds}; {entry['ended']}."]
    if "values" in entry:
        lines += ["", f"| round | model | {entry['metric']} on `{entry['table']}` |", "|---|---|---|"]
        for value in entry["values"]:
            mark = " (best)" if value["round"] == entry["best_round"] else ""
            when = "before the loop" if value["round"] == 0 else str(value["round"])
            lines.append(f"| {when} | `{value['version']}` | {100 * value['value']:.1f} %{mark} |")
        lines += ["", f"`{entry['model']}` is `{entry['restored']}` from there on."]
    elif "rows" in entry:
        sizes = ", ".join(f"{rows:,}" for rows in entry["rows"])
        lines += ["", f"Rows of `{entry['table']}` after each round: {sizes}."]
    return [*lines, ""]
