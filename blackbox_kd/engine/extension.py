"""`run --extend N`: so many more rows of the same recipe than it says.

More rows are taken where the recipe says how many there are: `rows:` of the step that draws them, `size:` of a
generator, `limit:` of a table to start from. In each of them the first rows stay what they were, with their ids, so
that no reply to them is asked for again. The number is kept in the run's manifest: the next run takes as many without
being told, and one that was stopped goes on.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from blackbox_kd.engine import data
from blackbox_kd.errors import UserError
from blackbox_kd.recipe.load import build_recipe
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.recipe.yaml_source import format_path
from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.runs.manifest import NAME, Extension, read_manifest
from blackbox_kd.tables import sources

ADD = "add rows to it, and run the recipe without --extend: those that are there keep their replies"


@dataclass(frozen=True, slots=True)
class Extended:
    """What a run takes beyond its recipe.

    Args:
        entry: what the manifest holds of it; None if it is the recipe's rows that are run.
        told: what the user is told.
    """

    entry: Extension | None = None
    told: tuple[str, ...] = ()

    def note(self, folder: RunFolder) -> None:
        """Keeps it in the run's folder from the beginning: a run that is stopped goes on with it."""
        if folder.manifest.extension != self.entry:
            folder.note_extension(self.entry)
            folder.save()

    def finish(self, folder: RunFolder, until: str | None) -> None:
        """Notes that the whole run has come to its end with it: the next `--extend` adds to it."""
        if self.entry is not None and until is None:
            folder.note_extension(self.entry.model_copy(update={"finished": True}))


def extend_run(
    recipe: Recipe, run: Path, more: int | None, parts: Mapping[str, object], env: Mapping[str, str]
) -> tuple[Recipe, Extended]:
    """See `extend`; a trial has the first rows of the recipe, and shards those of all, whatever was added.

    Args:
        recipe: as it was loaded.
        run: the run's folder.
        more: rows that are added.
        parts: the options by which a part of the run is worked on; None for those that were not given.
        env: where keys are looked up.
    """
    given = [option for option, value in parts.items() if value is not None]
    if more is not None and given:
        what = f"--extend {more} is of a whole run: it does not go with {' or '.join(given)}"
        raise UserError(what, fix=f"take {given[0]} out")
    if set(given) - {"--until"}:
        return recipe, Extended()
    return extend(recipe, run, more, env)


def extend(recipe: Recipe, run: Path, more: int | None, env: Mapping[str, str]) -> tuple[Recipe, Extended]:
    """The recipe with the rows that its run takes beyond it, and what is to be kept of that.

    Args:
        recipe: as it was loaded.
        run: the run's folder.
        more: rows that are added to those of the run; 0 goes back to the recipe's; None adds none.
        env: where keys are looked up.

    Raises:
        UserError: there is no run, or the recipe does not say how many rows there are.
    """
    before = read_manifest(run).extension
    if more is not None and not (run / NAME).exists():
        raise UserError(f"--extend {more}: there is no run in {run}", fix="run the recipe without --extend first")
    entry = _add(before, more)
    if entry is None:
        return recipe, Extended()
    path, own = _find_number(recipe, entry.rows)
    values = deepcopy(recipe.source.values)
    here: Any = values
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = own + entry.rows
    source = replace(recipe.source, values=values)
    found = build_recipe(source, file=recipe.file, folder=recipe.folder, allow_code=recipe.allow_code, env=env)
    found.aliases = recipe.aliases
    return found, Extended(entry, tuple(_tell(recipe, path, own, entry, before)))


def _add(before: Extension | None, more: int | None) -> Extension | None:
    """What is run now: an extension that has not come to its end is gone on with, or replaced by another one."""
    if more is None:
        return before
    if more == 0:
        return None
    if before is None:
        return Extension(rows=more, last=more, finished=False)
    if before.finished:
        return Extension(rows=before.rows + more, last=more, finished=False)
    return (
        before if before.last == more else Extension(rows=before.rows - before.last + more, last=more, finished=False)
    )


def _find_number(recipe: Recipe, more: int) -> tuple[tuple[str | int, ...], int]:
    """Where the recipe says how many rows there are, and how many.

    Raises:
        UserError: nowhere, or in a loop.
    """
    drawing = [planned for planned in recipe.steps if planned.config.rows_to_draw() is not None]
    if drawing:
        first = drawing[0]
        if first.loop is not None:
            what = f"--extend: {first.label} draws its rows anew in each round, after the model was trained on others"
            raise UserError(what, fix="raise its rows: in the recipe; what comes after it is asked anew")
        return (*first.at, "rows"), first.config.rows_to_draw() or 0
    name = data.find_flowing(recipe) or ""
    source = recipe.data[name]
    if source.limit is not None:
        own = source.model_copy(update={"limit": None})
        there = sum(1 for _ in islice(sources.read(own, recipe.folder), source.limit + 1))
        if there > source.limit:
            return ("data", name, "limit"), source.limit
        what = f"--extend {more}: data.{name} has no more than the {there:,} rows that are taken of it"
        raise UserError(what, fix=ADD)
    if source.generator is not None:
        return ("data", name, "size"), source.size
    what = f"--extend {more}: the recipe takes all rows of data.{name}"
    raise UserError(what, fix=ADD)


def _tell(
    recipe: Recipe, path: tuple[str | int, ...], own: int, entry: Extension, before: Extension | None
) -> Iterable[str]:
    goes_on = " (goes on with what was begun)" if before == entry and not entry.finished else ""
    yield f"{format_path(path)}: {own + entry.rows:,} rows, {entry.rows:,} more than in the recipe{goes_on}"
    if before == entry:
        return
    students = dict.fromkeys(name for planned in recipe.steps for name in planned.list_names("student"))
    if students:
        yield f"{', '.join(students)}: trained anew, on the longer table"
    grows = str(path[1]) if path[0] == "data" else ""
    shows = [p.label for p in recipe.steps for m in p.references if (m.kind, m.value) == ("table", grows)]
    shows = [label for label in shows if label not in [p.label for p in recipe.steps if p.config.input == grows]]
    if shows:
        yield f"{', '.join(shows)}: looks at {grows}, which grows; where a prompt shows other rows, it is asked anew"
