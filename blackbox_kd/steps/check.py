"""Reads the answer out of a text and compares it with a reference or a verifier.

Reads    {of}, {against}
Writes   {answer_as}, {correct_as}
Drops    nothing
Calls    none
Source   Magister et al. 2023, arXiv:2212.08410 (only chains that end in the right answer teach)
"""

from blackbox_kd import answers
from blackbox_kd.sdk import Answer, Column, Context, NewColumn, Row, StepConfig, row_step, write_text


class Config(StepConfig):
    """Fields of `check`."""

    answer: Answer
    """Kind of answer: how it is read and when two are the same (`blackbox-kd steps check` lists them)."""
    against: Column = "reference"
    """Column with the right answer."""
    of: Column = "response"
    """Column with the text that states the answer."""
    answer_as: NewColumn = "answer"
    """Column that the answer is written to; give it a name where two texts of a row are checked."""
    correct_as: NewColumn = "correct"
    """Column that says whether the answer is right."""

    def answer_kind(self) -> Answer:
        """How the answer is read."""
        return self.answer

    def answer_columns(self) -> set[str]:
        """The right answer."""
        return {self.against}


@row_step(reads=["{of}", "{against}"], writes=["{answer_as}", "{correct_as}"], version=2)
async def run(row: Row, config: Config, ctx: Context) -> Row:
    text = "" if row[config.of] is None else write_text(row[config.of])
    answer, correct = answers.judge(config.answer, text, row[config.against], row)
    if answer is None:
        ctx.count(unread=1)
    elif answers.goes_on(text):
        ctx.count(goes_on=1)
    return row | {config.answer_as: answer, config.correct_as: correct}
