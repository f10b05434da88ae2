"""Kinds of answers: they exist, take what a recipe says of them, and can read the right answers of the data."""

import re
from collections.abc import Mapping
from typing import Any

from blackbox_kd import answers
from blackbox_kd.errors import DataError, did_you_mean
from blackbox_kd.json_text import write_text
from blackbox_kd.recipe.checks.flow import Flow
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.recipe.yaml_source import quote
from blackbox_kd.sdk.fields import Reference

MOST_REFUSED = 0.1
"""Share of the rows that are seen whose right answer a kind may refuse: they fail, and so are told, as they come."""


def check_kind(flow: Flow, planned: PlannedStep, mention: Reference) -> None:
    """Reports a kind of answer that there is not, or that lacks a package."""
    known = flow.recipe.registry.answers()
    if mention.value not in known:
        message = f"unknown kind of answer {quote(mention.value)}."
        fix = did_you_mean(mention.value, known) or "name one of them"
        flow.report(planned, mention.field, message, f"answers: {', '.join(known)}", fix)
    elif to_install := answers.missing(mention.value):
        message = f"kind of answer {mention.value!r} needs a package that is not installed."
        flow.report(planned, mention.field, message, "", to_install)


def check_references(flow: Flow, planned: PlannedStep, tables: list[str], rows: list[dict[str, Any]]) -> None:
    """Reports right answers in the first rows of the data that the kind of answer of a step cannot be compared with.

    Args:
        flow: the walk.
        planned: the step.
        tables: those that it reads.
        rows: a few of their rows, as they could be.
    """
    kind = planned.config.answer_kind()
    written = {column for table in flow.origins(tables) for column in flow.written.get(table, ())}
    name = None if kind is None else answers.split(kind)[0]
    if kind is None or name not in flow.recipe.registry.answers() or answers.missing(name):
        return
    for column in planned.config.answer_columns() - written:
        # A text without a digit fails its row, too; but a step may write the column anew before it is compared.
        seen = [row for row in rows if row.get(column) is not None]
        if name == "number":
            seen = [row for row in seen if re.search(r"\d", write_text(row[column]))]
        refused = [found for row in seen if (found := _refuses(kind, column, row)) is not None]
        if len(refused) <= MOST_REFUSED * len(seen):
            continue
        at = next((each.field for each in planned.references if each.value == column), "answer")
        told = f"column {column!r} holds right answers that `answer: {name}` cannot be compared with"
        what = f"{told}: {refused[0].what}."
        flow.report(planned, at, what, f"{len(refused)} of the first {len(seen)} rows", refused[0].fix)


def _refuses(kind: answers.Named, column: str, row: Mapping[str, Any]) -> DataError | None:
    try:
        answers.kind(kind).same("", write_text(row[column]), row)
    except DataError as error:
        return error
    return None
