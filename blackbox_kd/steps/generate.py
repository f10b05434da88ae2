"""Asks one or several models with a prompt; each reply is a row of its own.

Reads    the prompt's variables
Writes   {into}, model, sample, finish_reason, usage, cost_usd
Drops    nothing
Calls    len(models) * samples per row
Source   Kim and Rush 2016, arXiv:1606.07947 (the teacher's text is the target)
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from blackbox_kd.asking import AskingConfig
from blackbox_kd.errors import CallError
from blackbox_kd.registry import ModelName, NewColumn, PromptName, TableName, row_step
from blackbox_kd.schema import Context, Failed, Outcome, Row


class Examples(BaseModel):
    """Rows of a table that the prompt shows as worked examples, in its variable `examples`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    table: TableName
    """Table that the examples are taken from; the row itself is never among them."""
    count: int = Field(default=4, ge=1, le=100)
    """How many."""
    choose: Literal["first", "random"] = "first"
    """`first`: the same for every row. `random`: drawn anew for each row, from the run's seed."""


class Config(AskingConfig):
    """Fields of `generate`. A reply that is cut off is not used."""

    model: ModelName | None = None
    """Model that is asked."""
    models: list[ModelName] = Field(default_factory=list)
    """Several models that are all asked, in place of `model`."""
    prompt: PromptName
    """Template of the messages."""
    into: NewColumn = Field(default="response", alias="as")
    """Column that the reply is written to."""
    samples: int = Field(default=1, ge=1, le=1000)
    """Replies per row and model."""
    examples: Examples | None = None
    """Worked examples for a few-shot prompt."""

    @model_validator(mode="after")
    def _one_way_to_name_models(self) -> Self:
        if (self.model is None) == (not self.models):
            raise ValueError("give either model: NAME or models: [NAMES]")
        return self

    def problems(self) -> list[tuple[str, str, str]]:
        """Samples that would all be the same."""
        if self.samples > 1 and self.temperature == 0:
            what = f"samples: {self.samples} at temperature: 0 would be {self.samples} times the same reply"
            return [("samples", f"{what}.", "raise the temperature, or samples: 1")]
        return []

    def prompt_variables(self) -> set[str]:
        """`examples`, when the step gives them."""
        return {"examples"} if self.examples else set()

    def names(self) -> list[str]:
        """The models that are asked."""
        return self.models or [str(self.model)]


@row_step(writes=["{into}", "model", "sample", "finish_reason", "usage", "cost_usd"])
async def run(row: Row, config: Config, ctx: Context) -> AsyncIterator[Outcome]:
    values = row | {"examples": _examples(row, config, ctx)} if config.examples else row
    messages = ctx.render(config.prompt, values)
    sampling = config.sampling()

    async def ask(model: str, sample: int) -> Outcome:
        tag = f"{model}.{sample}" if config.models else str(sample)
        try:
            reply = await ctx.ask(model, messages, sampling, row=row, sample=sample)
        except CallError as error:
            return Failed(row.child(tag, {"model": model, "sample": sample}), error.kind, str(error))
        columns = {
            config.into: reply.text,
            "model": model,
            "sample": sample,
            "finish_reason": reply.finish_reason,
            "usage": reply.usage.entry(),
            "cost_usd": reply.cost_usd,
        }
        if reply.reasoning:
            columns["reasoning"] = reply.reasoning
        return row.child(tag, columns)

    calls = [(model, sample) for model in config.names() for sample in range(config.samples)]
    if len(calls) == 1:
        yield await ask(*calls[0])
        return
    tasks = [asyncio.ensure_future(ask(*call)) for call in calls]
    try:
        for task in asyncio.as_completed(tasks):
            yield await task
    finally:
        for task in tasks:
            task.cancel()


def _examples(row: Row, config: Config, ctx: Context) -> list[Row]:
    assert config.examples is not None
    wanted = config.examples
    pool = [example for example in ctx.table(wanted.table) if example.get("instruction") != row.get("instruction")]
    if wanted.choose == "random":
        return ctx.rng("examples", row.id).sample(pool, min(wanted.count, len(pool)))
    return pool[: wanted.count]
