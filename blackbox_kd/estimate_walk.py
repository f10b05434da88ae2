"""The walk of an estimate: along the steps of a recipe with what is known of its tables."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from inspect import isasyncgenfunction
from itertools import islice
from pathlib import Path

from blackbox_kd import sources, spending
from blackbox_kd.drawing import Drawn
from blackbox_kd.errors import DataError
from blackbox_kd.estimate_numbers import KEPT, NOTHING, REPLY_SHARE, Asking, Line, Span, added, share
from blackbox_kd.marks import mentions, resolve
from blackbox_kd.recipe import Planned, Recipe
from blackbox_kd.rehearsal import Env, Rehearsal, Rehearsed
from blackbox_kd.schema import Memory, Row, Table
from blackbox_kd.stages import Stage, drawn, program

SAMPLE = 64
"""Rows whose prompts are rendered for the length of those of rows that are not there yet."""
UNSEEN = "word " * 80
"""Stands for a text of which nothing is known."""


@dataclass(slots=True)
class Options:
    """How a recipe would be run.

    Args:
        run_dir: the run's folder; it names the run in the ledger.
        ledger: the ledger's file.
        limit: at most so many rows of each data table.
        until: name or position of the last step.
        probe: calls that are really made of each step that asks a model which costs something.
        env: where keys are looked up.
        looked_up: rows of a table that are looked up in the ledger, in seconds; further ones count as not paid for.
    """

    run_dir: Path
    ledger: Path
    env: Env = field(repr=False)
    limit: int | None = None
    until: str | None = None
    probe: int = 0
    looked_up: int = 20_000


@dataclass(slots=True)
class Level:
    """What is known of a table.

    Args:
        known: rows that are there for certain.
        rest: how many there will be besides.
        like: rows that the rest will be like.
        is_whole: whether `known` is a whole table to start from.
        assumed: what the number of the rest was guessed by.
    """

    known: list[Row]
    rest: Span
    like: list[Row]
    is_whole: bool = False
    assumed: tuple[str, ...] = ()

    def total(self) -> Span:
        """All rows."""
        return self.rest + len(self.known)


def in_rounds(recipe: Recipe, steps: list[Planned]) -> Iterator[tuple[Planned, bool]]:
    """The steps of a run, those of a loop once for each round, and whether it is certain that they are run."""
    for part in program(recipe, steps):
        if isinstance(part, Stage):
            yield from ((planned, True) for planned in part.steps)
            continue
        until, most = part.loop.config.until, part.loop.config.rounds if part.is_whole else 1
        fewest = most if until is None else min(most, getattr(until, "patience", 1))
        for number in range(1, most + 1):
            for stage in part.stages:
                yield from ((planned, number <= fewest) for planned in stage.in_round(number).steps)


class Walk:
    """Goes along the steps of a recipe with what is known of its tables.

    Attributes:
        lines: the calls of each step to each model.
        notes: what was assumed, and what was measured.
    """

    def __init__(self, recipe: Recipe, options: Options, rehearsal: Rehearsal, has_replies: bool) -> None:
        self.lines: list[Line] = []
        self.notes: list[str] = []
        self._recipe = recipe
        self._options = options
        self._rehearsal = rehearsal
        self._has_replies = has_replies
        self._hub_is_away = False
        self._tables: dict[str, Level] = {}
        self._last = next((name for name, source in recipe.data.items() if not source.held_out), None)

    async def step(self, planned: Planned, is_certain: bool = True) -> None:
        """Goes past a step; one that is not certain is in a round that may not come."""
        before = len(self.lines)
        await self._step(planned)
        if not is_certain:
            self.lines[before:] = [line.at_most() for line in self.lines[before:]]
            self.notes.append(f"steps[{planned.index}] (loop): all rounds are run; the low estimate has the fewest")

    async def _step(self, planned: Planned) -> None:
        named = list(mentions(planned.config))
        students = {m.value for m in named if m.kind == "student"}
        self._rehearsal.models.to_be_trained |= students
        self.notes += [f"{planned.label}: the time that training takes is not counted"] if students else []
        level = self._input(planned)
        if (rows := drawn(planned)) is not None:
            level = self._drawn(planned, level, rows)
        asks = planned.config.calls_per_row() > 0
        found, like = Rehearsed(), Rehearsed()
        if level.known and (asks or planned.step.kind == "row"):
            examples = [m.value for m in named if m.kind == "table" and m.field != "input"]
            is_exact = all(self._level(name).is_whole for name in examples)
            probes = self._options.probe if is_exact else 0
            found = await self._rehearsal.rehearse(planned, level.known, self._table, probes=probes, looks_up=is_exact)
        if asks and level.rest.high:
            like = await self._rehearsal.rehearse(planned, level.like, self._table, looks_up=False)
        if asks:
            self._add_lines(planned, level, found, like)
        self._pass_on(planned, level, found)

    def _add_lines(self, planned: Planned, level: Level, found: Rehearsed, like: Rehearsed) -> None:
        calls = planned.config.calls_by_model()
        for name in dict.fromkeys([*calls, *(asked.model for asked in found.asked)]):
            own = [asked for asked in found.asked if asked.model == name]
            per_row = calls[name]
            # A row whose first call has no reply yet does not get to its second one.
            unseen = (len(level.known) - found.failed) * per_row - sum(asked.is_first for asked in own)
            rest = level.rest * per_row + max(0.0, unseen)
            asking = Asking(own, rest, [asked for asked in like.asked if asked.model == name])
            models = self._rehearsal.models
            line = asking.line(planned.label, name, models.config(name), spending.price_of(models, name))
            self.lines.append(line)
            if line.calls.high:
                measured = f"as long as the {line.measured:,} in the ledger"
                how = measured if line.measured else f"of {REPLY_SHARE.percent()} of max_tokens"
                guessed = level.assumed if level.rest.high else ()
                self.notes += [*guessed, f"{planned.label}, {name}: replies {how}"]

    def _pass_on(self, planned: Planned, level: Level, found: Rehearsed) -> None:
        """Notes what the step will write."""
        config, step = planned.config, planned.step
        kept, assumed = Span.of(1), level.assumed
        if step.drops:
            kept = share(len(found.rows), found.dropped)
            how = "" if kept is KEPT else f", as of {len(found.rows) + found.dropped:,} rows with paid replies"
            assumed += (f"{planned.label}: {kept.percent()} of the rows pass{how}",)
        if step.kind == "row":
            fan_out = max(1, config.calls_per_row()) if isasyncgenfunction(step.run) else 1
            known, rest = found.rows, (level.rest * fan_out + len(found.waiting)) * kept
        else:
            fan_out = max(1, config.calls_per_row()) if step.aside else 1
            known, rest = [], level.total() * kept * fan_out
            most = getattr(config, "rows", None)
            rest = rest.each(min, most) if isinstance(most, int) else rest
        columns = [*resolve(step.writes, config), *(m.value for m in mentions(config) if m.kind == "new column")]
        like = _evenly([*found.waiting, *level.like] or level.known)
        like = [Row(dict.fromkeys(columns, UNSEEN)) | row for row in like]
        names = [m.value for m in mentions(config) if m.kind == "new table"] or [planned.unnamed]
        for name in names:
            self._tables[name] = Level(known, rest, like, assumed=assumed)
        self._last = self._last if step.aside else names[0]

    def _input(self, planned: Planned) -> Level:
        if planned.step.merges is not None:
            levels = [self._level(name) for name in getattr(planned.config, planned.step.merges)]
            like = [row for level in levels for row in level.known or level.like]
            assumed = tuple(note for level in levels for note in level.assumed)
            return Level([], added(level.total() for level in levels), _evenly(like), assumed=assumed)
        name = planned.config.input or self._last
        return self._level(name) if name is not None else Level([], NOTHING, [])

    def _drawn(self, planned: Planned, level: Level, rows: int) -> Level:
        """The rows that a step has drawn from its table; known ones are drawn as a run will draw them."""
        if level.known and not level.rest.high:
            rng = self._rehearsal.context(planned, self._table).rng("rows")
            return replace(level, known=list(Drawn(Memory("drawn", level.known), rows, rng)))
        return Level([], Span.of(rows) if level.total().high else NOTHING, level.like, assumed=level.assumed)

    def _level(self, name: str) -> Level:
        if name not in self._tables and name not in self._recipe.data:  # a loop writes it later in its first round
            return Level([], NOTHING, [])
        if name not in self._tables:
            self._tables[name] = self._load(name)
        return self._tables[name]

    def _table(self, name: str) -> Table:
        level = self._level(name)
        return Memory(name, level.known or level.like)

    def _load(self, name: str) -> Level:
        """A table to start from: its rows are counted; the first ones are kept, to be looked up in the ledger."""
        source = self._recipe.data[name]
        limits = [limit for limit in (source.limit, self._options.limit) if limit is not None]
        if source.hub is not None and limits and self._hub_is_away:
            return self._unseen(name, min(limits))
        try:
            found = sources.read(source, self._recipe.folder, self._options.limit)
            rows = sources.make_rows(found, source.rename)
            first = list(islice(rows, self._options.looked_up))
            more = sum(1 for _ in rows)
        except DataError as error:
            if source.hub is None:
                raise
            if not limits:
                raise DataError(f"data.{name}: {error}\n  or --limit N, to count N rows for it") from error
            self._hub_is_away = True  # each try takes most of a minute
            return self._unseen(name, min(limits))
        if self._has_replies or self._options.probe:
            return Level(first, Span.of(more), _evenly(first), is_whole=not more)
        return Level([], Span.of(len(first) + more), _evenly(first))

    def _unseen(self, name: str, rows: int) -> Level:
        """A table out of reach, with rows like another one's if there is one at hand."""
        files = [other for other, source in self._recipe.data.items() if source.hub is None]
        shown = self._level(files[0]).like if files else [Row(id="unseen")]
        texts = f"like those of {files[0]}" if files else f"with texts of {len(UNSEEN):,} characters"
        self.notes.append(f"data.{name}: out of reach, taken to have {rows:,} rows {texts}")
        variables = {variable for prompt in self._recipe.prompts.values() for variable in prompt.variables()}
        columns = {m.value for p in self._recipe.steps for m in mentions(p.config) if m.kind == "column"}
        return Level([], Span.of(rows), [Row(dict.fromkeys(variables | columns, UNSEEN)) | row for row in shown])


def _evenly(rows: list[Row]) -> list[Row]:
    """Some of the rows, from all parts of the table."""
    return rows[:: max(1, math.ceil(len(rows) / SAMPLE))]
