"""Keeps rows: by an expression, or those that are new, well formed, without the answer, or not too many of a seed.

Reads    the expression's columns, {well_formed}, those that novelty, leaks and share name
Writes   similarity, nearest, nearest_id
Drops    not ({keep}), says instruction, too short, begins with punctuation, begins with another script, answer leaked, too similar, too many of a seed
Calls    none
Source   Jiang et al. 2023, arXiv:2305.12870 (novelty, well-formed instructions); keep, leaks, share: plain data hygiene
"""  # noqa: E501

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from blackbox_kd.analysis import leakage
from blackbox_kd.analysis.embeddings import EmbeddingPool
from blackbox_kd.analysis.similarity import MinHashPool, RougePool, SimilarityIndex, tokens
from blackbox_kd.analysis.well_formed import count_words, is_punctuation
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
    TableName,
    expressions,
    row_step,
    table_step,
    write_text,
)

FORMS = ("keep", "novelty", "well_formed", "leaks", "share")


class Novelty(BaseModel):
    """How alike a row may be to others: to those of some tables, and to those kept before it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    column: Column = "instruction"
    """Column with the text that is compared, in all tables."""
    against: list[TableName] = Field(default_factory=list)
    """Tables that the rows are compared with, besides each other."""
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
            raise ValueError("metric: embedding needs an encoder; add model: FOLDER, or a hub id")
        if self.metric != "embedding" and self.model is not None:
            raise ValueError(f"metric: {self.metric} reads no model; take model: out, or write metric: embedding")
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


class Config(StepConfig):
    """Fields of `filter`: one of keep, novelty, well_formed, leaks and share."""

    keep: Expression | None = None
    """Rows for which this is true stay: `correct`, `score >= 4 and len(response) < 2000`."""
    novelty: Novelty | None = None
    """Rows that are not too similar to others stay; `nearest` and `similarity` say to which, and how much."""
    well_formed: Column | None = None
    """Column with a generated instruction: it stays if it has more than three words, begins with neither punctuation
    nor, if `paper_faithful`, a character beyond ASCII, and does not speak of an `instruction`."""
    leaks: Leaks | None = None
    """Rows whose text does not hold the answer stay: `{answer: reference, in: instruction}`."""
    share: Share | None = None
    """As many rows stay as leave no seed more than its share: `{of: seed_id, max: 0.05}`."""
    paper_faithful: bool = False
    """`well_formed` as in the paper: without the rows that begin with a character beyond ASCII, which leaves few
    languages but English."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = [name for name in FORMS if getattr(self, name) is not None]
        if not given:
            raise ValueError(f"give one of {', '.join(f'{name}:' for name in FORMS)}")
        if len(given) > 1:
            both = " and ".join(f"{name}:" for name in given)
            raise ValueError(f"{both} stand in one filter; write a step for each")
        if self.paper_faithful and self.well_formed is None:
            raise ValueError("paper_faithful: changes nothing but well_formed; take it out")
        return self

    def problems(self) -> list[tuple[str, str, str]]:
        """Rows compared with themselves."""
        if self.novelty is None:
            return []
        found = []
        if self.input in self.novelty.against:
            at = f"novelty.against[{self.novelty.against.index(self.input)}]"
            what = f"every row of {self.input!r} would be compared with itself, and dropped."
            found.append((at, what, f"take {self.input} out: rows are compared with each other as it is"))
        return found

    def needs(self) -> dict[str, str]:
        """What loads an encoder."""
        is_encoded = self.novelty is not None and self.novelty.metric == "embedding"
        return dict.fromkeys(("torch", "transformers"), "embeddings") if is_encoded else {}


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
)
async def run(row: Row, config: Config, ctx: Context) -> Row | Dropped:
    if config.keep is not None:
        return row if expressions.parse(config.keep)(row) else Dropped(row, f"not ({config.keep})")
    if config.leaks is not None:
        text, answer = _shown(row[config.leaks.within]), _shown(row[config.leaks.answer])
        return Dropped(row, "answer leaked") if leakage.holds(text, answer) else row
    return _well_formed(row, _shown(row[str(config.well_formed)]).strip(), config)


def _shown(value: object) -> str:
    return "" if value is None else write_text(value)


def _well_formed(row: Row, text: str, config: Config) -> Row | Dropped:
    """Lion's list for generated instructions; truncated ones have failed before."""
    if "instruction" in tokens(text):
        return Dropped(row, "says instruction")
    if count_words(text) <= 3:
        return Dropped(row, "too short")
    if is_punctuation(text[0]):
        return Dropped(row, "begins with punctuation")
    if config.paper_faithful and not text[0].isascii():
        return Dropped(row, "begins with another script")
    return row


@table_step(
    when=("novelty", "share"),
    writes=["similarity", "nearest", "nearest_id"],
    drops=["too similar", "too many of a seed"],
)
async def run_table(table: Table, config: Config, ctx: Context) -> AsyncIterator[Outcome]:
    for outcome in _novel(table, config.novelty, ctx) if config.novelty else _limit_share(table, config.share):
        yield outcome


def _novel(table: Table, config: Novelty, ctx: Context) -> Iterator[Outcome]:
    pool = config.pool()
    others = [row for name in config.against for row in _others(name, config, ctx)]
    known = [(row.id, text) for row in others if (text := _text(row, config))]
    for item in pool.encode([text for _, text in known]):
        pool.add(item)
    rows = [(row, _text(row, config)) for row in table]
    for (row, text), item in zip(rows, pool.encode([text for _, text in rows]), strict=True):
        if not text:
            fault = "is empty" if config.column in row else "is missing"
            yield Failed(row, "data", f"column {config.column!r} {fault}: there is nothing to compare")
            continue
        found = pool.nearest(item)
        nearest_id, nearest = known[found[0]] if found else (None, None)
        row = row | {"similarity": found[1] if found else 0.0, "nearest": nearest, "nearest_id": nearest_id}
        if row["similarity"] > config.max:
            yield Dropped(row, "too similar")
        else:
            pool.add(item)
            known.append((row.id, text))
            yield row


def _text(row: Row, config: Novelty) -> str:
    """The text that is compared; "" if it is empty or missing."""
    return _shown(row.get(config.column)).strip()


def _others(name: str, config: Novelty, ctx: Context) -> list[Row]:
    """The rows of a table of `against`.

    Raises:
        DataError: there are rows, and none has the column.
    """
    rows = list(ctx.table(name))
    if rows and all(config.column not in row for row in rows):
        what = f"filter: no row of table {name!r} has the column {config.column!r}, by which novelty compares"
        raise DataError(f"{what}\n  fix: take {name} out of against:, or rename its column")
    return rows


def _limit_share(table: Table, config: Share | None) -> Iterator[Outcome]:
    assert config is not None
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
