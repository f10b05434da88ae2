"""Puts several tables together, by weights, by a gap between two models, or with a share of earlier rows.

Reads    {by}
Writes   nothing
Drops    not drawn, domain not evaluated, another table has it
Calls    none of its own
Source   Agarwal et al. 2024, arXiv:2306.13649 (a share); Liu et al. 2024, arXiv:2407.16154 (DDK: weights from a gap)

Tables are kept and replaced by their names. In a loop, a table that is written under a name of the round before takes
its place:

    - {step: mix, tables: {new: 1}, output: train_pool}             # replace: the next round sees the new rows only
    - {step: mix, tables: {cache: 1, new: 1}, output: cache}        # append: it sees the old and the new ones
    - {step: mix, tables: {cache: 1, new: 1}, by: instruction, output: cache}   # update: new ones for old ones
"""

import math
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from blackbox_kd.sdk import (
    Column,
    Context,
    DataError,
    Dropped,
    Failed,
    Field,
    FieldError,
    ModelName,
    Outcome,
    ReportedTable,
    Row,
    StepConfig,
    StepError,
    Table,
    TableName,
    table_step,
    write_text,
)
from blackbox_kd.tables.sampling import Ids, share_out, weigh


class Replay(BaseModel):
    """Rows of an earlier table among the new ones, against forgetting."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    table: TableName
    """Table of the earlier rows, such as the one that this step wrote in the round before; empty in round 1."""
    share: float = Field(gt=0, lt=1)
    """Least share of the rows of the result that comes from it, as far as it has rows: none is repeated."""


class Gap(BaseModel):
    """More rows from where the student is farther behind the teacher."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    by: Column
    """Column with a row's domain; `evaluate` must have told the accuracy by it."""
    teacher: ModelName
    """Model that is better."""
    student: ModelName
    """Model that learns."""
    on: ReportedTable
    """Table on which `evaluate` asked both; its latest figures count."""
    temperature: float = Field(default=0.1, gt=0)
    """Weights are the softmax of the gaps over this: 0.1 of accuracy more is a weight 2.7 times as large."""
    smooth: float = Field(default=0.5, ge=0, lt=1)
    """Part of the weights that this step had in the round before in the new ones."""
    floor: float = Field(default=0.2, ge=0, le=1)
    """No domain gets less than this part of an even share."""


class Config(StepConfig):
    """Fields of `mix`."""

    tables: dict[TableName, Annotated[float, Field(le=1000)]] = Field(min_length=1)
    """Tables and weights. Without `rows`, 2.0 takes each row of a table twice and 0.5 a random half of them;
    with `rows`, weights are shares of the rows. Ids stay apart: a row that is taken again gets one of its own."""
    rows: int | None = Field(default=None, ge=1, le=10_000_000)
    """Rows in all."""
    replay: Replay | None = None
    """Earlier rows that are mixed in: `{table: NAME, share: 0.2}`."""
    gap: Gap | None = None
    """Weights of domains, in place of those of tables, by how far the student is behind."""
    by: Column | None = None
    """Rows with the same value of this column are of one thing, and only those of one table stay: later tables mend
    earlier ones."""
    take: Literal["last", "first"] = "last"
    """Whose rows stay where `by` finds the same in several tables: those of the last of them, or the first."""
    shuffle: bool = True
    """Whether the rows are shuffled by the run's seed; otherwise the tables follow each other, each in its order."""

    @field_validator("tables")
    @classmethod
    def _weights_are_positive(cls, tables: dict[str, float]) -> dict[str, float]:
        if any(weight <= 0 for weight in tables.values()):
            raise FieldError("weights must be above 0", fix="leave a table out instead")
        return tables

    @model_validator(mode="after")
    def _domains_are_drawn_for_a_number(self) -> Self:
        if self.gap is not None and self.rows is None:
            raise FieldError("gap: needs rows:, the number that is drawn", fix="add rows: N")
        if self.gap is not None and set(self.tables.values()) != {1}:
            raise FieldError("tables: have weights, but gap: draws by domain", fix="give each table the weight 1")
        if self.by is None and "take" in self.model_fields_set:
            raise FieldError("take: needs by:", fix="add by: COLUMN, which says what is the same")
        if self.by is not None and len(self.tables) < 2:
            raise FieldError("by: is for rows of several tables", fix="name them in tables:, or take by: out")
        return self

    def problems(self) -> list[tuple[str, str, str]]:
        """A table that is replayed beside itself."""
        if self.replay is not None and self.replay.table in self.tables:
            what = f"table {self.replay.table!r} is in tables: as well, so its rows would be there twice."
            return [("replay.table", what, "name an earlier table, or take it out of tables:")]
        return []

    def most_rows(self) -> int | None:
        """See `rows`."""
        return self.rows

    def calls_by_model(self) -> Counter[str]:
        """None: the models that `gap` names were asked by `evaluate`."""
        return Counter()


