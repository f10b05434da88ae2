"""Keeps rows: by an expression, or those that are new, well formed, in no other table, without the answer, or not too many.

Reads    the expression's columns, {well_formed}, those that novelty or leaks or share or absent_from name
Writes   similarity, nearest, nearest_id
Drops    not ({keep}), says instruction, too short, begins with punctuation, begins with another script, answer leaked, too similar, too many of a seed, is there already
Calls    none
Source   Jiang et al. 2023, arXiv:2305.12870 (novelty, well-formed instructions); keep, leaks, share: plain data hygiene
"""  # noqa: E501

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from blackbox_kd.analysis import leakage, well_formed
from blackbox_kd.analysis.compared import Compared
from blackbox_kd.analysis.similarity import differ_in_numbers
from blackbox_kd.messages import is_conversation
from blackbox_kd.sdk import (
    Column,
    Context,
    Dropped,
    Expression,
    Failed,
    Field,
    Novelty,
    Outcome,
    Row,
    StepConfig,
    Table,
    TableName,
    expressions,
    list_usable,
    row_step,
    table_step,
    write_text,
)


class Leaks(BaseModel):
    """A text and the answer that must not stand in it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    answer: Column
    """Column with the answer."""
    within: Column = Field(alias="in")
    """Column with the text. An answer such as `yes` or a small number stands in many a text by chance, and such a
    row is dropped as well."""


class Share(BaseModel):
    """The most that one seed may have of the rows that are kept."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    of: Column = "seed_id"
    """Column that names the seed of a row."""
    max: float = Field(gt=0, le=1)
    """Largest share of one seed; one row of each seed is kept in any case, and the first ones of the table."""


