"""Writes the reply in capitals.

Reads    response
Writes   response
Drops    nothing
Calls    none
Source   none: a plugin for the tests
"""

from blackbox_kd.sdk import Context, Row, StepConfig, row_step


class Config(StepConfig):
    """Fields of `shout`."""

    times: int = 1
    """How many exclamation marks."""


@row_step(reads=["response"], writes=["response"])
async def run(row: Row, config: Config, ctx: Context) -> Row:
    return row | {"response": str(row["response"]).upper() + "!" * config.times}
