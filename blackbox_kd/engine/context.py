"""What a step is given by the runner: see `sdk.context.Context`."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from blackbox_kd.analysis.metrics import Metric
from blackbox_kd.concurrency import in_order
from blackbox_kd.engine import benchmark, training
from blackbox_kd.engine.state import RunState
from blackbox_kd.engine.window import find_window
from blackbox_kd.errors import EndpointRefused, QuotaSpent, SetupError, StepError
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.runs.accounts import Account
from blackbox_kd.runs.report.schema import find_fault
from blackbox_kd.sandbox import own_file
from blackbox_kd.schema import Ask, Message, ModelRef, Outcome, Reply, Row, T, Table, digest
from blackbox_kd.sdk.context import Benchmarked
from blackbox_kd.tables.stored import StoredTable


class RunContext:
    """The context of one step.

    Args:
        shared: what the steps of the run share.
        planned: the step.
        book: its account.
        source: of a table step, the table that it reads.
    """

    def __init__(
        self,
        shared: RunState,
        planned: PlannedStep,
        book: Account | None = None,
        source: StoredTable | None = None,
    ) -> None:
        self._shared = shared
        self._planned = planned
        self._source = source
        self._book = book or Account(planned.label)
        self.step = planned.label
        self.round = planned.round
        self.seed = shared.recipe.head.seed

    async def ask(self, model: str, ask: Ask[T]) -> Reply[T]:
        """See `sdk.context.Context.ask`."""
        shared = self._shared
        name, opened = shared.models.find(model)
        # A batch goes on at its endpoint, and the next run takes it up: nobody has to wait for it.
        paid = 0 if opened.config.local or opened.config.is_batched else 1
        shared.asking += paid
        try:
            return await shared.caller.ask(opened, ask, name=name, round=self.round)
        except EndpointRefused as error:
            raise SetupError(f"model {model!r}: {error.what}", fix=error.fix) from error
        except QuotaSpent as error:
            what = f"{self.step}: model {model!r}: {error.what}; everything paid for is kept"
            raise StepError(what, fix=error.fix) from error
        finally:
            shared.asking -= paid

    def render(self, prompt: str, row: Mapping[str, Any]) -> list[Message]:
        """See `sdk.context.Context.render`."""
        return self._shared.recipe.prompts[prompt].render(row)

    def table(self, name: str) -> Table:
        """See `sdk.context.Context.table`."""
        return self._shared.tables[name]

    def is_held_out(self, name: str) -> bool:
        """See `sdk.context.Context.is_held_out`."""
        behind = self._shared.tables.lineage.trace(self._shared.tables[name])
        return any(self._shared.recipe.data[each].held_out for each in behind.data)

    def rng(self, *parts: object) -> random.Random:
        """See `sdk.context.Context.rng`."""
        return random.Random(digest([self.seed, *self._planned.place, *map(str, parts)], 16))

    async def each(
        self, rows: Iterable[Row], work: Callable[[Row], Awaitable[list[Outcome]]]
    ) -> AsyncIterator[Outcome]:
        """See `sdk.context.Context.each`."""

        async def safely(row: Row) -> list[Outcome]:
            try:
                return await work(row)
            except Exception as error:
                return [self._shared.mistakes.fail_row(self._planned, row, error)]

        async for outcomes in in_order(rows, safely, find_window([self._planned], self._shared.models)):
            for outcome in outcomes:
                yield outcome

    async def train(self, model: str, method: str, settings: Mapping[str, Any], rows: Iterable[Row]) -> None:
        """See `sdk.context.Context.train`."""
        seed = self._shared.recipe.training_seed
        settings = settings if seed is None else {**settings, "seed": seed}
        entry = await training.train(self._shared, self._planned, self._source, model, method, settings, rows)
        self.record("trainings", [entry])

    def list_main_rows(self) -> list[Row]:
        """See `sdk.context.Context.list_main_rows`."""
        found = self._shared.find_main_table(self._planned)
        return [] if found is None else list(found)

    async def benchmark(self, models: Sequence[str], asked: Mapping[str, Any]) -> Benchmarked:
        """See `sdk.context.Context.benchmark`."""
        return *await benchmark.ask(self._shared, models, asked), benchmark.name_harness()

    def find_function(self, file: str, name: str) -> Callable[..., Any]:
        """See `sdk.context.Context.find_function`."""
        recipe = self._shared.recipe
        if not recipe.allow_code:
            raise SetupError(f"{self.step}: {file!r} is code", fix="read the file, then add --allow-code")
        return own_file.find_function(recipe.folder / file, name, self.step)

    def metric(self, name: str) -> Metric:
        """See `sdk.context.Context.metric`."""
        return self._shared.recipe.registry.find_metric(name)

    def is_trained(self, model: str) -> bool:
        """See `sdk.context.Context.is_trained`."""
        name = ModelRef.parse(model).name
        return any(name in planned.list_names("student") for planned in self._shared.recipe.steps)

    def record(self, key: str, entries: list[dict[str, Any]]) -> None:
        """See `sdk.context.Context.record`."""
        where: dict[str, Any] = {"step": self.step} | ({"round": self.round} if self.round else {})
        kept = []
        for entry in entries:
            named = ModelRef.parse(str(entry.get("model", ""))).name
            exact = (
                {"version": self._shared.models.exact(entry["model"])} if named in self._shared.recipe.models else {}
            )
            kept.append({**exact, **entry, **where})
        if (fault := find_fault(key, kept)) is not None:
            raise StepError(
                f"{self.step}: what it records under {key!r} cannot stand in the report: {fault}",
                fix="give it the fields that `blackbox-kd schema --report` names, or record it under another key",
            )
        self._shared.records.add(key, self._planned.place, kept)

    def reported(self, key: str) -> list[dict[str, Any]]:
        """See `sdk.context.Context.reported`."""
        return self._shared.records.find(key)

    def reported_in_round(self, key: str, number: int) -> list[dict[str, Any]]:
        """See `sdk.context.Context.reported_in_round`."""
        return self._shared.records.find(key, replace(self._planned, round=number).place)

    def count(self, **amounts: float) -> None:
        """See `sdk.context.Context.count`."""
        self._book.counts.update(amounts)
