"""What standard benchmarks say, in words: a check of what a student has forgotten, and no evidence on its task."""

from collections.abc import Mapping, Sequence
from typing import Any

from blackbox_kd.printable import escape_markdown, quote_code
from blackbox_kd.runs.report.format import format_interval, format_percent

ABOUT = (
    "A check of what training has cost elsewhere: questions that the recipe is not about, asked by {harness}{how}. "
    "It is no evidence on the task of the recipe, and it holds for this student: another training may differ."
)


def describe(report: Mapping[str, Any], compared: Sequence[str]) -> list[str]:
    """The section of `report.md`; no lines where no benchmark was asked.

    Args:
        report: what report.json holds.
        compared: what the comparisons of models in benchmarks say.
    """
    entries = report.get("benchmarks", [])
    if not entries:
        return []
    how = " through the chat template" if entries[0]["chat"] else ""
    lines = ["## Benchmarks", "", ABOUT.format(harness=escape_markdown(entries[0]["harness"]), how=how), ""]
    lines += [line for told in _describe_overlaps(entries) for line in (told, "")]
    lines += [
        "| model | task | questions | examples before each | metric | value | standard error | 95 % interval |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(cells)} |" for entry in entries for cells in _list_cells(entry)]
    return [*lines, "", *(line for told in compared for line in (told, ""))]


def tell(report: Mapping[str, Any]) -> list[str]:
    """The same in lines for a screen, without the comparisons."""
    entries = report.get("benchmarks", [])
    values = [
        f"{entry['model']} on benchmark {entry['task']}: {entry['n']:,} questions; "
        + "; ".join(f"{metric} {_write(found)[0]}" for metric, found in entry["metrics"].items())
        for entry in entries
    ]
    return _describe_overlaps(entries) + values


def _describe_overlaps(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each task, how many of its questions stand among the rows that the models were trained on."""
    found = []
    for task, overlap in {(e["step"], e.get("round"), e["task"]): e["overlap"] for e in entries}.items():
        name = quote_code(task[-1])
        if overlap is None:
            found.append(f"Whether questions of {name} stand among the rows that were learnt is not known here.")
            continue
        told = (
            f"Of the {overlap['rows']:,} questions of {name}, {overlap['exact']:,} stand among the rows that were "
            f"learnt word for word and {overlap['near']:,} nearly"
        )
        found.append(f"{told}: that they can be answered says little." if _has_some(overlap) else f"{told}.")
    return found


def _has_some(overlap: Mapping[str, Any]) -> bool:
    return bool(overlap["exact"] or overlap["near"])


def _list_cells(entry: Mapping[str, Any]) -> list[list[str]]:
    version = entry.get("version", entry["model"])
    name = entry["model"] + (f" ({version})" if version != entry["model"] else "")
    first = [name, escape_markdown(entry["task"]), f"{entry['n']:,}", f"{entry['few_shot']:,}"]
    return [[*first, escape_markdown(metric), *_write(found)] for metric, found in entry["metrics"].items()]


def _write(found: Mapping[str, Any]) -> list[str]:
    """The value of a metric: a share in per cent, anything else as the number that it is."""
    interval, error = found["ci95"], found["stderr"]
    if interval is None:
        return [f"{found['value']:.4g}", "-" if error is None else f"{error:.2g}", "-"]
    return [format_percent(found["value"]), "-" if error is None else format_percent(error), format_interval(interval)]
