"""Asks models the same questions with the same prompt and decoding, and says how good the answers are.

Reads    the prompt's variables, {against}, {by}
Writes   question, model, round, response, finish_reason, answer, correct
Drops    nothing
Calls    len(models) per row; with a judge, two more for each model but the one it is compared with
Source   Wilson 1927 (interval), McNemar 1947 (paired test), Efron 1979 (bootstrap); Jiang et al. 2023 (both orders)
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Annotated, Any, Self

from pydantic import ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticKnownError

from blackbox_kd import answers
from blackbox_kd.analysis import accuracy, judge_agreement, pairwise
from blackbox_kd.sdk import (
    Answer,
    Ask,
    Column,
    Context,
    Exam,
    Field,
    FromEarlier,
    ModelName,
    Outcome,
    PromptName,
    Reply,
    Row,
    Sampling,
    SamplingConfig,
    Table,
    find_named_twice,
    table_step,
)

_JUDGING = ("judge_prompt", "against_model", "judge_temperature", "judge_max_tokens")
_VERDICT = ("score", "against_score", "verdict")


class Config(SamplingConfig):
    """Fields of `evaluate`. Decoding is greedy unless said otherwise."""

    models: list[ModelName] = Field(min_length=1)
    """Models that are asked; each is compared with its `@base`, or else with the first one."""
    prompt: Annotated[PromptName, FromEarlier(("format",))] = "student/plain"
    """Template of the question; that of the nearest `format` if left out."""
    judge: ModelName | None = None
    """Model that compares answers, for tasks without a right one; writes `score`, `against_score` and `verdict`."""
    answer: Annotated[Answer | None, FromEarlier(("check",))] = Field(default=None, validate_default=True)
    """Kind of answer; that of the nearest `check` if left out. Not needed where a judge compares."""
    against: Annotated[Column | None, FromEarlier(("check",))] = None
    """Column with the right answer; that of the nearest `check`, or `reference`, if left out."""
    by: list[Column] = Field(default_factory=list)
    """Columns by whose values the accuracy is also told."""
    judge_prompt: PromptName | None = None
    """Template of the comparison; `judge/pairwise` if left out."""
    against_model: ModelName | None = None
    """Which of `models` the judge compares the others with; the first one if left out."""
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    """Sampling temperature; 0 is greedy."""
    max_tokens: int | None = Field(default=512, ge=1)
    """The most tokens of a reply; one that reaches it is read as it is, and counted as truncated."""
    judge_temperature: float | None = Field(default=0.2, ge=0, le=2)
    """Sampling temperature of the judge; at 0 a verdict that cannot be read stays so."""
    judge_max_tokens: int | None = Field(default=512, ge=1)
    """The most tokens of a verdict; one that is cut off is not read."""

    @field_validator("answer")
    @classmethod
    def _something_to_measure_by(cls, answer: Answer | None, info: ValidationInfo) -> Answer | None:
        if answer is None and info.data.get("judge") is None:
            raise PydanticKnownError("missing")
        return answer

    @model_validator(mode="after")
    def _what_is_left_out(self) -> Self:
        if self.answer is not None:
            self.against = self.against or "reference"
        if self.judge is not None:
            self.judge_prompt = self.judge_prompt or "judge/pairwise"
            self.against_model = self.against_model or self.models[0]
        return self

    def problems(self) -> list[tuple[str, str, str]]:
        """Models named twice, fields that nothing would read, and nothing to compare."""
        found = find_named_twice(self.models)
        if self.answer is None and self.against is not None:
            what = f"against: {self.against!r} means nothing without answer:, which says how an answer is read."
            found.append(("against", what, "add answer: number, or take against: out"))
        if self.judge is None:
            given = [name for name in _JUDGING if name in self.model_fields_set]
            what = "means nothing without judge:."
            found += [(name, f"{name}: {what}", f"add judge: MODEL, or take {name}: out") for name in given]
        elif len(set(self.models)) < 2:
            what = f"judge: {self.judge!r} has nothing to compare: models: names one model."
            found.append(("judge", what, "name a second model"))
        elif self.against_model not in self.models:
            what = f"against_model: {self.against_model!r} is not one of the models that answer."
            found.append(("against_model", what, f"name one of them: {', '.join(self.models)}"))
        return found

    def prompt_variables(self) -> set[str]:
        """What the judge is shown."""
        return pairwise.SHOWN if self.judge_prompt is not None else set()

    def columns_after(self, columns: set[str]) -> set[str]:
        """All columns, and those of the judge."""
        return columns | set(_VERDICT if self.judge is not None else ())

    def set_for(self, field: str) -> dict[str, tuple[str, Any]]:
        """The sampling fields for the models that answer, and those of the judge."""
        if field == "judge":
            fields = {
                "temperature": ("judge_temperature", self.judge_temperature),
                "max_tokens": ("judge_max_tokens", self.judge_max_tokens),
            }
            return {name: entry for name, entry in fields.items() if entry[0] in self.model_fields_set}
        return super().set_for(field) if field.startswith("models") else {}

    def shown_to_student(self) -> list[tuple[str, str, bool]]:
        """The question: it never shows the answer."""
        return [("prompt", self.prompt, False)]

    def calls_by_model(self) -> Counter[str]:
        """One of each model; two of the judge for each but the one that it compares with."""
        judged = {} if self.judge is None else {self.judge: 2 * (len(self.models) - 1)}
        return Counter(self.models) + Counter(judged)

    def answer_kind(self) -> Answer | None:
        """How answers are read, where they are."""
        return self.answer

    def answer_columns(self) -> set[str]:
        """The right answer, where there is one."""
        return {self.against} if self.against is not None else set()

    def exam(self) -> Exam:
        """Accuracies where answers are checked, win rates where a judge compares."""
        against = self.against_model if self.judge is not None else None
        return Exam(tuple(self.models), self.prompt, self.answer is not None, tuple(self.by), against)

    def outcomes_per_row(self) -> int:
        """One of each model."""
        return len(self.models)

    def judging(self) -> Sampling:
        """How verdicts are drawn."""
        defaults = {"judge_temperature", "judge_max_tokens"} - self.model_fields_set
        return Sampling(
            temperature=self.judge_temperature,
            max_tokens=self.judge_max_tokens,
            defaults=frozenset(name.removeprefix("judge_") for name in defaults),
        )


@table_step(
    reads=["{against}", "{by}"],
    writes=["question", "model", "round", "response", "finish_reason", "answer", "correct"],
    aside=True,
    held_out=True,
)
async def run(table: Table, config: Config, ctx: Context) -> AsyncIterator[Outcome]:
    answered: dict[str, dict[str, Row]] = {model: {} for model in config.models}
    for model in sorted(config.models, key=lambda name: name != config.against_model):
        own = answered[model]
        is_judged = config.judge is not None and model != config.against_model
        async for outcome in ctx.each(table, lambda row, model=model: _ask_models(row, model, config, ctx)):  # type: ignore[misc]
            if isinstance(outcome, Row):
                own[str(outcome["question"])] = outcome
            if not (is_judged and isinstance(outcome, Row)):
                yield outcome
        if is_judged:
            async for outcome in ctx.each(list(own.values()), lambda row: _ask_judge(row, answered, config, ctx)):
                if isinstance(outcome, Row):
                    own[str(outcome["question"])] = outcome
                yield outcome
    _record(answered, table, config, ctx)


async def _ask_models(row: Row, model: str, config: Config, ctx: Context) -> list[Outcome]:
    messages = ctx.render(config.prompt, row)
    reply = await ctx.ask(model, Ask(messages, config.sampling(), row, accept_truncated=True))
    answer: str | None = None
    correct: bool | None = None
    if config.answer is not None:
        answer, correct = answers.judge(config.answer, reply.text, row[str(config.against)], row)
    columns = {
        "question": row.id,
        "model": model,
        "round": ctx.round,
        "response": reply.text,
        "finish_reason": reply.finish_reason,
        "answer": answer,
        "correct": correct,
    }
    unjudged = dict.fromkeys(_VERDICT) if config.judge is not None else {}
    return [row.child(f"{model}.{ctx.round}" if ctx.round else model, columns | unjudged)]


async def _ask_judge(row: Row, answered: accuracy.Answered, config: Config, ctx: Context) -> list[Outcome]:
    """The row with what the judge says; without it if the other model has not answered."""
    other = answered[str(config.against_model)].get(str(row["question"]))
    if other is None:
        return [row]

    async def ask(values: Row, read: Callable[[str], pairwise.Pair]) -> Reply[pairwise.Pair]:
        messages = ctx.render(str(config.judge_prompt), values)
        return await ctx.ask(str(config.judge), Ask(messages, config.judging(), row, read=read))

    found = await pairwise.judge(row, str(row["response"]), str(other["response"]), ask)
    ctx.count(**judge_agreement.count_orders({str(config.judge): found.gaps}))
    return [row | dict(zip(_VERDICT, (*found.means, found.verdict), strict=True))]


def _record(answered: accuracy.Answered, table: Table, config: Config, ctx: Context) -> None:
    def entries(found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [{"table": table.name, **entry} for entry in found]

    if config.answer is not None:
        accuracies = (
            {"model": model, **accuracy.accuracy(list(rows.values()), config.by)} for model, rows in answered.items()
        )
        ctx.record("evaluations", entries(accuracies))
        ctx.record("comparisons", entries(accuracy.gains(answered, ctx.seed)))
        ctx.record("agreements", entries(accuracy.agreements(answered, answers.kind(config.answer).same)))
    if config.judge is not None:
        common = {"against": config.against_model, "judge": config.judge}
        others = [(model, rows.values()) for model, rows in answered.items() if model != config.against_model]
        ctx.record(
            "win_rates", entries({"model": model, **common, **pairwise.summarise(rows)} for model, rows in others)
        )
