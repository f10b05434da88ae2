"""What a student would learn from a table: not the data's old answers where new ones were written, nor half a question.

A training takes the columns that it knows by name (`formats`). Rows that came with them still have them after a model
has answered anew; and of a row a prompt shows the columns that it names, and no others.
"""

from collections.abc import Container

from blackbox_kd.errors import DataError
from blackbox_kd.recipe.checks.flow import Columns, Flow
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.tables import formats

READY = ("preference", "preferred", "completion", "messages", "sharegpt")
"""Shapes that whoever takes a data set would train on as they are; the others are columns beside what was written."""
TEXTS = {"response", "better", "worse"}
"""Columns that hold text to be learnt, whichever step writes them: those that `format` takes if it is told nothing."""


def note_written(flow: Flow, planned: PlannedStep, read: list[str], new: list[str], after: Columns) -> None:
    """Notes what steps have written into the tables of a step, and of that the texts that are to be learnt.

    Args:
        flow: the walk.
        planned: the step.
        read: tables that it reads.
        new: columns that it writes.
        after: columns that its rows have.
    """
    written = {name for table in read for name in flow.written.get(table, ())}.union(new)
    texts = {name for table in read for name in flow.texts.get(table, ())}
    texts |= planned.config.texts() | TEXTS.intersection(new)
    for table in (*planned.list_names("new table"), planned.unnamed):
        flow.written[table] = written if after is None else written & after
        flow.texts[table] = texts if after is None else texts & after
        flow.recipe.written[table] = frozenset(flow.written[table])


def check_answers(flow: Flow, planned: PlannedStep, source: str | None, columns: Columns) -> None:
    """Reports a training on answers that came with the data, though a step has written others."""
    if source is not None and (found := _find_old_answers(flow, source, columns, formats.SHAPES)):
        what = f"trains on {found[0]} as the data had it, not on {found[1]}, which an earlier step has written."
        flow.report(planned, "step", what, "", f"put a step format before it, whose completion: names {found[1]}")


def check_end(flow: Flow) -> None:
    """Reports a data set that would hold answers that came with the data; what trains a model was looked at before."""
    steps, product = flow.recipe.steps, flow.recipe.head.product
    writers = [planned for planned in steps if not planned.step.aside]
    if not writers or flow.last is None or (any(planned.trains for planned in steps) and not product):
        return
    ends = list(product.values()) or [flow.last]
    if found := next(filter(None, (_find_old_answers(flow, t, flow.tables.get(t), READY) for t in ends)), None):
        what = f"the data set would hold {found[0]} as the data had it, not {found[1]}, which a step has written."
        flow.report(writers[-1], "step", what, "", f"end with a step format, whose completion: names {found[1]}")


def _find_old_answers(flow: Flow, table: str, columns: Columns, shapes: Container[str]) -> tuple[str, str] | None:
    """The data's own answers that would be learnt from a table, and the texts that steps have written into it."""
    texts = flow.texts.get(table)
    if columns is None or not texts:
        return None
    try:
        shape = formats.recognise(columns - {"id"})
    except DataError:
        return None
    answers = formats.find_answers(shape)
    if shape not in shapes or flow.written[table].intersection(answers):
        return None
    return " and ".join(map(repr, answers)), " and ".join(map(repr, sorted(texts)))


def check_shown(flow: Flow, planned: PlannedStep, source: str | None, columns: Columns) -> None:
    """Reports columns of the data that belong to what is asked, and that no prompt of the student shows.

    Of an exam each prompt must show them, as each is for a model of its own.
    """
    told = [(at, name) for at, name, _ in planned.config.shown_to_student() if name in flow.recipe.prompts]
    if source is not None and columns is not None:
        for each in [[one] for one in told] if planned.step.held_out else [told] if told else []:
            _check_shown(flow, planned, source, columns, each)


def _check_shown(flow: Flow, planned: PlannedStep, source: str, columns: set[str], told: list[tuple[str, str]]) -> None:
    """Reports what none of these prompts shows, each with the field that names it."""
    at, names, is_exam = told[0][0], [name for _, name in told], planned.step.held_out
    shown = {column for name in names for column in flow.recipe.prompts[name].names()}
    shown |= _find_left_out(flow, planned, names)
    for name in sorted((flow.list_filled(source) & columns) - flow.written.get(source, set()) - shown):
        if name in (*formats.ASKED, *formats.TOOLS, *formats.UNUSABLE):
            so = "the models would be asked" if is_exam else "the student would learn to answer"
            what = f"prompt {names[0]!r} does not show {name!r}, so {so} without it."
            table = next(each for each in sorted(flow.origins([source])) if name in flow.filled.get(each, ()))
            rename = f"rename it if they are to do without: --set data.{table}.rename.{name}=NAME"
            fix = rename if is_exam else f"drop_context: [{name}] if the student is to do without"
            flow.report(planned, at, what, "", f"use a prompt that shows it, or {fix}")
        elif (
            name in formats.THOUGHT
            and not is_exam
            and not planned.config.said_by_student() & flow.written.get(source, set())
        ):
            what = f"{name!r} is the reasoning before an answer of the data, and would not be learnt."
            flow.report(planned, "step", what, "", "train on the table as it is, or rename the column under data:")


def _find_left_out(flow: Flow, planned: PlannedStep, prompts: list[str]) -> set[str]:
    """Columns that a step names, and so does not leave out by mistake; of an exam, those that the training names."""
    if not planned.step.held_out:
        return set(planned.list_names("column")) | planned.config.said_by_student()
    others = [other for other in flow.recipe.steps if not other.step.held_out]
    alike = [
        other for other in others if {name for _, name, _ in other.config.shown_to_student()}.intersection(prompts)
    ]
    return {name for other in alike for name in other.list_names("column")}
