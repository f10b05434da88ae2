"""Lets models judge: by criteria on a scale, two texts against each other, or as a panel without the author.

Reads    the prompt's variables, {of}, {a}, {b}, {author}, {hint}
Writes   scores, verdicts, {score}, {score_a}, {score_b}, {gap}
Drops    not above {accept_above}
Calls    len(models) per row; twice as many in mode pairwise, and none to the author in mode panel
Source   Jiang et al. 2023, arXiv:2305.12870 (both orders, gap); Li et al. 2024, arXiv:2410.03663 (peer review)
"""

from collections import Counter
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any, ClassVar, Literal

from blackbox_kd.analysis import judge_agreement, pairwise, verdicts
from blackbox_kd.schema import ModelRef, T
from blackbox_kd.sdk import (
    Ask,
    Column,
    Context,
    DataError,
    Dropped,
    Failed,
    Field,
    ModelName,
    NewColumn,
    PromptName,
    Reply,
    ReplyFault,
    Row,
    SamplingConfig,
    all_of,
    find_named_twice,
    row_step,
    write_text,
)


class Judging(SamplingConfig):
    """Fields of `judge` in every mode. A verdict that cannot be read is asked for anew, then fails the row."""

    told_by: ClassVar[str] = "mode"

    models: list[ModelName] = Field(min_length=1)
    """The judges or reviewers. Versions of one model count as the same author."""
    prompt: PromptName
    """Template of the messages."""
    hint: Column | None = None
    """Column with the right answer, to show it to the judges. They favour whatever ends in it: `check` as well."""
    criteria: dict[str, str] = Field(default_factory=dict)
    """What counts: meanings by name."""
    scale: list[int]
    """The worst and the best number."""
    temperature: float | None = Field(default=0.2, ge=0, le=2)
    """Sampling temperature. Above 0.2 judges contradict themselves; at 0 an unreadable verdict stays unreadable."""
    max_tokens: int | None = Field(default=512, ge=1)
    """The most tokens of a verdict; one that is cut off is not read."""

    def problems(self) -> list[tuple[str, str, str]]:
        """Judges named twice, a scale that is none, and criteria that a verdict could not tell apart."""
        found = find_named_twice(self.models)
        if len(self.scale) != 2:
            found.append(("scale", f"scale: {self.scale} is not two numbers.", "write the worst and the best: [1, 10]"))
        elif not self.ends[0] < self.ends[1]:
            found.append(("scale", f"scale: {self.scale} does not go up.", "write the worst number first: [1, 10]"))
        if not verdicts.are_told_apart(self.criteria):
            what = f"criteria: {', '.join(map(repr, self.criteria))} cannot be told apart in a verdict."
            found.append(("criteria", what, "give each a name of its own, of letters and digits"))
        return found

    def prompt_variables(self) -> set[str]:
        """What the step shows besides the row's columns."""
        return {"candidate", *verdicts.SHOWN} | ({"hint"} if self.hint else set())

    def list_derived(self) -> dict[str, set[str]]:
        """What judges say who are shown the right answer can hold it."""
        return {"verdicts": {self.hint}} if self.hint is not None else {}

    @property
    def ends(self) -> verdicts.Scale:
        """The worst and the best number."""
        return self.scale[0], self.scale[1]


class OfOneText(Judging):
    """Fields of the modes that judge a text by itself."""

    of: Column = "response"
    """Column with the text that is judged."""
    accept_above: int | float | None = None
    """Rows whose score is not above it are dropped; a row with just this score is, too. Changing it needs no call."""
    score: NewColumn = "score"
    """Column for the mean of all numbers."""

    def problems(self) -> list[tuple[str, str, str]]:
        """A threshold that no row, or every row, could pass."""
        found = super().problems()
        if self.accept_above is None or any(field == "scale" for field, _, _ in found):
            return found
        low, high = self.ends
        if not low <= self.accept_above < high:
            verb = "drop" if self.accept_above >= high else "keep"
            what = f"accept_above: {self.accept_above} would {verb} every row on a scale from {low} to {high}."
            found.append(("accept_above", what, f"a number from {low} to below {high}"))
        return found

    @property
    def threshold(self) -> float:
        """What judges' agreement is counted by: `accept_above`, or the middle of the scale."""
        return sum(self.scale) / 2 if self.accept_above is None else self.accept_above


