"""Puts several tables together, each with a weight.

Reads    nothing but the tables
Writes   nothing
Drops    not drawn
Calls    none
Source   replay of earlier rows: Agarwal et al. 2024 and others (methods: replay); union with weights is plain practice
"""

import math
from collections.abc import AsyncIterator

from pydantic import Field, field_validator

from blackbox_kd.registry import StepConfig, TableName, table_step
from blackbox_kd.schema import Context, Dropped, Outcome, Row, Table


class Config(StepConfig):
    """Fields of `mix`."""

    tables: dict[TableName, float] = Field(min_length=1)
    """Tables and weights. Without `rows`, 2.0 takes each row of a table twice and 0.5 a random half of them;
    with `rows`, weights are shares of the rows."""
    rows: int | None = Field(default=None, ge=1)
    """Rows in all."""
    shuffle: bool = True
    """Whether the rows are shuffled by the run's seed; otherwise the tables follow each other."""

    @field_validator("tables")
    @classmethod
    def _weights_are_positive(cls, tables: dict[str, float]) -> dict[str, float]:
        if any(weight <= 0 for weight in tables.values()):
            raise ValueError("weights must be above 0; leave a table out instead")
        return tables


@table_step(merges="tables", drops=["not drawn"])
async def run(table: Table, config: Config, ctx: Context) -> AsyncIterator[Outcome]:
    total = sum(config.tables.values())
    drawn: list[Row] = []
    seen: set[str] = set()
    for name, weight in config.tables.items():
        pool = list(ctx.table(name))
        wanted = len(pool) * weight if config.rows is None else config.rows * weight / total
        order = sorted(pool, key=lambda row: ctx.rng("mix", row.id).random())
        for index in range(round(wanted) if pool else 0):
            row, copy = order[index % len(pool)], math.floor(index / len(pool))
            row = row if copy == 0 else row.child(f"copy{copy}", {})
            drawn.append(row if row.id not in seen else row.child(f"from_{name}", {}))
            seen.add(drawn[-1].id)
        for row in order[round(wanted) :]:
            yield Dropped(row, "not drawn")
    if config.shuffle:
        drawn.sort(key=lambda row: ctx.rng("mix", "order", row.id).random())
    for row in drawn:
        yield row
