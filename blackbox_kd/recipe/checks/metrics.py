"""Metrics that a step names: they exist and have what they need; what is required of models can be told by the rows."""

from blackbox_kd import answers
from blackbox_kd.analysis.metrics import Metric
from blackbox_kd.errors import SetupError, did_you_mean
from blackbox_kd.recipe.checks.flow import Columns, Flow
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.recipe.yaml_source import quote
from blackbox_kd.sdk.fields import Reference
from blackbox_kd.sdk.step_config import FEWEST


def check(flow: Flow, planned: PlannedStep, source: str | None, columns: Columns) -> None:
    """Reports metrics that a step cannot measure, and requirements that too few rows would decide.

    Args:
        flow: the walk.
        planned: the step.
        source: the table that it reads.
        columns: of its rows.
    """
    registry = flow.recipe.registry
    for mention in planned.references:
        if mention.kind != "metric":
            continue
        if mention.value in registry.metrics():
            _check_needs(flow, planned, mention, registry.find_metric(mention.value), columns)
        elif mention.field.startswith("metrics"):
            message, known = f"unknown metric {quote(mention.value)}.", registry.metrics()
            fix = did_you_mean(mention.value, known) or "name one of them, or add a file with @metric to plugins:"
            flow.report(planned, mention.field, message, f"metrics: {', '.join(known)}", fix)
    if planned.config.requires() is not None and source is not None:
        _check_rows(flow, planned, source)


def _check_needs(flow: Flow, planned: PlannedStep, mention: Reference, metric: Metric, columns: Columns) -> None:
    kind = planned.config.answer_kind()
    exam = planned.config.exam()
    if exam is None or metric.name not in exam.metrics:
        return
    what = f"metric {metric.name!r} needs"
    if metric.needs in ("answer", "fields") and kind is None:
        message = f"{what} answer:, which says how an answer is read."
        flow.report(planned, mention.field, message, "", "add answer: KIND, or name another metric")
    elif metric.needs == "score" and not exam.is_graded:
        message = f"{what} a judge that grades answers by themselves."
        flow.report(planned, mention.field, message, "", "add judge: MODEL and mode: scale, or name another metric")
    elif metric.needs == "fields" and kind is not None and not _has_fields(kind):
        message = f"{what} a kind of answer with fields, and `answer: {answers.split(kind)[0]}` has none."
        flow.report(planned, mention.field, message, "", "write answer: json, or name another metric")
    elif (
        metric.needs == "reference"
        and not planned.config.answer_columns()
        and columns is not None
        and "reference" not in columns
    ):
        flow.report_missing_column(planned, mention.field, f"{what} column 'reference'", "reference", columns)


def _has_fields(kind: answers.Named) -> bool:
    try:
        return answers.find(answers.split(kind)[0]).has_fields
    except SetupError:  # of which the check of answers tells
        return True


def _check_rows(flow: Flow, planned: PlannedStep, source: str) -> None:
    """Reports a table of so few rows that chance would decide, where they can be counted without loading them."""
    table = flow.recipe.data.get(source)
    if table is None or table.hub is not None or flow.tables.get(source) is None:
        return
    rows = table.size if table.generator is not None else len(flow.examples[source])
    rows = min(rows, table.limit or rows)
    if rows < FEWEST:
        message = f"require: {source!r} has {rows} rows, by which nobody can tell whether a model is good enough."
        fix = f"name a table of {FEWEST} rows or more, or take require: out"
        flow.report(planned, "require", message, "", fix)
