"""What a prompt shows beside its own row: worked examples in `examples`, a table or an evaluation in `context`."""

import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self
from weakref import WeakKeyDictionary

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from blackbox_kd.analysis.bm25 import Bm25
from blackbox_kd.errors import DataError, FieldError
from blackbox_kd.json_text import write_text
from blackbox_kd.schema import Row
from blackbox_kd.sdk.context import Context
from blackbox_kd.sdk.fields import ModelName, ReportedTable, TableName


class Examples(BaseModel):
    """Rows of a table that the prompt shows as worked examples, in its variable `examples`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    table: TableName
    """Table that the examples are taken from; a row with the same instruction is never among them."""
    count: int = Field(default=4, ge=1, le=100)
    """How many."""
    choose: Literal["first", "random", "nearest"] = "first"
    """`first`: the same for every row. `random`: drawn anew for each row and sample, from the run's seed. `nearest`:
    those whose instruction is most like the row's (BM25), the nearest one last."""


class Shown(BaseModel):
    """What the prompt gets in its variable `context`: rows of a table, or the latest evaluation of a model."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    table: TableName | None = None
    """Table whose rows are shown, as a list."""
    rows: int = Field(default=20, ge=1, le=1000)
    """The most rows of `table`."""
    choose: Literal["last", "random"] = "last"
    """`last`: its last rows, which in a table that grows are the latest. `random`: drawn anew for each row and sample,
    from the run's seed."""
    evaluation: ReportedTable | None = None
    """Table on which `evaluate` asked `model`; its latest entry in the report is shown (`accuracy`, `slices`). Empty
    as long as there is none."""
    model: ModelName | None = None
    """Model of the evaluation."""

    @model_validator(mode="after")
    def _one_thing_to_show(self) -> Self:
        by_rows, by_entry = self.table is not None, self.evaluation is not None
        if by_rows == by_entry or by_entry != (self.model is not None):
            raise FieldError(fix="give either table: NAME, or evaluation: TABLE and model: NAME")
        return self


def _choose_kind(value: Any) -> str:
    """Whether one thing is shown or several are, so that mistakes are told of what is meant alone."""
    is_named = (
        isinstance(value, dict) and bool(value) and all(isinstance(each, dict | Shown) for each in value.values())
    )
    return "several" if is_named else "one"


ShownBeside = Annotated[
    Annotated[Shown, Tag("one")] | Annotated[dict[str, Shown], Tag("several")], Discriminator(_choose_kind)
]
"""One thing that a prompt shows, or several, each under a name of its own: `context.right`."""


class ExamplePool:
    """The rows of a table that examples are chosen from."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self._same = Counter(_name_question(row) for row in rows)
        self._index: Bm25 | None = None

    def choose(self, row: Row, wanted: Examples, rng: Callable[[], random.Random]) -> list[Row]:
        """The examples for a row.

        Raises:
            DataError: the nearest are wanted, and the row or an example has no instruction.
        """
        # So many are taken that enough are left without those that ask the same.
        most = min(len(self.rows), wanted.count + self._same[_name_question(row)])
        if wanted.choose == "random":
            drawn = rng().sample(self.rows, most)
        elif wanted.choose == "nearest":
            drawn = [self.rows[number] for number in self._index_words().nearest(_read_words(row), most)]
        else:
            drawn = self.rows[:most]
        chosen = [example for example in drawn if _name_question(example) != _name_question(row)][: wanted.count]
        return chosen[::-1] if wanted.choose == "nearest" else chosen

    def _index_words(self) -> Bm25:
        if self._index is None:
            self._index = Bm25([_read_words(row) for row in self.rows])
        return self._index


_READ: WeakKeyDictionary[Context, dict[tuple[object, ...], Any]] = WeakKeyDictionary()
"""What was made of tables, by the context of a step: a table is read once for a step, not once for each row."""


def _read_once(ctx: Context, key: tuple[object, ...], make: Callable[[], Any]) -> Any:
    known = _READ.setdefault(ctx, {})
    if key not in known:
        known[key] = make()
    return known[key]


def choose_examples(wanted: Examples, row: Row, sample: int, ctx: Context) -> list[Row]:
    """The worked examples that a prompt shows for a sample of a row.

    Raises:
        DataError: see `ExamplePool.choose`.
    """
    pool: ExamplePool = _read_once(ctx, ("pool", wanted.table), lambda: ExamplePool(list(ctx.table(wanted.table))))
    return pool.choose(row, wanted, lambda: ctx.rng("examples", row.id, sample))


def find_context(wanted: ShownBeside, row: Row, sample: int, ctx: Context) -> Any:
    """What a prompt shows in `context` for a sample of a row: rows, an evaluation's entry, or a mapping of such."""
    if not isinstance(wanted, Shown):
        return {name: find_context(each, row, sample, ctx) for name, each in wanted.items()}
    if wanted.table is None:
        found = ctx.reported("evaluations")
        return next((e for e in reversed(found) if (e["table"], e["model"]) == (wanted.evaluation, wanted.model)), {})
    name, most = wanted.table, wanted.rows
    if wanted.choose == "last":
        return _read_once(ctx, ("last", name, most), lambda: list(deque(ctx.table(name), maxlen=most)))
    rows: list[Row] = _read_once(ctx, ("all", name), lambda: list(ctx.table(name)))
    return ctx.rng("context", name, row.id, sample).sample(rows, min(most, len(rows)))


def _name_question(row: Row) -> str:
    """What names the question of a row."""
    return f"asks {write_text(row['instruction'])}" if row.get("instruction") is not None else f"is {row.id}"


def _read_words(row: Row) -> str:
    text = row.get("instruction")
    if text is None:
        raise DataError(f"examples.choose: nearest compares instructions, and row {row.id!r} has none")
    return write_text(text)
