"""The tables of an estimate by their names: those of the recipe's data, and what its steps will write."""

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from blackbox_kd.errors import DataError
from blackbox_kd.estimate.numbers import NOTHING, Case, Span, added
from blackbox_kd.estimate.rehearsal import Env, Tables
from blackbox_kd.estimate.rows import UNSEEN, Level, evenly, told
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.schema import Memory, Row
from blackbox_kd.sdk.fields import mentions
from blackbox_kd.tables import sources


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


class Levels:
    """What is known of the tables of a recipe.

    Args:
        recipe: the recipe.
        options: how it would be run.
        wants_rows: whether rows are looked up in the ledger; otherwise they are only counted.

    Attributes:
        notes: what was assumed.
    """

    def __init__(self, recipe: Recipe, options: Options, *, wants_rows: bool) -> None:
        self.notes: list[str] = []
        self._recipe = recipe
        self._options = options
        self._wants_rows = wants_rows
        self._hub_is_away = False
        self._tables: dict[str, Level] = {}

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

    def merged(self, names: list[str]) -> Level:
        """What is known of several tables together."""
        levels = [self.level(name) for name in names]
        assumed = tuple(note for level in levels for note in level.assumed)
        like = evenly([row for level in levels for row in level.known or level.like])
        if all(level.is_whole for level in levels):
            return Level([row for level in levels for row in level.known], NOTHING, like, assumed)
        return Level([], added(level.total() for level in levels), like, assumed)

    def shown(self, case: Case) -> Tables:
        """Finds the tables that steps look at, as they are in a case."""
        return lambda name: Memory(name, told(self.level(name).shown(), case))

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
        if self._wants_rows:
            return Level(first, Span.of(more), evenly(first))
        return Level([], Span.of(len(first) + more), evenly(first))

    def _unseen(self, name: str, rows: int) -> Level:
        """A table out of reach, with rows like another one's if there is one at hand."""
        files = [other for other, source in self._recipe.data.items() if source.hub is None]
        shown = self.level(files[0]).like if files else [Row(id="unseen")]
        texts = f"like those of {files[0]}" if files else f"with texts of {len(UNSEEN):,} characters"
        self.notes.append(f"data.{name}: out of reach, taken to have {rows:,} rows {texts}")
        variables = {variable for prompt in self._recipe.prompts.values() for variable in prompt.variables()}
        columns = {m.value for p in self._recipe.steps for m in mentions(p.config) if m.kind == "column"}
        return Level([], Span.of(rows), [Row(dict.fromkeys(variables | columns, UNSEEN)) | row for row in shown])
