"""Keeps the rows for which an expression holds.

Reads    the expression's columns
Writes   nothing
Drops    not ({keep})
Calls    none
Source   none: plain data hygiene; measure a filter against an unfiltered arm (arXiv:2506.04178)
"""

from blackbox_kd import expressions
from blackbox_kd.registry import Expression, StepConfig, row_step
from blackbox_kd.schema import Context, Dropped, Row


class Config(StepConfig):
    """Fields of `filter`."""

    keep: Expression
    """Rows for which this is true stay: `correct`, `score >= 4 and len(response) < 2000`."""


@row_step(drops=["not ({keep})"])
async def run(row: Row, config: Config, ctx: Context) -> Row | Dropped:
    return row if expressions.parse(config.keep)(row) else Dropped(row, f"not ({config.keep})")
