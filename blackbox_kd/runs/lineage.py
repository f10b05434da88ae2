"""What is behind the tables of a run: the steps, the tables to start from and the models that their rows come from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.tables.stored import StoredTable


@dataclass(frozen=True, slots=True)
class Behind:
    """What is behind the rows of a table.

    Args:
        steps: labels of the steps that they went through, rounds included.
        data: tables to start from that they come from.
        models: models that wrote or judged them, those included whose text such a model was trained on.
        is_aside: whether a step wrote any of them that stands aside of the flow: they are answers in an exam.
        is_formatted: whether `format` has put any of them into the shape that training takes.
    """

    steps: frozenset[str] = frozenset()
    data: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    is_aside: bool = False
    is_formatted: bool = False

    def __or__(self, other: "Behind") -> "Behind":
        return Behind(
            self.steps | other.steps,
            self.data | other.data,
            self.models | other.models,
            self.is_aside or other.is_aside,
            self.is_formatted or other.is_formatted,
        )


@dataclass(slots=True)
class Lineage:
    """Follows the tables of a run as they are written. A table is known by its file: its name can be written anew.

    Args:
        recipe: what is run.
        written: tables that steps have written, in order.
    """

    recipe: Recipe
    written: list[StoredTable] = field(default_factory=list)
    _behind: dict[str, Behind] = field(default_factory=dict)
    _read: set[str] = field(default_factory=set)

    def start(self, table: StoredTable) -> None:
        """Notes a table to start from."""
        self._behind[table.path.stem] = Behind(data=frozenset([table.name]))

    def add(
        self,
        steps: Sequence[PlannedStep],
        source: str | None,
        tables: Mapping[str, StoredTable],
        taught: Mapping[str, StoredTable],
        written: Sequence[StoredTable],
    ) -> None:
        """Notes what a stage has written.

        Args:
            steps: those of the stage.
            source: the table that it read if it names none.
            tables: those of the run by name, as they were when the stage began.
            taught: the table that each model was last trained on, by the model's name.
            written: what it wrote.
        """
        first, is_aside = steps[0], steps[0].step.aside
        is_formatted = any(planned.step.name == "format" for planned in steps)
        found = Behind(frozenset(p.label for p in steps), is_aside=is_aside, is_formatted=is_formatted)
        for name in find_row_tables(first, source):
            if name in tables:
                found |= self.trace(tables[name])
                self._read |= set() if is_aside else {tables[name].path.stem}
        models = {name for planned in steps for name in planned.list_models()}
        shown = [tables[name] for planned in steps for name in planned.list_names("table") if name in tables]
        learnt = [taught[name] for name in models if name in taught]
        others = frozenset(model for table in (*shown, *learnt) for model in self.trace(table).models)
        found |= Behind(models=frozenset(models) | others)
        self._behind.update({table.path.stem: found for table in written})
        self.written += written

    def trace(self, table: StoredTable) -> Behind:
        """What is behind a table."""
        return self._behind.get(table.path.stem, Behind())

    def is_product(self, table: StoredTable) -> bool:
        """Whether a table's rows were made for training: they are no answers in an exam, and none is held out."""
        behind = self.trace(table)
        return not behind.is_aside and not any(self.recipe.data[name].held_out for name in behind.data)

    def list_ends(self) -> Iterator[StoredTable]:
        """Tables that were made for training, the latest of each name, and that no later step has read."""
        latest = {table.name: table for table in self.written}
        return (t for t in latest.values() if self.is_product(t) and t.path.stem not in self._read)


def find_row_tables(planned: PlannedStep, last: str | None) -> list[str]:
    """Names of the tables whose rows a step takes."""
    name = planned.config.input or last
    return planned.merged or ([] if name is None else [name])
