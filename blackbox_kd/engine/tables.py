"""The tables of a run: those to start from, and what its steps have written."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from blackbox_kd.engine.plan import Stage
from blackbox_kd.errors import StepError
from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.runs.lineage import Lineage
from blackbox_kd.tables.stored import StoredTable


class RunTables(Mapping[str, StoredTable]):
    """Tables by name; `#3` is what steps[3] has written without giving it a name.

    Args:
        recipe: what is run.
        folder: its manifest says which file holds a name.
        lead: the tables of the recipe that this one is a variant of: names are kept of those alone.

    Attributes:
        lineage: what is behind each table.
        files: of the tables that are this run's, without their ending, in the order in which they came.
        bad_lines: lines of files to start from that were left out: how many, by table and file.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder, lead: "RunTables | None" = None) -> None:
        self.lineage = Lineage(recipe)
        self.files: list[str] = [] if lead is None else lead.files
        self._is_lead = lead is None
        self.bad_lines: list[dict[str, Any]] = []
        self._folder = folder
        self._named: dict[str, StoredTable] = {}
        self._last: str | None = None
        self._asides: list[str] = []

    def __getitem__(self, name: str) -> StoredTable:
        return self._named[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    def start(self, table: StoredTable, *, flows: bool) -> None:
        """Takes in a table to start from; the first step reads it if it `flows`."""
        self._take(table)
        self.lineage.start(table)
        self._last = table.name if flows else self._last

    def make_empty(self, name: str, stage: str) -> None:
        """Makes a table without rows, for steps that name it before a stage has written it."""
        lines = self._folder.table_lines(f"{stage}_{name}")
        self._named[name] = StoredTable(name, lines.path, *lines.finish())

    def publish(self, stage: Stage, tables: Sequence[StoredTable], taught: Mapping[str, StoredTable]) -> None:
        """Takes in what a stage has written.

        Args:
            stage: the stage.
            tables: its tables, in the order of its outputs.
            taught: the table that each model was last trained on, by the model's name.
        """
        self.lineage.add(stage.steps, self._last, self._named, taught, tables)
        for table in tables:
            self._take(table)
        first = tables[0].name
        if stage.first.step.aside:
            self._asides = [*(name for name in self._asides if name != first), first]
        else:
            self._last = first

    def _take(self, table: StoredTable) -> None:
        self._named[table.name] = table
        if self._is_lead:
            self._folder.note_names([table])
        if self._is_lead or table.path.stem not in self.files:
            self.files.append(table.path.stem)

    def find_input(self, planned: PlannedStep) -> StoredTable | None:
        """The table that a step reads; None if it puts several together.

        Raises:
            StepError: there is none.
        """
        if planned.step.merges is not None:
            return None
        name = planned.config.input or self._last
        if name is None:
            raise StepError(f"{planned.label}: there is no table to read")
        return self._named[name]

    def list_results(self) -> list[StoredTable]:
        """What the run has come to so far: the table that flows, and what steps have written that stand aside."""
        names = dict.fromkeys([self._last, *self._asides])
        return [self._named[name] for name in names if name in self._named]
