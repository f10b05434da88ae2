"""Which tables of a run are its data set."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from blackbox_kd.engine.versions import Versions
from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.runs.accounts import Account, refuse_loss
from blackbox_kd.runs.lineage import Lineage
from blackbox_kd.runs.report.ending import Ending, Status
from blackbox_kd.schema import BASE, ModelRef
from blackbox_kd.tables.stored import StoredTable

CONTROL = "control"
"""A model with this word in its name is there to be compared with, as in the bundled recipes."""
DEFAULT = "default"
"""What the Hub calls the data of a data set that has but one kind of it."""


def choose_tables(
    recipe: Recipe,
    lineage: Lineage,
    named: Mapping[str, StoredTable],
    versions: Versions,
) -> dict[str, StoredTable]:
    """The tables that make up the data set, by the names of their configs; none if the run has made none so far.

    Args:
        recipe: what is run.
        lineage: of the tables that were written.
        named: tables of the run by name.
        versions: that trainings have made, and which of them a name means now: a loop may have restored an earlier one.
    """
    chosen = recipe.head.product
    if chosen and all(table in named for table in chosen.values()):
        return {name: named[table] for name, table in chosen.items()}
    if versions.list_sources():
        table = _find_training_table(recipe, versions)
        return {_name_config(table): table}
    last = [table for table in lineage.written if lineage.is_product(table)][-1:]
    made = [table for table in lineage.list_ends() if lineage.trace(table).is_formatted]
    made = [table for table in made if table in last or not table.name.startswith("#")]
    return {_name_config(table): table for table in made or last}


def find_ending(
    tables: Mapping[str, StoredTable], accounts: Sequence[Account], limit: float, rows: int, folder: Path
) -> Ending:
    """How a run has ended all of whose steps were run.

    Args:
        tables: its data set.
        accounts: of the steps.
        limit: the recipe's `max_failed_share`.
        rows: that the run began with.
        folder: the run's, for the message.

    Raises:
        StepError, TooManyFailed: see `refuse_loss`.
    """
    if rows and tables and not any(map(len, tables.values())):
        return Ending(Status.NO_ROWS, refuse_loss(accounts, limit, rows, folder))
    return Ending()


def _name_config(table: StoredTable) -> str:
    return DEFAULT if table.name.startswith("#") else table.name


def _find_training_table(recipe: Recipe, versions: Versions) -> StoredTable:
    """The table that trained the model which the last evaluation of a trained one is about.

    Where none was evaluated, it is the model that was trained last. A model that was restored as it came has no table:
    then it is the one that its latest version was trained on.
    """
    taught = versions.list_sources()
    names = list(dict.fromkeys(ModelRef.parse(version).name for version in reversed(list(taught))))
    trained = [name for name in names if CONTROL not in name.lower()] or names
    exams = [planned for planned in reversed(recipe.steps) if planned.step.held_out]
    for exam in exams:
        asked = [model for model in _list_asked(exam) if model.version != BASE]
        found = [name for name in trained if name in {model.name for model in asked}]
        if found:
            subject = min(found, key=lambda name: _rank(name, exam, exams))
            exact = str(versions.name_exactly([model for model in asked if model.name == subject][-1]))
            return taught[exact] if exact in taught else _find_latest(subject, taught)
    return _find_latest(trained[0], taught)


def _find_latest(name: str, taught: Mapping[str, StoredTable]) -> StoredTable:
    return [table for version, table in taught.items() if ModelRef.parse(version).name == name][-1]


def _rank(name: str, exam: PlannedStep, exams: list[PlannedStep]) -> tuple[bool, bool]:
    """What speaks against a model being the one that an evaluation is about, the weightiest first.

    The one that all is about is compared with what it was before its training, here or in another evaluation. What
    others are compared with is the model that `against_model` names, or else the first one.
    """
    against = [named.model for named in exam.references if named.field == "against_model"]
    first = (against or _list_asked(exam))[0]
    is_compared = any(ModelRef(name, BASE) in _list_asked(planned) for planned in exams)
    return not is_compared, first.name == name and first.version != BASE


def _list_asked(planned: PlannedStep) -> list[ModelRef]:
    """The models that an evaluation asks; not the one that judges."""
    return [named.model for named in planned.references if named.kind == "model" and named.field.startswith("models")]
