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
from typing import Any, Literal, Self

from pydantic import model_validator

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

QUALITY = {"quality": "how well the answer does what the task asks for"}
ONLY_IN = {
    "of": ("scale", "panel"),
    "a": ("pairwise",),
    "b": ("pairwise",),
    "author": ("panel",),
    "min_reviews": ("panel",),
    "accept_above": ("scale", "panel"),
    "score": ("scale", "panel"),
    "score_a": ("pairwise",),
    "score_b": ("pairwise",),
    "gap": ("pairwise",),
}
"""Modes in which a field has a meaning."""
DEFAULTS = {"of": "response", "author": "model", **{name: name for name in ("score", "score_a", "score_b", "gap")}}
"""Columns that are taken if a field is left out, in its modes."""


class Config(SamplingConfig):
    """Fields of `judge`. A verdict that cannot be read is asked for anew, then fails the row; it is never a score."""

    mode: Literal["scale", "pairwise", "panel"]
    """`scale`: numbers by criteria. `pairwise`: two texts, always shown in both orders. `panel`: whole numbers by
    reviewers, of whom the author of the row is none."""
    models: list[ModelName] = Field(min_length=1)
    """The judges or reviewers. Versions of one model count as the same author."""
    prompt: PromptName | None = None
    """Template of the messages; `judge/scale`, `judge/pairwise` or `judge/panel` if left out."""
    of: Column | None = None
    """Column with the text that is judged; `response` if left out. Not in mode pairwise."""
    a: Column | None = None
    """Column with the first of two texts, in mode pairwise."""
    b: Column | None = None
    """Column with the second of two texts, in mode pairwise."""
    author: Column | None = None
    """Column with the name of the model that wrote the text, in mode panel; `model` if left out."""
    hint: Column | None = None
    """Column with the right answer, to show it to the judges. They favour whatever ends in it: `check` as well."""
    criteria: dict[str, str] = Field(default_factory=dict)
    """What counts: meanings by name. In mode scale each gets a number, and without any there is one, `quality`."""
    scale: list[int] = Field(default_factory=list)
    """The worst and the best number; [1, 5] in mode panel and else [1, 10] if left out."""
    accept_above: int | float | None = None
    """Rows whose score is not above it are dropped; a row with just this score is, too. Changing it needs no call."""
    min_reviews: int | None = Field(default=None, ge=1)
    """How many reviews of a panel must be readable, or else the row fails; all if left out, 1 in the paper."""
    score: NewColumn | None = None
    """Column for the mean of all numbers; `score` if left out. Not in mode pairwise."""
    score_a: NewColumn | None = None
    """Column for the mean score of `a` over judges and orders, in mode pairwise; `score_a` if left out."""
    score_b: NewColumn | None = None
    """Column for the mean score of `b`; `score_b` if left out."""
    gap: NewColumn | None = None
    """Column for `score_a - score_b`, below 0 where `b` is better; `gap` if left out."""
    temperature: float | None = Field(default=0.2, ge=0, le=2)
    """Sampling temperature. Above 0.2 judges contradict themselves; at 0 an unreadable verdict stays unreadable."""
    max_tokens: int | None = Field(default=512, ge=1)
    """The most tokens of a verdict; one that is cut off is not read."""

    @model_validator(mode="after")
    def _of_its_mode(self) -> Self:
        self.prompt = self.prompt or f"judge/{self.mode}"
        self.scale = self.scale or ([1, 5] if self.mode == "panel" else [1, 10])
        if self.mode == "scale":
            self.criteria = self.criteria or QUALITY
        for name, column in DEFAULTS.items():
            if self.mode in ONLY_IN[name]:
                setattr(self, name, getattr(self, name) or column)
        return self

    def problems(self) -> list[tuple[str, str, str]]:
        """Fields of other modes, and combinations that no row could pass."""
        return [*_stray_fields(self), *_wrong_columns(self), *_wrong_judges(self), *_wrong_numbers(self)]

    def prompt_variables(self) -> set[str]:
        """What the step shows besides the row's columns."""
        shown = pairwise.SHOWN if self.mode == "pairwise" else {"candidate", *verdicts.SHOWN}
        return shown | ({"hint"} if self.hint else set())

    def calls_by_model(self) -> Counter[str]:
        """Two of each judge in mode pairwise, else one."""
        return Counter(self.models * (2 if self.mode == "pairwise" else 1))

    @property
    def ends(self) -> verdicts.Scale:
        """The worst and the best number."""
        return self.scale[0], self.scale[1]

    @property
    def threshold(self) -> float:
        """What judges' agreement is counted by: `accept_above`, or the middle of the scale."""
        return sum(self.scale) / 2 if self.accept_above is None else self.accept_above


