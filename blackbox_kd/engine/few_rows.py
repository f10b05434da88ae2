"""The few rows that reach one step of a recipe: from the tables of its run where those are there, else worked out."""

import hashlib
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from blackbox_kd.engine.estimate.dry_run import Tables
from blackbox_kd.engine.estimate.tables import AnyKey
from blackbox_kd.engine.fingerprint import describe_step
from blackbox_kd.engine.plan import Stage, plan
from blackbox_kd.errors import BlackboxError, UserError, list_names
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.runs.manifest import read_manifest
from blackbox_kd.runs.stage_files import name_table_file
from blackbox_kd.schema import BASE, Dropped, Memory, Outcome, Row, Table
from blackbox_kd.tables import sources
from blackbox_kd.tables.stored import StoredTable

ALIKE = 50
"""First rows of a table to start from that a run must have had, too, for its other tables to count."""
MOST_IDS = 5
"""Ids of rows that a message names."""
Made = list[tuple[str, Outcome]]
"""What became of rows in a step; of a table step, with the table that it writes each to, "" for its first."""
Work = Callable[[PlannedStep, list[Row], Tables], Awaitable[Made]]


class Kept:
    """What the folder of a run has of a recipe's tables and models, as far as that recipe is the one that was run.

    Args:
        recipe: the recipe.
        run: the run's folder; there need be none.
    """

    def __init__(self, recipe: Recipe, run: Path) -> None:
        self._run, self._manifest = run, read_manifest(run)
        self._same = self._count_same(recipe)

    def _count_same(self, recipe: Recipe) -> int:
        """How many steps the run has in common with the recipe, from the first one on; 0 if it began otherwise."""
        try:
            ran = load_recipe(self._run / "recipe.yaml", allow_code=recipe.allow_code, env=AnyKey())
        except (BlackboxError, OSError):
            return 0
        if ran.head.seed != recipe.head.seed or not self._has_same_data(recipe):
            return 0
        same = 0
        for mine, theirs in zip(recipe.steps, ran.steps, strict=False):
            if _describe(recipe, mine) != _describe(ran, theirs):
                break
            same += 1
        return same

    def _has_same_data(self, recipe: Recipe) -> bool:
        for name, source in recipe.data.items():
            file = self._run / "tables" / f"00_{name}.jsonl"
            if source.path is None or not file.exists():
                continue
            now = [row.id for row in islice(_read_rows(recipe, name), ALIKE)]
            then = [row.id for row in islice(StoredTable(name, file, 0, ""), ALIKE)]
            if then != now[: len(then)]:
                return False
        return True

    def find(self, recipe: Recipe, stage: Stage, name: str) -> Path | None:
        """The file of a table that a stage has written in the run; None if it is not there, or another recipe's."""
        file = self._run / "tables" / f"{name_table_file(stage.name, name)}.jsonl"
        return file if self._has(recipe, stage) and file.exists() else None

    def find_trained(self, recipe: Recipe, stage: Stage) -> list[tuple[str, Path]]:
        """The models that a stage has trained in the run, and where they are."""
        done = self._manifest.stages.get(stage.name) if self._has(recipe, stage) else None
        places = [(model, self._run / path) for model, path in done.trained] if done is not None else []
        return places if all(path.exists() for _, path in places) else []

    def _has(self, recipe: Recipe, stage: Stage) -> bool:
        keys = [planned.key for planned in recipe.steps[: self._same]]
        return stage.steps[-1].key in keys


def _describe(recipe: Recipe, planned: PlannedStep) -> object:
    """What a step is, with the models and the prompts that it names."""
    configs = [recipe.models[name].model_dump(mode="json") for name in planned.list_models()]
    models = [{key: _find_content(recipe.folder, value) for key, value in config.items()} for config in configs]
    return describe_step(planned), models, [recipe.prompts[name].source for name in planned.list_names("prompt")]


def _find_content(folder: Path, value: object) -> object:
    """What stands for a field of a model: for a file its content, which a run keeps under a name of its own."""
    if not isinstance(value, str):
        return value
    try:
        with (folder / value).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return value


