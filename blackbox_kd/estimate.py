"""What a run will cost: calls, tokens, USD and time, low, likely and high, before anything is sent.

What can be known is counted: rows, prompts as they are rendered, replies in the ledger, prices. What nobody can
know yet is assumed (`estimate_numbers` has the numbers), and said to be; what replies show, those of a probe too,
takes the place of an assumption.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import reduce
from inspect import isasyncgenfunction
from itertools import islice
from pathlib import Path
from typing import Any

from blackbox_kd import sources, spending
from blackbox_kd.errors import DataError, Problem
from blackbox_kd.estimate_numbers import KEPT, NOTHING, REPLY_SHARE, Asking, Line, Span, added, share, sums
from blackbox_kd.ledger import Spent
from blackbox_kd.marks import mentions, resolve
from blackbox_kd.recipe import Planned, Recipe
from blackbox_kd.rehearsal import Env, Memory, Rehearsal, Rehearsed, opened
from blackbox_kd.schema import Row, Table
from blackbox_kd.stages import planned_until, stages

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


async def estimate(recipe: Recipe, options: Options) -> dict[str, Any]:
    """What the rest of a run will cost, as JSON holds it.

    Raises:
        RecipeError: a probe is wanted, and the budget cannot be kept.
        DataError: the rows cannot be counted.
    """
    steps = planned_until(recipe, options.until)
    run = str(options.run_dir.resolve())
    with opened(recipe, options.ledger, run, options.env, probing=options.probe > 0) as (rehearsal, has_replies):
        try:
            unpriced = spending.unpriced(recipe, rehearsal.models, steps)
            if options.probe:
                spending.refuse_unpriced(recipe, rehearsal.models, steps)
            walk = Walk(recipe, options, rehearsal, has_replies)
            for planned in steps:
                await walk.step(planned)
        finally:
            await rehearsal.models.close()
        spent, probed = rehearsal.ledger.spent(), rehearsal.caller.totals()
    total = sums(walk.lines) | {"seconds": _seconds(steps, walk.lines).entry(1)}
    return {
        "recipe": recipe.name,
        "total": total,
        "steps": [line.entry() for line in walk.lines],
        "models": [
            {"model": name, **sums([line for line in walk.lines if line.model == name])}
            for name in dict.fromkeys(line.model for line in walk.lines)
        ],
        "spent": asdict(spent),
        "probe": {"calls": probed["calls"], "usd": probed["cost_usd"]} if options.probe else None,
        "budget": list(_budget(recipe, spent, total, unpriced)),
        "assumptions": list(dict.fromkeys(walk.notes)),
    }


def _seconds(steps: list[Planned], lines: list[Line]) -> Span:
    """How long all takes: in a segment models are asked side by side, in a table step one after the other."""
    found = NOTHING
    for stage in stages(steps):
        labels = {planned.label for planned in stage.steps}
        here = [line for line in lines if line.step in labels]
        models = {line.model: [other for other in here if other.model == line.model] for line in here}
        times = [added(line.seconds for line in own) for own in models.values()]
        slowest = reduce(lambda one, other: one.each(max, other), times, NOTHING)
        found += slowest if stage.kind == "row" else added(times)
    return found


def _budget(recipe: Recipe, spent: Spent, total: dict[str, Any], unpriced: list[Problem]) -> Iterator[dict[str, Any]]:
    """Each limit, and which estimate breaks it."""
    before = {
        "usd": spent.usd + spent.doubtful_usd,
        "requests": spent.requests + spent.doubtful,
        "tokens": spent.tokens + spent.doubtful_tokens,
    }
    needed = {"usd": total["usd_known"], "requests": total["calls"], "tokens": total["tokens"]}
    for name, limit in recipe.head.budget.model_dump().items():
        if limit is None:
            continue
        left = limit - before[name]
        verdict = "likely breaks" if needed[name]["likely"] > left else "high breaks"
        if name == "usd" and unpriced:
            verdict = "no price"
        elif needed[name]["high"] <= left:
            verdict = "fits"
        yield {"limit": name, "most": limit, "spent": before[name], "verdict": verdict}


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

    async def step(self, planned: Planned) -> None:
        """Goes past a step."""
        named = list(mentions(planned.config))
        students = {m.value for m in named if m.kind == "student"}
        self._rehearsal.models.to_be_trained |= students
        self.notes += [f"{planned.label}: the time that training takes is not counted"] if students else []
        level = self._input(planned)
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
        named = [m.value for m in mentions(planned.config) if m.kind == "model"]
        each = planned.config.calls_per_row() / max(1, len(named))
        for name in dict.fromkeys([*named, *(asked.model for asked in found.asked)]):
            own = [asked for asked in found.asked if asked.model == name]
            per_row = each * named.count(name)
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
        names = [m.value for m in mentions(config) if m.kind == "new table"] or [f"#{planned.index}"]
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

    def _level(self, name: str) -> Level:
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