def _stray_fields(config: Config) -> list[tuple[str, str, str]]:
    return [
        (name, f"{name}: means nothing in mode: {config.mode}.", f"take {name}: out, or mode: {' or '.join(modes)}")
        for name, modes in ONLY_IN.items()
        if config.mode not in modes and getattr(config, name) is not None
    ]


def _wrong_columns(config: Config) -> list[tuple[str, str, str]]:
    if config.mode != "pairwise":
        return []
    missing = [name for name in ("a", "b") if getattr(config, name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        what = f"mode: pairwise compares two columns, and {' and '.join(missing)} {verb} not named."
        return [("mode", what, "add a: COLUMN and b: COLUMN")]
    same = f"a and b name the same column {config.a!r}, so that there is nothing to compare."
    return [("b", same, "name the column with the other text")] if config.a == config.b else []


def _wrong_judges(config: Config) -> list[tuple[str, str, str]]:
    if twice := find_named_twice(config.models):
        return twice
    if config.mode != "panel":
        return []
    others = len({_base(name) for name in config.models}) - 1
    if others < 1:
        what = f"a panel of {_base(config.models[0])!r} alone has no reviewer for what it wrote itself."
        return [("models", what, "name a second model, or mode: scale")]
    if (config.min_reviews or 1) > others:
        what = f"min_reviews: {config.min_reviews}, but a text by one of the panel has only {others} to review it."
        return [("min_reviews", what, f"min_reviews: {others}, or more models")]
    return []


def _wrong_numbers(config: Config) -> list[tuple[str, str, str]]:
    if len(config.scale) != 2:
        return [("scale", f"scale: {config.scale} is not two numbers.", "write the worst and the best: [1, 10]")]
    low, high = config.ends
    found = []
    if not low < high:
        found.append(("scale", f"scale: {config.scale} does not go up.", "write the worst number first: [1, 10]"))
    elif config.accept_above is not None and not low <= config.accept_above < high:
        verb = "drop" if config.accept_above >= high else "keep"
        what = f"accept_above: {config.accept_above} would {verb} every row on a scale from {low} to {high}."
        found.append(("accept_above", what, f"a number from {low} to below {high}"))
    labels = [verdicts.plain(name) for name in config.criteria]
    if len(set(labels)) < len(labels) or not all(labels):
        what = f"criteria: {', '.join(map(repr, config.criteria))} cannot be told apart in a verdict."
        found.append(("criteria", what, "give each a name of its own, of letters and digits"))
    return found


@row_step(
    reads=["{of}", "{a}", "{b}", "{author}", "{hint}"],
    writes=["scores", "verdicts", "{score}", "{score_a}", "{score_b}", "{gap}"],
    drops=["not above {accept_above}"],
)
async def run(row: Row, config: Config, ctx: Context) -> Row | Dropped | Failed:
    if config.mode == "pairwise":
        return await _compare(row, config, ctx)
    judged = await (_reviewed if config.mode == "panel" else _graded)(row, config, ctx)
    if isinstance(judged, Failed) or config.accept_above is None:
        return judged
    accepted = judged[str(config.score)] > config.accept_above
    return judged if accepted else Dropped(judged, f"not above {config.accept_above}")


async def _graded(row: Row, config: Config, ctx: Context) -> Row:
    """Every judge gives every criterion a number; the score is the mean of all."""
    values = _values(row, config)

    def read(text: str) -> dict[str, float]:
        return verdicts.read_labelled(text, list(config.criteria), config.ends)

    replies = await all_of(*(_verdict(model, values, read, row, config, ctx) for model in config.models))
    said = dict(zip(config.models, replies, strict=True))
    return _scored(row, config, ctx, {model: fmean(reply.value.values()) for model, reply in said.items()}, said)


async def _reviewed(row: Row, config: Config, ctx: Context) -> Row | Failed:
    """Everybody but the author gives a whole number; the score is the mean of those that can be read."""
    values = _values(row, config)
    author = _base(str(row[str(config.author)]))
    reviewers = [model for model in config.models if _base(model) != author]

    def read(text: str) -> int:
        return verdicts.bracketed(text, config.ends)

    faults: list[str] = []

    async def review(model: str) -> Reply[int] | None:
        try:
            return await _verdict(model, values, read, row, config, ctx)
        except ReplyFault as fault:
            if config.min_reviews is None:
                raise
            faults.append(str(fault))
            return None

    said = dict(zip(reviewers, await all_of(*map(review, reviewers)), strict=True))
    scores = {model: reply.value for model, reply in said.items() if reply is not None}
    if len(scores) < (config.min_reviews or 1):
        what = f"{len(scores)} of {len(reviewers)} reviews could be read, min_reviews is {config.min_reviews}"
        return Failed(row, "unreadable", f"{what}: {'; '.join(faults)}")
    return _scored(row, config, ctx, scores, said)


async def _compare(row: Row, config: Config, ctx: Context) -> Row:
    """Every judge sees both orders; a side's score is its mean over them and over the judges."""
    shown, a, b = _hinted(row, config), _text(row, config.a), _text(row, config.b)

    async def compare(model: str) -> pairwise.Comparison:
        async def ask(values: Row, read: Callable[[str], pairwise.Pair]) -> Reply[pairwise.Pair]:
            return await _verdict(model, values, read, row, config, ctx)

        return await pairwise.judge(shown, a, b, ask, scale=config.ends, criteria=config.criteria)

    said = dict(zip(config.models, await all_of(*map(compare, config.models)), strict=True))
    ctx.count(**judge_agreement.of_orders({model: found.gaps for model, found in said.items()}))
    return row | {
        "scores": {model: {"a": list(found.a), "b": list(found.b)} for model, found in said.items()},
        "verdicts": {model: list(found.replies) for model, found in said.items()},
        str(config.score_a): fmean(score for found in said.values() for score in found.a),
        str(config.score_b): fmean(score for found in said.values() for score in found.b),
        str(config.gap): round(fmean(gap for found in said.values() for gap in found.gaps), 9),
    }


def _scored(
    row: Row, config: Config, ctx: Context, numbers: Mapping[str, float], said: Mapping[str, Reply[Any] | None]
) -> Row:
    """The row with its score, the mean of the judges' numbers; what they agree on is counted."""
    correct = row.get("correct")
    ctx.count(**judge_agreement.of_numbers(numbers, config.threshold, correct if isinstance(correct, bool) else None))
    scores = {model: reply and reply.value for model, reply in said.items()}
    texts = {model: reply and reply.text for model, reply in said.items()}
    return row | {"scores": scores, "verdicts": texts, str(config.score): fmean(numbers.values())}


async def _verdict(
    model: str, values: Row, read: Callable[[str], T], row: Row, config: Config, ctx: Context
) -> Reply[T]:
    """What a judge wrote, and what `read` makes of it."""
    return await ctx.ask(model, Ask(ctx.render(str(config.prompt), values), config.sampling(), row, read=read))


def _values(row: Row, config: Config) -> Row:
    """What a prompt shows of a row whose one text is judged."""
    return _hinted(row, config) | verdicts.show({"candidate": _text(row, config.of)}, config.criteria, config.ends)


def _hinted(row: Row, config: Config) -> Row:
    return row | {"hint": row[config.hint]} if config.hint else row


def _text(row: Row, column: str | None) -> str:
    if row[str(column)] is None:
        raise DataError(f"column {column!r} is empty, so that there is nothing to judge")
    return write_text(row[str(column)])


def _base(model: str) -> str:
    """A model's name without its version."""
    return ModelRef.parse(model).name
