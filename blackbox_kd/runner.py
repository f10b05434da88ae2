"""Runs a recipe: loads its tables, streams its segments, runs its table steps, and keeps the books."""

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from blackbox_kd import cards, exports, overlap, report, sources, spending
from blackbox_kd.accounts import Account, refuse_failures
from blackbox_kd.calls.batch_caller import BatchingCaller
from blackbox_kd.calls.batch_store import Store
from blackbox_kd.calls.batches import Batches
from blackbox_kd.calls.budget import Budget
from blackbox_kd.calls.caller import Caller
from blackbox_kd.context import RunContext, Shared, window_of
from blackbox_kd.errors import StepError
from blackbox_kd.ledger import Ledger
from blackbox_kd.live import View
from blackbox_kd.marks import mentions
from blackbox_kd.open_models import OpenModels
from blackbox_kd.recipe import Planned, Recipe
from blackbox_kd.run import RunFolder, StageFiles, StoredTable, gather_losses
from blackbox_kd.schema import digest
from blackbox_kd.segment import Segment
from blackbox_kd.shards import Done, Leading, Part, Shard, finish, leading
from blackbox_kd.stages import Stage, planned_until, stages


@dataclass(slots=True)
class Options:
    """How a recipe is run.

    Args:
        run_dir: the run folder; `runs/<name>` if left out.
        ledger: the ledger's file; `runs/ledger.sqlite` if left out, so that all runs started here share it.
        limit: at most so many rows of each data table.
        until: name or position of the last step that is run.
        shard: the part of the rows that is worked on; all if left out.
        retry_failed: ask anew for the rows that failed, also where that means to buy another reply.
        cache: the user's cache folder.
        env: where keys are looked up.
        view: shows how the run goes on.
    """

    cache: Path
    run_dir: Path | None = None
    ledger: Path | None = None
    limit: int | None = None
    until: str | None = None
    shard: Shard | None = None
    retry_failed: bool = False
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    view: View = field(default_factory=View)


