"""Takes the best rows of each group, or one with its commonest answer, or a subset; or puts rows of another beside each.

Reads    {per}, {column}, {votes}, the expression's columns
Writes   {into}
Drops    not the best, beyond the budget, no majority
Calls    none
Source   Kim and Rush 2016, arXiv:1606.07947 (best of k); Wang et al. 2023, arXiv:2203.11171 (majority); Kang et al. 2025, arXiv:2506.00910 (k-center over distributions); Liao et al. 2025, arXiv:2409.13203 (retrieve); Wang et al. 2024, arXiv:2401.07286 (draw: distractors); a random subset is the arm to beat
"""  # noqa: E501

import math
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from itertools import islice
from typing import Annotated, ClassVar, Literal, Self

from pydantic import model_validator

from blackbox_kd import answers
from blackbox_kd.analysis import voting
from blackbox_kd.analysis.bm25 import find_rows
from blackbox_kd.analysis.kcenter import Rank, explain_misfit, find_size, is_empty, rank_by_distance, read_number
from blackbox_kd.sdk import (
    Answer,
    Column,
    Context,
    DataError,
    Dropped,
    Expression,
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
    expressions,
    list_usable,
    quote_value,
    table_step,
    write_text,
)
from blackbox_kd.tables.sampling import shuffle


class Kept(StepConfig):
    """Fields of `select` where it keeps some of the rows."""

    told_by: ClassVar[str] = "by"

    per: Column | None = None
    """Rows with the same value of this column are a group."""
    best: int | None = Field(default=None, ge=1)
    """Rows kept of each group."""
    rows: int | None = Field(default=None, ge=1)
    """Rows kept in all, after `best`."""
    share: float | None = Field(default=None, gt=0, le=1)
    """In place of `rows`, the part of the rows that is kept, after `best`: 0.8 drops the worst fifth."""

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if self.best is None and self.rows is None and self.share is None:
            raise FieldError(fix="give best: N (with per:), rows: N or share: N, or two of them")
        if self.rows is not None and self.share is not None:
            raise FieldError("rows: and share: both say how many are kept", fix="take one of them out")
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


class Beside(StepConfig):
    """Fields of `select` where it drops nothing, and puts rows of another table into each row."""

    told_by: ClassVar[str] = "by"

    index: TableName
    """Table whose rows are put in."""
    count: int = Field(default=3, ge=1, le=100)
    """Rows that are put into each row; fewer where fewer fit."""

    def keeps_held_out(self) -> bool:
        """It adds something to each row, so that a student can be examined with it."""
        return True


class Retrieve(Beside):
    """Fields of `select` with `by: retrieve`."""

    by: Literal["retrieve"]
    """`retrieve`: the rows of `index` that are nearest in `column` (BM25)."""
    column: Column = "instruction"
    """Column with the text, in both tables."""
    own: bool = False
    """Whether a row with the same text may be found."""
    into: NewColumn = Field(default="retrieved", alias="as")
    """Column for the rows that were found, best first, each a mapping of its columns."""


class Draw(Beside):
    """Fields of `select` with `by: draw`."""

    by: Literal["draw"]
    """`draw`: rows of `index` by lot, none twice: distractors, examples of other classes."""
    where: Expression | None = None
    """Rows that may be drawn, by columns of the row itself and of `other`: `label != other['label']`."""
    into: NewColumn = Field(default="drawn", alias="as")
    """Column for the rows that were drawn, each a mapping of its columns."""

    def expression_columns(self) -> set[str]:
        """A row of `index`."""
        return {"other"}


DROPS = ("not the best", "beyond the budget")
Form = InOrder | ByLength | ByValue | KCenter


@table_step(reads=["{per}", "{column}", "{votes}"], writes=["{into}"], drops=[*DROPS, "no majority"], passes_over=DROPS)
async def run(table: Table, config: Form | Majority | Retrieve | Draw, ctx: Context) -> AsyncIterator[Outcome]:
    find_fault, rows = _find_faults(table, config), list[Row]()
    for row in table:
        if (fault := find_fault(row)) is None:
            rows.append(row)
        else:
            yield Failed(row, "data", fault)
    if isinstance(config, Beside):
        found = _retrieve(rows, config, ctx) if isinstance(config, Retrieve) else _draw(rows, config, ctx)
    else:
        found = _vote(rows, config) if isinstance(config, Majority) else _select(rows, config, ctx)
    for outcome in found:
        yield outcome


