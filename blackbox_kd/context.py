"""What a step is given by the runner: see `schema.Context`."""

import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blackbox_kd.calls.caller import Caller
from blackbox_kd.concurrency import in_order
from blackbox_kd.errors import CallError, DataError, EndpointRefused, QuotaSpent, SetupError, StepError
from blackbox_kd.open_models import OpenModels
from blackbox_kd.privacy import write_whole
from blackbox_kd.recipe.spec import Planned, Recipe
from blackbox_kd.runs.accounts import Account
from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.schema import Failed, Memory, Message, Outcome, Reply, Row, Sampling, Table, digest
from blackbox_kd.sdk.fields import mentions
from blackbox_kd.tables.stored import StoredTable

WINDOW = 64
"""Rows that are worked on side by side when no model sets the pace."""
AHEAD = 1.5
"""Rows for each request that models take at once: enough that some may wait for the disk or before they are sent
again. More only wait in line, at a cost in time and memory."""


def window_of(steps: Iterable[Planned], models: OpenModels) -> int:
    """Rows in flight: enough to keep every model that the steps name busy, and to fill batches."""
    steps = list(steps)
    named = {mention.value for planned in steps for mention in mentions(planned.config) if mention.kind == "model"}
    configs = [models.config(name) for name in named]
    samples = max(getattr(planned.config, "samples", 1) for planned in steps)
    batched = max((getattr(config, "in_flight", 0) // samples for config in configs), default=0)
    return max(WINDOW, int(AHEAD * sum(config.max_concurrency for config in configs)), batched)


class Shared:
    """What all steps of a run share.

    Args:
        recipe: the recipe.
        folder: the run folder.
        models: the open models.
        caller: asks them.
        tables: tables by name; `#3` is what steps[3] wrote without giving it a name.
        report: lists of the report that steps append to.
        on_event: is told how training goes on.
        asking: calls to models of others that are under way and whose replies would be lost.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder, models: OpenModels, caller: Caller) -> None:
        self.recipe = recipe
        self.folder = folder
        self.models = models
        self.caller = caller
        self.tables: dict[str, StoredTable] = {}
        self.report: dict[str, list[dict[str, Any]]] = {}
        self.trained: list[tuple[str, Path]] = []
        self.asking = 0
        self.on_event: Callable[[Mapping[str, Any]], None] = lambda event: None


class RunContext:
    """The context of one step."""

    def __init__(self, shared: Shared, planned: Planned, book: Account | None = None) -> None:
        self._shared = shared
        self._planned = planned
        self._book = book or Account(planned.label)
        self.step = planned.label
        self.round = planned.round
        self.seed = shared.recipe.head.seed

    async def ask(
        self,
        model: str,
        messages: list[Message],
        sampling: Sampling,
        *,
        row: Row,
        sample: int = 0,
        accept_truncated: bool = False,
        read: Callable[[str], object] | None = None,
        attempts: int | None = None,
    ) -> Reply:
        """See `schema.Context.ask`."""
        shared = self._shared
        opened = shared.models.get(model)
        # A batch goes on at its endpoint, and the next run takes it up: nobody has to wait for it.
        paid = 0 if opened.config.local or getattr(opened.config, "batch", False) else 1
        shared.asking += paid
        try:
            return await shared.caller.ask(
                opened,
                messages,
                sampling,
                name=shared.models.exact(model),
                row=row,
                sample=sample,
                round=self.round,
                accept_truncated=accept_truncated,
                read=read,
                attempts=attempts,
            )
        except EndpointRefused as error:
            raise SetupError(f"model {model!r}: {error}") from error
        except QuotaSpent as error:
            raise StepError(f"{self.step}: model {model!r}: {error}; everything paid for is kept") from error
        finally:
            shared.asking -= paid

    def render(self, prompt: str, row: Mapping[str, Any]) -> list[Message]:
        """See `schema.Context.render`."""
        return self._shared.recipe.prompts[prompt].render(row)

    def table(self, name: str) -> Table:
        """See `schema.Context.table`."""
        return self._shared.tables[name]

    def rng(self, *parts: object) -> random.Random:
        """See `schema.Context.rng`."""
        return random.Random(digest([self.seed, *self._planned.place, *map(str, parts)], 16))

    async def each(
        self, rows: Iterable[Row], work: Callable[[Row], Awaitable[list[Outcome]]]
    ) -> AsyncIterator[Outcome]:
        """See `schema.Context.each`."""

        async def safely(row: Row) -> list[Outcome]:
            return await guarded(row, work(row))

        async for outcomes in in_order(rows, safely, window_of([self._planned], self._shared.models)):
            for outcome in outcomes:
                yield outcome

    async def train(self, model: str, method: str, settings: Mapping[str, Any], rows: Iterable[Row]) -> None:
        """See `schema.Context.train`."""
        from blackbox_kd.runs.dataset import left_out, write_dataset
        from blackbox_kd.training import launch
        from blackbox_kd.weights import load, locate

        shared = self._shared
        rows = list(rows)
        self._refuse_held_out(rows)
        version = len(shared.models.versions.get(model, [])) + 1
        work = shared.folder.path / "work"
        output = shared.folder.path / "models" / f"{model}@{version}"
        dataset = shared.folder.path / "dataset"
        try:
            data = write_dataset(dataset, rows, method)
        except DataError as error:
            raise DataError(f"{self.step}: {error}") from error
        config = shared.models.config(f"{model}@base" if settings["start"] == "base" else model)
        setup = shared.models.setup(model)
        adapter = getattr(config, "adapter", None)
        job = {
            "model": str(locate.resolve(config.model, setup.cache, setup.folder)),
            "chat_template": load.template_text(getattr(config, "chat_template", None), setup.folder),
            "adapter_from": str((setup.folder / adapter).resolve()) if adapter else None,
            "data": str(data),
            "output": str(output),
            "settings": {key: value for key, value in settings.items() if key != "start"},
        }
        job_file = work / f"train_{model}@{version}.json"
        write_whole(job_file, json.dumps(job, indent=1))
        await shared.models.release_local()
        result = await launch.run_training(method, job_file, shared.on_event)
        shared.models.add_version(model, output)
        shared.trained.append((model, output))
        refused = dict(left_out(dataset))
        self.record("trainings", [{"model": f"{model}@{version}", "method": method, **result, "left_out": refused}])

    def _refuse_held_out(self, rows: Sequence[Row]) -> None:
        """Ends the run if a row to be trained on is one of the held-out ones: generated questions can be.

        Raises:
            DataError: such a row.
        """
        from blackbox_kd.analysis import contamination

        held_out = [name for name, source in self._shared.recipe.data.items() if source.held_out]
        known = [self._shared.tables[name] for name in held_out if name in self._shared.tables]
        try:
            contamination.refuse(known, [Memory("training", rows)])
        except DataError as error:
            raise DataError(f"{self.step}: {error}") from error

    def record(self, key: str, entries: list[dict[str, Any]]) -> None:
        """See `schema.Context.record`."""
        where: dict[str, Any] = {"step": self.step} | ({"round": self.round} if self.round else {})
        kept = self._shared.report.setdefault(key, [])
        for entry in entries:
            model = str(entry.get("model", "")).partition("@")[0]
            exact = (
                {"version": self._shared.models.exact(entry["model"])} if model in self._shared.recipe.models else {}
            )
            kept.append({**exact, **entry, **where})

    def reported(self, key: str) -> list[dict[str, Any]]:
        """See `schema.Context.reported`."""
        return list(self._shared.report.get(key, []))

    def count(self, **amounts: float) -> None:
        """See `schema.Context.count`."""
        self._book.counts.update(amounts)


OWN_ERRORS = (CallError, DataError, KeyError, TypeError, ValueError, ArithmeticError)
"""Errors that are taken for the row's own: the row fails, and the run goes on."""


async def guarded(row: Row, working: Awaitable[list[Outcome]]) -> list[Outcome]:
    """The outcomes of a row; an error that is the row's own makes it a failed row."""
    try:
        return await working
    except OWN_ERRORS as error:
        return [failure(row, error)]


def failure(row: Row, error: Exception) -> Failed:
    """The failed row of an error that is the row's own."""
    if isinstance(error, CallError):
        return Failed(row, error.kind, str(error))
    if isinstance(error, DataError):
        return Failed(row, "data", str(error))
    if isinstance(error, KeyError):
        return Failed(row, "data", f"column {error} is missing")
    return Failed(row, type(error).__name__, str(error))