class Scale(OfOneText):
    """Fields of `judge` with `mode: scale`."""

    mode: Literal["scale"]
    """`scale`: numbers by criteria."""
    prompt: PromptName = "judge/scale"
    """Template of the messages."""
    criteria: dict[str, str] = Field(default=verdicts.QUALITY, min_length=1)
    """What counts: meanings by name. Each gets a number."""
    scale: list[int] = Field(default=[1, 10])
    """The worst and the best number."""


class Pairwise(Judging):
    """Fields of `judge` with `mode: pairwise`."""

    mode: Literal["pairwise"]
    """`pairwise`: two texts, always shown in both orders."""
    prompt: PromptName = "judge/pairwise"
    """Template of the messages."""
    scale: list[int] = Field(default=[1, 10])
    """The worst and the best number."""
    a: Column
    """Column with the first of two texts."""
    b: Column
    """Column with the second of two texts."""
    score_a: NewColumn = "score_a"
    """Column for the mean score of `a` over judges and orders."""
    score_b: NewColumn = "score_b"
    """Column for the mean score of `b`."""
    gap: NewColumn = "gap"
    """Column for `score_a - score_b`, below 0 where `b` is better."""

    def problems(self) -> list[tuple[str, str, str]]:
        """One text twice."""
        what = f"a and b name the same column {self.a!r}, so that there is nothing to compare."
        same = [("b", what, "name the column with the other text")] if self.a == self.b else []
        return [*super().problems(), *same]

    def prompt_variables(self) -> set[str]:
        """What the step shows besides the row's columns."""
        return pairwise.SHOWN | ({"hint"} if self.hint else set())

    def calls_by_model(self) -> Counter[str]:
        """Two of each judge."""
        return Counter(self.models * 2)


class Panel(OfOneText):
    """Fields of `judge` with `mode: panel`."""

    mode: Literal["panel"]
    """`panel`: whole numbers by reviewers, of whom the author of the row is none."""
    prompt: PromptName = "judge/panel"
    """Template of the messages."""
    scale: list[int] = Field(default=[1, 5])
    """The worst and the best number."""
    author: Column = "model"
    """Column with the name of the model that wrote the text."""
    min_reviews: int | None = Field(default=None, ge=1)
    """How many reviews must be readable, or else the row fails; all if left out, 1 in the paper."""

    def problems(self) -> list[tuple[str, str, str]]:
        """Too few reviewers for what one of them wrote."""
        found = super().problems()
        others = len({_name_model(name) for name in self.models}) - 1
        if others < 1 and not find_named_twice(self.models):
            what = f"a panel of {_name_model(self.models[0])!r} alone has no reviewer for what it wrote itself."
            found.append(("models", what, "name a second model, or mode: scale"))
        elif (self.min_reviews or 1) > others > 0:
            what = f"min_reviews: {self.min_reviews}, but a text by one of the panel has only {others} to review it."
            found.append(("min_reviews", what, f"min_reviews: {others}, or more models"))
        return found


@row_step(
    reads=["{of}", "{a}", "{b}", "{author}", "{hint}"],
    writes=["scores", "verdicts", "{score}", "{score_a}", "{score_b}", "{gap}"],
    drops=["not above {accept_above}"],
    version=2,
)
async def run(row: Row, config: Scale | Pairwise | Panel, ctx: Context) -> Row | Dropped | Failed:
    if isinstance(config, Pairwise):
        return await _compare(row, config, ctx)
    judged = await (_review(row, config, ctx) if isinstance(config, Panel) else _grade(row, config, ctx))
    if isinstance(judged, Failed) or config.accept_above is None:
        return judged
    return judged if judged[config.score] > config.accept_above else Dropped(judged, f"not above {config.accept_above}")


