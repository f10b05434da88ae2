"""The report of a run: `report.json` for programs, `report.md` in words."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from blackbox_kd import exports
from blackbox_kd.accounts import Account
from blackbox_kd.privacy import write_whole
from blackbox_kd.recipe import Recipe
from blackbox_kd.report import evidence, judges, loops, rows
from blackbox_kd.tables.stored import StoredTable

SCHEMA_VERSION = 1
STOPPED = {"CancelledError", "KeyboardInterrupt"}
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
        tables: files in `tables/`, without their ending, that this run has written or taken over; the others there are
            an earlier run's. Empty if all are this run's.
    """

    recipe: Recipe
    status: str
    accounts: list[Account]
    lists: dict[str, list[dict[str, Any]]]
    models: list[dict[str, Any]]
    spent: dict[str, Any]
    contamination: list[dict[str, Any]]
    samples: list[StoredTable]
    tables: list[str] = field(default_factory=list)


def write(folder: Path, facts: Facts) -> dict[str, Any]:
    """Writes both reports and returns what `report.json` holds."""
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "recipe": facts.recipe.name,
        "paper": facts.recipe.head.paper,
        "seed": facts.recipe.head.seed,
        "status": "stopped by Ctrl-C or SIGTERM" if facts.status in STOPPED else facts.status,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "funnel": [account.entry() for account in facts.accounts],
        "tables": facts.tables,
        "dataset": _dataset(folder / "dataset", facts),
        "models": facts.models,
        "spent": facts.spent,
        "evaluations": facts.lists.get("evaluations", []),
        "comparisons": evidence.priced(facts.lists.get("comparisons", []), facts.spent),
        "contamination": facts.contamination,
        "judges": judges.entries(account.entry() for account in facts.accounts),
        **{k: v for k, v in facts.lists.items() if k not in ("evaluations", "comparisons")},
        "environment": environment(),
    }
    write_whole(folder / "report.json", json.dumps(found, indent=1, ensure_ascii=False, default=str) + "\n")
    write_whole(folder / "report.md", in_words(found, facts.samples))
    return found


def _dataset(folder: Path, facts: Facts) -> dict[str, Any] | None:
    """What the data set holds; None if this run has not written it, and what is there is an earlier run's."""
    if not (facts.status == "complete" or facts.lists.get("trainings")) or not (folder / "train.jsonl").exists():
        return None
    return {"rows": exports.rows_in(folder), "left_out": dict(exports.left_out(folder))}


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
    parts = [f"# {report['recipe']}", "", _status(report), ""]
    parts += _evidence(report) + evidence.in_words(report)
    parts += loops.in_words(report) + _training(report)
    parts += judges.in_words(report.get("judges", [])) + _rows(report)
    parts += _costs(report) + rows.in_words(samples)
    return "\n".join(parts).rstrip() + "\n"


def _status(report: Mapping[str, Any]) -> str:
    spent = report["spent"]
    bill = f"{spent['requests']:,} calls, {spent['tokens']:,} tokens, {dollars(spent['usd'])}"
    if report["status"] != "complete":
        what = report["status"].rstrip(".")
        return f"**The run is not complete: {what}.** What is paid for is kept; the same command goes on from here."
    made = f"{report['dataset']['rows']:,} rows in `dataset/`, " if report["dataset"] else ""
    return f"The run is complete: {made}{bill}."


def _rows(report: Mapping[str, Any]) -> list[str]:
    lines = ["## Rows", "", "| step | in | added | out | dropped | failed |", "|---|---|---|---|---|---|"]
    unfinished = []
    for entry in report["funnel"]:
        lost = sum(sum(entry[kind].values()) for kind in ("dropped", "failed"))
        added = max(0, entry["added"])
        cells = [entry["step"], f"{entry['in']:,}", f"{added:,}", f"{entry['out']:,}"]
        cells += [counted(entry[kind], "<br>") or "0" for kind in ("dropped", "failed")]
        lines.append(f"| {' | '.join(cells)} |")
        if (left := entry["in"] + added - entry["out"] - lost) > 0:
            unfinished.append(f"{left:,} in {entry['step']}")
    if unfinished:
        lines += ["", f"Rows that were still being worked on: {', '.join(unfinished)}."]
    if report["dataset"] and report["dataset"]["left_out"]:
        reasons = report["dataset"]["left_out"]
        lines += [
            "",
            f"{sum(reasons.values()):,} rows are not in the data set, as nothing can be learnt from them "
            f"(`dataset/{exports.LEFT_OUT}`): {counted(reasons, '; ')}.",
        ]
    return [*lines, ""]


def counted(reasons: Mapping[str, int], between: str) -> str:
    """Reasons with their counts, as the cell of a table can hold them."""
    text = between.join(f"{count:,} {reason}" for reason, count in reasons.items())
    return text.replace("|", "\\|").replace("\n", " ")


def percent(share: float | None) -> str:
    """A share as a person reads it."""
    return "no rows" if share is None else f"{100 * share:.1f} %"


def interval(ci95: list[float] | None) -> str:
    """An interval of shares as a person reads it."""
    return "none" if ci95 is None else f"{percent(ci95[0])} to {percent(ci95[1])}"


def dollars(usd: float) -> str:
    """A sum of money: to the cent from a dollar on, finer below."""
    return f"${usd:,.2f}" if usd >= 1 or usd == 0 else f"${usd:.4f}"


