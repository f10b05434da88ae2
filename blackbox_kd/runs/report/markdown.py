"""Writes `report.md`: the report in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from blackbox_kd.printable import escape_markdown, quote_code
from blackbox_kd.runs import dataset
from blackbox_kd.runs.accounts import Account
from blackbox_kd.runs.report import (
    arms,
    benchmarks,
    classes,
    comparisons,
    gains,
    judges,
    loops,
    losses,
    preflight,
    samples,
    under_way,
)
from blackbox_kd.runs.report.classes import describe_requirement
from blackbox_kd.runs.report.ending import Status
from blackbox_kd.runs.report.format import (
    count_up,
    describe_scripted,
    format_bill,
    format_dollars,
    format_interval,
    format_percent,
)
from blackbox_kd.tables.stored import StoredTable


def write_markdown(report: Mapping[str, Any], tables: list[StoredTable]) -> str:
    """The report as a person would tell it, in Markdown."""
    scripted = describe_scripted(report)
    parts = [f"# {report['recipe']}", "", _write_status(report), "", *([f"**{scripted}**", ""] if scripted else [])]
    lead = arms.select(report)
    parts += _write_evidence(lead) + arms.describe(report) + _write_benchmarks(lead) + comparisons.describe(lead)
    parts += loops.describe(lead) + _write_training(report)
    parts += judges.describe(report.get("judges", [])) + _write_rows(report)
    parts += _write_costs(report) + samples.describe(tables)
    return "\n".join(parts).rstrip() + "\n"


def _write_status(report: Mapping[str, Any]) -> str:
    spent = report["spent"]
    bill = f"{spent['requests']:,} calls, {spent['tokens']:,} tokens, {format_bill(spent)}"
    if report["ended"] != Status.COMPLETE:
        what = escape_markdown(report["status"].rstrip("."))
        return f"**The run is not complete: {what}.** What is paid for is kept; the same command goes on from here."
    made = f"{report['dataset']['rows']:,} rows in `dataset/`, " if report["dataset"] else ""
    return f"The run is complete: {made}{bill}."


def _write_rows(report: Mapping[str, Any]) -> list[str]:
    lines = ["## Rows", "", "| step | in | added | out | dropped | failed |", "|---|---|---|---|---|---|"]
    unfinished = []
    for entry in report["funnel"]:
        lost = sum(sum(entry[kind].values()) for kind in ("dropped", "failed"))
        added = max(0, entry["added"])
        cells = [entry["step"] + arms.describe_marks(entry), f"{entry['in']:,}", f"{added:,}", f"{entry['out']:,}"]
        cells += [count_up(entry[kind], "<br>") or "0" for kind in ("dropped", "failed")]
        lines.append(f"| {' | '.join(cells)} |")
        if (left := entry["in"] + added - entry["out"] - lost) > 0:
            unfinished.append(f"{left:,} in {entry['step']}")
    if unfinished:
        lines += ["", f"Rows that were still being worked on: {', '.join(unfinished)}."]
    for entry in report.get("bad_lines", ()):
        lines += ["", f"Of {quote_code(entry['file'])} {entry['left_out']:,} could not be read and are left out."]
    for entry in report["funnel"]:
        lines += [line for told in Account.of(entry).describe_counts() for line in ("", f"{entry['step']}: {told}.")]
    lines += [line for told in losses.describe(report) for line in ("", f"**{escape_markdown(told)}.**")]
    if report["dataset"] and report["dataset"]["left_out"]:
        reasons = report["dataset"]["left_out"]
        lines += [
            "",
            f"{sum(reasons.values()):,} rows are not in the data set, as nothing can be learnt from them "
            f"(`dataset/{dataset.LEFT_OUT}`): {count_up(reasons, '; ')}.",
        ]
    return [*lines, ""]


def _write_evidence(report: Mapping[str, Any]) -> list[str]:
    requirements = [line for entry in report.get("requirements", []) for line in (describe_requirement(entry), "")]
    if not report["evaluations"]:
        return requirements
    lines = ["## Evidence", "", *requirements]
    lines += [
        "| model | table | rows | right | 95 % interval | answers read | cut off |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in report["evaluations"]:
        cells = [
            _describe_measured(entry, report["evaluations"]),
            entry["table"],
            f"{entry['n']:,}",
            _write_right(entry),
            format_interval(entry["ci95"]),
        ]
        cells += ["-" if entry["read"] is None else f"{entry['read']:,}", f"{entry['truncated']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    failed = [
        f"{_describe_measured(entry, report['evaluations'])} on {entry['table']}: {entry['failed']:,} replies did not "
        f"come and are not among its rows."
        for entry in report["evaluations"]
        if entry.get("failed")
    ]
    lines += ["", *(line for told in failed for line in (told, ""))]
    lines += classes.describe_metrics(report["evaluations"])
    for entry in report["evaluations"]:
        lines += classes.describe(entry, report["evaluations"])
    for entry in report["evaluations"]:
        for column, groups in entry.get("slices", {}).items():
            told = "; ".join(f"{escape_markdown(value)}: {_write_slice(group)}" for value, group in groups.items())
            apart = comparisons.tell_apart(entry, report["evaluations"])
            where = f"`{entry['table']}`" + (f", {apart}," if apart else "")
            lines += [f"`{entry['model']}` on {where} by {quote_code(column)}: {told}.", ""]
    for entry in report["comparisons"]:
        if entry.get("is_benchmark"):
            continue
        lines += [gains.describe_comparison(entry, report["evaluations"]) + _tell_price(entry, report["spent"]), ""]
        lines += [line for told in gains.describe_slices(entry) for line in (told, "")]
    for entry in report["contamination"]:
        lines += [
            f"Of the {entry['rows']:,} rows of the held-out table `{entry['table']}`, {entry['exact']:,} stand among "
            f"the training rows word for word and {entry['near']:,} nearly.",
            "",
        ]
    return lines


def _write_benchmarks(report: Mapping[str, Any]) -> list[str]:
    compared = [entry for entry in report["comparisons"] if entry.get("is_benchmark")]
    return benchmarks.describe(report, [gains.describe_comparison(entry, report["evaluations"]) for entry in compared])


def _describe_measured(entry: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]) -> str:
    """The model of an evaluation, which one it was just then, in what round, and how it was asked if that matters."""
    version = entry.get("version", entry["model"])
    about = [version] if version != entry["model"] else []
    about += [f"round {entry['round']}"] if entry.get("round") else []
    about += filter(None, [comparisons.tell_apart(entry, evaluations)])
    return f"{entry['model']} ({', '.join(about)})" if about else str(entry["model"])


def _write_slice(group: Mapping[str, Any]) -> str:
    others = [f"{k} {format_percent(v['value'])}" for k, v in group.get("metrics", {}).items() if k != "accuracy"]
    interval = f" (95 % interval {format_interval(group['ci95'])})" if group["ci95"] else ""
    return ", ".join([f"{_write_right(group)} of {group['n']:,}{interval}", *others])


def _write_right(entry: Mapping[str, Any]) -> str:
    if entry["right"] is None:
        return "not read"
    return f"{entry['right']:,} ({format_percent(entry['accuracy'])})"


def _tell_price(entry: Mapping[str, Any], spent: Mapping[str, Any]) -> str:
    """What a point of a gain has cost, where that can be said."""
    if entry["usd_per_point"] is None:
        return ""
    return f" The run cost {format_dollars(spent['usd'])}: {format_dollars(entry['usd_per_point'])} for each point."


def _write_training(report: Mapping[str, Any]) -> list[str]:
    lines = []
    for entry in report.get("trainings", []):
        who = f"`{entry['model']}`{arms.describe_marks(entry)}"
        who += f" in `models/{entry['folder']}`" if entry.get("folder") else ""
        text = f"- {who} ({entry['method']}): {entry['rows']:,} rows, {entry['seconds']:,.0f} s on "
        text += f"{entry['device']}, optimizer steps: {entry['steps']:,}"
        if entry.get("planned_steps"):
            text += f" of {entry['planned_steps']:,}: ended early, as the evaluation loss got no better in "
            text += f"{entry['settings']['patience']:,} evaluations"
        if entry.get("first_loss") is not None:
            text += f"; loss {entry['first_loss']:.3f} at the start, {entry['last_loss']:.3f} at the end"
        if entry.get("best_step"):
            text += f"; best evaluation loss {entry['best_evaluation_loss']:.3f} after step {entry['best_step']:,}, "
            text += "whose weights are kept"
        if entry.get("rows_left_out"):
            text += f"; {entry['rows_left_out']:,} rows left out as longer than {entry['max_length']:,} tokens"
        if entry.get("turns"):
            text += f"; turns of the assistant: {entry['turns']:,} learnt, {entry['turns_left_out']:,} read alone"
        if "margin" in (preferences := entry.get("preferences", {})):
            text += f"; margin {preferences['margin']['first']:.3f} at the start, {preferences['margin']['last']:.3f} "
            text += "at the end"
            if accuracy := preferences.get("accuracy"):
                text += f", with {format_percent(accuracy['last'])} of the pairs in order; chosen texts "
                text += f"{entry['length_ratio']:.2f} times as long as rejected ones"
        lines += [text, *(f"  - warning: {escape_markdown(warning)}" for warning in entry.get("warnings", []))]
        lines += [f"  - {escape_markdown(note)}" for note in entry.get("notes", [])]
        if why := entry.get("passes", {}).get("why"):
            told = [f"{name} {entry['passes'].get(name)} ({reason})" for name, reason in why.items()]
            lines.append(f"  - decided by the machine and the rows: {escape_markdown('; '.join(told))}")
        lines += (
            preflight.write_section(entry["preflight"], entry.get("warnings", [])) if entry.get("preflight") else []
        )
    return ["## Training", "", *lines, "", *under_way.describe(report)] if lines else []


def _write_costs(report: Mapping[str, Any]) -> list[str]:
    spent = report["spent"]
    text = f"This run, all its invocations together: {spent['requests']:,} calls, {spent['tokens']:,} tokens, "
    text += f"{format_dollars(spent['usd']) if spent['usd'] else format_bill(spent)}."
    if spent["usd_unknown"]:
        text += f" What {spent['usd_unknown']:,} of the calls cost is not known and not in the sum."
    if spent["doubtful"]:
        text += f" {spent['doubtful']:,} calls more were lost in flight, and may have been charged for."
    text += f" Calls sent again because an earlier process left them without a reply: {spent['repeated']:,}."
    lines = ["## Cost", "", text, ""]
    for entry in report["models"]:
        cost = "cost not known" if entry["cost_usd"] is None else format_dollars(entry["cost_usd"])
        lines.append(
            f"- `{entry['name']}`: {entry['calls']:,} calls now, {entry['replayed']:,} replies from the ledger; "
            f"{entry['prompt_tokens']:,} prompt and {entry['completion_tokens']:,} completion tokens; {cost}"
        )
        lines += [f"  - {line}" for line in _write_remarks(entry)]
    return [*lines, ""]


def _write_remarks(entry: Mapping[str, Any]) -> list[str]:
    """How the replies of a model ended, and what is odd about its endpoint."""
    lines = []
    if (cached := entry.get("cached_tokens", 0)) + (written := entry.get("cache_write_tokens", 0)):
        saved = entry.get("cache_saved_usd", 0.0)
        lines.append(
            f"of its prompt tokens the endpoint read {cached:,} from its cache and put {written:,} there, which has "
            f"{'saved' if saved >= 0 else 'cost'} {format_dollars(abs(saved))}"
        )
    if ends := entry.get("ends"):
        lines.append(f"its replies, by how they ended: {count_up(ends, ', ')}")
    for model, count in entry.get("rerouted", {}).items():
        lines.append(f"warning: {count:,} replies are by {quote_code(model)}, not by the model that was asked for")
    if sampled := entry.get("sampled"):
        lines.append(f"{sampled:,} replies were drawn at its own temperature, as it does not take the one of the step")
    if cut := entry.get("short_prompts"):
        lines.append(f"warning: for {cut:,} prompts the endpoint counted far too few tokens: it may have cut them")
    if beyond := entry.get("beyond"):
        lines.append(
            f"warning: {beyond:,} replies were billed with {entry['beyond_tokens']:,} tokens more than the most that "
            "was asked for; calls in flight at the first of them can have passed the budget by as much"
        )
    return lines
