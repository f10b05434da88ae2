"""Writes a text in capitals."""

from blackbox_kd.registry import StepConfig, row_step
from blackbox_kd.schema import Context, Row


class Config(StepConfig):
    """Fields of `shout`."""

    mark: str = "!"


@row_step(reads=["response"], writes=["shouted"])
async def run(row: Row, config: Config, ctx: Context) -> Row:
    return row | {"shouted": row["response"].upper() + config.mark}
