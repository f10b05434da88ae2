"""Asks models the same questions with the same prompt and decoding, and says how good the answers are.

Reads    the prompt's variables, {of}, {against}, {by}, {cluster}, {hint}
Writes   question, model, round, sample, response, finish_reason, answer, correct
Drops    nothing
Calls    len(models) x samples per row, with of none; of a judge two for each reply that it compares, one to grade it
Source   Wilson 1927, Tango 1998 (intervals), McNemar 1947 (test), Efron 1979 (bootstrap); Jiang 2023 (both orders)
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from statistics import fmean
from typing import Annotated, Any, Self

from pydantic import ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticKnownError

from blackbox_kd import answers
from blackbox_kd.analysis import accuracy, judge_agreement, pairwise, verdicts
from blackbox_kd.analysis.metrics import Answers, How
from blackbox_kd.messages import write_calls
from blackbox_kd.schema import ModelRef, T
from blackbox_kd.sdk import (
    Ask,
    CallError,
    Column,
    Context,
    Exam,
    Failed,
    Field,
    FromEarlier,
    FromFile,
    Graded,
    MeasuringConfig,
    ModelName,
    Outcome,
    PromptName,
    Reply,
    Row,
    RunsToolsConfig,
    Table,
    Tools,
    find_named_twice,
    table_step,
    write_text,
)


class Config(MeasuringConfig, RunsToolsConfig):
    """Fields of `evaluate`. Decoding is greedy unless said otherwise."""

    of: Column | None = None
    """Column with replies that an earlier step has written; nobody is asked then, and `models` may name the one model
    that the replies are of."""
    tools: Annotated[Tools | None, FromEarlier(("generate",)), FromFile(suffix=".json")] = None
    """Tools that the models may call, as in `generate`; those of the nearest one if left out. The calls of a reply are
    its answer: a JSON list of names and arguments, which `answer: tool_call` compares; unless `run_tools` runs them:
    then it is the last reply, and the rows say in `called` how many before it called some."""
    models: list[ModelName] = Field(default_factory=list, validate_default=True)
    """Models that are asked; each is compared with its `@base`, or else with the first one, and with each model that
    the recipe never trains."""
    prompt: Annotated[PromptName, FromEarlier(("format",))] = "student/plain"
    """Template of the question; that of the nearest `format` if left out."""
    prompts: dict[ModelName, PromptName] = Field(default_factory=dict)
    """Templates of models that are asked otherwise: `{teacher: exam/long}`; `student` means `student@base`, too."""
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    """Sampling temperature; 0 is greedy."""
    max_tokens: int | None = Field(default=512, ge=1)
    """The most tokens of a reply; one that reaches it is read as it is, and counted as truncated."""

    @field_validator("models")
    @classmethod
    def _somebody_to_ask(cls, models: list[str], info: ValidationInfo) -> list[str]:
        if not models and info.data.get("of") is None:
            raise PydanticKnownError("missing")
        return models

    @model_validator(mode="after")
    def _what_is_left_out(self) -> Self:
        if self.answer is not None:
            self.against = self.against or "reference"
        if self.judge is not None and not self.is_graded:
            self.against_model = self.against_model or next(iter(self.models), None)
        return self

    def problems(self) -> list[tuple[str, str, str]]:
        """Models named twice, fields that nothing would read, and nothing to compare."""
        found = find_named_twice(self.models) + self._find_unread() + self.find_unmeasured() + self.find_unrun()
        return found + self.find_unjudged(self.models)

    def _find_unread(self) -> list[tuple[str, str, str]]:
        """Fields that nothing would read."""
        found, names = [], {name for model in self.models for name in (model, ModelRef.parse(model).name)}
        for model in self.prompts.keys() - names:
            what = f"prompts: {model!r} is not one of the models that answer."
            found.append((f"prompts.{model}", what, f"name one of them: {', '.join(self.models)}"))
        if self.of is None:
            return found
        what = f"of: {self.of!r} is measured as it is written, and no model is asked."
        if len(self.models) > 1:
            found.append(("models", what, "name the one model that it is of, or take models: out"))
        for name in ("prompts", "samples", *(["judge"] if not self.is_graded else [])):
            if name in self.model_fields_set:
                found.append((name, what, f"take {name}: out, or of:"))
        return found

    @property
    def measured(self) -> list[str]:
        """Whose replies are measured: models, or a column of nobody's."""
        return self.models or [str(self.of)]

    def choose_prompt(self, model: str) -> str:
        """The template of what a model is asked."""
        return self.prompts.get(model) or self.prompts.get(ModelRef.parse(model).name) or self.prompt

    def prompt_variables(self) -> set[str]:
        """What the judge is shown."""
        return self.judge_variables()

    def list_derived(self) -> dict[str, set[str]]:
        """The words of a judge who is shown the right answer can hold it."""
        return {"verdict": {self.hint}} if self.hint is not None and self.is_graded else {}

    def columns_after(self, columns: set[str]) -> set[str]:
        """All columns, and those of the judge."""
        return columns | {*self.written_by_judge, *(["called"] if self.run_tools is not None else [])}

    def shown_to_student(self) -> list[tuple[str, str, bool]]:
        """The question: it never shows the answer."""
        asked = {model: self.choose_prompt(model) for model in self.models if self.of is None}
        own = [(f"prompts.{model}", prompt, False) for model, prompt in self.prompts.items()]
        return [("prompt", self.prompt, False)] * (self.prompt in asked.values()) + own

    def said_by_student(self) -> set[str]:
        """See `of`."""
        return {self.of} if self.of is not None else set()

    def calls_by_model(self) -> Counter[str]:
        """As many of each model as `samples`, none of what is written; two of a judge for each reply but those that it
        compares with, or one for each that it grades.
        """
        asked = Counter[str]() if self.of is not None else Counter(self.models * self.samples * self.guessed_replies)
        times = len(self.measured) if self.is_graded else 2 * (len(self.models) - 1)
        return asked if self.judge is None else asked + Counter({self.judge: times * self.samples})

    def exam(self) -> Exam:
        """Accuracies where answers are checked, win rates where a judge compares."""
        against = self.against_model if self.judge is not None and not self.is_graded else None
        prompts = {model: self.choose_prompt(model) for model in self.models} if self.prompts else {}
        is_checked, by = self.answer is not None, tuple(self.by)
        return Exam(tuple(self.models), self.prompt, is_checked, by, against, self.measures, prompts, self.is_graded)

    def outcomes_per_row(self) -> int:
        """As many of each model as `samples`."""
        return len(self.measured) * self.samples


