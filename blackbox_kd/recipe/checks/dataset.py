"""What a recipe says its data set is: tables that exist, and whose rows may be learnt from; and what it publishes."""

from blackbox_kd.errors import did_you_mean
from blackbox_kd.recipe.checks.flow import Flow
from blackbox_kd.recipe.entries import explain_bad_name
from blackbox_kd.recipe.yaml_source import Path, quote


def check(flow: Flow) -> None:
    """Reports tables of `dataset:` that no step writes, or whose rows are there for an exam, and models of `push:` that
    no step trains.
    """
    _check_push(flow)
    given = flow.recipe.head.dataset
    if given is None:
        return
    if not given:
        flow.add(("dataset",), "dataset", "the data set has no table.", "", "write dataset: TABLE, or take it out")
        return
    exams = {name for planned in flow.recipe.steps if planned.step.aside for name in planned.list_names("new table")}
    for name, table in flow.recipe.head.product.items():
        at = ("dataset",) if isinstance(given, str) else ("dataset", name)
        if bad := explain_bad_name("config", name) if isinstance(given, dict) else None:
            flow.add(at, "dataset", bad[0], "", bad[1])
        _check_table(flow, at, table, exams)


def _check_table(flow: Flow, at: Path, table: str, exams: set[str]) -> None:
    flow.used_tables.add(table)
    if table in flow.broken:
        return
    if table not in flow.tables or table.startswith("#"):
        flow.unknown.add("table")
        named = [name for name in flow.tables if not name.startswith("#")]
        fix = did_you_mean(table, named) or f"add output: {table} to the step that writes its rows"
        flow.add(at, "dataset", f"unknown table {quote(table)}.", f"tables: {', '.join(named)}", fix)
    elif table in flow.held_out:
        what = f"table {table!r} is held out: whoever learns from the data set would know the exam."
        flow.add(at, "dataset", what, "", "name a table of rows to learn from")
    elif exam := exams & flow.origins([table]):
        what = f"table {table!r} holds answers that evaluate wrote into {min(exam)!r}, not rows to learn from."
        flow.add(at, "dataset", what, "", "name a table that no evaluate is behind")


def _check_push(flow: Flow) -> None:
    push = flow.recipe.head.push
    for name in () if push is None else push.models:
        if name not in flow.students and name not in flow.broken:
            trained = sorted(flow.students)
            fix = did_you_mean(name, trained) or "name a model that a step train trains, or take it out"
            told = f"models that are trained: {', '.join(trained) or 'none'}"
            flow.add(("push", "models", name), "push", f"no step trains {quote(name)}.", told, fix)
