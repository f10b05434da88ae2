"""Parts a table into named branches, by expressions or by shares.

Reads    the expressions' columns, {per}
Writes   nothing
Drops    no branch
Calls    none
Source   Jiang et al. 2023, arXiv:2305.12870 (hard and easy instructions, balanced 1:1)
"""

from collections.abc import AsyncIterator, Mapping
from typing import Literal, Self

from pydantic import model_validator

from blackbox_kd.sdk import (
    Column,
    Context,
    DataError,
    Dropped,
    Expression,
    Failed,
    Field,
    FieldError,
    NewTable,
    Outcome,
    Row,
    StepConfig,
    Table,
    expressions,
    table_step,
    write_text,
)
from blackbox_kd.tables.sampling import Ids


class Config(StepConfig):
    """Fields of `split`."""

    outputs: dict[NewTable, Expression | float] = Field(min_length=1)
    """Branches by name, in order: a row goes to the first one whose expression holds. Or shares that add up to
    at most 1: rows are drawn by the run's seed."""
    per: Column | None = None
    """Column whose rows with the same value go to the same branch, with shares: `source`, so that no document stands
    in two."""
    balance: Literal["none", "upsample"] = "none"
    """`upsample`: rows of smaller branches are repeated until all branches are as large as the largest."""

    @model_validator(mode="after")
    def _all_of_one_kind(self) -> Self:
        shares = [value for value in self.outputs.values() if not isinstance(value, str)]
        if shares and len(shares) != len(self.outputs):
            raise FieldError("outputs: expressions and shares stand side by side", fix="give one kind to all branches")
        if self.per is not None and not shares:
            raise FieldError(
                "per: goes with shares", fix="take per: out, or give each branch a share: {a: 0.8, b: 0.2}"
            )
        if sum(shares) > 1 + 1e-9 or any(share <= 0 for share in shares):
            raise FieldError(
                f"outputs: the shares add up to {sum(shares):g}", fix="make them positive and at most 1 together"
            )
        return self

    def draws_by_row(self) -> bool:
        """With shares, unless `per` keeps rows together."""
        return self.per is None and any(not isinstance(value, str) for value in self.outputs.values())


@table_step(reads=["{per}"], drops=["no branch"])
async def run(table: Table, config: Config, ctx: Context) -> AsyncIterator[tuple[str, Outcome]]:
    branches: dict[str, list[Row]] = {name: [] for name in config.outputs}
    first = next(iter(branches))
    marks = _place_groups(table, config.per, ctx) if config.per is not None else {}
    for row in table:
        try:
            name = _choose_branch(row, config, ctx, marks)
        except DataError as error:
            yield first, Failed(row, "data", str(error))
            continue
        if name is None:
            yield first, Dropped(row, "no branch")
        else:
            branches[name].append(row)
    most = max(map(len, branches.values()))
    for name, rows in branches.items():
        wanted = most if config.balance == "upsample" and rows else len(rows)
        ids = Ids()
        for number in range(wanted):
            yield name, ids.own(rows[number % len(rows)], f"copy{number // len(rows)}")


def _place_groups(table: Table, column: str, ctx: Context) -> dict[str, float]:
    """Where each value of a column stands between 0 and 1, in an order that is drawn: few groups keep to the shares."""
    values = {write_text(row[column]) for row in table if column in row}
    drawn = sorted(values, key=lambda value: (ctx.rng("split", value).random(), value))
    return {value: (place + 0.5) / len(drawn) for place, value in enumerate(drawn)}


def _choose_branch(row: Row, config: Config, ctx: Context, marks: Mapping[str, float]) -> str | None:
    mark = ctx.rng("split", row.id).random() if config.per is None else marks[write_text(row[config.per])]
    below = 0.0
    for name, rule in config.outputs.items():
        if isinstance(rule, str):
            if expressions.parse(rule)(row):
                return name
        else:
            below += rule
            if mark < below:
                return name
    return None
