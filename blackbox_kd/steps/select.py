"""Takes the best rows of each group, or a subset of a given size; or looks up, for each row, rows of another table.

Reads    {per}, {column}, {votes}
Writes   {into}
Drops    not the best, beyond the budget
Calls    none
Source   Kim and Rush 2016, arXiv:1606.07947 (best of k); Kang et al. 2025, arXiv:2506.00910 (k-center over distributions); Liao et al. 2025, arXiv:2409.13203 (retrieve); a random subset is the arm to beat
"""  # noqa: E501

import math
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Literal, Self

from pydantic import model_validator

from blackbox_kd.analysis.bm25 import Bm25
from blackbox_kd.analysis.kcenter import distributions, farthest_first, text_vectors
from blackbox_kd.analysis.similarity import tokens
from blackbox_kd.sdk import (
    Column,
    Context,
    DataError,
    Dropped,
    Failed,
    Field,
    NewColumn,
    Outcome,
    Row,
    StepConfig,
    Table,
    TableName,
    table_step,
    write_text,
)

ONLY = {
    "votes": ("kcenter",),
    "labelled": ("kcenter",),
    "index": ("retrieve",),
    "count": ("retrieve",),
    "own": ("retrieve",),
    "into": ("retrieve",),
}
"""Fields that are read with some values of `by` only."""


class Config(StepConfig):
    """Fields of `select`."""

    per: Column | None = None
    """Rows with the same value of this column are a group."""
    best: int | None = Field(default=None, ge=1)
    """Rows kept of each group."""
    rows: int | None = Field(default=None, ge=1)
    """Rows kept in all, after `best`."""
    by: Literal["first", "random", "shortest", "longest", "top", "bottom", "kcenter", "retrieve"] = "first"
    """What is best: the order of the table, chance, the length of `column`, or its value as a number. `kcenter`: rows
    far from each other (L2) in `column`, a text or a list of numbers, or in `votes`. `retrieve` drops nothing: it puts
    the rows of `index` that are nearest in `column` (BM25) into each row."""
    column: Column | None = None
    """Column that `by` looks at; `response` for lengths, `instruction` for `retrieve`, in both tables."""
    votes: Column | None = None
    """Column whose values are counted among the rows with the same `per`; `kcenter` compares their shares."""
    labelled: TableName | None = None
    """Table of rows that `kcenter` takes for picked already: it looks for what is far from them."""
    index: TableName | None = None
    """Table in which `retrieve` looks."""
    count: int | None = Field(default=None, ge=1, le=100)
    """Rows that `retrieve` finds for each row, 3 if left out; fewer where fewer share a word with it."""
    own: bool | None = None
    """Whether `retrieve` may find a row with the same text; if left out it may not."""
    into: NewColumn | None = Field(default=None, alias="as")
    """Column for the rows that were found, best first, each a mapping of its columns; `retrieved` if left out."""

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        for name, ways in ONLY.items():
            if getattr(self, name) is not None and self.by not in ways:
                shown = type(self).model_fields[name].alias or name
                raise ValueError(f"{shown}: is read with by: {ways[0]} only; take it out, or write by: {ways[0]}")
        if self.by == "retrieve":
            return self._filled_for_retrieval()
        if self.best is None and self.rows is None:
            raise ValueError("give best: N (with per:), rows: N, or both")
        if (self.best is None) != (self.per is None) and self.votes is None:
            known, wanted = ("best", "per: COLUMN") if self.per is None else ("per", "best: N")
            raise ValueError(f"{known}: needs {wanted.partition(':')[0]}:; add {wanted}")
        if self.by in ("shortest", "longest") and self.column is None:
            self.column = "response"
        if self.by == "kcenter":
            return self._with_points()
        if (self.by in ("first", "random")) != (self.column is None):
            raise ValueError(f"by: {self.by} {'looks at no column:' if self.column else 'needs column: NAME'}")
        return self

    def most_rows(self) -> int | None:
        """See `rows`."""
        return self.rows

    def keeps_held_out(self) -> bool:
        """To `retrieve` adds something to each row, so that a student can be examined with it."""
        return self.by == "retrieve"

    def _filled_for_retrieval(self) -> Self:
        if self.index is None:
            raise ValueError("by: retrieve needs index:; add index: TABLE")
        beside = next((name for name in ("per", "best", "rows") if getattr(self, name) is not None), None)
        if beside is not None:
            raise ValueError(f"{beside}: says what is kept, but by: retrieve drops no row; take it out")
        self.column, self.into = self.column or "instruction", self.into or "retrieved"
        return self

    def _with_points(self) -> Self:
        if (self.column is None) == (self.votes is None):
            raise ValueError("give either column: NAME or votes: NAME with by: kcenter")
        if self.votes is not None and self.per is None:
            raise ValueError("votes: needs per:; add per: COLUMN")
        return self


