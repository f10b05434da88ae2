"""Rows of a table beside the one that a step reads."""

from collections.abc import Callable

from blackbox_kd.errors import DataError
from blackbox_kd.schema import Row
from blackbox_kd.sdk.context import Context


def list_usable(
    ctx: Context, name: str, fits: Callable[[Row], bool], what: str, *, fix: str = "name a table whose rows do"
) -> list[Row]:
    """The rows of another table that can be worked with; the others are not the step's own, so they cannot fail.

    Args:
        ctx: has the table.
        name: of it.
        fits: whether a row can be worked with.
        what: such a row has, for the message.
        fix: what to do where none has it.

    Raises:
        DataError: there are rows, and none of them can be.
    """
    usable = [row for row in ctx.table(name) if fits(row)]
    if len(ctx.table(name)) and not usable:
        raise DataError(f"{ctx.step}: no row of table {name!r} has {what}", fix=fix)
    return usable
