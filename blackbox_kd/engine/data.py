"""Loads the tables that a run starts from, and looks at them before anything is paid."""

from collections.abc import Mapping, Sequence
from typing import Any

from blackbox_kd.analysis import contamination
from blackbox_kd.engine.tables import RunTables
from blackbox_kd.errors import Problem, RecipeError
from blackbox_kd.recipe.checks import chain
from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.runs import carried
from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.tables import formats, sources
from blackbox_kd.tables.bad_lines import BadLines
from blackbox_kd.tables.stored import StoredTable


def load(
    recipe: Recipe, steps: Sequence[PlannedStep], tables: RunTables, folder: RunFolder, limit: int | None
) -> dict[str, set[str]]:
    """Writes the tables that the steps read; of the others, what the recipe needs to be run again is kept.

    Returns, for each table that was written, the columns in which any of its rows holds something.

    Args:
        recipe: where the tables come from.
        steps: those that are run.
        tables: is given them.
        folder: where they are written.
        limit: at most so many rows of each.
    """
    read = {reference.value for planned in steps for reference in planned.references}
    flowing, filled = find_flowing(recipe), {}
    for name, source in recipe.data.items():
        if name != flowing and name not in read:
            carried.keep(folder.path, recipe, name)
            continue
        lines = folder.table_lines(f"00_{name}")
        filled[name] = set[str]()
        bad_lines = BadLines()
        rows = carried.read_and_keep(folder.path, recipe, name, limit, bad_lines)
        for number, row in enumerate(sources.make_rows(rows, source.rename)):
            lines.add(number, row.id, row)
            filled[name].update(sources.list_filled(row))
        tables.bad_lines += [{"table": name, "file": f, "left_out": n} for f, n in bad_lines.dropped.items()]
        tables.start(StoredTable(name, lines.path, *lines.finish()), flows=name == flowing)
    return filled


def find_flowing(recipe: Recipe) -> str | None:
    """The table that the first step reads if it names none: the first one that is not held out."""
    return next((name for name, source in recipe.data.items() if not source.held_out), None)


def check(recipe: Recipe, tables: RunTables, filled: Mapping[str, set[str]], env: Mapping[str, str]) -> None:
    """Checks the recipe again, now that tables of the Hub and rows beyond the first ones are known.

    Args:
        recipe: the recipe.
        tables: those that were loaded.
        filled: what `load` has found.
        env: where keys are looked up.

    Raises:
        RecipeError: something is wrong.
    """
    hub = [name for name, source in recipe.data.items() if source.hub is not None]
    loaded = {name: tables[name] for name in hub if name in tables}
    problems: list[Problem] = []
    if any(map(len, loaded.values())) or any(map(formats.MEANINGFUL.intersection, filled.values())):
        for each in [recipe, *(other for other in recipe.variants if other.training_seed == recipe.training_seed)]:
            found: list[Problem] = []
            chain.check(each, found, env, loaded, filled)
            problems += [problem for problem in found if problem not in problems]
    if problems:
        raise RecipeError(recipe.file, problems)


def compare(recipe: Recipe, tables: RunTables) -> list[dict[str, Any]]:
    """What held-out tables have in common with the others, for the report.

    Raises:
        DataError: a held-out row stands among the others.
    """
    held_out = [table for name, table in tables.items() if recipe.data[name].held_out]
    training = [table for name, table in tables.items() if not recipe.data[name].held_out]
    return contamination.refuse(held_out, training)
