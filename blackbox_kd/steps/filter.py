"""Keeps rows: by an expression, or those that are new, well formed, without the answer, or not too many of a seed.

Reads    the expression's columns, {well_formed}, those that novelty, leaks and share name
Writes   similarity, nearest, nearest_id
Drops    not ({keep}), says instruction, too short, begins with punctuation, begins with another script, answer leaked, too similar, too many of a seed
Calls    none
Source   Jiang et al. 2023, arXiv:2305.12870 (novelty, well-formed instructions); keep, leaks, share: plain data hygiene
"""  # noqa: E501

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from blackbox_kd.analysis import leakage
from blackbox_kd.analysis.compared import Compared
from blackbox_kd.analysis.embeddings import EmbeddingPool
from blackbox_kd.analysis.similarity import MinHashPool, RougePool, SimilarityIndex, differ_in_numbers, split_tokens
from blackbox_kd.analysis.well_formed import count_words, is_punctuation
from blackbox_kd.messages import is_conversation
from blackbox_kd.sdk import (
    Column,
    Context,
    Dropped,
    Expression,
    Failed,
    Field,
    FieldError,
    Outcome,
    Row,
    StepConfig,
    Table,
    TableName,
    expressions,
    list_usable,
    row_step,
    table_step,
    write_text,
)


class Novelty(BaseModel):
    """How alike a row may be to others: to those of some tables, and to those kept before it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    column: Column = "instruction"
    """Column with the text that is compared, in all tables."""
    against: list[TableName] = Field(default_factory=list)
    """Tables that the rows are compared with, besides each other. They may be held out: then `nearest` is left empty,
    so that nothing of them is in the rows."""
    per: Column | None = None
    """Rows are compared with those alone that have the same value of this column: several replies to a question, by
    `instruction`, where those to other questions may well say the same."""
    metric: Literal["rouge_l", "minhash", "embedding"] = "rouge_l"
    """`rouge_l`: words in common, in order. `minhash`: runs of three words in common, faster for large tables.
    `embedding`: likeness of meaning, the cosine of `model`'s vectors."""
    max: float = Field(default=0.7, ge=0, le=1)
    """A row may be as alike as this (0.7 itself stays), not more."""
    model: str | None = None
    """Encoder for `embedding`: a folder, relative to the working directory, or a hub id."""

    @model_validator(mode="after")
    def _an_encoder_for_embeddings(self) -> Self:
        if self.metric == "embedding" and self.model is None:
            raise FieldError("metric: embedding needs an encoder", fix="add model: FOLDER, or a hub id")
        if self.metric != "embedding" and self.model is not None:
            raise FieldError(f"metric: {self.metric} reads no model", fix="take model: out, or write metric: embedding")
        return self

    def pool(self) -> SimilarityIndex:
        """An empty pool of the metric."""
        if self.metric == "rouge_l":
            return RougePool()
        return MinHashPool(self.max) if self.metric == "minhash" else EmbeddingPool(str(self.model))


class Leaks(BaseModel):
    """A text and the answer that must not stand in it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    answer: Column
    """Column with the answer."""
    within: Column = Field(alias="in")
    """Column with the text. An answer such as `yes` or a small number stands in many a text by chance, and such a
    row is dropped as well."""


class Share(BaseModel):
    """The most that one seed may have of the rows that are kept."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    of: Column = "seed_id"
    """Column that names the seed of a row."""
    max: float = Field(gt=0, le=1)
    """Largest share of one seed; one row of each seed is kept in any case, and the first ones of the table."""


class Keep(StepConfig):
    """Fields of `filter` with `keep`."""

    told_by: ClassVar[str] = "keep"

    keep: Expression
    """Rows for which this is true stay: `correct`, `score >= 4 and len(response) < 2000`."""


class WellFormed(StepConfig):
    """Fields of `filter` with `well_formed`."""

    told_by: ClassVar[str] = "well_formed"

    well_formed: Column
    """Column with a generated instruction: it stays if it has more than three words, begins with neither punctuation
    nor, if `paper_faithful`, a character beyond ASCII, and does not speak of an `instruction`."""
    paper_faithful: bool = False
    """As in the paper: without the rows that begin with a character beyond ASCII, which leaves few languages but
    English."""


class WithoutAnswer(StepConfig):
    """Fields of `filter` with `leaks`."""

    told_by: ClassVar[str] = "leaks"

    leaks: Leaks
    """Rows whose text does not hold the answer stay: `{answer: reference, in: instruction}`."""


class New(StepConfig):
    """Fields of `filter` with `novelty`."""

    told_by: ClassVar[str] = "novelty"

    novelty: Novelty
    """Rows that are not too similar to others stay; `nearest` and `similarity` say to which, and how much."""

    def problems(self) -> list[tuple[str, str, str]]:
        """Rows compared with themselves."""
        if self.input not in self.novelty.against:
            return []
        at = f"novelty.against[{self.novelty.against.index(self.input)}]"
        what = f"every row of {self.input!r} would be compared with itself, and dropped."
        return [(at, what, f"take {self.input} out: rows are compared with each other as it is")]

    def list_compared(self) -> set[str]:
        """Those of `against`: to drop what is like an exam is hygiene."""
        return set(self.novelty.against)

    def columns_beside(self) -> list[tuple[str, str, str]]:
        """What is compared, and by what, in the tables that the rows are compared with."""
        against = enumerate(self.novelty.against)
        columns = [column for column in (self.novelty.column, self.novelty.per) if column is not None]
        return [(f"novelty.against[{number}]", table, column) for number, table in against for column in columns]

    def needs(self) -> dict[str, str]:
        """What loads an encoder."""
        is_encoded = self.novelty.metric == "embedding"
        return dict.fromkeys(("torch", "transformers"), "embeddings") if is_encoded else {}


