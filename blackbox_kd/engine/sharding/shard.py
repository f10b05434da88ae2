"""Shards: the leading row steps of a run on several machines, each on its own part of the rows.

A row's id decides its shard. A shard runs the recipe up to the first step that needs rows of other shards, in a
folder of its own; shards share nothing but the endpoint and, if they choose, the ledger. `merge` joins them into
the run that one process would have made, and `run` goes on from there.

Every shard loads all tables to start from, which costs nothing but disk, and of the first table that a row step reads
it takes its part. Table steps before it that ask no model are run by every shard, on the whole.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from blackbox_kd.engine.fingerprint import describe_step
from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.engine.plan import LoopStages, Stage
from blackbox_kd.errors import BudgetReached, HoursOver, UserError
from blackbox_kd.ledger.ledger import Ledger, Spent
from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.schema import Row, digest
from blackbox_kd.tables import sources
from blackbox_kd.tables.stored import StoredTable


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` parts of the rows; `number` starts at 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The shard of a text like `2/3`.

        Raises:
            UserError: it is no such text.
        """
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"--shard {text!r} is no shard", fix="write --shard 1/3, 2/3 or 3/3 for three shards")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def folder(self, run: Path) -> Path:
        """Where `merge` looks for the shard of a run folder."""
        return run / "shards" / f"{self.number}-of-{self.count}"

    def has(self, row_id: str) -> bool:
        """Whether a row is the shard's: by a hash of its id, the same on every machine."""
        return find_owner(row_id, self.count) == self.number

    def share(self, recipe: Recipe, limit: int | None, spent: Spent) -> dict[str, Any]:
        """The shard's share of the budget, as large as its share of the rows.

        The shares of all shards together are at most what the merged run has not `spent` of the budget. Where there is
        a budget, the rows are read for it once more.
        """
        gone = spent.sum_by_limit()
        limits = {
            name: None if most is None else max(0, most - gone[name])
            for name, most in recipe.head.budget.amounts.items()
        }
        source = next((source for source in recipe.data.values() if not source.held_out), None)
        if source is None or all(limit is None for limit in limits.values()):
            return limits
        rows = sources.make_rows(sources.read(source, recipe.folder, limit), source.rename)
        mine, total = 0, 0
        for row in rows:
            mine += self.has(row.id)
            total += 1
        whole = {name: None if most is None else most * mine / max(1, total) for name, most in limits.items()}
        return {name: int(most) if most is not None and name != "usd" else most for name, most in whole.items()}


def sum_spent(ledger: Ledger, run: str, besides: Shard | None = None) -> Spent:
    """What shards of a run have spent that were not merged into it.

    Args:
        ledger: that they share with it.
        run: its name in the ledger.
        besides: the shards of this one's division are left out.
    """
    own = f"-of-{besides.count}" if besides is not None else "/"
    shards = (name for name in ledger.runs() if name.startswith(f"{run}/shards/") and not name.endswith(own))
    return sum(map(ledger.count_spent, shards), Spent())


def find_owner(row_id: str, count: int) -> int:
    """Number of the shard that a row belongs to, from 1 to `count`."""
    return int(digest(row_id, 16), 16) % count + 1


class ShardTable(StoredTable):
    """The rows of a table that are a shard's."""

    def __init__(self, table: StoredTable, shard: Shard) -> None:
        self._shard = shard
        super().__init__(table.name, table.path, 0, table.sha256)
        self.rows = sum(1 for _ in self)

    def __iter__(self) -> Iterator[Row]:
        return (row for row in super().__iter__() if self._shard.has(row.id))


@dataclass(slots=True)
class ShardPlan:
    """The stages that shards run.

    Args:
        stages: in order; the last one is a segment of row steps.
        reads: the table that each segment streams, by the name of its stage.
        parts: tables of which each shard has its rows only.
        rest: the first stage that is left to the merged run; None if there is none.
    """

    stages: list[Stage] = field(default_factory=list)
    reads: dict[str, str] = field(default_factory=dict)
    parts: set[str] = field(default_factory=set)
    rest: Stage | LoopStages | None = None

    def splits(self, planned: PlannedStep, table: str) -> bool:
        """Whether a step reads a whole table of which a shard takes its part."""
        return planned.step.kind == "row" and table not in self.parts


