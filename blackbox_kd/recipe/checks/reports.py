"""What steps read of the report: an `evaluate` must have measured it, of those models and by that column."""

from collections.abc import Sequence

from blackbox_kd.recipe.checks.flow import Flow
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.sdk.fields import Reference


def check(flow: Flow, planned: PlannedStep) -> None:
    """Reports figures that a step reads and no `evaluate` has measured.

    What they are figures of is said beside the table: in `gap: {on: dev, teacher: t, student: s, by: topic}` it is the
    accuracy of `t` and `s` on `dev` by `topic`. Rows that are drawn by a column need the figures at once; a prompt can
    do without in the first round of a loop, if a later step of the round measures them.
    """
    for mention in planned.references:
        inside, dot, _ = mention.field.rpartition(".")
        if mention.kind != "reported table" or not dot or mention.value in flow.broken:
            continue
        if mention.value not in flow.tables:
            continue
        beside = [m for m in planned.references if m.field.startswith(f"{inside}.")]
        asked = [m.value for m in beside if m.kind == "model"]
        by = [m.value for m in beside if m.kind == "column"]
        done = [step for step, table in flow.exams if table == mention.value]
        later = [] if by else _list_later(flow, planned, mention.value)
        lacking = [model for model in asked if not any(_is_measured(step, model, by) for step in (*done, *later))]
        if lacking:
            _report(flow, planned, mention, lacking, by)


def _list_later(flow: Flow, planned: PlannedStep, table: str) -> list[PlannedStep]:
    """Steps of the same loop that ask models about a table; from round 2 on they come before."""
    body = [step for step in flow.recipe.steps if planned.loop is not None and step.loop == planned.loop]
    return [step for step in body if step.step.held_out and step.config.input == table]


def _is_measured(planned: PlannedStep, model: str, by: Sequence[str]) -> bool:
    exam = planned.config.exam()
    return exam is not None and model in exam.models and exam.is_checked and set(by) <= set(exam.by)


def _report(flow: Flow, planned: PlannedStep, mention: Reference, lacking: list[str], by: list[str]) -> None:
    first, *others = dict.fromkeys(lacking)
    what = f"no evaluation of model {first!r} on table {mention.value!r}"
    what += (f" by {by[0]!r}" if by else "") + " comes before this step"
    what += f", and none of {' or '.join(map(repr, others))}." if others else "."
    fields = f"input: {mention.value}, models: [{', '.join([first, *others])}]"
    fields += f", by: [{', '.join(by)}]" if by else ""
    answers = [name for step in flow.recipe.steps for name in step.list_names("answer")]
    answer = answers[0] if answers else "KIND"
    fix = f"put before it: - {{step: evaluate, {fields}, answer: {answer}}}"
    flow.report(planned, mention.field, what, "", fix)