@table_step(reads=["{per}", "{column}", "{votes}"], writes=["{into}"], drops=["not the best", "beyond the budget"])
async def run(table: Table, config: Config, ctx: Context) -> AsyncIterator[Outcome]:
    size = _size(table, config)
    rows: list[Row] = []
    for row in table:
        fault = _fault(row, size, config)
        if fault is None:
            rows.append(row)
        else:
            yield Failed(row, "data", fault)
    for outcome in _retrieved(rows, config, ctx) if config.by == "retrieve" else _selected(rows, config, ctx):
        yield outcome


def _size(rows: Iterable[Row], config: Config) -> int | None:
    """The length of most lists of numbers that `kcenter` compares; None where it compares texts or votes."""
    if config.by != "kcenter" or config.column is None:
        return None
    values = [row[config.column] for row in rows if not _is_empty(row.get(config.column))]
    sizes = Counter(len(value) if isinstance(value, list) else None for value in values)
    return sizes.most_common(1)[0][0] if sizes else None


def _fault(row: Row, size: int | None, config: Config) -> str | None:
    """Why a row cannot be compared with the others; None if it can."""
    missing = [name for name in (config.per, config.column, config.votes) if name is not None and name not in row]
    if missing:
        return f"column {missing[0]!r} is missing"
    if config.column is None or config.by == "retrieve":
        return None
    value = row[config.column]
    shown = f"column {config.column!r} is {value!r:.80}"
    if config.by in ("top", "bottom"):
        return f"{shown}, not a number" if math.isnan(_number(value)) else None
    if size is not None:
        return None if _is_point(value, size) else f"{shown}, not a list of {size} numbers"
    if _is_empty(value):
        return f"column {config.column!r} is empty"
    return f"{shown}, not a text as in other rows" if config.by == "kcenter" and isinstance(value, list) else None