def _find_faults(table: Table, config: StepConfig) -> Callable[[Row], str | None]:
    """Says of a row why it cannot be compared with the others; None if it can."""
    size = find_size(table, config.column) if isinstance(config, KCenter) and config.column is not None else None
    columns = config.model_dump(include={"per", "column", "votes"}, exclude_none=True).values()

    def find_fault(row: Row) -> str | None:
        if missing := [name for name in columns if name not in row]:
            return f"column {missing[0]!r} is missing"
        match config:
            case ByValue(column=str(column)) if math.isnan(read_number(row[column])):
                return f"column {column!r} is {quote_value(row[column])}, not a number"
            case ByLength(column=str(column)) if is_empty(row[column]):
                return f"column {column!r} is empty"
            case KCenter(column=str(column)):
                return (misfit := explain_misfit(row[column], size)) and f"column {column!r} is {misfit}"
        return None

    return find_fault


def _select(rows: list[Row], config: Form, ctx: Context) -> Iterator[Outcome]:
    within, rank = rows, _rank_by_value(config, ctx)
    if isinstance(config, KCenter):
        labelled = _find_labelled(config.labelled, rows, config, ctx) if config.labelled and rows else []
        rank = rank_by_distance(rows, labelled, config.column, config.per, config.votes, partial(ctx.rng, "kcenter"))
    if config.per is not None:
        # Votes are of a group, and so is what is picked by them: of its rows, the first stands for it.
        kept = {row.id for group in voting.group(rows, config.per).values() for row in rank(group, config.best or 1)}
        within = [row for row in rows if row.id in kept]
    best = {row.id for row in within}
    most = config.rows if config.share is None else max(1, round(config.share * len(within)))
    if most is not None and len(within) > most:
        within = rank(within, most)
    chosen = {row.id for row in within}
    for row in rows:
        if row.id in chosen:
            yield row
        else:
            yield Dropped(row, "beyond the budget" if row.id in best else "not the best")


def _rank_by_value(config: Form, ctx: Context) -> Rank:
    def value(row: Row) -> float:
        if isinstance(config, InOrder | KCenter):  # by: first keeps the order of the table
            return ctx.rng("select", row.id).random() if config.by == "random" else 0
        return len(write_text(row[config.column])) if isinstance(config, ByLength) else float(row[config.column])

    return lambda rows, most: sorted(rows, key=value, reverse=config.by in ("longest", "top"))[:most]


def _find_labelled(name: str, rows: list[Row], config: KCenter, ctx: Context) -> list[Row]:
    """The rows of the labelled table that can be compared with the others."""
    if (column := config.column) is None:
        wanted = {str(config.per), str(config.votes)}
        return list_usable(ctx, name, lambda row: wanted <= row.keys(), " and ".join(map(repr, sorted(wanted))))
    size = find_size(rows, column)
    what = "a text" if size is None else f"a list of {size} numbers"
    return list_usable(ctx, name, lambda row: explain_misfit(row.get(column), size) is None, f"{what} in {column!r}")


def _vote(rows: list[Row], config: Majority) -> Iterator[Outcome]:
    same = None if config.answer is None else answers.kind(config.answer).is_alike
    for row, most in voting.vote(rows, config.per, config.column, same, min_share=config.min_share):
        if most is None or row.id != most.row.id:
            yield Dropped(row, "no majority" if most is None else "not the best")
        else:
            yield row if config.into is None else row | {config.into: most.share}


def _retrieve(rows: list[Row], config: Retrieve, ctx: Context) -> Iterator[Outcome]:
    index = list_usable(ctx, config.index, lambda row: config.column in row, f"the column {config.column!r}")
    for row, found in zip(rows, find_rows(index, rows, config.column, config.count, own=config.own), strict=True):
        yield row | {config.into: found}


def _draw(rows: list[Row], config: Draw, ctx: Context) -> Iterator[Outcome]:
    others = [dict(row) for row in ctx.table(config.index)]
    fits = expressions.parse(config.where) if config.where is not None else None
    for row in rows:
        drawn = (others[at] for at in shuffle(len(others), ctx.rng("draw", row.id)))
        try:
            found = (other for other in drawn if fits is None or fits({**row, "other": other}))
            yield row | {config.into: list(islice(found, config.count))}
        except DataError as error:
            yield Failed(row, "data", str(error))
