"""What a recipe's tables would hold at each point of its chain: columns in place of rows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from blackbox_kd.errors import Problem, did_you_mean, list_names
from blackbox_kd.recipe.entries import collect_texts
from blackbox_kd.recipe.spec import Loop, PlannedStep, Recipe
from blackbox_kd.recipe.yaml_source import Path, parse_path
from blackbox_kd.schema import ModelRef

Columns = set[str] | None
"""Columns of a table; None when they are known only once it is loaded."""


@dataclass(slots=True)
class Body:
    """The loop that the walk is in.

    Args:
        carried: tables that were there when the round began; a step may write each anew.
        empty: tables that are written for the first time later in round 1; until then they have no rows.
        written: tables that this round has written so far, and the step that wrote each.
    """

    carried: set[str]
    empty: set[str]
    written: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Flow:
    """The state of a walk along the chain.

    Args:
        recipe: the recipe.
        problems: is added to.
        tables: columns of the tables seen so far; `#3` is what steps[3] wrote.
        held_out: tables that are held out, or made from one that is.
        apart: those of them that a step has made which may read held-out tables.
        used_models: models that a step named.
        used_tables: tables that a step read.
        trained: how often each model was trained so far, at the least.
        unsure: versions beyond those that a model may have, as a loop can end early: how many, and the loop.
        exams: steps that asked models about a table so far, and the table.
        made_of: of each table that a step wrote, the tables that its rows come from.
        learnt: tables that each model has learnt from, those that they were made of included.
        broken: every text of the steps that are wrong in themselves: they may name or write anything that is in it.
        unknown: kinds of things (`model`, `table`) of which a step named one that does not exist: it may have meant
            one of those that seem to be used by no step.
        last: the table that the next step reads if it names none.
        loop: the loop that the walk is in.
        deciding: tables by which a loop ends and picks a model, and the loop.
        secrets: columns that hold the right answer, or what was written with it in view; and why, in words.
        derived: of each column that a step made of others without a call, all that it is made of.
        students: models that some step trains.
        writers: the steps that write each named table, in order.
        filled: of each table of `data:`, the columns in which one of its first rows holds something.
        written: of each table, the columns that steps have written into it.
        texts: of those, the texts that a student is to learn.
        redacted: tables without personal data, as a step has taken it out.
        sources_redacted: tables whose rows a later table holds without personal data, and the step that takes it out.
        raw_shown: steps that show rows of others to a model: the step, the model, the columns, the tables of the rows.
        adapters: of each trained model, the step or the entry that its adapter is from and the adapter's shape; None
            where training has left whole weights.
        examples: a few rows of each table, as they could be; columns of which nothing is known are left out.
    """

    recipe: Recipe
    problems: list[Problem]
    tables: dict[str, Columns] = field(default_factory=dict)
    held_out: set[str] = field(default_factory=set)
    apart: set[str] = field(default_factory=set)
    used_models: set[str] = field(default_factory=set)
    used_tables: set[str] = field(default_factory=set)
    trained: dict[str, int] = field(default_factory=dict)
    unsure: dict[str, tuple[int, Loop]] = field(default_factory=dict)
    exams: list[tuple[PlannedStep, str]] = field(default_factory=list)
    made_of: dict[str, set[str]] = field(default_factory=dict)
    learnt: dict[str, set[str]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    last: str | None = None
    loop: Body | None = None
    deciding: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    derived: dict[str, set[str]] = field(default_factory=dict)
    students: set[str] = field(default_factory=set)
    writers: dict[str, list[PlannedStep]] = field(default_factory=dict)
    filled: dict[str, set[str]] = field(default_factory=dict)
    written: dict[str, set[str]] = field(default_factory=dict)
    texts: dict[str, set[str]] = field(default_factory=dict)
    redacted: set[str] = field(default_factory=set)
    sources_redacted: dict[str, str] = field(default_factory=dict)
    raw_shown: list[tuple[PlannedStep, str, list[str], set[str]]] = field(default_factory=list)
    adapters: dict[str, tuple[str, Mapping[str, Any]] | None] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def names(self) -> str:
        """Tables that have a name, for messages."""
        return list_names(name for name in self.tables if not name.startswith("#"))

    def is_empty(self, name: str) -> bool:
        """Whether a table has no rows yet in the first round of a loop, as only a later step of it writes some."""
        return self.loop is not None and name in self.loop.empty and name not in self.tables

    def origins(self, names: Iterable[str]) -> set[str]:
        """Tables, and those that they were made of."""
        return {table for name in names for table in (name, *self.made_of.get(name, ()))}

    def list_filled(self, name: str) -> set[str]:
        """Columns in which the data that a table was made of holds something."""
        return {column for table in self.origins([name]) for column in self.filled.get(table, ())}

    def skip(self, index: int | str, values: Any) -> None:
        """Passes a step that is wrong in itself: what it would write is unknown."""
        if not isinstance(values, dict):
            self.unknown |= {"model", "table"}
        self.broken |= {part for text in collect_texts(values) for part in (text, ModelRef.parse(text).name)}
        self.used_tables |= {self.last} if self.last is not None else set()
        self.last = f"#{index}"
        self.tables[self.last] = None

    def report(self, planned: PlannedStep, at: str, message: str, expected: str, fix: str) -> None:
        """Adds a problem of a step; `at` is the field that it stands in."""
        path: Path = planned.at
        values = self.recipe.source.values
        for part in path:
            values = values[part]
        try:
            path += parse_path(at, values)
        except ValueError:  # a plugin's `problems()` can name a field that the recipe does not have
            path += (at,)
        self.add(path, planned.label, message, expected, fix)

    def add(self, path: Path, label: str, message: str, expected: str, fix: str) -> None:
        """Adds a problem at a path of the recipe."""
        source = self.recipe.source
        expected = "; ".join(filter(None, (expected, source.note(path))))
        self.problems.append(Problem(source.line(path), label, message, expected, fix))

    def report_missing_column(self, planned: PlannedStep, at: str, what: str, name: str, columns: set[str]) -> None:
        """Reports a column that no earlier step writes."""
        fix = did_you_mean(name, sorted(columns))
        writers = sorted(self._list_writers(name))
        own = type(planned.config).model_fields.get(name)
        if not fix and what.startswith("prompt") and own is not None and own.annotation is not bool:
            fix = f"give the step {name}: ..., or use another prompt"
        elif not fix and writers:
            fix = f"put a step that writes {name!r} before it ({', '.join(writers)})"
        others = [f"rename a column of the data (rename: {{COLUMN: {name}}})", "name another one"]
        fix = fix or ", or ".join(filter(None, (*others, planned.config.do_without(at))))
        expected = f"columns here: {list_names(sorted(columns - {'id'}))}"
        self.report(planned, at, f"{what}, which no earlier step writes.", expected, fix)

    def _list_writers(self, name: str) -> Iterable[str]:
        """Steps that write a column, or do so if left to their defaults."""
        registry = self.recipe.registry
        for step in map(registry.get, registry.names()):
            patterns = [pattern for kind in step.kinds if not kind.aside for pattern in kind.writes]
            fields = {f"{{{field}}}": entry for form in step.all_forms for field, entry in form.model_fields.items()}
            if name in (fields[each].default if each in fields else each for each in patterns):
                yield step.name