async def _grade(row: Row, config: Scale, ctx: Context) -> Row:
    """Every judge gives every criterion a number; the score is the mean of all."""
    values = _list_values(row, config)

    read = verdicts.Labelled(list(config.criteria), config.ends)
    replies = await all_of(*(_ask_judge(model, values, read, row, config, ctx) for model in config.models))
    said = dict(zip(config.models, replies, strict=True))
    return _score(row, config, ctx, {model: fmean(reply.value.values()) for model, reply in said.items()}, said)


async def _review(row: Row, config: Panel, ctx: Context) -> Row | Failed:
    """Everybody but the author gives a whole number; the score is the mean of those that can be read."""
    values = _list_values(row, config)
    author = _name_model(str(row[config.author]))
    reviewers = [model for model in config.models if _name_model(model) != author]

    read = verdicts.Bracketed(config.ends)
    faults: list[str] = []

    async def review(model: str) -> Reply[int] | None:
        try:
            return await _ask_judge(model, values, read, row, config, ctx)
        except ReplyFault as fault:
            if config.min_reviews is None:
                raise
            faults.append(fault.what)
            return None

    said = dict(zip(reviewers, await all_of(*map(review, reviewers)), strict=True))
    scores = {model: reply.value for model, reply in said.items() if reply is not None}
    if len(scores) < (config.min_reviews or 1):
        what = f"{len(scores)} of {len(reviewers)} reviews could be read, min_reviews is {config.min_reviews}"
        return Failed(row, "unreadable", f"{what}: {'; '.join(faults)}")
    return _score(row, config, ctx, scores, said)


async def _compare(row: Row, config: Pairwise, ctx: Context) -> Row:
    """Every judge sees both orders; a side's score is its mean over them and over the judges."""
    shown, a, b = _add_hint(row, config), _read(row, config.a), _read(row, config.b)

    async def compare(model: str) -> pairwise.Comparison:
        async def ask(values: Row, read: Callable[[str], pairwise.Pair]) -> Reply[pairwise.Pair]:
            return await _ask_judge(model, values, read, row, config, ctx)

        return await pairwise.judge(shown, a, b, ask, scale=config.ends, criteria=config.criteria)

    said = dict(zip(config.models, await all_of(*map(compare, config.models)), strict=True))
    ctx.count(**judge_agreement.count_pairs({model: found.gaps for model, found in said.items()}, a, b))
    return row | {
        "scores": {model: {"a": list(found.a), "b": list(found.b)} for model, found in said.items()},
        "verdicts": {model: list(found.replies) for model, found in said.items()},
        config.score_a: fmean(score for found in said.values() for score in found.a),
        config.score_b: fmean(score for found in said.values() for score in found.b),
        config.gap: round(fmean(gap for found in said.values() for gap in found.gaps), 9),
    }


def _score(
    row: Row, config: OfOneText, ctx: Context, numbers: Mapping[str, float], said: Mapping[str, Reply[Any] | None]
) -> Row:
    """The row with its score, the mean of the judges' numbers; what they agree on is counted."""
    correct = row.get("correct")
    ctx.count(
        **judge_agreement.count_numbers(numbers, config.threshold, correct if isinstance(correct, bool) else None)
    )
    scores = {model: reply and reply.value for model, reply in said.items()}
    texts = {model: reply and reply.text for model, reply in said.items()}
    return row | {"scores": scores, "verdicts": texts, config.score: fmean(numbers.values())}


async def _ask_judge(
    model: str, values: Row, read: Callable[[str], T], row: Row, config: Judging, ctx: Context
) -> Reply[T]:
    """What a judge wrote, and what `read` makes of it."""
    return await ctx.ask(model, Ask(ctx.render(config.prompt, values), config.sampling(), row, read=read))


def _list_values(row: Row, config: OfOneText) -> Row:
    """What a prompt shows of a row whose one text is judged."""
    return _add_hint(row, config) | verdicts.show({"candidate": _read(row, config.of)}, config.criteria, config.ends)


def _add_hint(row: Row, config: Judging) -> Row:
    return row | {"hint": row[config.hint]} if config.hint else row


def _read(row: Row, column: str) -> str:
    if row[column] is None:
        raise DataError(f"column {column!r} is empty, so that there is nothing to judge")
    return write_text(row[column])


def _name_model(model: str) -> str:
    return ModelRef.parse(model).name