def _read_rows(recipe: Recipe, name: str) -> Iterator[Row]:
    source = recipe.data[name]
    return sources.make_rows(sources.read(source, recipe.folder), source.rename)


def list_stages(recipe: Recipe, steps: list[PlannedStep]) -> list[Stage]:
    """The stages of a run up to a step; of a loop those of its first round."""
    found = []
    for part in plan(recipe, steps):
        found += [part] if isinstance(part, Stage) else [stage.in_round(1) for stage in part.stages]
    return found


class Chain:
    """The steps before one that is tried, and the few rows that they let through to it.

    Args:
        recipe: the recipe.
        stages: those up to the step, which is the last step of the last one.
        kept: what the run has of them.
        work: lets a step work on rows.
        count: rows to begin with.
        only: ids of the rows to begin with, or of rows that were made of them; empty for the first ones.
        draw: the rows that a step has drawn from its table.
        say: is told where the rows come from, and what is asked for them.
    """

    def __init__(
        self,
        recipe: Recipe,
        stages: Sequence[Stage],
        kept: Kept,
        work: Work,
        *,
        count: int,
        only: Sequence[str],
        draw: Callable[[PlannedStep, Table], Iterable[Row]],
        say: Callable[[str], None],
    ) -> None:
        self._recipe, self._stages, self._kept = recipe, stages, kept
        self._work, self._count, self._only, self._draw, self._say = work, count, only, draw, say
        self._few: dict[str, list[Row]] = {}
        self._shown: dict[str, Table] = {}
        self._writers: dict[str, Stage] = {}
        self._inputs: dict[str, list[str]] = {}
        self._link()

    def _link(self) -> None:
        """Finds out what each stage reads and writes: a step that names no table reads that of the step before it."""
        last = next((name for name, source in self._recipe.data.items() if not source.held_out), None)
        for stage in self._stages:
            named = stage.first.config.input or last
            self._inputs[stage.name] = stage.first.merged or ([named] if named is not None else [])
            self._writers |= {name: stage for name in stage.outputs if name not in self._writers}
            last = last if stage.first.step.aside else stage.outputs[0]

    async def find_rows(self) -> list[Row]:
        """The rows that reach the step that is tried.

        Raises:
            UserError: none does, or none of those that were named is there.
        """
        *before, tried = self._stages[-1].steps
        rows = await self._read_input(self._stages[-1], tried)
        for planned in before:
            rows = [row for _, row in await self._pass(planned, rows)]
        if not (found := self._choose(rows)):
            raise self._explain_missing(tried.label, rows)
        await self._prepare(tried)
        return found

    async def find_table(self, *, whole: bool) -> Table:
        """The same as a table with its name; if it is there already and wanted whole, all of its rows."""
        names = self._inputs[self._stages[-1].name]
        if whole and all(name in self._recipe.data or self._find_file(name) is not None for name in names):
            self._count = sys.maxsize
        return Memory(names[0] if names else "table", await self.find_rows())

    def find_shown(self, name: str) -> Table:
        """A table that a step looks at beside its own."""
        return self._shown[name]

    async def _read_input(self, stage: Stage, reader: PlannedStep) -> list[Row]:
        names = self._inputs[stage.name]
        if stage.first.config.rows_to_draw() is not None:
            await self._show(names[0])
            rows = self._choose(self._draw(stage.first, self._shown[names[0]]))
        else:
            rows = [row for name in names for row in await self._take(name)]
        if not rows:
            raise self._explain_missing(reader.label, rows)
        return rows

    async def _take(self, name: str) -> list[Row]:
        """The first rows of a table, or those that were named."""
        if name not in self._few:
            file = self._find_file(name)
            if name in self._recipe.data:
                self._few[name] = self._choose(_read_rows(self._recipe, name))
            elif file is not None:
                self._say(f"rows of {file}")
                self._few[name] = self._choose(StoredTable(name, file, 0, ""))
            else:
                await self._run(self._writers[name])
        return self._few[name]

    def _find_file(self, name: str) -> Path | None:
        stage = self._writers.get(name)
        return None if stage is None else self._kept.find(self._recipe, stage, name)

    async def _run(self, stage: Stage) -> None:
        """Works out what a stage makes of the few rows that reach it."""
        rows = await self._read_input(stage, stage.first)
        made: list[tuple[str, Row]] = [("", row) for row in rows]
        for planned in stage.steps if not stage.first.trains else []:
            made = await self._pass(planned, [row for _, row in made])
        for name in stage.outputs:
            own = ("", name) if name == stage.outputs[0] else (name,)
            self._few[name] = [row for table, row in made if table in own]

    async def _pass(self, planned: PlannedStep, rows: list[Row]) -> list[tuple[str, Row]]:
        """The rows that a step before the one that is tried lets through.

        Raises:
            UserError: it lets none through.
        """
        await self._prepare(planned)
        if planned.config.calls_per_row() > 0:
            self._say(f"{planned.label} comes before it and is asked for {len(rows):,} rows")
        elif planned.step.kind == "table":
            self._say(f"{planned.label} comes before it and sees {len(rows):,} rows in place of the whole table")
        made = await self._work(planned, rows, self.find_shown)
        found = [(table, outcome) for table, outcome in made if isinstance(outcome, Row)]
        if not found:
            lost = [outcome for _, outcome in made if not isinstance(outcome, Row)]
            why = Counter(o.reason if isinstance(o, Dropped) else o.error.split("\n")[0] for o in lost)
            told = "; ".join(f"{count:,} times: {reason}" for reason, count in why.most_common(3))
            fix = "try more rows (--rows 20), or one that comes through (--row ID)"
            raise UserError(f"none of {len(rows):,} rows comes through {planned.label}", exists=told, fix=fix)
        return found

    async def _prepare(self, planned: PlannedStep) -> None:
        for mention in planned.references:
            if mention.kind == "table" and mention.field != "input":
                await self._show(mention.value)

    async def _show(self, name: str) -> None:
        """Has a table there as a whole, as far as it is known."""
        if name in self._shown:
            return
        file = self._find_file(name)
        if name in self._recipe.data:
            self._shown[name] = Memory(name, list(_read_rows(self._recipe, name)))
        elif file is not None:
            self._shown[name] = Memory(name, list(StoredTable(name, file, 0, "")))
        else:  # that of a later step of a loop has no rows in its first round
            self._shown[name] = Memory(name, await self._take(name) if name in self._writers else [])

    def _choose(self, rows: Iterable[Row]) -> list[Row]:
        if not self._only:
            return list(islice(rows, self._count))
        return [row for row in rows if any(_is_kin(row.id, name) for name in self._only)]

    def _explain_missing(self, label: str, rows: Sequence[Row]) -> UserError:
        what = f"--row {', '.join(self._only)}: no such row comes to {label}" if self._only else f"{label} gets no rows"
        inputs = self._inputs[self._stages[0].name]
        known = rows or [row for name in inputs for row in islice(self._list_all(name), MOST_IDS)]
        ids = list_names(row.id for row in known[:MOST_IDS])
        return UserError(what, exists=f"rows begin with {ids}", fix="name one of them, or leave --row out")

    def _list_all(self, name: str) -> Iterator[Row]:
        return _read_rows(self._recipe, name) if name in self._recipe.data else iter(self._few.get(name, []))


def _is_kin(one: str, other: str) -> bool:
    """Whether ids are of the same row, or of one that was made of the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def refuse_untrained(steps: Sequence[PlannedStep], stages: Sequence[Stage], trained: Mapping[str, object]) -> None:
    """Refuses steps that ask a model of a recipe that its run has yet to train.

    Raises:
        UserError: with how to train it.
    """
    teachers = {name: stage for stage in stages for planned in stage.steps for name in planned.list_names("student")}
    for planned in steps:
        for mention in planned.references:
            name = mention.model.name if mention.kind == "model" else ""
            if name in teachers and name not in trained and mention.model.version != BASE:
                what = f"{planned.label} asks {mention.value!r}, which the run has not trained yet"
                fix = f"run the recipe --until {teachers[name].first.key}, or try another step"
                raise UserError(what, fix=fix)