def _number(value: Any) -> float:
    """A number, or a text that is one; otherwise NaN."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _is_point(value: Any, size: int) -> bool:
    return isinstance(value, list) and len(value) == size and all(math.isfinite(_number(item)) for item in value)


def _is_empty(value: Any) -> bool:
    return value is None or not write_text(value).strip()


def _selected(rows: list[Row], config: Config, ctx: Context) -> Iterator[Outcome]:
    ranked = _k_center(rows, config, ctx) if config.by == "kcenter" else _by_rank(config, ctx)
    within = rows
    if config.per is not None:
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            groups[write_text(row[config.per])].append(row)
        # Votes are of a group, and so is what is picked by them: of its rows, the first stands for it.
        most = config.best or 1
        kept = {row.id for group in groups.values() for row in ranked(group, most)}
        within = [row for row in rows if row.id in kept]
    best = {row.id for row in within}
    if config.rows is not None and len(within) > config.rows:
        within = ranked(within, config.rows)
    chosen = {row.id for row in within}
    for row in rows:
        if row.id in chosen:
            yield row
        else:
            yield Dropped(row, "beyond the budget" if row.id in best else "not the best")


Ranked = Callable[[list[Row], int], list[Row]]
"""The best N of some rows."""


def _by_rank(config: Config, ctx: Context) -> Ranked:
    column = str(config.column)

    def ranked(rows: list[Row], most: int) -> list[Row]:
        if config.by == "random":
            rows = sorted(rows, key=lambda row: ctx.rng("select", row.id).random())
        elif config.by in ("shortest", "longest"):
            rows = sorted(rows, key=lambda row: len(write_text(row[column])), reverse=config.by == "longest")
        elif config.by != "first":
            rows = sorted(rows, key=lambda row: float(row[column]), reverse=config.by == "top")
        return rows[:most]

    return ranked


def _k_center(rows: list[Row], config: Config, ctx: Context) -> Ranked:
    labelled = _label(config.labelled, _size(rows, config), config, ctx) if config.labelled and rows else []
    points = _points([*rows, *labelled], config)
    place = {row.id: number for number, row in enumerate(rows)}

    def ranked(within: list[Row], most: int) -> list[Row]:
        if config.votes is not None and len({write_text(row[str(config.per)]) for row in within}) == 1:
            return within[:most]
        numbers = [place[row.id] for row in within] + list(range(len(rows), len(rows) + len(labelled)))
        start = ctx.rng("kcenter", within[0].id).randrange(len(within))
        centers = range(len(within), len(numbers))
        return [within[at] for at in farthest_first(points[numbers], most, start=start, centers=centers)]

    return ranked


def _label(name: str, size: int | None, config: Config, ctx: Context) -> list[Row]:
    if config.votes is not None:
        wanted = {config.per, config.votes}
        return _usable(name, lambda row: wanted <= row.keys(), " and ".join(map(repr, sorted(map(str, wanted)))), ctx)
    column = str(config.column)
    if size is not None:
        fits = f"a list of {size} numbers in {column!r}, as the rows have that are picked from,"
        return _usable(name, lambda row: _is_point(row.get(column), size), fits, ctx)
    return _usable(name, lambda row: not _is_empty(row.get(column)), f"a text in {column!r}", ctx)


def _usable(name: str, fits: Callable[[Row], bool], what: str, ctx: Context) -> list[Row]:
    """The rows of another table that can be compared with; the others are not the step's own, so they cannot fail.

    Raises:
        DataError: there are rows, and none of them can be.
    """
    rows = list(ctx.table(name))
    usable = [row for row in rows if fits(row)]
    if rows and not usable:
        raise DataError(f"select: no row of table {name!r} has {what}\n  fix: name a table whose rows do")
    return usable


def _points(rows: list[Row], config: Config) -> Any:
    """The rows as points, [N, D]: their groups' shares of votes, their numbers, or the n-grams of their texts."""
    if config.votes is not None:
        votes: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows:
            votes[write_text(row[str(config.per)])][write_text(row[config.votes])] += 1
        return distributions([votes[write_text(row[str(config.per)])] for row in rows])
    values = [row[str(config.column)] for row in rows]
    if values and isinstance(values[0], list):
        import numpy as np

        return np.array([[float(item) for item in value] for value in values])
    return text_vectors([write_text(value) for value in values])


def _query(value: Any) -> str:
    return "" if value is None else write_text(value)


def _retrieved(rows: list[Row], config: Config, ctx: Context) -> Iterator[Row]:
    column, into = str(config.column), str(config.into)
    index = _usable(str(config.index), lambda row: column in row, f"the column {column!r}", ctx)
    texts = [_query(row[column]) for row in index]
    words = [set(tokens(text)) for text in texts]
    same = Counter(texts)
    found = Bm25(texts)
    for row in rows:
        query = _query(row[column])
        asked = set(tokens(query))
        most = config.count or 3
        numbers = found.nearest(query, most if config.own else most + same[query])
        near = [n for n in numbers if words[n] & asked and (config.own or texts[n] != query)]
        yield row | {into: [dict(index[n]) for n in near[:most]]}