class Run:
    """One run of a recipe. After `execute`, `report` holds what `report.json` holds."""

    def __init__(self, recipe: Recipe, options: Options) -> None:
        self.recipe = recipe
        self.options = options
        self.path = options.run_dir or Path("runs") / recipe.name
        self.accounts: list[Account] = []
        self.report: dict[str, Any] = {}
        self._planned = self._stages = stages(planned_until(recipe, options.until))
        self._led = Leading()
        if options.shard is not None:
            self.path = options.run_dir or options.shard.folder(self.path)
            self._led = leading(recipe, self._planned)
            self._stages = self._led.stages
        self._last: str | None = None
        self._budget: Budget | None = None
        self._asides: list[str] = []
        self._contamination: list[dict[str, Any]] = []

    async def execute(self) -> None:
        """Runs the recipe, or goes on where an earlier run of the same folder stopped.

        Raises:
            BudgetReached, Stopped, StepError: the run stopped; everything paid for is kept, the report is written.
            TooManyFailed: the run is complete, but too large a share of a step's rows failed.
        """
        ledger_file = self.options.ledger or Path("runs") / "ledger.sqlite"
        with ExitStack() as stack:
            shard = self.options.shard
            folder = stack.enter_context(RunFolder(self.path, numbered=shard is not None))
            ledger = Ledger.open(ledger_file, run=str(self.path.resolve()))
            stack.callback(ledger.close)
            limits = shard.share(self.recipe, self.options.limit) if shard else self.recipe.head.budget.model_dump()
            budget = self._budget = Budget(**limits, spent=ledger.spent())
            store = Store(ledger_file, str(self.path.resolve()))
            batches = Batches(ledger, store, say=self.options.view.say)
            caller = BatchingCaller(ledger, budget, batches, retry_failed=self.options.retry_failed)
            models = OpenModels(self.recipe, self.options.cache, self.options.env)
            self._shared = Shared(self.recipe, folder, models, caller)
            self._shared.on_event = self.options.view.training
            status = "complete"
            try:
                if await batches.take_up(lambda name: models.get(name) if name in self.recipe.models else None):
                    caller.limit(Budget(**limits, spent=ledger.spent()))
                await self._run_all()
                if shard is not None:
                    done = Done(self.accounts, self._contamination, ledger_file, self.options.limit, self.options.until)
                    finish(shard, self._led, self._shared, done)
            except BaseException as error:
                status = str(error).split("\n")[0] or type(error).__name__
                raise
            finally:
                await batches.close()
                await models.close()
                self._write_report(caller, ledger, status)
        refuse_failures(self.accounts, self.recipe.head.max_failed_share, self.path)

    def stop(self) -> bool:
        """Lets no new call begin; whether paid calls are under way, whose replies are worth waiting for."""
        if self._budget is None:
            return False
        self._budget.stop()
        return self._shared.asking > 0

    async def _run_all(self) -> None:
        folder = self._shared.folder
        spending.refuse_unpriced(self.recipe, self._shared.models, [p for s in self._stages for p in s.steps])
        exports.write_recipe(folder.path / "recipe.yaml", self.recipe)
        self._load_data()
        self._contamination = self._check_overlap()
        with _seldom_collected(), self.options.view.showing(self.accounts, self._shared.caller):
            for stage in self._stages:
                if stage.kind == "row":
                    await self._run_segment(stage)
                else:
                    await self._run_table_step(stage)
                folder.save()
        if self._last is not None and not self._shared.trained and self.options.shard is None:
            exports.write_dataset(folder.path / "dataset", self._shared.tables[self._last])

    def _load_data(self) -> None:
        read = {mention.value for stage in self._planned for p in stage.steps for mention in mentions(p.config)}
        for name, source in self.recipe.data.items():
            if self._last is None and not source.held_out:
                self._last = name
            elif name not in read:
                continue
            lines = self._shared.folder.table_lines(f"00_{name}")
            rows = sources.read(source, self.recipe.folder, self.options.limit)
            for number, row in enumerate(sources.make_rows(rows, source.rename)):
                lines.add(number, row.id, row)
            self._shared.tables[name] = StoredTable(name, lines.path, *lines.finish())

    def _check_overlap(self) -> list[dict[str, Any]]:
        tables, data = self._shared.tables, self.recipe.data
        held_out = [table for name, table in tables.items() if data[name].held_out]
        training = [table for name, table in tables.items() if not data[name].held_out]
        return overlap.refuse(held_out, training)

    def _input(self, planned: Planned) -> StoredTable | None:
        if planned.step.merges is not None:
            return None
        name = planned.config.input or self._last
        if name is None:
            raise StepError(f"{planned.label}: there is no table to read")
        table, shard = self._shared.tables[name], self.options.shard
        return Part(table, shard) if shard is not None and self._led.splits(planned, name) else table

    async def _run_segment(self, stage: Stage) -> None:
        table = self._input(stage.steps[0])
        assert table is not None
        books = [Account(planned.label) for planned in stage.steps]
        self.accounts += books
        last = stage.steps[-1]
        self.options.view.begin(books, len(table))
        with StageFiles(self._shared.folder, stage.name, [last.config.output or f"#{last.index}"]) as outputs:
            segment = Segment(
                stage.steps, books, self._shared, outputs.take, window_of(stage.steps, self._shared.models)
            )
            await segment.run(table)
        self._close_books(books)
        self._publish(last, outputs.finish())

    async def _run_table_step(self, stage: Stage) -> None:
        planned = stage.steps[0]
        table = self._input(planned)
        fingerprint = self._fingerprint(planned, table)
        done = self._shared.folder.finished(stage.name, fingerprint)
        if done is not None and not (self.options.retry_failed and done["account"]["failed"]):
            self._skip(planned, done)
            return
        book = Account(planned.label)
        self.accounts.append(book)
        book.rows_in = len(table) if table is not None else self._merged_rows(planned)
        self.options.view.begin([book], book.rows_in * len(getattr(planned.config, "models", "1")))
        named = [m.value for m in mentions(planned.config) if m.kind == "new table"]
        before = {key: len(entries) for key, entries in self._shared.report.items()}
        trained = len(self._shared.trained)
        with StageFiles(self._shared.folder, stage.name, named or [f"#{planned.index}"]) as outputs:
            context = RunContext(self._shared, planned)
            number = 0
            async for item in planned.step.run(table, planned.config, context):
                name, outcome = item if isinstance(item, tuple) else (outputs.names[0], item)
                book.count(outcome)
                outputs.take(number, planned.label, outcome, name)
                number += 1
        book.added = max(0, book.ended - book.rows_in)
        self._close_books([book])
        tables = outputs.finish()
        self._publish(planned, tables)
        folder = self._shared.folder
        folder.manifest["stages"][stage.name] = {
            "fingerprint": fingerprint,
            "tables": [folder.described(table) for table in tables],
            "account": book.entry(),
            "report": {key: entries[before.get(key, 0) :] for key, entries in self._shared.report.items()},
            "trained": [[model, str(path.relative_to(folder.path))] for model, path in self._shared.trained[trained:]],
            "files": [str(path.relative_to(folder.path)) for _, path in self._shared.trained[trained:]],
        }

    def _merged_rows(self, planned: Planned) -> int:
        return sum(len(self._shared.tables[name]) for name in getattr(planned.config, planned.step.merges or ""))

    def _fingerprint(self, planned: Planned, table: StoredTable | None) -> str:
        """Names all that decides what a table step writes: its config, its code if it is a plugin's, its inputs."""
        named = list(mentions(planned.config))
        tables = {m.value: self._shared.tables[m.value].sha256 for m in named if m.kind == "table"}
        models = self._shared.models
        asked = {m.value: models.identity(m.value) for m in named if m.kind in ("model", "student")}
        prompts = {m.value: self.recipe.prompts[m.value].source for m in named if m.kind == "prompt"}
        plugin = not planned.step.run.__module__.startswith("blackbox_kd.steps.")
        code = planned.step.file.read_text(encoding="utf-8") if plugin else ""
        parts = [
            planned.config.model_dump(),
            self.recipe.head.seed,
            table and table.sha256,
            tables,
            asked,
            prompts,
            code,
        ]
        return digest(parts)

    def _skip(self, planned: Planned, done: dict[str, Any]) -> None:
        """Takes over what an earlier run of the same step wrote."""
        folder = self._shared.folder
        self.accounts.append(Account.of(done["account"]))
        for key, entries in done["report"].items():
            self._shared.report.setdefault(key, []).extend(entries)
        for model, path in done["trained"]:
            self._shared.models.versions.setdefault(model, []).append(folder.path / path)
            self._shared.trained.append((model, folder.path / path))
        self._publish(planned, [folder.stored(entry) for entry in done["tables"]])
        self.options.view.say(f"{planned.label}: unchanged since the last run, taken from there")

    def _publish(self, planned: Planned, tables: list[StoredTable]) -> None:
        for table in tables:
            self._shared.tables[table.name] = table
        if planned.step.aside:
            self._asides.append(tables[0].name)
        else:
            self._last = tables[0].name

    def _close_books(self, books: list[Account]) -> None:
        for book in books:
            book.check()
            self.options.view.step_done(book)

    def _write_report(self, caller: Caller, ledger: Ledger, status: str) -> None:
        folder = self._shared.folder
        folder.save()
        gather_losses(folder.path, [stage.name for stage in self._stages])
        spent = ledger.spent()
        bill = {**asdict(spent), "repeated": ledger.repeated()}
        tables = self._shared.tables
        shown = [tables[name] for name in dict.fromkeys([self._last, *self._asides]) if name in tables]
        lists, models = self._shared.report, caller.summary()
        facts = report.Facts(
            self.recipe, status, self.accounts, lists, models, bill, self._contamination, [t for t in shown if len(t)]
        )
        self.report = report.write(folder.path, facts)
        cards.write(folder.path, self.recipe, self.report, self._shared.trained)


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Garbage is collected seldom: rows in flight are many, young and free of cycles (a tenth of the CPU of a call)."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
