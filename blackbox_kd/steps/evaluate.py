"""Asks models the same questions with the same prompt and decoding, and says how many answers are right.

Reads    the prompt's variables, {against}, {by}
Writes   model, response, finish_reason, answer, correct
Drops    nothing
Calls    len(models) per row
Source   Wilson 1927 (interval), McNemar 1947 (paired test), Efron 1979 (bootstrap)
"""

from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Annotated, Any

from pydantic import Field

from blackbox_kd import answers, evidence
from blackbox_kd.asking import AskingConfig
from blackbox_kd.registry import Answer, Column, FromEarlier, ModelName, PromptName, table_step
from blackbox_kd.schema import Context, Outcome, Row, Table


class Config(AskingConfig):
    """Fields of `evaluate`. Decoding is greedy unless said otherwise."""

    models: list[ModelName] = Field(min_length=1)
    """Models that are asked; each is compared with its `@base`, or else with the first one."""
    prompt: Annotated[PromptName, FromEarlier(("format",))] = "student/plain"
    """Template of the question; that of the nearest `format` if left out."""
    answer: Annotated[Answer, FromEarlier(("check",))]
    """Kind of answer; that of the nearest `check` if left out."""
    against: Annotated[Column, FromEarlier(("check",))] = "reference"
    """Column with the right answer; that of the nearest `check` if left out."""
    by: list[Column] = Field(default_factory=list)
    """Columns by whose values the accuracy is also told."""
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    """Sampling temperature; 0 is greedy."""
    max_tokens: int | None = Field(default=512, ge=1)
    """The most tokens of a reply; one that reaches it is read as it is, and counted as truncated."""


@table_step(
    reads=["{against}", "{by}"],
    writes=["model", "response", "finish_reason", "answer", "correct"],
    aside=True,
    held_out=True,
)
async def run(table: Table, config: Config, ctx: Context) -> AsyncIterator[Outcome]:
    answered: dict[str, dict[str, Row]] = {}
    for model in config.models:
        answered[model] = {}
        async for outcome in ctx.each(table, lambda row, model=model: _answer(row, model, config, ctx)):  # type: ignore[misc]
            if isinstance(outcome, Row):
                answered[model][str(outcome["question"])] = outcome
            yield outcome
    ctx.record(
        "evaluations", [_evaluation(model, list(rows.values()), table, config) for model, rows in answered.items()]
    )
    ctx.record("comparisons", list(_comparisons(answered, table, config, ctx)))


async def _answer(row: Row, model: str, config: Config, ctx: Context) -> list[Outcome]:
    messages = ctx.render(config.prompt, row)
    reply = await ctx.ask(model, messages, config.sampling(), row=row, accept_truncated=True)
    kind = answers.kind(config.answer)
    answer = kind.read(reply.text, row)
    correct = answer is not None and kind.same(answer, str(row[config.against]), row)
    columns = {
        "question": row.id,
        "model": model,
        "response": reply.text,
        "finish_reason": reply.finish_reason,
        "answer": answer,
        "correct": correct,
    }
    return [row.child(model, columns)]


def _evaluation(model: str, rows: list[Row], table: Table, config: Config) -> dict[str, Any]:
    entry = {"model": model, "table": table.name, **_accuracy(rows)}
    for column in config.by:
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            groups[str(row[column])].append(row)
        entry.setdefault("slices", {})[column] = {value: _accuracy(group) for value, group in sorted(groups.items())}
    return entry


def _accuracy(rows: list[Row]) -> dict[str, Any]:
    right = sum(bool(row["correct"]) for row in rows)
    return {
        "n": len(rows),
        "accuracy": right / len(rows) if rows else None,
        "ci95": list(evidence.wilson(right, len(rows))) if rows else None,
        "right": right,
        "read": sum(row["answer"] is not None for row in rows),
        "truncated": sum(row["finish_reason"] == "length" for row in rows),
    }


def _comparisons(
    answered: dict[str, dict[str, Row]], table: Table, config: Config, ctx: Context
) -> list[dict[str, Any]]:
    found = []
    for model in config.models:
        base = f"{model.partition('@')[0]}@base"
        against = base if base in answered and base != model else config.models[0]
        if against == model:
            continue
        both = [key for key in answered[model] if key in answered[against]]
        after = [bool(answered[model][key]["correct"]) for key in both]
        before = [bool(answered[against][key]["correct"]) for key in both]
        if not both:
            continue
        gain = evidence.paired_gain(before, after, seed=ctx.seed)
        found.append(
            {
                "model": model,
                "against": against,
                "table": table.name,
                "n": len(both),
                "gain": gain.gain,
                "ci95": list(gain.ci95),
                "p_value": gain.p_value,
                "gained": gain.gained,
                "lost": gain.lost,
            }
        )
    return found
