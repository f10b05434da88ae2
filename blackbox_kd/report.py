"""The report of a run: `report.json` for programs, `report.md` in words."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from blackbox_kd.accounts import Account
from blackbox_kd.recipe import Recipe
from blackbox_kd.run import StoredTable, write_whole

SCHEMA_VERSION = 1
PACKAGES = ("blackbox-kd", "aiohttp", "torch", "transformers", "trl", "peft", "datasets", "accelerate")


@dataclass(slots=True)
class Facts:
    """What a report is made of.

    Args:
        recipe: the recipe.
        status: `complete`, or why the run stopped.
        accounts: the steps' balances.
        lists: what steps recorded: `evaluations`, `comparisons`, `trainings`.
        models: calls, tokens and cost by model, in this invocation.
        spent: calls, tokens and cost of all invocations of this run, from the ledger.
        contamination: held-out tables against training tables.
        samples: tables of which the report shows a few rows.
    """

    recipe: Recipe
    status: str
    accounts: list[Account]
    lists: dict[str, list[dict[str, Any]]]
    models: list[dict[str, Any]]
    spent: dict[str, Any]
    contamination: list[dict[str, Any]]
    samples: list[StoredTable]


def write(folder: Path, facts: Facts) -> dict[str, Any]:
    """Writes both reports and returns what `report.json` holds."""
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "recipe": facts.recipe.name,
        "paper": facts.recipe.head.paper,
        "seed": facts.recipe.head.seed,
        "status": facts.status,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "funnel": [account.entry() for account in facts.accounts],
        "models": facts.models,
        "spent": facts.spent,
        "evaluations": facts.lists.get("evaluations", []),
        "comparisons": facts.lists.get("comparisons", []),
        "contamination": facts.contamination,
        **{k: v for k, v in facts.lists.items() if k not in ("evaluations", "comparisons")},
        "environment": environment(),
    }
    write_whole(folder / "report.json", json.dumps(found, indent=1, ensure_ascii=False, default=str) + "\n")
    write_whole(folder / "report.md", in_words(found, facts.samples))
    return found


def environment() -> dict[str, str]:
    """Versions of Python and of the packages that decide results; nothing is imported for it."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def in_words(report: Mapping[str, Any], samples: list[StoredTable]) -> str:
    """The report as a person would tell it, in Markdown."""
    parts = [f"# {report['recipe']}", ""]
    if report["status"] != "complete":
        parts += [f"**This run is not complete: {report['status']}**", ""]
    parts += _evidence(report)
    parts += ["## Rows", "", "| step | in | added | out | dropped | failed |", "|---|---|---|---|---|---|"]
    for entry in report["funnel"]:
        dropped = "<br>".join(f"{count:,} {_cell(reason)}" for reason, count in entry["dropped"].items()) or "0"
        failed = "<br>".join(f"{count:,} {_cell(kind)}" for kind, count in entry["failed"].items()) or "0"
        cells = [entry["step"], f"{entry['in']:,}", f"{entry['added']:,}", f"{entry['out']:,}", dropped, failed]
        parts.append(f"| {' | '.join(cells)} |")
    parts += ["", *_costs(report), *_samples(samples)]
    return "\n".join(parts).rstrip() + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def percent(share: float | None) -> str:
    """A share as a person reads it."""
    return "no rows" if share is None else f"{100 * share:.1f} %"


def interval(ci95: list[float] | None) -> str:
    """An interval of shares as a person reads it."""
    return "none" if ci95 is None else f"{percent(ci95[0])} to {percent(ci95[1])}"


def _evidence(report: Mapping[str, Any]) -> list[str]:
    if not report["evaluations"]:
        return []
    lines = ["## Evidence", ""]
    lines += [
        "| model | table | rows | right | 95 % interval | answers read | cut off |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in report["evaluations"]:
        right = f"{entry['right']:,} ({percent(entry['accuracy'])})"
        cells = [entry["model"], entry["table"], f"{entry['n']:,}", right, interval(entry["ci95"])]
        cells += [f"{entry['read']:,}", f"{entry['truncated']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for entry in report["comparisons"]:
        lines += [comparison_in_words(entry, report["evaluations"]), ""]
    for entry in report["contamination"]:
        lines += [
            f"Held-out table `{entry['table']}` against the training rows: {entry['exact']:,} exact duplicates, "
            f"{entry['near']:,} near duplicates among {entry['rows']:,} rows.",
            "",
        ]
    return lines


def comparison_in_words(entry: Mapping[str, Any], evaluations: list[dict[str, Any]]) -> str:
    """What a comparison says, and what the gain is made of."""
    low, high = entry["ci95"]
    points = 100 * entry["gain"]
    verdict = (
        "The interval lies above 0: the gain is real on rows like these."
        if low > 0
        else "The interval lies below 0: the model got worse."
        if high < 0
        else "The interval holds 0: these rows show no difference."
    )
    text = (
        f"On the same {entry['n']:,} rows of `{entry['table']}`, `{entry['model']}` is {points:+.1f} points against "
        f"`{entry['against']}` (95 % interval {100 * low:+.1f} to {100 * high:+.1f}, "
        f"McNemar p = {entry['p_value']:.2g}). {verdict}"
    )
    by_model = {e["model"]: e for e in evaluations if e["table"] == entry["table"] and e["step"] == entry["step"]}
    after, before = by_model.get(entry["model"]), by_model.get(entry["against"])
    if after and before and after["read"] and before["read"]:
        text += (
            f" What it is made of: an answer could be read in {after['read']:,} of {after['n']:,} replies "
            f"(before: {before['read']:,}), and of the answers read {percent(after['right'] / after['read'])} were "
            f"right (before: {percent(before['right'] / before['read'])})."
        )
    return text


def _costs(report: Mapping[str, Any]) -> list[str]:
    lines = ["## Cost", ""]
    spent = report["spent"]
    usd = f"${spent['usd']:.4f}"
    if spent["usd_unknown"]:
        usd += f" and what {spent['usd_unknown']:,} calls cost whose price is not known"
    lines += [
        f"All invocations of this run together: {spent['requests']:,} paid or local calls, {spent['tokens']:,} tokens, "
        f"{usd}. Calls repeated after a crash: {spent['repeated']:,}.",
        "",
    ]
    for entry in report["models"]:
        cost = "cost unknown" if entry["cost_usd"] is None else f"${entry['cost_usd']:.4f}"
        lines.append(
            f"- `{entry['name']}`: {entry['calls']:,} calls now, {entry['replayed']:,} from the ledger, "
            f"{entry['prompt_tokens']:,} + {entry['completion_tokens']:,} tokens, {cost}"
        )
    return [*lines, ""]


def _samples(tables: list[StoredTable], count: int = 5) -> list[str]:
    lines: list[str] = []
    for table in tables:
        if not len(table):
            continue
        lines += [f"## {min(count, len(table))} rows of `{table.path.name}`", ""]
        step = max(1, len(table) // count)
        for number, row in enumerate(table):
            if number % step == 0 and number // step < count:
                shown = {k: v for k, v in row.items() if k in _SHOWN and v not in (None, "")}
                lines += [f"**{row.id}**", ""]
                lines += [f"- {key}: {_cell(_shown(value))}" for key, value in shown.items()] + [""]
    return lines


_SHOWN = ("instruction", "reference", "response", "answer", "correct", "model", "prompt", "completion")


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 600 else text[:600] + " [...]"
