"""The command `compare`: two runs side by side."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from blackbox_kd.cli.output import format_columns, format_usd, print_json, say
from blackbox_kd.json_text import quote_value

MOST_COLUMNS = 4
"""Changed columns of a row that are shown."""


@click.command()
@click.argument("one", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@click.option("-n", "examples", type=click.IntRange(min=0), default=3, show_default=True, help="Changed rows to show.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def compare(one: Path, other: Path, examples: int, as_json: bool) -> int:
    """Compare two runs: what differs in their recipes, row by row in their tables, in their cost and their metrics."""
    from blackbox_kd.runs import browse
    from blackbox_kd.runs.compare import compare_runs

    told = compare_runs(browse.find_run(one), browse.find_run(other), examples)
    for run in told["runs"]:
        if run["ended"] != "complete":
            say(f"{run['run']}: {_describe_end(run)}", err=True)
    if as_json:
        print_json(told)
    else:
        say("\n".join(_write_words(told)))
    return 0


def _describe_end(run: Mapping[str, Any]) -> str:
    if run["ended"] is None:
        return "no run in it has ended yet, so there is no report: its tables are compared as far as they are there"
    return f"its latest run did not come to its end: {run['status']}"


def _write_words(told: Mapping[str, Any]) -> Iterator[str]:
    one, other = (run["run"] for run in told["runs"])
    yield f"{one} -> {other}"
    for change in told["recipe"]:
        yield f"  {change['path']}: {_write_pair(change['values'])}"
    if not told["recipe"]:
        yield "  the recipes are the same"
    yield ""
    lines = [["table", "rows", "same", "changed", f"only {one}", f"only {other}"]]
    for table in told["tables"]:
        counts = [table["same"], table["changed"], *table["only"]]
        lines.append([table["table"], " / ".join(f"{n:,}" for n in table["rows"]), *(f"{n:,}" for n in counts)])
    yield from format_columns(lines, left=1)
    for run, names in zip((one, other), told["only_tables"], strict=True):
        if names:
            yield f"only in {run}: {', '.join(names)}"
    for table in told["tables"]:
        yield from _write_changes(table)
    yield from ["", f"cost: {_write_cost(told['cost'])}"]
    for entry in told["metrics"]:
        values = " -> ".join(map(_write_measured, entry["values"]))
        yield f"{entry['model']} on {entry['table']}, {entry['metric']}: {values}"


def _write_changes(table: Mapping[str, Any]) -> Iterator[str]:
    if table["columns"]:
        counts = ", ".join(f"{column} in {count:,}" for column, count in table["columns"].items())
        yield from ["", f"{table['table']}: {counts}"]
    for example in table["examples"]:
        shown = list(example["columns"].items())
        for column, values in shown[:MOST_COLUMNS]:
            yield f"  {example['id']}, {column}: {_write_pair(values)}"
        if len(shown) > MOST_COLUMNS:
            yield f"  {example['id']}: {len(shown) - MOST_COLUMNS:,} more columns"


def _write_pair(values: list[Any]) -> str:
    return " -> ".join("(none)" if value is None else quote_value(value) for value in values)


def _write_cost(cost: Mapping[str, list[Any]]) -> str:
    told = []
    for each in zip(cost["requests"], cost["tokens"], cost["usd"], strict=True):
        known = None not in each
        told.append(f"{each[0]:,} calls, {each[1]:,} tokens, {format_usd(each[2])} USD" if known else "not known")
    return " -> ".join(told)


def _write_measured(measured: Mapping[str, Any] | None) -> str:
    if measured is None:
        return "(none)"
    interval = "no interval" if measured["ci95"] is None else "{:.3f} to {:.3f}".format(*measured["ci95"])
    return f"{measured['value']:.3f} ({interval}, n = {measured['n']:,})"