class PlacedRow(NamedTuple):
    """A row that can be drawn, its table, and where it stands: the table's number and the row's own in it."""

    row: Row
    table: str
    place: tuple[int, int]


Pools = Mapping[str, list[PlacedRow]]
"""The rows of each table in random order: the first ones are drawn."""


@table_step(
    reads=["{by}"],
    merges="tables",
    drops=["not drawn", "domain not evaluated", "another table has it"],
    passes_over=["not drawn", "another table has it"],
)
async def run(table: Table, config: Config, ctx: Context) -> AsyncIterator[Outcome]:
    pools = {name: _shuffle(name, number, ctx) for number, name in enumerate(config.tables)}
    for outcome in _leave_to_one(pools, config.by, config.take) if config.by is not None else ():
        yield outcome
    earlier = _draw_earlier(_count_wanted(pools, config.rows, config), config, ctx)
    left = None if config.rows is None else config.rows - len(earlier)
    drawn: list[PlacedRow] = []
    for found in _take_by_gap(pools, left, config.gap, ctx) if config.gap else _take_by_table(pools, left, config):
        if isinstance(found, PlacedRow):
            drawn.append(found)
        else:
            yield found
    drawn += earlier
    if not config.shuffle:
        drawn.sort(key=lambda placed: placed.place)
    ids = Ids()
    taken = [ids.own(placed.row, f"from_{placed.table}") for placed in drawn]
    if config.shuffle:
        taken.sort(key=lambda row: ctx.rng("mix", "order", row.id).random())
    for row in taken:
        yield row


def _shuffle(name: str, number: int, ctx: Context) -> list[PlacedRow]:
    rows = [PlacedRow(row, name, (number, position)) for position, row in enumerate(ctx.table(name))]
    return sorted(rows, key=lambda placed: ctx.rng("mix", placed.row.id).random())


def _leave_to_one(
    pools: dict[str, list[PlacedRow]], by: str, take: Literal["last", "first"]
) -> Iterator[Dropped | Failed]:
    """Takes rows out of the pools of which another table has the value, and tells of them."""
    names = list(pools) if take == "last" else list(reversed(pools))  # a later one overwrites
    owners = {write_text(each.row[by]): name for name in names for each in pools[name] if by in each.row}
    for name, pool in pools.items():
        pools[name] = [each for each in pool if by in each.row and owners[write_text(each.row[by])] == name]
        for row in (each.row for each in pool):
            if by not in row:
                yield Failed(row, "data", f"column {by!r} is missing, which says what is the same")
            elif owners[write_text(row[by])] != name:
                yield Dropped(row, "another table has it")


def _count_wanted(pools: Pools, rows: int | None, config: Config) -> dict[str, int]:
    """How many rows of each table its weight says; those of an empty one are shared among the others."""
    if rows is None:
        return {name: round(len(pool) * config.tables[name]) for name, pool in pools.items()}
    return share_out({name: config.tables[name] for name, pool in pools.items() if pool}, rows)


