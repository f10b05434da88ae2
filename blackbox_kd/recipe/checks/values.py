"""What columns hold, by example: expressions that can never be computed are found before anything is paid."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from blackbox_kd.errors import DataError, FieldError
from blackbox_kd.recipe.checks.flow import Flow
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.recipe.yaml_source import quote
from blackbox_kd.sandbox.expressions import Expression, evaluate
from blackbox_kd.sandbox.functions import UnlikeValues
from blackbox_kd.sandbox.parts import HOW_TO_LIST
from blackbox_kd.sdk.fields import resolve

Examples = list[dict[str, Any]]
"""Rows as they could be; columns of which nothing is known are left out."""
MOST = 20
"""Rows that are kept of a table."""
_TEXTS = ("response", "rationale", "answer", "model", "finish_reason", "reasoning", "nearest", "nearest_id")
HELD: Mapping[str, Any] = {
    **dict.fromkeys(_TEXTS, "text"),
    **dict.fromkeys(("sample", "tokens"), 1),
    **dict.fromkeys(("score", "score_a", "score_b", "gap", "cost_usd", "logprob", "mean", "similarity"), 0.5),
    "length_ratio": 0.5,
    "correct": True,
}
"""An example of what a step writes under each of the column words."""


def join(examples: Iterable[Examples]) -> Examples:
    """Rows of several tables."""
    return [row for rows in examples for row in rows][:MOST] or [{}]


def write(planned: PlannedStep, rows: Examples) -> Examples:
    """The rows that a step would make of `rows`, one of each."""
    made: dict[str, Any] = {}
    unknown = set(planned.list_names("new column"))
    for pattern in planned.step.writes:
        word = pattern
        if pattern.startswith("{"):
            entry = type(planned.config).model_fields.get(pattern[1:-1])
            word = entry.default if entry is not None and isinstance(entry.default, str) else pattern[1:-1]
        for column in resolve([pattern], planned.config):
            unknown.add(column)
            if word in HELD:
                made[column] = HELD[word]
    left = planned.config.columns_after(set().union(*rows)) - unknown
    return [{name: value for name, value in row.items() if name in left} | made for row in rows]


def select_seen(planned: PlannedStep, rows: Examples, made: Examples) -> Examples:
    """The rows as a step's expressions see them: with columns of its own making."""
    own = planned.config.expression_columns()
    return [
        {name: value for name, value in before.items() if name not in own}
        | {name: value for name, value in after.items() if name in own}
        for before, after in zip(rows, made, strict=True)
    ]


def check(flow: Flow, planned: PlannedStep, at: str, expression: Expression, rows: Examples) -> None:
    """Reports an expression that no row could be computed by, as its values are not of the kinds that it takes.

    It is tried with all flags true, and with all false: `correct and score > 3` goes wrong for right answers alone.
    """
    for flag in (True, False):
        found = [
            _try(expression, {name: flag if isinstance(v, bool) else v for name, v in row.items()}) for row in rows
        ]
        first = found[0]
        if first is None or None in found:
            continue
        seen = ", ".join(f"{name} is {quote(rows[0][name])}" for name in sorted(expression.names & rows[0].keys()))
        message = f"expression {quote(expression.text)} can never be computed: {first.what}."
        flow.report(planned, at, message, f"in a row such as: {seen}", first.fix or "compare values of one kind")
        return


def check_numbers(flow: Flow, planned: PlannedStep, rows: Examples) -> None:
    """Reports columns and expressions that are a number in no row, where the step needs one."""
    for mention in planned.references:
        if mention.field not in planned.config.numbers():
            continue
        is_column = mention.kind == "column"
        try:
            values = [row[mention.value] if is_column else evaluate(mention.value, row) for row in rows]
        except (DataError, FieldError, KeyError):  # columns that are not known; expressions that are told elsewhere
            continue
        # What a step will write is known by its kind alone: such a text may be a number.
        if not any(value == HELD["response"] or _is_number(value) for value in values):
            message = f"{mention.field}: {quote(mention.value)} must be a number."
            flow.report(planned, mention.field, message, f"in a row it is {quote(values[0])}", "name another column")


def check_lists(flow: Flow, planned: PlannedStep, rows: Examples) -> None:
    """Reports expressions that are a list in no row, where the step needs one."""
    for mention in planned.references:
        if mention.field not in planned.config.lists():
            continue
        try:
            values = [evaluate(mention.value, row) for row in rows]
        except (DataError, FieldError, KeyError):  # as above
            continue
        if not any(isinstance(value, list) for value in values):
            message = f"{mention.field}: {quote(mention.value)} must be a list."
            flow.report(planned, mention.field, message, f"in a row it is {quote(values[0])}", HOW_TO_LIST)


def _is_number(value: Any) -> bool:
    try:
        return not math.isnan(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def _try(expression: Expression, row: Mapping[str, Any]) -> UnlikeValues | None:
    """What is wrong with values of unlike kinds; None if it can be computed, or if a value is only lacking."""
    try:
        expression(row)
    except DataError as error:
        return error.__cause__ if isinstance(error.__cause__, UnlikeValues) else None
    return None
