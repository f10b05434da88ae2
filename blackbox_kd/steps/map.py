"""Changes columns, takes personal data out, makes a row of each item of a list, or tells each row of its group.

Reads    the expressions' columns, the templates' columns, {remove}, {per}, those that gather names
Writes   {assigned}, {into}, {number}, {before}, parent, seed_id, {gather}
Drops    no items, not the first of its group
Calls    none
Source   plain data handling: what published chains do between two calls in scripts of their own
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import model_validator

from blackbox_kd.sandbox import parts
from blackbox_kd.sandbox.functions import Group, GroupedRow
from blackbox_kd.sdk import (
    Column,
    Computed,
    Context,
    DataError,
    Dropped,
    Expression,
    Failed,
    Field,
    FieldError,
    FromFile,
    NewColumn,
    Outcome,
    RedactingConfig,
    Row,
    Table,
    Value,
    compute_value,
    expressions,
    find_read,
    quote_value,
    row_step,
    table_step,
    write_text,
)

GUESSED_ITEMS = 5
"""Items of a list that is not there yet, for the estimate."""


class Columns(RedactingConfig):
    """Fields of both forms of `map`."""

    assigned: Annotated[dict[NewColumn, Value], FromFile(of_texts=True)] = Field(default_factory=dict, alias="set")
    """Columns that are written, in this order: a text, with braces a template (`"{{ raw | lower | trim }}"`),
    `{expr: EXPRESSION}`, or `{file: NAME}`, the text of a file beside the recipe. Each sees those before it."""
    remove: list[Column] = Field(default_factory=list)
    """Columns that are taken away, in the end."""

    @model_validator(mode="after")
    def _nothing_for_nothing(self) -> Self:
        if lost := sorted(self.assigned.keys() & set(self.remove)):
            raise FieldError(f"remove: takes away {lost[0]!r}, which set: writes", fix="take it out of one of them")
        if "id" in self.remove:
            raise FieldError("remove: takes away 'id', which names the row", fix="take id out of remove:")
        return self

    def columns_for(self, field: str) -> set[str]:
        """A value of `set` sees those that are set before it; `each` none."""
        own = list(self.assigned)
        place = own.index(field.split(".")[1]) if field.startswith("set.") else 0
        return self.expression_columns().difference(own[place:])

    def columns_after(self, columns: set[str]) -> set[str]:
        """All columns but those that are removed."""
        return columns - {*self.remove}

    def list_derived(self) -> dict[str, set[str]]:
        """What each value is made of; a column that is made of one that the step makes, of what that is made of."""
        found: dict[str, set[str]] = {}
        for name, value in self.assigned.items():
            read = find_read(value)
            found[name] = read.union(*(found.get(each, ()) for each in read))
        return found

    def keeps_held_out(self) -> bool:
        """What it writes is held out as well: questions and evidence of an exam can be brought into shape."""
        return True


class Rows(Columns):
    """Fields of `map` that sees one row at a time."""

    told_by: ClassVar[str] = "set"

    each: Expression | None = None
    """A list of which each item becomes a row of its own: `lines(questions)`, `turns(messages)`, `json(raw)`. A row
    whose list is empty is dropped, one whose JSON cannot be read fails."""
    into: NewColumn | None = Field(default=None, alias="as")
    """Column for the item."""
    number: NewColumn | None = None
    """Column for the number of the item, from 1."""
    before: NewColumn | None = None
    """Column for the list of the items before it."""

    @classmethod
    def is_meant(cls, values: Mapping[str, Any]) -> bool:
        """Wherever rows are not grouped."""
        return values.get("per") is None

    @model_validator(mode="after")
    def _items_have_a_name(self) -> Self:
        if not (self.assigned or self.remove or self.redact or self.each):
            raise FieldError(fix="give set:, each:, redact: or remove:")
        if self.each is not None and self.into is None:
            raise FieldError("each: needs as:", fix="add as: COLUMN, for the item")
        stray = [name for name, value in (("as", self.into), ("number", self.number), ("before", self.before)) if value]
        if self.each is None and stray:
            raise FieldError(f"{stray[0]}: means nothing without each:", fix="add each: EXPRESSION, which gives a list")
        return self

    def unwritten(self) -> set[str]:
        """Rows that are not made of items keep their ids."""
        return set() if self.each else {"parent", "seed_id"}

    def list_removed(self) -> set[str]:
        """The item, say, where `set` has made columns of it."""
        return self.expression_columns().intersection(self.remove)

    def expression_columns(self) -> set[str]:
        """The item and what is said of it, and the columns that are written before."""
        named = {name for name in (self.into, self.number, self.before, *self.assigned) if name is not None}
        return named | {"parent", "seed_id"} if self.each else named

    def rows_per_row(self) -> float:
        """One for each item."""
        return GUESSED_ITEMS if self.each else 1

    def lists(self) -> set[str]:
        """What is taken item by item."""
        return {"each"}

    def columns_for(self, field: str) -> set[str]:
        """Nothing that is made of the list, for the list itself."""
        return set() if field == "each" else super().columns_for(field)

    def list_derived(self) -> dict[str, set[str]]:
        """The item is made of what the list is made of."""
        read = find_read(Computed(expr=self.each)) if self.each is not None else set()
        items = {name: read for name in (self.into, self.number, self.before) if name is not None}
        return items | {
            name: of.union(*(items.get(each, ()) for each in of)) for name, of in super().list_derived().items()
        }


class Groups(Columns):
    """Fields of `map` with `per`."""

    told_by: ClassVar[str] = "per"

    per: Column
    """Rows with the same value of this column are a group; expressions see it: `mean(correct)`, `rank(score)`,
    `count()`, `total(tokens)`, `most(answer)`."""
    keep: str | None = Field(default=None, pattern="^first$")
    """`first`: only the first row of each group stays."""
    gather: dict[NewColumn, Column] = Field(default_factory=dict)
    """One row of each group, with a list of what its rows have in a column: `{evidences: evidence}`."""

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if not (self.assigned or self.keep or self.gather or self.redact):
            raise FieldError(fix="give set:, keep: first or gather:")
        return self

    def looks_at_groups(self) -> bool:
        """See `per`."""
        return True

    def expression_columns(self) -> set[str]:
        """The columns that are written before."""
        return {*self.assigned}

    def list_derived(self) -> dict[str, set[str]]:
        """A list is made of the column that it is gathered from."""
        return super().list_derived() | {name: {column} for name, column in self.gather.items()}


@row_step(
    reads=["{remove}"],
    writes=["{assigned}", "{into}", "{number}", "{before}", "parent", "seed_id"],
    drops=["no items"],
)
async def run(row: Row, config: Rows, ctx: Context) -> AsyncIterator[Outcome]:
    if config.each is None:
        yield _write(row, config, ctx)
        return
    items = expressions.parse(config.each)(row)
    if not isinstance(items, list):
        raise DataError(f"each: {config.each!r} gives {quote_value(items)}, which is no list", fix=parts.HOW_TO_LIST)
    if not items:
        yield Dropped(row, "no items")
    if config.before is not None and len(items) * (len(items) - 1) // 2 > parts.MOST:
        raise DataError(f"before: {len(items):,} items would be more than {parts.MOST:,} with those before each")
    parent = row.drawn_from or row.id
    for number, item in enumerate(items, 1):
        own = {"parent": parent, "seed_id": row.get("seed_id", parent), str(config.into): item}
        own |= {config.number: number} if config.number is not None else {}
        own |= {config.before: items[: number - 1]} if config.before is not None else {}
        made = row.child(f"{config.into}{number}", own)
        try:
            yield _write(made, config, ctx)
        except DataError as error:  # the other items are as good as before
            yield Failed(made, "data", str(error))


@table_step(
    reads=["{per}", "{remove}"],
    writes=["{assigned}", "{gather}"],
    drops=["not the first of its group"],
    passes_over=["not the first of its group"],
)
async def run_table(table: Table, config: Groups, ctx: Context) -> AsyncIterator[Outcome]:
    groups: dict[str, list[Row]] = defaultdict(list)
    rows = list(table)
    outcomes: dict[str, Outcome] = {}
    for row in rows:
        if config.per in row:
            groups[write_text(row[config.per])].append(row)
        else:
            outcomes[row.id] = Failed(row, "data", f"column {config.per!r} is missing")
    for group in groups.values():
        kept = group[:1] if config.keep or config.gather else group
        outcomes |= {row.id: Dropped(row, "not the first of its group") for row in group[len(kept) :]}
        outcomes |= zip((row.id for row in kept), _write_group(kept, group, config, ctx), strict=True)
    for row in rows:
        yield outcomes.pop(row.id)


def _write_group(kept: list[Row], group: list[Row], config: Groups, ctx: Context) -> list[Outcome]:
    """What becomes of the rows of a group that stay: a column is set in all of them before the next one is."""
    seen = [GroupedRow(row) for row in group]
    failed: dict[int, Failed] = {}
    for name, value in config.assigned.items():
        told = Group([row for place, row in enumerate(seen) if place not in failed])
        values: dict[int, Any] = {}
        for row in seen:
            row.group = told
        for place, row in enumerate(seen):
            try:
                values[place] = compute_value(value, row)
            except DataError as error:
                failed.setdefault(place, Failed(group[place], "data", str(error)))
        for place, found in values.items():
            seen[place][name] = found
    try:
        lists = {name: [each[column] for each in group] for name, column in config.gather.items()}
    except DataError as error:
        return [Failed(row, "data", str(error)) for row in kept]
    return [failed.get(place) or _finish(seen[place] | lists, config, ctx) for place in range(len(kept))]


def _write(row: Row, config: Columns, ctx: Context) -> Row:
    """A row with the columns that are set, and without those that are removed."""
    seen = {**row}
    for name, value in config.assigned.items():
        seen[name] = compute_value(value, seen)
    return _finish(seen, config, ctx)


def _finish(columns: Mapping[str, Any], config: Columns, ctx: Context) -> Row:
    """The row in the end: without what is redacted and removed."""
    kept = {name: value for name, value in columns.items() if name not in config.remove}
    if config.redact:
        kept, counts = config.take_out(kept)
        ctx.count(**{f"redacted {name}": count for name, count in counts.items()})
    return Row(kept)
