"""Takes the best rows of each group, or one with its commonest answer, or a subset; or looks up rows of another table.

Reads    {per}, {column}, {votes}
Writes   {into}
Drops    not the best, beyond the budget, no majority
Calls    none
Source   Kim and Rush 2016, arXiv:1606.07947 (best of k); Wang et al. 2023, arXiv:2203.11171 (majority); Kang et al. 2025, arXiv:2506.00910 (k-center over distributions); Liao et al. 2025, arXiv:2409.13203 (retrieve); a random subset is the arm to beat
"""  # noqa: E501

import math
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import model_validator

from blackbox_kd import answers
from blackbox_kd.analysis import voting
from blackbox_kd.analysis.bm25 import find_similar
from blackbox_kd.analysis.kcenter import choose_farthest, find_size, is_empty, is_point, make_points, read_number
from blackbox_kd.sdk import (
    Answer,
    Column,
    Context,
    DataError,
    Dropped,
    Failed,
    Field,
    FieldError,
    FromEarlier,
    NewColumn,
    Outcome,
    Row,
    StepConfig,
    Table,
    TableName,
    quote_value,
    table_step,
    write_text,
)


class Kept(StepConfig):
    """Fields of `select` where it keeps some of the rows."""

    told_by: ClassVar[str] = "by"

    per: Column | None = None
    """Rows with the same value of this column are a group."""
    best: int | None = Field(default=None, ge=1)
    """Rows kept of each group."""
    rows: int | None = Field(default=None, ge=1)
    """Rows kept in all, after `best`."""

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if self.best is None and self.rows is None:
            raise FieldError(fix="give best: N (with per:), rows: N, or both")
        if self.best is not None and self.per is None:
            raise FieldError("best: needs per:", fix="add per: COLUMN")
        if self.per is not None and self.best is None and "votes" not in self.model_fields_set:
            raise FieldError("per: needs best:", fix="add best: N")
        return self

    def most_rows(self) -> int | None:
        """See `rows`."""
        return self.rows


class InOrder(Kept):
    """Fields of `select` with `by: first` or `by: random`."""

    by: Literal["first", "random"] = "first"
    """`first` and `random`: the order of the table, or chance, says what is best."""


class ByLength(Kept):
    """Fields of `select` with `by: shortest` or `by: longest`."""

    by: Literal["shortest", "longest"]
    """`shortest` and `longest`: the length of the text in `column`."""
    column: Column = "response"
    """Column with the text."""


class ByValue(Kept):
    """Fields of `select` with `by: top` or `by: bottom`."""

    by: Literal["top", "bottom"]
    """`top` and `bottom`: the value of `column`, as a number."""
    column: Column
    """Column with the number."""

    def numbers(self) -> set[str]:
        """What the rows are ranked by."""
        return {"column"}


class KCenter(Kept):
    """Fields of `select` with `by: kcenter`."""

    by: Literal["kcenter"]
    """`kcenter`: rows far from each other (L2) in `column`, a text or a list of numbers, or in `votes`."""
    column: Column | None = None
    """Column with the text or the numbers."""
    votes: Column | None = None
    """Column whose values are counted among the rows with the same `per`; their shares are compared."""
    labelled: TableName | None = None
    """Table of rows that are taken for picked already: what is far from them is looked for."""

    @model_validator(mode="after")
    def _points(self) -> Self:
        if (self.column is None) == (self.votes is None):
            raise FieldError(fix="give either column: NAME or votes: NAME with by: kcenter")
        if self.votes is not None and self.per is None:
            raise FieldError("votes: needs per:", fix="add per: COLUMN")
        return self


