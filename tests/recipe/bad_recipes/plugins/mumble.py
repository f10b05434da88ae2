"""Writes the reply in small letters.

Reads    response
Writes   response
Drops    nothing
Calls    none
Source   none: a plugin for the tests, as it was written for 0.1
"""

from blackbox_kd.asking import AskingConfig
from blackbox_kd.registry import Column, row_step

from blackbox_kd.schema import Context, Row


class Config(AskingConfig):
    """Fields of `mumble`."""

    of: Column = "response"
    """Column with the text."""


@row_step(reads=["{of}"])
async def run(row: Row, config: Config, ctx: Context) -> Row:
    return row | {config.of: str(row[config.of]).lower()}