class OfManySeeds(StepConfig):
    """Fields of `filter` with `share`."""

    told_by: ClassVar[str] = "share"

    share: Share
    """As many rows stay as leave no seed more than its share: `{of: seed_id, max: 0.05}`."""

    def unwritten(self) -> set[str]:
        """What is written where rows are compared."""
        return set(COMPARED)


COMPARED = ("similarity", "nearest", "nearest_id")


@row_step(
    reads=["{well_formed}"],
    drops=[
        "not ({keep})",
        "says instruction",
        "too short",
        "begins with punctuation",
        "begins with another script",
        "answer leaked",
    ],
    version=3,
)
async def run(row: Row, config: Keep | WellFormed | WithoutAnswer, ctx: Context) -> Row | Dropped:
    match config:
        case Keep(keep=keep):
            return row if expressions.parse(keep)(row) else Dropped(row, f"not ({keep})")
        case WithoutAnswer(leaks=leaks):
            answer, within = _read_text(row[leaks.answer]), row[leaks.within]
            holds = (leakage.holds(text, answer) for text in (_read_said(within), leakage.write_said(within)))
            return Dropped(row, "answer leaked") if any(holds) else row
        case WellFormed(well_formed=column):
            return _check_form(row, _read_text(row[column]).strip(), config)


def _read_text(value: object) -> str:
    return "" if value is None else write_text(value)


def _read_said(value: object) -> str:
    """The same, but of messages what they say and not how they are written."""
    return leakage.write_said(value) if is_conversation(value) else _read_text(value)


def _check_form(row: Row, text: str, config: WellFormed) -> Row | Dropped:
    """Lion's list for generated instructions; truncated ones have failed before."""
    if "instruction" in split_tokens(text):
        return Dropped(row, "says instruction")
    if count_words(text) <= 3:
        return Dropped(row, "too short")
    if is_punctuation(text[0]):
        return Dropped(row, "begins with punctuation")
    if config.paper_faithful and not text[0].isascii():
        return Dropped(row, "begins with another script")
    return row


@table_step(writes=COMPARED, drops=["too similar", "too many of a seed"], passes_over=["too many of a seed"], version=3)
async def run_table(table: Table, config: New | OfManySeeds, ctx: Context) -> AsyncIterator[Outcome]:
    outcomes = _find_new(table, config.novelty, ctx) if isinstance(config, New) else _limit_share(table, config.share)
    for outcome in outcomes:
        yield outcome


def _find_new(table: Table, config: Novelty, ctx: Context) -> Iterator[Outcome]:
    groups: defaultdict[str, Compared] = defaultdict(lambda: Compared(config.pool()))
    encode = config.pool().encode
    others = [(row, ctx.is_held_out(name)) for name in config.against for row in _list_others(name, config, ctx)]
    known = [(row, text, is_secret) for row, is_secret in others if (text := _read_compared(row, config))]
    for (row, text, is_secret), item in zip(known, encode([text for _, text, _ in known]), strict=True):
        groups[_name_group(row, config)].add(row.id, text, item, is_secret=is_secret)
    rows = [(row, _read_compared(row, config)) for row in table]
    for (row, text), item in zip(rows, encode([text for _, text in rows]), strict=True):
        if not text:
            fault = "is empty" if config.column in row else "is missing"
            yield Failed(row, "data", f"column {config.column!r} {fault}: there is nothing to compare")
            continue
        group = groups[_name_group(row, config)]
        found, nearest = group.write_nearest(text, item)
        row = row | found
        if found["similarity"] > config.max:
            if differ_in_numbers(text, nearest):
                ctx.count(other_numbers=1)
            yield Dropped(row, "too similar")
        else:
            group.add(row.id, text, item, is_secret=False)
            yield row


def _name_group(row: Row, config: Novelty) -> str:
    return "" if config.per is None else write_text(row.get(config.per))


def _read_compared(row: Row, config: Novelty) -> str:
    """The text that is compared, of messages what they say; "" if it is empty or missing."""
    return _read_said(row.get(config.column)).strip()


def _list_others(name: str, config: Novelty, ctx: Context) -> list[Row]:
    """The rows of a table of `against` that can be compared; see `list_usable` for its error."""
    what = f"the column {config.column!r}, by which novelty compares"
    fix = f"take {name} out of against:, or rename its column"
    return list_usable(ctx, name, lambda row: config.column in row, what, fix=fix)


def _limit_share(table: Table, config: Share) -> Iterator[Outcome]:
    sizes = Counter(write_text(row[config.of]) for row in table if config.of in row)
    most = _cap(list(sizes.values()), config.max)
    kept: Counter[str] = Counter()
    for row in table:
        if config.of not in row:
            yield Failed(row, "data", f"column {config.of!r} is missing, which names the seed")
            continue
        seed = write_text(row[config.of])
        kept[seed] += 1
        yield row if kept[seed] <= most else Dropped(row, "too many of a seed")


def _cap(sizes: list[int], share: float) -> int:
    """The most rows of a seed that are at most `share` of all that are kept if no seed has more; at least 1."""
    fits = (cap for cap in range(max(sizes, default=1), 1, -1) if cap <= share * sum(min(n, cap) for n in sizes) + 1e-9)
    return next(fits, 1)
