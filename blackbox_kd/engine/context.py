"""What a step is given by the runner: see `sdk.context.Context`."""

import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from blackbox_kd.concurrency import in_order
from blackbox_kd.engine.state import RunState
from blackbox_kd.engine.window import find_window
from blackbox_kd.errors import DataError, EndpointRefused, QuotaSpent, SetupError, StepError
from blackbox_kd.privacy import write_whole
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.runs.accounts import Account
from blackbox_kd.schema import Ask, Memory, Message, ModelRef, Outcome, Reply, Row, T, Table, digest


class RunContext:
    """The context of one step."""

    def __init__(self, shared: RunState, planned: PlannedStep, book: Account | None = None) -> None:
        self._shared = shared
        self._planned = planned
        self._book = book or Account(planned.label)
        self.step = planned.label
        self.round = planned.round
        self.seed = shared.recipe.head.seed

    async def ask(self, model: str, ask: Ask[T]) -> Reply[T]:
        """See `sdk.context.Context.ask`."""
        shared = self._shared
        opened = shared.models.get(model)
        # A batch goes on at its endpoint, and the next run takes it up: nobody has to wait for it.
        paid = 0 if opened.config.local or opened.config.is_batched else 1
        shared.asking += paid
        try:
            return await shared.caller.ask(opened, ask, name=shared.models.exact(model), round=self.round)
        except EndpointRefused as error:
            raise SetupError(f"model {model!r}: {error}") from error
        except QuotaSpent as error:
            raise StepError(f"{self.step}: model {model!r}: {error}; everything paid for is kept") from error
        finally:
            shared.asking -= paid

    def render(self, prompt: str, row: Mapping[str, Any]) -> list[Message]:
        """See `sdk.context.Context.render`."""
        return self._shared.recipe.prompts[prompt].render(row)

    def table(self, name: str) -> Table:
        """See `sdk.context.Context.table`."""
        return self._shared.tables[name]

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
        from blackbox_kd.runs.dataset import left_out, write_rows
        from blackbox_kd.training import launch
        from blackbox_kd.weights import load, locate

        shared = self._shared
        written = shared.recipe.written.get(getattr(rows, "name", ""), frozenset[str]())
        rows, notes = list(rows), list[str]()
        self._refuse_held_out(rows)
        version = len(shared.models.versions.get(model, [])) + 1
        work = shared.folder.path / "work"
        output = shared.folder.path / "models" / f"{model}@{version}"
        dataset = work / f"train_{model}@{version}" / "dataset"
        try:
            data, _ = write_rows(dataset, rows, method, written=written, say=notes.append)
        except DataError as error:
            raise DataError(f"{self.step}: {error}") from error
        for text in notes:
            shared.on_event({"event": "warning", "warning": text})
        config = shared.models.weights(f"{model}@base" if settings["start"] == "base" else model)
        setup = shared.models.setup(model)
        job = {
            "model": str(locate.resolve(config.model, setup.cache, setup.folder)),
            "chat_template": load.template_text(config.chat_template, setup.folder),
            "adapter_from": str((setup.folder / config.adapter).resolve()) if config.adapter else None,
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
        told = {"left_out": refused, "notes": notes}
        self.record("trainings", [{"model": f"{model}@{version}", "method": method, **result, **told}])

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
        """See `sdk.context.Context.record`."""
        where: dict[str, Any] = {"step": self.step} | ({"round": self.round} if self.round else {})
        kept = self._shared.report.setdefault(key, [])
        for entry in entries:
            named = ModelRef.parse(str(entry.get("model", ""))).name
            exact = (
                {"version": self._shared.models.exact(entry["model"])} if named in self._shared.recipe.models else {}
            )
            kept.append({**exact, **entry, **where})

    def reported(self, key: str) -> list[dict[str, Any]]:
        """See `sdk.context.Context.reported`."""
        return list(self._shared.report.get(key, []))

    def count(self, **amounts: float) -> None:
        """See `sdk.context.Context.count`."""
        self._book.counts.update(amounts)
