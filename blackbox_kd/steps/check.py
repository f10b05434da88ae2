"""Reads the answer out of a text and compares it with a reference or a verifier.

Reads    {of}, {against}
Writes   answer, correct
Drops    nothing
Calls    none
Source   Magister et al. 2023, arXiv:2212.08410 (only chains that end in the right answer teach)
"""

from blackbox_kd import answers, arithmetic
from blackbox_kd.registry import Answer, Column, StepConfig, row_step
from blackbox_kd.schema import Context, Row


class Config(StepConfig):
    """Fields of `check`."""

    answer: Answer
    """Kind of answer: how it is read and when two are the same (`blackbox-kd steps check` lists them)."""
    against: Column = "reference"
    """Column with the right answer."""
    of: Column = "response"
    """Column with the text that states the answer."""
    fix_arithmetic: bool = False
    """Whether wrong results of equations in the text are mended by calculation before the answer is read."""


@row_step(reads=["{of}", "{against}"], writes=["answer", "correct"])
async def run(row: Row, config: Config, ctx: Context) -> Row:
    kind = answers.kind(config.answer)
    if config.fix_arithmetic:
        row = row | {config.of: arithmetic.fix(str(row[config.of]))}
    answer = kind.read(str(row[config.of]), row)
    correct = answer is not None and kind.same(answer, str(row[config.against]), row)
    return row | {"answer": answer, "correct": correct}