class Majority(StepConfig):
    """Fields of `select` with `by: majority`."""

    told_by: ClassVar[str] = "by"

    by: Literal["majority"]
    """`majority`: of each group the first row with the commonest answer; none where two are equally common."""
    per: Column
    """Rows with the same value of this column are a group."""
    column: Column = "answer"
    """Column with the answer; rows without one count against it."""
    answer: Annotated[Answer | None, FromEarlier(("check",))] = None
    """Kind of answer, which says when two are the same; that of the nearest `check`, or equal texts, if left out."""
    min_share: float = Field(default=0.0, ge=0, le=1)
    """Share of its group that an answer has at least; a group of less is dropped."""
    into: NewColumn | None = Field(default=None, alias="as")
    """Column for the share of the group that has the answer."""

    def answer_kind(self) -> Answer | None:
        """When two answers are the same."""
        return self.answer


class Retrieve(StepConfig):
    """Fields of `select` with `by: retrieve`."""

    told_by: ClassVar[str] = "by"

    by: Literal["retrieve"]
    """`retrieve`: drops nothing; puts the rows of `index` that are nearest in `column` (BM25) into each row."""
    index: TableName
    """Table in which is looked."""
    column: Column = "instruction"
    """Column with the text, in both tables."""
    count: int = Field(default=3, ge=1, le=100)
    """Rows that are found for each row; fewer where fewer share a word with it."""
    own: bool = False
    """Whether a row with the same text may be found."""
    into: NewColumn = Field(default="retrieved", alias="as")
    """Column for the rows that were found, best first, each a mapping of its columns."""

    def keeps_held_out(self) -> bool:
        """It adds something to each row, so that a student can be examined with it."""
        return True


DROPS = ("not the best", "beyond the budget")
Form = InOrder | ByLength | ByValue | KCenter


@table_step(reads=["{per}", "{column}", "{votes}"], writes=["{into}"], drops=[*DROPS, "no majority"], passes_over=DROPS)
async def run(table: Table, config: Form | Majority | Retrieve, ctx: Context) -> AsyncIterator[Outcome]:
    find_fault = _find_faults(table, config)
    rows: list[Row] = []
    for row in table:
        if (fault := find_fault(row)) is None:
            rows.append(row)
        else:
            yield Failed(row, "data", fault)
    if isinstance(config, Retrieve):
        found: Iterator[Outcome] = _retrieve(rows, config, ctx)
    else:
        found = _vote(rows, config) if isinstance(config, Majority) else _select(rows, config, ctx)
    for outcome in found:
        yield outcome


def _find_faults(table: Table, config: Form | Majority | Retrieve) -> Callable[[Row], str | None]:
    """Says of a row why it cannot be compared with the others; None if it can."""
    size = find_size(table, config.column) if isinstance(config, KCenter) and config.column is not None else None
    columns = config.model_dump(include={"per", "column", "votes"}, exclude_none=True).values()

    def find_fault(row: Row) -> str | None:
        if missing := [name for name in columns if name not in row]:
            return f"column {missing[0]!r} is missing"
        match config:
            case ByValue(column=str(column)) if math.isnan(read_number(row[column])):
                return f"column {column!r} is {quote_value(row[column])}, not a number"
            case KCenter(column=str(column)) if size is not None and not is_point(row[column], size):
                return f"column {column!r} is {quote_value(row[column])}, not a list of {size} numbers"
            case ByLength(column=str(column)) | KCenter(column=str(column)) if is_empty(row[column]):
                return f"column {column!r} is empty"
            case KCenter(column=str(column)) if size is None and isinstance(row[column], list):
                return f"column {column!r} is {quote_value(row[column])}, not a text as in other rows"
        return None

    return find_fault


def _select(rows: list[Row], config: Form, ctx: Context) -> Iterator[Outcome]:
    rank = _rank_by_distance(rows, config, ctx) if isinstance(config, KCenter) else _rank_by_value(config, ctx)
    within = rows
    if config.per is not None:
        # Votes are of a group, and so is what is picked by them: of its rows, the first stands for it.
        kept = {row.id for group in voting.group(rows, config.per).values() for row in rank(group, config.best or 1)}
        within = [row for row in rows if row.id in kept]
    best = {row.id for row in within}
    if config.rows is not None and len(within) > config.rows:
        within = rank(within, config.rows)
    chosen = {row.id for row in within}
    for row in rows:
        if row.id in chosen:
            yield row
        else:
            yield Dropped(row, "beyond the budget" if row.id in best else "not the best")


