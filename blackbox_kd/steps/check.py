"""Reads the answer out of a text and, where there is a right one, compares it with a reference or a verifier.

Reads    {of}, {against}
Writes   {answer_as}, {correct_as}
Drops    nothing
Calls    none
Source   Magister et al. 2023, arXiv:2212.08410 (only chains that end in the right answer teach)
"""

from typing import Any

from blackbox_kd import answers
from blackbox_kd.sdk import Answer, Column, Context, NewColumn, Row, StepConfig, row_step, write_text


class Config(StepConfig):
    """Fields of `check`."""

    answer: Answer
    """Kind of answer: how it is read and when two are the same (`blackbox-kd steps check` lists them)."""
    against: Column | None = "reference"
    """Column with the right answer; with null the answer is only read, and `correct` is not written."""
    of: Column = "response"
    """Column with the text that states the answer; with `answer: tool_call` the calls of a reply, if left out."""
    answer_as: NewColumn = "answer"
    """Column that the answer is written to; give it a name where two texts of a row are checked."""
    correct_as: NewColumn = "correct"
    """Column that says whether the answer is right."""

    def answer_kind(self) -> Answer:
        """How the answer is read."""
        return self.answer

    @property
    def _reads_calls(self) -> bool:
        return answers.split(self.answer)[0] == "tool_call" and "of" not in self.model_fields_set

    def find_said(self, row: Row) -> str:
        """The text in which the answer is looked for: as `evaluate` takes it, where a reply has called tools."""
        if self._reads_calls and row.get("tool_calls"):
            return write_text(row["tool_calls"])
        return "" if row[self.of] is None else write_text(row[self.of])

    def answer_columns(self) -> set[str]:
        """The right answer."""
        return {self.against} if self.against is not None else set()

    def list_derived(self) -> dict[str, set[str]]:
        """The answer is a part of the text."""
        calls = {"tool_calls"} if self._reads_calls else set()
        return {self.answer_as: {self.of, *calls}}

    def unwritten(self) -> set[str]:
        """Nothing says whether an answer is right that is compared with none."""
        return {self.correct_as} if self.against is None else set()

    def do_without(self, field: str) -> str:
        """Answers can be read that are compared with nothing."""
        return "write against: null, to read the answer only" if field == "against" else ""

    def problems(self) -> list[tuple[str, str, str]]:
        """A column for what is not found out."""
        if self.against is not None or "correct_as" not in self.model_fields_set:
            return []
        what = "correct_as: means nothing with against: null, which compares with nothing."
        return [("correct_as", what, "take correct_as: out, or write against: COLUMN")]


@row_step(reads=["{of}", "{against}"], writes=["{answer_as}", "{correct_as}"], version=2)
async def run(row: Row, config: Config, ctx: Context) -> Row:
    text = config.find_said(row)
    if config.against is None:
        answer = answers.kind(config.answer).read(text, row)
        judged: dict[str, Any] = {config.answer_as: answer}
    else:
        answer, correct = answers.judge(config.answer, text, row[config.against], row)
        judged = {config.answer_as: answer, config.correct_as: correct}
    if answer is None:
        ctx.count(unread=1)
    elif answers.goes_on(text):
        ctx.count(goes_on=1)
    return row | judged