def _draw_earlier(counts: Mapping[str, int], config: Config, ctx: Context) -> list[PlacedRow]:
    """Rows of the earlier table, so many that they are at least their share of the result."""
    if config.replay is None:
        return []
    name, share = config.replay.table, config.replay.share
    wanted = sum(counts.values()) * (share / (1 - share) if config.rows is None else share)
    most = math.ceil(wanted - 1e-9)  # rounding would make 3.0000000000000004 of 3
    return _shuffle(name, len(config.tables), ctx)[:most]


def _take_by_table(pools: Pools, rows: int | None, config: Config) -> Iterator[PlacedRow | Dropped]:
    counts = _count_wanted(pools, rows, config)
    for name, pool in pools.items():
        yield from _take(pool, counts.get(name, 0))


def _take(pool: list[PlacedRow], wanted: int) -> Iterator[PlacedRow | Dropped]:
    """The first rows of a pool, around and around if there are too few, and what was left."""
    for index in range(wanted if pool else 0):
        found, copy = pool[index % len(pool)], index // len(pool)
        yield found if copy == 0 else found._replace(row=found.row.child(f"copy{copy}", {}))
    for placed in pool[wanted:]:
        yield Dropped(placed.row, "not drawn")


def _take_by_gap(pools: Pools, rows: int | None, config: Gap, ctx: Context) -> Iterator[PlacedRow | Dropped | Failed]:
    """So many rows of each domain as the student's gap there says."""
    gaps = _find_gaps(config, ctx)
    if not gaps:
        raise DataError(f"mix: the two evaluations on {config.on!r} have no value of {config.by!r} in common")
    before = _find_weights_before(config, ctx)
    weights = weigh(gaps, before, temperature=config.temperature, smooth=config.smooth, floor=config.floor)
    domains: dict[str, list[PlacedRow]] = defaultdict(list)
    for placed in (placed for pool in pools.values() for placed in pool):
        row = placed.row
        if config.by not in row:
            yield Failed(row, "data", f"column {config.by!r} is missing, by which rows are drawn")
        elif (domain := write_text(row[config.by])) in gaps:
            domains[domain].append(placed)
        else:
            yield Dropped(row, "domain not evaluated")
    counts = share_out({domain: weights[domain] for domain in gaps if domain in domains}, rows or 0)
    ctx.record("mixtures", [{**_describe_comparison(config), "gaps": gaps, "weights": weights, "rows": counts}])
    for domain, pool in domains.items():
        yield from _take(pool, counts[domain])


def _describe_comparison(config: Gap) -> dict[str, str]:
    """What the weights were found from. `table` is what a later run looks for to see whether it has changed."""
    return {"by": config.by, "table": config.on, "teacher": config.teacher, "student": config.student}


def _find_weights_before(config: Gap, ctx: Context) -> dict[str, float]:
    """The weights that this same step had in the round before; none outside of a loop and in round 1."""
    same = _describe_comparison(config).items()
    found = [entry for entry in ctx.reported_in_round("mixtures", ctx.round - 1) if same <= entry.items()]
    return dict(found[-1]["weights"]) if found else {}


def _find_gaps(config: Gap, ctx: Context) -> dict[str, float]:
    """By how much the teacher's accuracy is above the student's in each domain that both were asked about."""
    of_teacher, of_student = (_find_accuracies(model, config, ctx) for model in (config.teacher, config.student))
    return {domain: of_teacher[domain] - of_student[domain] for domain in sorted(of_teacher.keys() & of_student.keys())}


def _find_accuracies(model: str, config: Gap, ctx: Context) -> dict[str, float]:
    entries: list[dict[str, Any]] = [
        entry
        for entry in ctx.reported("evaluations")
        if (entry["model"], entry["table"]) == (model, config.on) and config.by in entry.get("slices", {})
    ]
    if not entries:
        raise StepError(
            f"{ctx.step}: there is no evaluation of model {model!r} on table {config.on!r} by {config.by!r} yet",
            fix=f"put before it: - {{step: evaluate, input: {config.on}, models: [{model}], by: [{config.by}]}}",
        )
    slices = entries[-1]["slices"][config.by]
    return {domain: entry["accuracy"] for domain, entry in slices.items() if entry["accuracy"] is not None}