Rank = Callable[[list[Row], int], list[Row]]  # the best N of some rows


def _rank_by_value(config: InOrder | ByLength | ByValue, ctx: Context) -> Rank:
    def value(row: Row) -> float:
        if isinstance(config, InOrder):  # by: first keeps the order of the table
            return ctx.rng("select", row.id).random() if config.by == "random" else 0
        return len(write_text(row[config.column])) if isinstance(config, ByLength) else float(row[config.column])

    return lambda rows, most: sorted(rows, key=value, reverse=config.by in ("longest", "top"))[:most]


def _rank_by_distance(rows: list[Row], config: KCenter, ctx: Context) -> Rank:
    labelled = _find_labelled(config.labelled, rows, config, ctx) if config.labelled and rows else []
    points = make_points([*rows, *labelled], config.column, config.per, config.votes)
    place = {row.id: number for number, row in enumerate(rows)}

    def rank(within: list[Row], most: int) -> list[Row]:
        if config.votes is not None and len({write_text(row[str(config.per)]) for row in within}) == 1:
            return within[:most]
        numbers = [*(place[row.id] for row in within), *range(len(rows), len(rows) + len(labelled))]
        start, centers = ctx.rng("kcenter", within[0].id).randrange(len(within)), range(len(within), len(numbers))
        return [within[at] for at in choose_farthest(points[numbers], most, start=start, centers=centers)]

    return rank


def _find_labelled(name: str, rows: list[Row], config: KCenter, ctx: Context) -> list[Row]:
    """The rows of the labelled table that can be compared with the others."""
    if config.column is None:
        wanted = {str(config.per), str(config.votes)}
        return _list_usable(name, lambda row: wanted <= row.keys(), " and ".join(map(repr, sorted(wanted))), ctx)
    column = config.column
    if (size := find_size(rows, column)) is not None:
        fits = f"a list of {size} numbers in {column!r}, as the rows have that are picked from,"
        return _list_usable(name, lambda row: is_point(row.get(column), size), fits, ctx)
    return _list_usable(name, lambda row: not is_empty(row.get(column)), f"a text in {column!r}", ctx)


def _list_usable(name: str, fits: Callable[[Row], bool], what: str, ctx: Context) -> list[Row]:
    """The rows of another table that can be compared with; the others are not the step's own, so they cannot fail.

    Raises:
        DataError: there are rows, and none of them can be.
    """
    usable = [row for row in ctx.table(name) if fits(row)]
    if len(ctx.table(name)) and not usable:
        raise DataError(f"select: no row of table {name!r} has {what}", fix="name a table whose rows do")
    return usable


def _vote(rows: list[Row], config: Majority) -> Iterator[Outcome]:
    same = None if config.answer is None else answers.kind(config.answer).is_alike
    groups = voting.group(rows, config.per)
    found = {key: voting.find_majority(group, config.column, same) for key, group in groups.items()}
    for row in rows:
        most = found[write_text(row[config.per])]
        if most is None or most.share < config.min_share:
            yield Dropped(row, "no majority")
        elif row.id != most.row.id:
            yield Dropped(row, "not the best")
        else:
            yield row if config.into is None else row | {config.into: most.share}


def _retrieve(rows: list[Row], config: Retrieve, ctx: Context) -> Iterator[Row]:
    index = _list_usable(config.index, lambda row: config.column in row, f"the column {config.column!r}", ctx)
    texts, queries = (
        ["" if row[config.column] is None else write_text(row[config.column]) for row in table]
        for table in (index, rows)
    )
    for row, numbers in zip(rows, find_similar(texts, queries, config.count, own=config.own), strict=True):
        yield row | {config.into: [dict(index[number]) for number in numbers]}