def plan_shards(recipe: Recipe, found: Iterable[Stage | LoopStages]) -> ShardPlan:
    """The stages that shards can run without the rows of other shards.

    A table step that stands aside, such as `evaluate`, is left to the merged run, and the steps after it go on. A loop
    and a step that draws its rows need all rows.

    Raises:
        UserError: not one segment of row steps is among them.
    """
    led = ShardPlan()
    whole = set(recipe.data)
    last = next((name for name, source in recipe.data.items() if not source.held_out), None)
    for stage in found:
        # Whether a loop ends is seen on all rows, and rows are drawn from all rows: what comes after needs them, too.
        if isinstance(stage, LoopStages) or stage.first.config.rows_to_draw() is not None:
            led.rest = led.rest or stage
            break
        first = stage.steps[0]
        named = [reference for planned in stage.steps for reference in planned.references]
        source = None if first.step.merges else first.config.input or last
        beside = {m.value for m in named if m.kind == "table" and m.field != "input"}
        if stage.kind == "row" and source in whole | led.parts and beside <= whole:
            # A row is worked on by itself. Tables that a step looks at beside it, such as examples, must be whole:
            # with a part of them a shard would ask otherwise than the run that it is a part of.
            led.reads[stage.name] = str(source)
            led.parts.update(stage.outputs)
        elif stage.kind == "table" and _is_within(whole, source, beside, stage):
            # Every shard does it again, on the same rows and to the same end. It must cost nothing.
            whole.update(stage.outputs)
        else:
            led.rest = led.rest or stage
            if not first.step.aside:
                break  # what comes after reads what this one writes
            continue
        led.stages.append(stage)
        last = last if first.step.aside else stage.outputs[0]
    # The merged run does table steps at the end itself: shards would do them for nobody.
    while led.stages and led.stages[-1].kind != "row":
        led.rest = led.stages.pop()
    if not led.stages:
        what = led.rest.first.label if led.rest else "the recipe"
        raise UserError(f"{recipe.file}: nothing to share out: {what} needs all rows", fix="run it without --shard")
    return led


def _is_within(whole: set[str], source: str | None, beside: set[str], stage: Stage) -> bool:
    """Whether a table step reads only tables that every shard has whole, and asks no model."""
    return (
        not stage.first.list_names("model", "student") and beside | ({source} if source is not None else set()) <= whole
    )


def describe_settings(recipe: Recipe, led: ShardPlan, limit: int | None, models: ModelPool) -> dict[str, Any]:
    """What must be the same in all shards, and in the run that they are merged into."""
    steps = [planned for stage in led.stages for planned in stage.steps]
    prompts = {name for planned in steps for name in planned.list_names("prompt")}
    asked = {name for planned in steps for name in planned.list_names("model")}
    return {
        "steps": digest([[*p.place, describe_step(p)] for p in steps]),
        "versions": {planned.step.name: planned.step.version for planned in steps},
        "seed": recipe.head.seed,
        "prompts": digest({name: recipe.prompts[name].source for name in prompts}),
        "models": digest({name: models.identity(name) for name in asked}),
        "limit": limit,
    }


@contextmanager
def explain_errors(shard: Shard | None) -> Iterator[None]:
    """Says of a budget that is reached that it is a shard's share."""
    try:
        yield
    except BudgetReached as error:
        if shard is None or isinstance(error, HoursOver):
            raise
        raise BudgetReached(
            error.what,
            exists=f"that limit is the share of shard {shard}: a budget is shared out in proportion to the rows",
            fix="raise the budget of the recipe, which is that of all shards together, and run the same command",
        ) from error


def jobs(recipe: str, count: int, options: Sequence[str] = ()) -> Iterator[list[str]]:
    """The commands that make up a sharded run, one for each shard; they may run in any order, anywhere.

    This is where a scheduler takes over. On Ray each command is a task of its own, and nothing else changes:

        task = ray.remote(num_cpus=1)(subprocess.check_call)
        ray.get([task.remote(job) for job in jobs("recipe.yaml", 16)])

    A task that dies is started again: its replies are in its ledger. Shards that run on several machines want a
    ledger each (`--ledger runs/NAME/shards/1-of-16/ledger.sqlite`), as SQLite's cannot be shared over a network disk.
    """
    for number in range(1, count + 1):
        yield ["blackbox-kd", "run", recipe, "--shard", f"{number}/{count}", *options]
