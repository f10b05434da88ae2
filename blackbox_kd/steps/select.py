"""Takes the best rows of each group, or a subset of a given size.

Reads    {per}, {column}
Writes   nothing
Drops    not the best, beyond the budget
Calls    none
Source   Kim and Rush 2016, arXiv:1606.07947 (best of k); a random subset is the arm to beat (methods: data pruning)
"""

from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Literal, Self

from pydantic import Field, model_validator

from blackbox_kd.registry import Column, StepConfig, table_step
from blackbox_kd.schema import Context, Dropped, Outcome, Row, Table


class Config(StepConfig):
    """Fields of `select`."""

    per: Column | None = None
    """Rows with the same value of this column are a group."""
    best: int | None = Field(default=None, ge=1)
    """Rows kept of each group."""
    rows: int | None = Field(default=None, ge=1)
    """Rows kept in all, after `best`."""
    by: Literal["first", "random", "shortest", "longest", "top", "bottom"] = "first"
    """What is best: the order of the table, chance, the length of `column`, or its value as a number."""
    column: Column | None = None
    """Column that `by` looks at; `response` for lengths."""

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if self.best is None and self.rows is None:
            raise ValueError("give best: N (with per:), rows: N, or both")
        if (self.best is None) != (self.per is None):
            known, wanted = ("best", "per: COLUMN") if self.per is None else ("per", "best: N")
            raise ValueError(f"{known}: needs {wanted.partition(':')[0]}:; add {wanted}")
        if self.by in ("shortest", "longest") and self.column is None:
            self.column = "response"
        if (self.by in ("first", "random")) != (self.column is None):
            raise ValueError(f"by: {self.by} {'looks at no column:' if self.column else 'needs column: NAME'}")
        return self


@table_step(reads=["{per}", "{column}"], drops=["not the best", "beyond the budget"])
async def run(table: Table, config: Config, ctx: Context) -> AsyncIterator[Outcome]:
    rows = list(table)
    kept = [row.id for row in rows]
    if config.per is not None and config.best is not None:
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            groups[str(row[config.per])].append(row)
        kept = [row.id for group in groups.values() for row in _ranked(group, config, ctx)[: config.best]]
    best = set(kept)
    within = [row for row in rows if row.id in best]
    if config.rows is not None and len(within) > config.rows:
        within = _ranked(within, config, ctx)[: config.rows]
    chosen = {row.id for row in within}
    for row in rows:
        if row.id in chosen:
            yield row
        else:
            yield Dropped(row, "beyond the budget" if row.id in best else "not the best")


def _ranked(rows: list[Row], config: Config, ctx: Context) -> list[Row]:
    if config.by == "first":
        return rows
    if config.by == "random":
        return sorted(rows, key=lambda row: ctx.rng("select", row.id).random())
    column = str(config.column)
    if config.by in ("shortest", "longest"):
        return sorted(rows, key=lambda row: len(str(row[column])), reverse=config.by == "longest")
    return sorted(rows, key=lambda row: float(row[column]), reverse=config.by == "top")
