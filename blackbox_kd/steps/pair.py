"""Makes preference pairs: the better and the worse of two texts that answer the same question.

Reads    {better}, {worse}, {per}, {of}, the expressions' columns
Writes   better, worse, gap, length_ratio
Drops    empty text, too similar, no gap, gap below {min_gap}, alone in its group, the worse side of a pair, beyond max_pairs {max_pairs}
Calls    none
Source   Zhang et al. 2024, arXiv:2406.02886 (PLaD: the teacher's text over the student's); Ouyang et al. 2022, arXiv:2203.02155 (all pairs of a ranked list)
"""  # noqa: E501

import math
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from enum import IntEnum
from typing import NamedTuple, Self

from pydantic import model_validator

from blackbox_kd.analysis import similarity
from blackbox_kd.sdk import (
    Column,
    Context,
    DataError,
    Dropped,
    Expression,
    Failed,
    Field,
    Outcome,
    Row,
    StepConfig,
    Table,
    expressions,
    quote_value,
    table_step,
    write_text,
)

ROUNDING = 1e-9
"""0.7 - 0.4 is a little less than 0.3; a gap that equals `min_gap` but for rounding is large enough."""


class Config(StepConfig):
    """Fields of `pair`. Two columns of a row are a pair, or the rows of a group are ranked and paired."""

    better: Column | None = None
    """Column with the better text of a row, such as a teacher's."""
    worse: Column | None = None
    """Column with the worse text of the same row, such as the student's own."""
    gap: Expression | None = None
    """How much better it is, as a number; a row where that is not above 0 is no pair. With `better` and `worse`."""
    per: Column | None = None
    """Rows with the same value of this column are a group, of which all pairs with a difference in rank are made."""
    rank: Expression | None = None
    """How good a row of a group is, higher is better; True counts 1 and False 0."""
    of: Column | None = None
    """Column with the text of a row of a group; `response` if left out."""
    min_gap: float | None = Field(default=None, gt=0)
    """The least gap of a pair; a gap of just so much is kept."""
    max_pairs: int | None = Field(default=None, ge=1)
    """The most pairs of a group, those with the largest gap first."""
    max_similarity: float = Field(default=0.9, ge=0, le=1)
    """Texts that are more alike are no pair: ROUGE-L, from 0 to 1."""

    @model_validator(mode="after")
    def _text_of_a_group(self) -> Self:
        if self.per is not None and self.of is None:
            self.of = "response"
        return self

    def unwritten(self) -> set[str]:
        """`gap`, where nothing says what it is."""
        return {"gap"} if self.per is None and self.gap is None else set()

    def numbers(self) -> set[str]:
        """What texts are ranked by."""
        return {"gap", "rank"}

    def problems(self) -> list[tuple[str, str, str]]:
        """Fields of two kinds of pairs, or too few of one."""
        given = self.model_dump(exclude_none=True)
        columns = [name for name in ("better", "worse") if name in given]
        groups = [name for name in ("per", "rank") if name in given]
        if columns and groups:
            what = f"{columns[0]}: pairs the columns of a row, but {groups[0]}: the rows of a group."
            return [(columns[0], what, f"take {columns[0]}: out, or {groups[0]}:")]
        if not columns and not groups:
            return [("step", "nothing says what is paired.", "give better: and worse:, or per: and rank:")]
        pair, have = (("better", "worse"), columns) if columns else (("per", "rank"), groups)
        if len(have) == 1:
            other = next(name for name in pair if name not in have)
            what = f"{have[0]}: {given[have[0]]!r} stands without {other}:."
            return [(have[0], what, f"add {other}: {'COLUMN' if other != 'rank' else 'EXPRESSION'}")]
        beside = [name for name in (("of", "max_pairs") if columns else ("gap",)) if name in given]
        what = f"has no effect beside {pair[0]}: and {pair[1]}:."
        found: list[tuple[str, str, str]] = [
            (name, f"{name}: {given[name]!r} {what}", "take it out") for name in beside
        ]
        if columns and self.min_gap is not None and self.gap is None:
            found.append(("min_gap", f"min_gap: {self.min_gap:g} has no gap: to look at.", "add gap: EXPRESSION"))
        return found


class Candidate(NamedTuple):
    """A row of a group, with its text and its rank."""

    row: Row
    text: str
    rank: float


class Fate(IntEnum):
    """How far a row of a group came in any of its pairs."""

    ALONE = 0
    NO_GAP = 1
    BELOW = 2
    SIMILAR = 3
    BEYOND = 4
    WORSE = 5
    BETTER = 6