def _evidence(report: Mapping[str, Any]) -> list[str]:
    if not report["evaluations"]:
        return []
    lines = ["## Evidence", ""]
    lines += [
        "| model | table | rows | right | 95 % interval | answers read | cut off |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in report["evaluations"]:
        cells = [_measured(entry), entry["table"], f"{entry['n']:,}", _right(entry), interval(entry["ci95"])]
        cells += [f"{entry['read']:,}", f"{entry['truncated']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    for entry in report["evaluations"]:
        for column, groups in entry.get("slices", {}).items():
            told = "; ".join(f"{value}: {_right(group)} of {group['n']:,}" for value, group in groups.items())
            lines += ["", f"`{entry['model']}` on `{entry['table']}` by `{column}`: {told}."]
    lines.append("")
    for entry in report["comparisons"]:
        lines += [comparison_in_words(entry, report["evaluations"]) + _price_of(entry, report["spent"]), ""]
    for entry in report["contamination"]:
        lines += [
            f"Of the {entry['rows']:,} rows of the held-out table `{entry['table']}`, {entry['exact']:,} stand among "
            f"the training rows word for word and {entry['near']:,} nearly.",
            "",
        ]
    return lines


def _measured(entry: Mapping[str, Any]) -> str:
    """The model of an evaluation, which one it was just then, and in what round."""
    version = entry.get("version", entry["model"])
    about = [version] if version != entry["model"] else []
    about += [f"round {entry['round']}"] if entry.get("round") else []
    return f"{entry['model']} ({', '.join(about)})" if about else str(entry["model"])


def _right(entry: Mapping[str, Any]) -> str:
    return f"{entry['right']:,} ({percent(entry['accuracy'])})"


def _price_of(entry: Mapping[str, Any], spent: Mapping[str, Any]) -> str:
    """What a point of a real gain has cost; nothing where the bill is not known or nothing was paid."""
    if entry["ci95"][0] <= 0 or spent["usd_unknown"] or not spent["usd"]:
        return ""
    each = dollars(spent["usd"] / (100 * entry["gain"]))
    return f" The run cost {dollars(spent['usd'])}: {each} for each point."


def comparison_in_words(entry: Mapping[str, Any], evaluations: list[dict[str, Any]]) -> str:
    """What a comparison says, and what the gain is made of."""
    low, high = entry["ci95"]
    model, against = f"`{entry['model']}`", f"`{entry['against']}`"
    verdict = (
        "The interval lies above 0: the gain is real on rows like these."
        if low > 0
        else f"The interval lies below 0: {model} is the worse one."
        if high < 0
        else "The interval holds 0: these rows do not tell which one is better."
    )
    points = f"{abs(100 * entry['gain']):.1f} points {'better' if entry['gain'] > 0 else 'worse'} than"
    points = points if entry["gain"] else "as good as"
    text = (
        f"On the same {entry['n']:,} rows of `{entry['table']}`, {model} is {points} {against} "
        f"(95 % interval {100 * low:+.1f} to {100 * high:+.1f}; {entry['gained']:,} rows gained, "
        f"{entry['lost']:,} lost, McNemar p = {entry['p_value']:.2g}). {verdict}"
    )
    by_model = {e["model"]: e for e in evaluations if e["table"] == entry["table"] and e["step"] == entry["step"]}
    after, before = by_model.get(entry["model"]), by_model.get(entry["against"])
    if after and before and after["read"] and before["read"]:
        text += (
            f" An answer could be read in {after['read']:,} of its {after['n']:,} replies ({against}: "
            f"{before['read']:,}); of the answers read, {percent(after['right'] / after['read'])} are right "
            f"({against}: {percent(before['right'] / before['read'])})."
        )
    return text


def _training(report: Mapping[str, Any]) -> list[str]:
    lines = []
    for entry in report.get("trainings", []):
        text = f"- `{entry['model']}` ({entry['method']}): {entry['rows']:,} rows, {entry['seconds']:,.0f} s on "
        text += f"{entry['device']}, optimizer steps: {entry['steps']:,}"
        if entry.get("first_loss") is not None:
            text += f"; loss {entry['first_loss']:.3f} at the start, {entry['last_loss']:.3f} at the end"
        if entry.get("rows_left_out"):
            text += f"; {entry['rows_left_out']:,} rows left out as longer than {entry['max_length']:,} tokens"
        if preferences := entry.get("preferences"):
            margin, accuracy = preferences["margin"], preferences["accuracy"]
            text += f"; margin {margin['first']:.3f} at the start, {margin['last']:.3f} at the end, with "
            text += f"{percent(accuracy['last'])} of the pairs in order; chosen texts "
            text += f"{entry['length_ratio']:.2f} times as long as rejected ones"
        lines += [text, *(f"  - warning: {warning}" for warning in entry.get("warnings", []))]
    return ["## Training", "", *lines, ""] if lines else []


def _costs(report: Mapping[str, Any]) -> list[str]:
    spent = report["spent"]
    text = f"This run, all its invocations together: {spent['requests']:,} calls, {spent['tokens']:,} tokens, "
    text += f"{dollars(spent['usd'])}."
    if spent["usd_unknown"]:
        text += f" What {spent['usd_unknown']:,} of the calls cost is not known and not in the sum."
    if spent["doubtful"]:
        text += f" {spent['doubtful']:,} calls more were lost in flight, and may have been charged for."
    text += f" Calls sent again because an earlier process left them without a reply: {spent['repeated']:,}."
    lines = ["## Cost", "", text, ""]
    for entry in report["models"]:
        cost = "cost not known" if entry["cost_usd"] is None else dollars(entry["cost_usd"])
        lines.append(
            f"- `{entry['name']}`: {entry['calls']:,} calls now, {entry['replayed']:,} replies from the ledger; "
            f"{entry['prompt_tokens']:,} prompt and {entry['completion_tokens']:,} completion tokens; {cost}"
        )
    return [*lines, ""]
