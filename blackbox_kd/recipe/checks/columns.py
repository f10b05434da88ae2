"""Columns: those that a step reads must be there, by name and in its expressions; `prompts` looks at its prompts."""

from typing import Any

from blackbox_kd.errors import FieldError, did_you_mean, list_names
from blackbox_kd.recipe.checks import prompts as recipe_prompts
from blackbox_kd.recipe.checks import values as recipe_values
from blackbox_kd.recipe.checks.flow import Columns, Flow
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.recipe.yaml_source import quote
from blackbox_kd.sandbox import expressions, template
from blackbox_kd.sdk.fields import Reference, resolve


def read_by(flow: Flow, planned: PlannedStep, source: str | None) -> Columns:
    """Columns of the rows that a step reads; of several tables, those that all of them have."""
    if source is not None:
        flow.used_tables.add(source)
        return flow.tables.get(source)
    tables = [flow.tables.get(name) for name in planned.merged if not flow.is_empty(name)]
    known = [columns for columns in tables if columns is not None]
    return set.intersection(*known) if known and len(known) == len(tables) else None


def check(flow: Flow, planned: PlannedStep, columns: Columns, rows: list[dict[str, Any]]) -> None:
    """Reports the columns that a step reads and `columns` lacks, and prompts and expressions that are wrong.

    Args:
        flow: the walk.
        planned: the step.
        columns: of the rows that it reads.
        rows: a few of them, as its expressions see them.
    """
    for mention in planned.references:
        if mention.kind == "prompt":
            recipe_prompts.check(flow, planned, mention, columns)
        elif mention.kind == "expression":
            _check_expression(flow, planned, mention, columns, rows)
        elif mention.kind == "template":
            _check_template(flow, planned, mention, columns)
    recipe_values.check_numbers(flow, planned, rows)
    recipe_values.check_lists(flow, planned, rows)
    for at, table, name in planned.config.columns_beside():
        there = flow.tables.get(table)
        if there is not None and name not in there:
            fix = did_you_mean(name, sorted(there)) or "name another table, or rename its column under data:"
            expected = f"columns there: {list_names(sorted(there - {'id'}))}"
            flow.report(planned, at, f"table {table!r} has no column {name!r}.", expected, fix)
    if columns is None:
        return
    fields = {mention.value: mention.field for mention in planned.references if mention.kind == "column"}
    for name in dict.fromkeys([*resolve(planned.step.reads, planned.config), *planned.config.list_read(), *fields]):
        if name not in columns | planned.config.list_removed():
            flow.report_missing_column(planned, fields.get(name, "step"), f"reads column {name!r}", name, columns)


def _check_template(flow: Flow, planned: PlannedStep, mention: Reference, columns: Columns) -> None:
    if not template.is_template(mention.value):
        return
    try:
        names = template.parse(mention.value).names
    except FieldError as error:
        message = f"template {quote(mention.value)} cannot be used: {error.what.rstrip('.')}."
        flow.report(planned, mention.field, message, error.exists, error.fix or "mend the template")
        return
    for name in sorted(names - columns - planned.config.columns_for(mention.field)) if columns is not None else ():
        flow.report_missing_column(
            planned, mention.field, f"template {quote(mention.value)} uses {name!r}", name, columns or set()
        )


def _check_expression(
    flow: Flow, planned: PlannedStep, mention: Reference, columns: Columns, rows: list[dict[str, Any]]
) -> None:
    try:
        expression = expressions.parse(mention.value)
    except FieldError as error:
        message = f"expression {quote(mention.value)} cannot be used: {error.what.rstrip('.')}."
        flow.report(planned, mention.field, message, error.exists, error.fix or "mend the expression")
        return
    names = expression.names
    if expression.asks_group and not planned.config.looks_at_groups():
        message = f"expression {quote(mention.value)} asks for something of a group of rows, and sees one row alone."
        flow.report(planned, mention.field, message, "", "put a step before it: {step: map, per: COLUMN, set: {...}}")
    if not names and "." not in mention.field:
        message = f"expression {quote(mention.value)} reads no column, so it says the same of every row."
        fix = f"compare a column: {mention.field}: score >= 4"
        if mention.field in planned.config.lists():
            fix = f"make the list of a column: {mention.field}: lines(COLUMN)"
        flow.report(planned, mention.field, message, "", fix)
    if columns is not None:
        for name in sorted(names - columns - planned.config.columns_for(mention.field)):
            what = f"expression {quote(mention.value)} uses {name!r}"
            flow.report_missing_column(planned, mention.field, what, name, columns)
    recipe_values.check(flow, planned, mention.field, expression, rows)