@table_step(
    reads=["{better}", "{worse}", "{per}", "{of}"],
    writes=["better", "worse", "gap", "length_ratio"],
    drops=[
        "empty text",
        "too similar",
        "no gap",
        "gap below {min_gap}",
        "alone in its group",
        "the worse side of a pair",
        "beyond max_pairs {max_pairs}",
    ],
    passes_over=["the worse side of a pair", "beyond max_pairs {max_pairs}"],
)
async def run(table: Table, config: Config, ctx: Context) -> AsyncIterator[Outcome]:
    for outcome in _pair_columns(table, config) if config.per is None else _pair_groups(table, config):
        if isinstance(outcome, Row):
            ctx.count(pairs=1, length_ratio_sum=outcome["length_ratio"])
        yield outcome


def _pair_columns(table: Table, config: Config) -> Iterator[Outcome]:
    """Two columns of each row."""
    for row in table:
        try:
            better, worse = _read_side(row, config.better), _read_side(row, config.worse)
            gap = None if config.gap is None else _read_number(config.gap, row)
        except DataError as error:
            yield Failed(row, "data", str(error))
            continue
        if not (better and worse):
            yield Dropped(row, "empty text")
        elif gap is not None and gap <= 0:
            yield Dropped(row, "no gap")
        elif gap is not None and _is_below(gap, config):
            yield Dropped(row, f"gap below {config.min_gap}")
        elif _are_alike(better, worse, config):
            yield Dropped(row, "too similar")
        else:
            yield row | _make_columns(better, worse, gap)


def _pair_groups(table: Table, config: Config) -> Iterator[Outcome]:
    """All ordered pairs within each group; a row is in as many as there are worse ones."""
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for row in table:
        try:
            text, name = _read_side(row, config.of), write_text(_read_value(row, config.per))
            if text:
                groups[name].append(Candidate(row, text, _read_number(str(config.rank), row)))
            else:
                yield Dropped(row, "empty text")
        except DataError as error:
            yield Failed(row, "data", str(error))
    for group in groups.values():
        fates, pairs = _make_pairs(group, config)
        for number, candidate in enumerate(group):
            if pairs[number]:
                yield from pairs[number]
            else:
                yield _explain_drop(candidate.row, fates[number], config)


def _make_pairs(group: list[Candidate], config: Config) -> tuple[list[Fate], list[list[Row]]]:
    """The fate of each row of a group, and the pairs in which it is the better one."""
    fates = [Fate.ALONE if len(group) == 1 else Fate.NO_GAP] * len(group)
    pairs: list[list[Row]] = [[] for _ in group]
    places = range(len(group))
    gaps = [(group[i].rank - group[j].rank, i, j) for i in places for j in places if group[i].rank > group[j].rank]
    made = 0
    for gap, i, j in sorted(gaps, key=lambda found: (-found[0], found[1], found[2])):
        better, worse = group[i], group[j]
        fate = Fate.BETTER
        if _is_below(gap, config):
            fate = Fate.BELOW
        elif made == config.max_pairs:
            fate = Fate.BEYOND
        elif _are_alike(better.text, worse.text, config):
            fate = Fate.SIMILAR
        else:
            made += 1
            pairs[i].append(better.row.child(f"over_{worse.row.id}", _make_columns(better.text, worse.text, gap)))
        fates[i] = max(fates[i], fate)
        fates[j] = max(fates[j], min(fate, Fate.WORSE))
    return fates, pairs


def _explain_drop(row: Row, fate: Fate, config: Config) -> Dropped:
    match fate:
        case Fate.ALONE:
            return Dropped(row, "alone in its group")
        case Fate.NO_GAP:
            return Dropped(row, "no gap")
        case Fate.BELOW:
            return Dropped(row, f"gap below {config.min_gap}")
        case Fate.SIMILAR:
            return Dropped(row, "too similar")
        case Fate.BEYOND:
            return Dropped(row, f"beyond max_pairs {config.max_pairs}")
    return Dropped(row, "the worse side of a pair")


def _make_columns(better: str, worse: str, gap: float | None) -> dict[str, str | float]:
    """What a pair writes, no gap if there is none: a judge may have; the ratio of lengths is of characters."""
    known = {} if gap is None else {"gap": gap}
    return {"better": better, "worse": worse, **known, "length_ratio": round(len(better) / len(worse), 4)}


def _read_side(row: Row, column: str | None) -> str:
    value = _read_value(row, column)
    return "" if value is None else write_text(value).strip()


def _read_value(row: Row, column: str | None) -> object:
    if column not in row:
        raise DataError(f"column {column!r} is missing")
    return row[str(column)]


def _read_number(expression: str, row: Row) -> float:
    value = expressions.parse(expression)(row)
    if not isinstance(value, int | float) or math.isnan(value):
        raise DataError(f"expression {expression!r}: is {quote_value(value)}, not a number")
    return float(value)


def _is_below(gap: float, config: Config) -> bool:
    return config.min_gap is not None and gap < config.min_gap - ROUNDING


def _are_alike(better: str, worse: str, config: Config) -> bool:
    return similarity.rouge_l(better, worse) > config.max_similarity
