"""Writes a text in capitals."""

from blackbox_kd.sdk import Context, Row, StepConfig, row_step


class Config(StepConfig):
    """Fields of `shout`."""

    mark: str = "!"


@row_step(reads=["response"], writes=["shouted"])
async def run(row: Row, config: Config, ctx: Context) -> Row:
    return row | {"shouted": row["response"].upper() + config.mark}
