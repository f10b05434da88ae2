"""The tables of an estimate by their names: those of the recipe's data, and what its steps will write."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from blackbox_kd.engine.estimate.assumptions import BYTES_PER_TOKEN
from blackbox_kd.engine.estimate.dry_run import Env, Tables
from blackbox_kd.engine.estimate.spans import NOTHING, Case, Span, add_up
from blackbox_kd.errors import DataError
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.schema import Memory, Row
from blackbox_kd.tables import sources

SAMPLE = 64
"""Rows whose prompts are rendered for the length of those of rows that are not there yet."""
UNSEEN = "word " * 80
"""Stands for a text of which nothing is known."""
WORD = "word "


class AnyKey(Mapping[str, str]):
    """The environment, with something in the place of a key that is not set: who sends nothing needs none."""

    def __getitem__(self, name: str) -> str:
        is_key = not name.lower().endswith(("_url", "_proxy"))
        return os.environ.get(name) or "not-set" if is_key else os.environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(os.environ)

    def __len__(self) -> int:
        return len(os.environ)


@dataclass(slots=True)
class EstimateOptions:
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


@dataclass(frozen=True, slots=True)
class Guess:
    """Stands in a row for a reply that a model has yet to write.

    Args:
        text: what it will be like.
        times: how long it will be, in lengths of `text`.
    """

    text: str
    times: Span

    def write(self, case: Case) -> str:
        """A text of the length that it has in a case."""
        length = round(len(self.text) * self.times.at(case))
        return (self.text * math.ceil(length / max(1, len(self.text))))[:length]


@dataclass(slots=True)
class Level:
    """What is known of a table.

    Args:
        known: rows that are there for certain.
        rest: how many there will be besides.
        like: rows that the rest will be like; replies that are not written yet are guesses in them.
        assumed: what the number of the rest was guessed by.
    """

    known: list[Row]
    rest: Span
    like: list[Row]
    assumed: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether all of its rows are known."""
        return not self.rest.high

    def total(self) -> Span:
        """All rows."""
        return self.rest + len(self.known)

    def list_shown(self) -> list[Row]:
        """The rows that a prompt can show of it."""
        return self.known if self.is_whole else self.known or self.like


class Levels:
    """What is known of the tables of a recipe.

    Args:
        recipe: the recipe.
        options: how it would be run.
        before: those of the recipe that this one is a variant of: both start from the same data.

    Attributes:
        notes: what was assumed.
    """

    def __init__(self, recipe: Recipe, options: EstimateOptions, before: "Levels | None" = None) -> None:
        self.notes: list[str] = []
        self._recipe = recipe
        self._options = options
        self._hub_is_away: bool = before is not None and before._hub_is_away
        there = {} if before is None else before._tables
        self._tables: dict[str, Level] = {name: level for name, level in there.items() if name in recipe.data}

    def write(self, name: str, level: Level) -> None:
        """Notes what a step will write."""
        self._tables[name] = level

    def level(self, name: str) -> Level:
        """What is known of a table."""
        if name not in self._tables and name not in self._recipe.data:  # a loop writes it later in its first round
            return Level([], NOTHING, [])
        if name not in self._tables:
            self._tables[name] = self._load(name)
        return self._tables[name]

    def merge(self, names: list[str]) -> Level:
        """What is known of several tables together."""
        levels = [self.level(name) for name in names]
        assumed = tuple(note for level in levels for note in level.assumed)
        like = sample_evenly([row for level in levels for row in level.known or level.like])
        if all(level.is_whole for level in levels):
            return Level([row for level in levels for row in level.known], NOTHING, like, assumed)
        return Level([], add_up(level.total() for level in levels), like, assumed)

    def find_shown(self, case: Case) -> Tables:
        """Finds the tables that steps look at, as they are in a case."""
        return lambda name: Memory(name, tell_rows(self.level(name).list_shown(), case))

    def _load(self, name: str) -> Level:
        """A table to start from: its rows are counted; the first ones are kept, to be looked up in the ledger."""
        source = self._recipe.data[name]
        limits = [limit for limit in (source.limit, self._options.limit) if limit is not None]
        if source.hub is not None and limits and self._hub_is_away:
            return self._assume_level(name, min(limits))
        try:
            found = sources.read(source, self._recipe.folder, self._options.limit)
            rows = sources.make_rows(found, source.rename)
            first = list(islice(rows, self._options.looked_up))
            more = sum(1 for _ in rows)
        except DataError as error:
            if source.hub is None:
                raise
            if not limits:
                fix = f"{error.fix}; or --limit N, to count N rows for it"
                raise DataError(f"data.{name}: {error.what}", exists=error.exists, fix=fix) from error
            self._hub_is_away = True  # each try takes most of a minute
            return self._assume_level(name, min(limits))
        return Level(first, Span.of(more), sample_evenly(first))

    def _assume_level(self, name: str, rows: int) -> Level:
        """A table out of reach, with rows like another one's if there is one at hand."""
        files = [other for other, source in self._recipe.data.items() if source.hub is None]
        shown = self.level(files[0]).like if files else [Row(id="unseen")]
        texts = f"like those of {files[0]}" if files else f"with texts of {len(UNSEEN):,} characters"
        self.notes.append(f"data.{name}: out of reach, taken to have {rows:,} rows {texts}")
        variables = {variable for prompt in self._recipe.prompts.values() for variable in prompt.variables()}
        columns = {name for planned in self._recipe.steps for name in planned.list_names("column")}
        return Level([], Span.of(rows), [Row(dict.fromkeys(variables | columns, UNSEEN)) | row for row in shown])


def sample_evenly(rows: list[Row]) -> list[Row]:
    """Some of the rows, from all parts of the table."""
    return rows[:: max(1, math.ceil(len(rows) / SAMPLE))]


def tell_rows(rows: Iterable[Row], case: Case) -> list[Row]:
    """The rows as they are in a case, with a text for each guess."""
    return [
        Row({name: value.write(case) if isinstance(value, Guess) else value for name, value in row.items()})
        for row in rows
    ]


def has_guesses(rows: Iterable[Row]) -> bool:
    """Whether the rows are not the same in all cases."""
    return any(isinstance(value, Guess) for row in rows for value in row.values())


def write_guesses(
    rows: list[Row], columns: list[str], finished: list[Row], reply: Span | None, into: list[str]
) -> list[Row]:
    """Rows with the columns that a step has yet to write into them.

    Args:
        rows: the rows.
        columns: the columns.
        finished: rows that have them, whose values are taken; if there are none, a placeholder is.
        reply: tokens of a reply, where models write the columns.
        into: of the columns, those that are sure to hold a reply: what stands in them is replaced.
    """
    finished = sample_evenly(finished)
    if finished:
        values = [{name: row[name] for name in columns if name in row} for row in finished]
        if reply is not None and reply.likely:
            times, texts = reply / reply.likely, into or columns
            values = [{name: _guess(value, times, name in texts) for name, value in row.items()} for row in values]
        return [row | values[number % len(values)] for number, row in enumerate(rows)]
    if reply is None:
        return [Row(dict.fromkeys(columns, UNSEEN)) | row for row in rows]
    unseen = Guess(WORD, reply * BYTES_PER_TOKEN / len(WORD))
    return [Row(dict.fromkeys(columns, unseen)) | row | dict.fromkeys(into, unseen) for row in rows]


def _guess(value: Any, times: Span, is_reply: bool) -> Any:
    return Guess(value, times) if is_reply and isinstance(value, str) else value
