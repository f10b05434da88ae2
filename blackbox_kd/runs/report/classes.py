"""Answers by their classes and fields: the tables of an evaluation, for a page and for a screen."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from blackbox_kd.printable import escape_markdown
from blackbox_kd.runs.report.comparisons import name_measured
from blackbox_kd.runs.report.format import format_interval, format_percent
from blackbox_kd.schema import ModelRef

MOST = 10
"""Classes of which a table can be read; of more, those with the most mistakes are shown."""
LONGEST = 30
"""Characters of the name of a class in a table."""


def describe_metrics(evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics of evaluations beside accuracy: a table; no lines where there are none."""
    rows = [
        [
            name_measured(entry, evaluations),
            entry["table"],
            name,
            _write_share(found["value"]),
            format_interval(found["ci95"]),
        ]
        for entry in evaluations
        for name, found in entry.get("metrics", {}).items()
        if name != "accuracy"
    ]
    return [*_draw(["model", "table", "metric", "value", "95 % interval"], rows), ""] if rows else []


def describe_latest(evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    """The same tables for a screen: of the models that were trained, or of all where none was."""
    trained = [entry for entry in evaluations if ModelRef.parse(entry.get("version", "")).version.isdigit()]
    return [line for entry in trained or evaluations for line in describe(entry, evaluations)]


def describe(entry: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    """The tables of an evaluation, in Markdown that is aligned; no lines where it has none."""
    who = f"{name_measured(entry, evaluations)} on {entry['table']}"
    return [
        *_describe_shares(who, "class", "classes", entry.get("classes", [])),
        *_describe_confusion(who, entry.get("classes", []), entry.get("confusion", [])),
        *_describe_shares(who, "field", "fields", entry.get("fields", [])),
    ]


def _describe_shares(who: str, what: str, several: str, shares: Sequence[Mapping[str, Any]]) -> list[str]:
    if not shares:
        return []
    shown = sorted(shares, key=lambda each: -_count_mistakes(each))[:MOST] if len(shares) > MOST else shares
    head = f"{who}, by {what}:"
    if len(shares) > MOST:
        head = f"{who}, by {what}, the {MOST} of {len(shares):,} {several} with the most mistakes:"
    rows = [
        [
            _write_name(each["name"]),
            *(_write_share(each[key]) for key in ("precision", "recall", "f1")),
            f"{each['support']:,}",
        ]
        for each in shown
    ]
    support = "rows" if what == "class" else "values"
    return [head, "", *_draw([what, "precision", "recall", "F1", support], rows), ""]


def _count_mistakes(share: Mapping[str, Any]) -> float:
    """Values of a class or a field that were missed, and those that were given for it and are of others."""
    recall, precision = share["recall"], share["precision"]
    right = (recall or 0) * share["support"]
    return float(share["support"] - right + (right / precision - right if precision else 0))


def _describe_confusion(
    who: str, classes: Sequence[Mapping[str, Any]], confusion: Sequence[Mapping[str, Any]]
) -> list[str]:
    counts = {(each["wanted"], each["answer"]): each["n"] for each in confusion}
    names = [each["name"] for each in classes]
    if not names:
        return []
    if len(names) > MOST:
        wrong = sorted((pair for pair in counts if pair[0] != pair[1]), key=lambda pair: -counts[pair])[:MOST]
        told = [f"{_write_name(a)} answered as {_write_name(b)} in {counts[a, b]:,}" for a, b in wrong]
        return [f"{who}, the worst confusions: {'; '.join(told)}.", ""] if told else []
    columns = [*names, None]
    rows = [[_write_name(wanted), *(f"{counts.get((wanted, each), 0):,}" for each in columns)] for wanted in names]
    head = f"{who}, what was answered (a line for each right answer, a column for each that was given):"
    return [head, "", *_draw(["", *map(_write_name, columns)], rows), ""]


def _draw(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown whose columns stand under each other; the first is to the left, numbers to the right."""
    table = [list(head), *map(list, rows)]
    widths = [max(3, *(len(row[place]) for row in table)) for place in range(len(head))]
    lines = []
    for first, *others in table:
        cells = [first.ljust(widths[0]), *(each.rjust(w) for each, w in zip(others, widths[1:], strict=True))]
        lines.append(f"| {' | '.join(cells)} |")
    rule = "|".join("-" * (width + 1) + (":" if place else "-") for place, width in enumerate(widths))
    return [lines[0], f"|{rule}|", *lines[1:]]


def _write_name(name: str | None) -> str:
    """The name of a class as the cell of a table holds it; answers that could not be read are nobody's class."""
    if name is None:
        return "(unread)"
    return escape_markdown(name if len(name) <= LONGEST else f"{name[:LONGEST]}...")


def _write_share(value: float | None) -> str:
    return "-" if value is None else format_percent(value)


def describe_requirement(entry: Mapping[str, Any]) -> str:
    """What a model had to reach, and what it has reached."""
    wanted = f"{format_percent(entry['at_least'])} {entry['metric']} on `{entry['table']}`"
    what = f"`{entry['model']}` had to reach {wanted}"
    if entry["is_met"] is None:
        return f"{what}: not measured, as a script or too few rows ({entry['n']:,}) tell nothing of it."
    reached = f"{format_percent(entry['value'])} (95 % interval {format_interval(entry['ci95'])}; {entry['n']:,} rows)"
    end = "" if entry["is_met"] else " The run has ended there."
    ceiling = " It is the ceiling: what learns from it can hardly be better." if entry["is_ceiling"] else ""
    return f"{what}: it reaches {reached}.{end}{ceiling}"