class Absent(BaseModel):
    """A table that the rows must not be in."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    table: TableName
    """The table; it may be held out."""
    by: Column = "instruction"
    """Column by whose value a row is in it."""


class Keep(StepConfig):
    """Fields of `filter` with `keep`."""

    told_by: ClassVar[str] = "keep"

    keep: Expression
    """Rows for which this is true stay: `correct`, `score >= 4 and len(response) < 2000`."""


class WellFormed(StepConfig):
    """Fields of `filter` with `well_formed`."""

    told_by: ClassVar[str] = "well_formed"

    well_formed: Column
    """Column with a generated instruction: it stays if it has more than three words, begins with neither punctuation
    nor, if `paper_faithful`, a character beyond ASCII, and does not speak of an `instruction`."""
    paper_faithful: bool = False
    """As in the paper: without the rows that begin with a character beyond ASCII, which leaves few languages but
    English."""


class WithoutAnswer(StepConfig):
    """Fields of `filter` with `leaks`."""

    told_by: ClassVar[str] = "leaks"

    leaks: Leaks
    """Rows whose text does not hold the answer stay: `{answer: reference, in: instruction}`."""


class New(StepConfig):
    """Fields of `filter` with `novelty`."""

    told_by: ClassVar[str] = "novelty"

    novelty: Novelty
    """Rows that are not too similar to others stay; `nearest` and `similarity` say to which, and how much."""

    def problems(self) -> list[tuple[str, str, str]]:
        """Rows compared with themselves."""
        if self.input not in self.novelty.against:
            return []
        at = f"novelty.against[{self.novelty.against.index(self.input)}]"
        what = f"every row of {self.input!r} would be compared with itself, and dropped."
        return [(at, what, f"take {self.input} out: rows are compared with each other as it is")]

    def list_compared(self) -> set[str]:
        """Those of `against`: to drop what is like an exam is hygiene."""
        return set(self.novelty.against)

    def columns_beside(self) -> list[tuple[str, str, str]]:
        """What is compared, and by what, in the tables that the rows are compared with."""
        against = enumerate(self.novelty.against)
        columns = [column for column in (self.novelty.column, self.novelty.per) if column is not None]
        return [(f"novelty.against[{number}]", table, column) for number, table in against for column in columns]

    def needs(self) -> dict[str, str]:
        """What loads an encoder."""
        is_encoded = self.novelty.metric == "embedding"
        return dict.fromkeys(("torch", "transformers"), "embeddings") if is_encoded else {}


class OfManySeeds(StepConfig):
    """Fields of `filter` with `share`."""

    told_by: ClassVar[str] = "share"

    share: Share
    """As many rows stay as leave no seed more than its share: `{of: seed_id, max: 0.05}`."""

    def unwritten(self) -> set[str]:
        """What is written where rows are compared."""
        return set(COMPARED)


class Elsewhere(StepConfig):
    """Fields of `filter` with `absent_from`."""

    told_by: ClassVar[str] = "absent_from"

    absent_from: Absent
    """Rows stay that another table has not: `{table: solved, by: instruction}` leaves what is still to be asked."""

    def problems(self) -> list[tuple[str, str, str]]:
        """Rows looked for where they are."""
        what = f"every row of {self.input!r} is in it."
        return [("absent_from.table", what, "name another table")] * (self.input == self.absent_from.table)

    def list_compared(self) -> set[str]:
        """See `absent_from`."""
        return {self.absent_from.table}

    def columns_beside(self) -> list[tuple[str, str, str]]:
        """What a row is known by, there."""
        return [("absent_from.table", self.absent_from.table, self.absent_from.by)]

    def unwritten(self) -> set[str]:
        """What is written where rows are compared."""
        return set(COMPARED)


COMPARED = ("similarity", "nearest", "nearest_id")


@row_step(
    reads=["{well_formed}"],
    drops=[
        "not ({keep})",
        *well_formed.FAULTS,
        "answer leaked",
    ],
    version=3,
)
async def run(row: Row, config: Keep | WellFormed | WithoutAnswer, ctx: Context) -> Row | Dropped:
    match config:
        case Keep(keep=keep):
            return row if expressions.parse(keep)(row) else Dropped(row, f"not ({keep})")
        case WithoutAnswer(leaks=leaks):
            answer, within = _read_text(row[leaks.answer]), row[leaks.within]
            holds = (leakage.holds(text, answer) for text in (_read_said(within), leakage.write_said(within)))
            return Dropped(row, "answer leaked") if any(holds) else row
        case WellFormed(well_formed=column):
            fault = well_formed.find_fault(_read_text(row[column]).strip(), is_ascii=config.paper_faithful)
            return Dropped(row, fault) if fault else row


def _read_text(value: object) -> str:
    return "" if value is None else write_text(value)


def _read_said(value: object) -> str:
    """The same, but of messages what they say and not how they are written."""
    return leakage.write_said(value) if is_conversation(value) else _read_text(value)


@table_step(
    writes=COMPARED,
    drops=["too similar", "too many of a seed", "is there already"],
    passes_over=["too many of a seed"],
    version=3,
)
async def run_table(table: Table, config: New | OfManySeeds | Elsewhere, ctx: Context) -> AsyncIterator[Outcome]:
    if isinstance(config, New):
        outcomes = _find_new(table, config.novelty, ctx)
    elif isinstance(config, OfManySeeds):
        outcomes = _limit_share(table, config.share)
    else:
        outcomes = _find_absent(table, config.absent_from, ctx)
    for outcome in outcomes:
        yield outcome


def _find_new(table: Table, config: Novelty, ctx: Context) -> Iterator[Outcome]:
    groups: defaultdict[str, Compared] = defaultdict(lambda: Compared(config.pool()))
    encode = config.pool().encode
    others = [(row, ctx.is_held_out(name)) for name in config.against for row in _list_others(name, config, ctx)]
    known = [(row, text, is_secret) for row, is_secret in others if (text := _read_compared(row, config))]
    for (row, text, is_secret), item in zip(known, encode([text for _, text, _ in known]), strict=True):
        groups[_name_group(row, config)].add(row.id, text, item, is_secret=is_secret)
    rows = [(row, _read_compared(row, config)) for row in table]
    for (row, text), item in zip(rows, encode([text for _, text in rows]), strict=True):
        if not text:
            fault = "is empty" if config.column in row else "is missing"
            yield Failed(row, "data", f"column {config.column!r} {fault}: there is nothing to compare")
            continue
        group = groups[_name_group(row, config)]
        found, nearest = group.write_nearest(text, item)
        row = row | found
        if found["similarity"] > config.max:
            if differ_in_numbers(text, nearest):
                ctx.count(other_numbers=1)
            yield Dropped(row, "too similar")
        else:
            group.add(row.id, text, item, is_secret=False)
            yield row


def _find_absent(table: Table, config: Absent, ctx: Context) -> Iterator[Outcome]:
    what, by = f"the column {config.by!r}, by which rows are known", config.by
    others = list_usable(ctx, config.table, lambda row: by in row, what, fix=f"name another table than {config.table}")
    there = {write_text(row[by]) for row in others}
    for row in table:
        if by not in row:
            yield Failed(row, "data", f"column {by!r} is missing, by which the row is known")
        else:
            yield Dropped(row, "is there already") if write_text(row[by]) in there else row


def _name_group(row: Row, config: Novelty) -> str:
    return "" if config.per is None else write_text(row.get(config.per))


def _read_compared(row: Row, config: Novelty) -> str:
    """The text that is compared, of messages what they say; "" if it is empty or missing."""
    return _read_said(row.get(config.column)).strip()


def _list_others(name: str, config: Novelty, ctx: Context) -> list[Row]:
    """The rows of a table of `against` that can be compared; see `list_usable` for its error."""
    what = f"the column {config.column!r}, by which novelty compares"
    fix = f"take {name} out of against:, or rename its column"
    return list_usable(ctx, name, lambda row: config.column in row, what, fix=fix)


def _limit_share(table: Table, config: Share) -> Iterator[Outcome]:
    sizes = Counter(write_text(row[config.of]) for row in table if config.of in row)
    most = _cap(list(sizes.values()), config.max)
    kept: Counter[str] = Counter()
    for row in table:
        if config.of not in row:
            yield Failed(row, "data", f"column {config.of!r} is missing, which names the seed")
            continue
        seed = write_text(row[config.of])
        kept[seed] += 1
        yield row if kept[seed] <= most else Dropped(row, "too many of a seed")


def _cap(sizes: list[int], share: float) -> int:
    """The most rows of a seed that are at most `share` of all that are kept if no seed has more; at least 1."""
    fits = (cap for cap in range(max(sizes, default=1), 1, -1) if cap <= share * sum(min(n, cap) for n in sizes) + 1e-9)
    return next(fits, 1)
