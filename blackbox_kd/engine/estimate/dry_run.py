"""A run without its calls: steps work on rows, replies come from the ledger, and what is not there is noted.

The keys of the calls are those of a run, since everything but the sending is a run's own. A probe lets a few
calls of each step through; a run finds their replies in the ledger.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, Self

from blackbox_kd.calls.budget import Budget
from blackbox_kd.calls.caller import Caller
from blackbox_kd.calls.transport import DirectTransport
from blackbox_kd.concurrency import in_order
from blackbox_kd.engine.context import RunContext
from blackbox_kd.engine.estimate.dry_transport import NOT_BOUGHT, PATIENCE_S, DryCall, DryTransport, Probed
from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.engine.row_errors import Mistakes
from blackbox_kd.engine.sharding.shard import sum_spent
from blackbox_kd.engine.state import RunState
from blackbox_kd.engine.window import WINDOW
from blackbox_kd.errors import BlackboxError, CallError, DataError, SetupError, StepError, Stopped
from blackbox_kd.ledger.ledger import Ledger, Spent
from blackbox_kd.models import InProcess, Model, ModelConfig
from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.schema import Dropped, Memory, ModelRef, Outcome, Request, Row, Table

Env = Mapping[str, str]
Tables = Callable[[str], Table]


class Unopened(InProcess):
    """Stands for a model that is not opened: its weights would have to be loaded, or do not exist yet."""

    def __init__(self, config: ModelConfig, name: str) -> None:
        self.config = config
        self.endpoint = name

    def wire(self, request: Request) -> dict[str, Any]:
        """A request that no ledger holds."""
        return {"unopened": self.endpoint, "messages": request.messages}

    async def send(self, wire: dict[str, Any], request: Request) -> NoReturn:
        """Is never called."""
        raise AssertionError("a model that is not open was asked")

    async def close(self) -> None:
        """Nothing to close."""


def has_weights(config: ModelConfig) -> bool:
    """Whether a model is computed in this process, at the speed of this machine."""
    return config.local and config.trainable


class RehearsalModels(ModelPool):
    """Models by the names that steps use; those with weights, and versions that training has yet to make, unopened.

    Attributes:
        to_be_trained: models of which training has yet to make versions.
        shared: of them, those of the recipe that this one is a variant of.
    """

    def __init__(self, recipe: Recipe, cache: Path, env: Env) -> None:
        super().__init__(recipe, cache, env)
        self._configs, self._suffix = recipe.models, recipe.suffix
        self.to_be_trained: set[str] = set()
        self.shared: set[str] = set()

    def exact(self, name: str) -> str:
        """The name itself: no version has been trained."""
        return name

    def config(self, name: str) -> ModelConfig:
        """The config of the model that all versions begin from."""
        return self._configs[ModelRef.parse(name).name]

    def find(self, name: str) -> tuple[str, Model]:
        """The name as it is, as no version has been trained, and the model, open where that costs nothing."""
        config, ref = self.config(name), ModelRef.parse(name)
        is_trained = ref.name in self.to_be_trained and ref != ref.base
        is_shared = not is_trained or ref.name in self.shared
        if self._lead is not None and is_shared and self._lead.has(name, config):
            return self._lead.find(name)
        own = f"{name}#{self._suffix}" if self._suffix else name
        if has_weights(config) or is_trained:
            return own, Unopened(config, own)
        return own, super().find(ref.name)[1]


@dataclass(slots=True)
class Rehearsed:
    """What became of rows in a step.

    Args:
        rows: rows that left it.
        waiting: rows that wait for a reply which is not in the ledger.
        dropped: how many it took out.
        failed: how many it could not work on, those that wait left out.
        asked: the calls that it made or wants to make.
        probed: the probes that were sent.
        named: of a table step, the rows by the table that it writes them to; "" is its first.
        is_whole: whether it came to its end with every row.
    """

    rows: list[Row] = field(default_factory=list)
    waiting: list[Row] = field(default_factory=list)
    dropped: int = 0
    failed: int = 0
    asked: list[DryCall] = field(default_factory=list)
    probed: list[Probed] = field(default_factory=list)
    named: dict[str, list[Row]] = field(default_factory=dict)
    is_whole: bool = False

    def count(self, outcome: Outcome, table: str | None = None) -> None:
        """Books an outcome; `table` is the one that a table step writes it to, "" if it does not say."""
        if isinstance(outcome, Row):
            self.rows.append(outcome)
            if table is not None:
                self.named.setdefault(table, []).append(outcome)
        elif isinstance(outcome, Dropped):
            self.dropped += 1
        elif outcome.kind == NOT_BOUGHT:
            self.waiting.append(outcome.row)
        else:
            self.failed += 1


class RehearsalContext(RunContext):
    """The context of a step in a rehearsal; `tables` finds its tables."""

    def __init__(self, shared: RunState, planned: PlannedStep, tables: Tables) -> None:
        super().__init__(shared, planned)
        self._tables = tables

    def table(self, name: str) -> Table:
        """See `sdk.context.Context.table`."""
        return self._tables(name)

    async def train(self, model: str, method: str, settings: Mapping[str, Any], rows: Iterable[Row]) -> None:
        """Trains nothing.

        Raises:
            CallError: always.
        """
        raise CallError("an estimate trains nothing", kind=NOT_BOUGHT)


class Rehearsal:
    """A recipe in rehearsal.

    Args:
        recipe: the recipe.
        ledger: where replies are looked up, and those of probes kept.
        env: where keys are looked up.
        folder: an empty folder.
    """

    models: RehearsalModels

    def __init__(self, recipe: Recipe, ledger: Ledger, env: Env, folder: RunFolder) -> None:
        self.ledger = ledger
        self._budget = Budget(**recipe.head.budget.model_dump(), spent=self.count_spent())
        self._transport = DryTransport(DirectTransport(ledger, self._budget, patience_s=PATIENCE_S))
        self.caller = Caller(self._transport, may_all_fail=True)
        self.models = RehearsalModels(recipe, folder.path / "cache", env)
        self._lenient = Mistakes(patience=None)  # a guess in a row is no reason to blame the step
        self._shared = RunState(recipe, folder, self.models, self.caller, mistakes=self._lenient)

    @asynccontextmanager
    async def branch(self, variant: Recipe) -> AsyncIterator[Self]:
        """The rehearsal of a variant of the recipe: a call that was noted before is counted where it was."""
        other = copy(self)
        other.models = self.models.branch(variant)
        other._shared = RunState(variant, self._shared.folder, other.models, self.caller, mistakes=self._lenient)
        self._transport.begin_variant()
        try:
            yield other
        finally:
            await other.models.close()

    def count_spent(self) -> Spent:
        """What is gone of the budget."""
        return self.ledger.count_spent() + sum_spent(self.ledger, self.ledger.run)

    def stop(self) -> bool:
        """Lets no new probe begin; whether some are under way."""
        why = Stopped()
        self._budget.stop(why)
        self.caller.stop(why)
        return self._shared.asking > 0

    def context(self, planned: PlannedStep, tables: Tables) -> RunContext:
        """What a step is given in the rehearsal."""
        return RehearsalContext(self._shared, planned, tables)

    async def rehearse(
        self, planned: PlannedStep, rows: list[Row], tables: Tables, *, probes: int = 0, looks_up: bool = True
    ) -> Rehearsed:
        """Lets a step work on rows.

        Args:
            planned: the step.
            rows: the rows.
            tables: finds tables by name.
            probes: calls that may be bought.
            looks_up: whether replies are looked up in the ledger.
        """
        context = self.context(planned, tables)
        self._transport.begin(probes=probes, looks_up=looks_up)
        found = Rehearsed()
        if planned.step.kind == "table":
            name = planned.config.input or "table"
            try:
                async for item in planned.step.run(Memory(name, rows), planned.config, context):
                    table, outcome = item if isinstance(item, tuple) else ("", item)
                    found.count(outcome, table)
                found.is_whole = not found.waiting
            except Exception as error:  # what it asked until then is known
                if _ends_estimate(error, asks=planned.config.calls_per_row() > 0):
                    raise
        else:
            async for outcomes in in_order(
                rows, lambda row: collect_outcomes(planned, row, context, self._shared.mistakes), WINDOW
            ):
                for outcome in sorted(outcomes, key=_place):
                    found.count(outcome)
            found.is_whole = not found.waiting
        found.asked = [replace(asked, model=_as_named(asked.model)) for asked in self._transport.asked]
        found.probed = [replace(probed, model=_as_named(probed.model)) for probed in self._transport.probed]
        return found


def _as_named(name: str) -> str:
    """A model as steps name it, without the arm that has it for its own."""
    return name.partition("#")[0]


def _place(outcome: Outcome) -> bytes:
    """Where an outcome stands among those of the same row, as a run's tables have it."""
    return (outcome if isinstance(outcome, Row) else outcome.row).id.encode(errors="replace")


