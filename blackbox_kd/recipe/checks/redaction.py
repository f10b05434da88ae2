"""Personal data that would leave the machine before a step of the recipe takes it out."""

from collections.abc import Iterable

from blackbox_kd.recipe.checks.flow import Flow
from blackbox_kd.recipe.notes import Note, Notes
from blackbox_kd.recipe.spec import PlannedStep


def note_step(flow: Flow, planned: PlannedStep, tables: Iterable[str]) -> None:
    """Notes a step that takes personal data out of its rows, or that shows rows to a model of somebody else's.

    Args:
        flow: the walk.
        planned: the step.
        tables: those that it reads.
    """
    read = set(tables)
    raw = flow.origins(read - flow.redacted)
    if planned.config.redacts():
        flow.sources_redacted |= dict.fromkeys(raw, planned.label)
    written = {*planned.list_names("new table"), planned.unnamed}
    if planned.config.redacts() or (read and read <= flow.redacted):
        flow.redacted |= written
    else:
        flow.redacted -= written
    models = [name for name in planned.list_models() if name in flow.recipe.models]
    away = [name for name in models if not flow.recipe.models[name].local]
    prompts = [name for name in planned.list_names("prompt") if name in flow.recipe.prompts]
    shown = {column for name in prompts for column in flow.recipe.prompts[name].names()}
    for table in read - flow.redacted:
        known = flow.tables.get(table)
        if away and (columns := sorted(shown if known is None else shown & known)):
            flow.raw_shown.append((planned, away[0], columns, flow.origins([table])))


def check(flow: Flow, notes: Notes) -> None:
    """Warns of steps that show columns of a table before another step takes the personal data out of the same rows."""
    for planned, model, columns, origins in flow.raw_shown:
        redacting = next((flow.sources_redacted[name] for name in sorted(origins & flow.sources_redacted.keys())), None)
        if redacting is not None:
            several = "s" if len(columns) > 1 else ""
            what = f"column{several} {', '.join(map(repr, columns))} would be shown to {model!r} with the personal data"
            what += f" that {redacting} takes out of the same rows."
            fix = "put the step with redact: before it, or read the table that it writes"
            notes.add(Note("warning", planned.line, planned.label, what, fix))