@table_step(
    reads=["{of}", "{against}", "{by}", "{cluster}", "{hint}"],
    writes=["question", "model", "round", "sample", "response", "finish_reason", "answer", "correct"],
    aside=True,
    held_out=True,
)
async def run(table: Table, config: Config, ctx: Context) -> AsyncIterator[Outcome]:
    answered: dict[str, dict[str, Row]] = {model: {} for model in config.measured}
    for model in sorted(config.measured, key=lambda name: name != config.against_model):
        own = answered[model]
        is_judged = config.judge is not None and (config.is_graded or model != config.against_model)
        async for outcome in ctx.each(table, lambda row, model=model: _ask_models(row, model, config, ctx)):  # type: ignore[misc]
            if isinstance(outcome, Row):
                own[accuracy.name_reply(outcome)] = outcome
            if not (is_judged and isinstance(outcome, Row)):
                yield outcome
        if is_judged:
            async for outcome in ctx.each(list(own.values()), lambda row: _ask_judge(row, answered, config, ctx)):
                if isinstance(outcome, Row):
                    own[accuracy.name_reply(outcome)] = outcome
                yield outcome
    _record(answered, table, config, ctx)


async def _ask_models(row: Row, model: str, config: Config, ctx: Context) -> list[Outcome]:
    if config.of is not None:
        text = "" if row[config.of] is None else write_text(row[config.of])
        return [_read(row, model, None, text, row.get("finish_reason"), config, ctx)]
    messages = ctx.render(config.choose_prompt(model), row)

    async def ask(sample: int) -> Outcome:
        number = sample if config.samples > 1 else None
        one: Ask[str] = Ask(messages, config.sampling(), row, sample, accept_truncated=True, tools=config.offer(row))
        try:
            replies, said = await config.converse(model, one, ctx)
        except CallError as error:
            if error.kind == "empty":  # who says nothing has not answered rightly
                return _read(row, model, number, "", "stop", config, ctx)
            if number is None:
                raise
            asked = row.child(f"{model}.s{sample}", {"model": model, "sample": sample})
            return Failed(asked, error.kind, str(error), fix=error.fix)
        reply, called = replies[-1], {"called": len(replies) - 1} if said else {}
        text = write_calls(reply.tool_calls) if reply.tool_calls else reply.text
        return _read(row | called, model, number, text, reply.finish_reason, config, ctx)

    found = await asyncio.gather(*(ask(sample) for sample in range(config.samples)), return_exceptions=True)
    for each in found:  # only now, as the other replies are paid for, or will be
        if isinstance(each, BaseException):
            raise each
    return [each for each in found if not isinstance(each, BaseException)]