def _ends_estimate(error: Exception, *, asks: bool) -> bool:
    """Whether an error ends the estimate: guesses stand in rows, on which steps may break in any way."""
    own = (CallError, DataError) if asks else (CallError, DataError, StepError, SetupError)
    return isinstance(error, BlackboxError) and not isinstance(error, own)


async def collect_outcomes(planned: PlannedStep, row: Row, context: RunContext, mistakes: Mistakes) -> list[Outcome]:
    """What a row step makes of a row, as `segment` has it."""
    outcomes: list[Outcome] = []
    try:
        if inspect.isasyncgenfunction(planned.step.run):
            async for outcome in planned.step.run(row, planned.config, context):
                outcomes.append(outcome)
        else:
            outcomes.append(await planned.step.run(row, planned.config, context))
    except Exception as error:
        outcomes.append(mistakes.fail_row(planned, row, error))
    return outcomes


@contextmanager
def open_dry_run(recipe: Recipe, ledger: Path, run: str, env: Env, *, probing: bool) -> Iterator[Rehearsal]:
    """A rehearsal; a ledger that is not there is made for probes alone."""
    with ExitStack() as stack:
        empty = Path(stack.enter_context(TemporaryDirectory(prefix="blackbox-kd-")))
        is_there = ledger.exists() or probing
        file = stack.enter_context(Ledger.open(ledger if is_there else empty / "ledger.sqlite", run=run))
        folder = stack.enter_context(RunFolder(empty / "run"))
        yield Rehearsal(recipe, file, env, folder)