def _read(
    row: Row, model: str, sample: int | None, text: str, finish_reason: str | None, config: Config, ctx: Context
) -> Row:
    """The row of a reply."""
    answer, correct = (
        (None, None) if config.answer is None else answers.judge(config.answer, text, row[str(config.against)], row)
    )
    columns = {
        "question": row.id,
        "model": model,
        "round": ctx.round,
        **({"sample": sample} if sample is not None else {}),
        "response": text,
        "finish_reason": finish_reason,
        "answer": answer,
        "correct": correct,
    }
    number = [str(ctx.round)] * bool(ctx.round) + [f"s{sample}"] * (sample is not None)
    return row.child(".".join([model, *number]), columns | dict.fromkeys(config.written_by_judge))


async def _ask_judge(row: Row, answered: accuracy.Answered, config: Config, ctx: Context) -> list[Outcome]:
    """The row with what the judge says; without it if the other model has not answered."""

    async def ask(values: Row, read: Callable[[str], T]) -> Reply[T]:
        messages = ctx.render(str(config.judge_prompt), values)
        return await ctx.ask(str(config.judge), Ask(messages, config.judging(), row, read=read))

    shown = config.add_hint(row)
    if config.is_graded:
        values = shown | verdicts.show({"candidate": str(row["response"])}, config.criteria, pairwise.SCALE)
        said = await ask(values, verdicts.Labelled(list(config.criteria), pairwise.SCALE))
        return [row | {"score": fmean(said.value.values()), "scores": said.value, "verdict": said.text}]
    other = answered[str(config.against_model)].get(accuracy.name_reply(row))
    if other is None:
        return [row]

    texts = str(row["response"]), str(other["response"])
    found = await pairwise.judge(shown, *texts, ask, criteria=config.criteria)
    ctx.count(**judge_agreement.count_pairs({str(config.judge): found.gaps}, *texts))
    return [row | dict(zip(config.written_by_judge, (*found.means, found.verdict), strict=True))]


def _record(answered: accuracy.Answered, table: Table, config: Config, ctx: Context) -> None:
    def record(key: str, found: Iterable[Mapping[str, Any]]) -> None:
        ctx.record(key, [{"table": table.name, **entry} for entry in found])

    untrained = [model for model in answered if not ctx.is_trained(model)]
    if config.measures:
        found = _grade(answered, len(table), config, ctx)
        record("evaluations", (found.evaluate(model, list(rows.values())) for model, rows in answered.items()))
        for key, both in accuracy.list_compared(answered, ctx.list_main_rows(), ctx.is_trained):
            if config.answer is not None:
                record(key, accuracy.gains(both, untrained, config.by, config.counted_by))
            graded = found if both is answered else _grade(both, len(table), config, ctx)
            record(key, graded.gains(accuracy.find_pairs(both, untrained)))
    if config.answer is not None:
        record("agreements", accuracy.agreements(answered, answers.kind(config.answer).is_alike))
    if config.judge is not None and not config.is_graded:
        common = {"against": config.against_model, "judge": config.judge}
        others = [(model, rows.values()) for model, rows in answered.items() if model != config.against_model]
        record("win_rates", ({"model": model, **common, **pairwise.summarise(rows)} for model, rows in others))


def _grade(answered: accuracy.Answered, asked: int, config: Config, ctx: Context) -> Answers:
    """The answers as metrics see them; nothing is made of them for accuracy alone, which their rows tell."""
    kind = None if config.answer is None else answers.kind(config.answer)
    chosen = [] if config.measures == ("accuracy",) else [ctx.metric(name) for name in config.measures]

    def grade(row: Row) -> Graded:
        reference = row.get(config.against or "reference")
        wanted = "" if reference is None else write_text(reference)
        cluster = None if config.counted_by is None else write_text(row[config.counted_by])
        said = row.get("score") if config.is_graded else None
        score = None if said is None else verdicts.place(said, pairwise.SCALE)
        texts = str(row["question"]), str(row["response"]), wanted
        plain = Graded(*texts, row["answer"], None, row["correct"], cluster=cluster, score=score)
        if kind is None:
            return plain
        fields = kind.match_fields(plain.answer, wanted, row) if kind.has_fields else {}
        return replace(plain, wanted=kind.canonical(wanted, row), fields=fields)

    graded = {model: {key: grade(row) for key, row in rows.items() if chosen} for model, rows in answered.items()}
    labels, alike = (None, None) if kind is None else (kind.classes(), kind.is_alike)
    how = How(asked, config.samples, config.by, config.counted_by, labels, alike, ctx.seed)
    return Answers(chosen, graded, how)
