"""How a stage is run: a segment streams its rows, a table step is skipped if nothing about it has changed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from blackbox_kd.engine.context import RunContext
from blackbox_kd.engine.fingerprint import fingerprints
from blackbox_kd.engine.plan import Stage
from blackbox_kd.engine.progress import View
from blackbox_kd.engine.row_errors import explain
from blackbox_kd.engine.segment import Segment
from blackbox_kd.engine.sharding.shard import Shard, ShardPlan, ShardTable
from blackbox_kd.engine.state import RunState
from blackbox_kd.engine.window import find_window
from blackbox_kd.errors import BlackboxError, DataError, MissingColumn, StepError, Stopped, UserError
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.runs.accounts import Account, refuse_failures
from blackbox_kd.runs.folder import Finished
from blackbox_kd.runs.stage_files import StageFiles
from blackbox_kd.schema import ModelRef, Table
from blackbox_kd.tables.sampling import Drawn
from blackbox_kd.tables.stored import StoredTable


class StageRunner:
    """Runs the stages of a run.

    Args:
        shared: what the steps share.
        accounts: is added to.
        view: shows how it goes.
        shard: the part of the rows that is worked on, and the stages that it leads.
        retry_failed: whether a finished table step with failed rows is run again.

    Attributes:
        last: the table that the next step reads if it names none.
        asides: tables of the steps that stand aside of the flow.
        names: names of the stages that were run.
        written: files of the tables that are this run's, without their ending.
        on_stage: is told of each stage that has ended well.
    """

    def __init__(
        self,
        shared: RunState,
        accounts: list[Account],
        view: View,
        *,
        shard: tuple[Shard, ShardPlan] | None = None,
        retry_failed: bool = False,
    ) -> None:
        self.last: str | None = None
        self.asides: list[str] = []
        self.names: list[str] = []
        self.written: list[str] = []
        self.on_stage: Callable[[Stage], None] = lambda stage: None
        self._shared = shared
        self._accounts = accounts
        self._view = view
        self._shard = shard
        self._retry_failed = retry_failed
        # A part of the rows may have all the failures of the whole, which `merge` looks at.
        self._limit = 1.0 if shard is not None else shared.recipe.head.max_failed_share

    async def run(self, stage: Stage) -> None:
        """Runs a stage; its tables, its account and what it reported are there when this returns.

        Raises:
            TooManyFailed: too large a share of the rows of an earlier step, or of a row step of this stage, failed.
        """
        refuse_failures(self._accounts, self._limit, self._shared.folder.path)
        self.names.append(stage.name)
        try:
            if stage.kind == "row":
                await self._segment(stage)
            else:
                await self._learn_from(stage)
        except Stopped:
            # Rows that waited for a call when a step's mistake stopped them may be heard of before it.
            if self._shared.mistakes.found is not None:
                raise self._shared.mistakes.found from None
            raise
        self.on_stage(stage)
        self._shared.folder.save()

    async def _learn_from(self, stage: Stage) -> None:
        """Runs a table step; a model that it trains has learnt from the table that it reads."""
        trained, table = len(self._shared.trained), self._input(stage.first)
        await self._table_step(stage, table)
        if table is not None:
            self._shared.taught.update({path.name: table for _, path in self._shared.trained[trained:]})

    def _input(self, planned: PlannedStep) -> StoredTable | None:
        if planned.step.merges is not None:
            return None
        name = planned.config.input or self.last
        if name is None:
            raise StepError(f"{planned.label}: there is no table to read")
        table = self._shared.tables[name]
        if self._shard is not None and self._shard[1].splits(planned, name):
            return ShardTable(table, self._shard[0])
        return table

    async def _segment(self, stage: Stage) -> None:
        table: Table | None = self._input(stage.steps[0])
        assert table is not None
        first, last = stage.steps[0], stage.steps[-1]
        if (rows := first.config.rows_to_draw()) is not None:
            if not len(table):
                self._view.say(f"{first.label}: table {table.name!r} has no rows, so none can be drawn from it")
            table = Drawn(table, rows, RunContext(self._shared, first).rng("rows"))
        books = [Account(planned.label, round=planned.round) for planned in stage.steps]
        self._accounts += books
        self._view.begin(books, len(table))
        with StageFiles(self._shared.folder, stage.name, [last.config.output or last.unnamed]) as outputs:
            window = find_window(stage.steps, self._shared.models)
            await Segment(stage.steps, books, self._shared, outputs.take, window, self._limit).run(table)
        self._close(books)
        self._publish(stage, outputs.finish(_describe_steps(stage)))

    async def _table_step(self, stage: Stage, table: StoredTable | None) -> None:
        planned = stage.first
        fingerprint, *earlier = fingerprints(planned, table, self._shared)
        done = self._shared.folder.finished(stage.name, [fingerprint, *earlier])
        if done is not None and not (self._retry_failed and done.entry["account"]["failed"]):
            done.entry["fingerprint"] = fingerprint
            await self._skip(stage, done)
            return
        book = Account(planned.label, round=planned.round)
        self._accounts.append(book)
        book.rows_in = len(table) if table is not None else self._merged_rows(planned)
        self._view.begin([book], book.rows_in * planned.config.outcomes_per_row())
        shared, before = self._shared, {key: len(entries) for key, entries in self._shared.report.items()}
        trained = len(shared.trained)
        with StageFiles(shared.folder, stage.name, planned.outputs) as outputs:
            context = RunContext(shared, planned, book)
            number = 0
            async for item in _items(planned, table, context):
                name, outcome = item if isinstance(item, tuple) else (outputs.names[0], item)
                book.count(outcome)
                outputs.take(number, planned.label, outcome, name)
                number += 1
        book.added = max(0, book.ended - book.rows_in)
        self._close([book])
        tables = outputs.finish(planned.label)
        self._publish(stage, tables)
        folder = shared.folder
        folder.manifest["stages"][stage.name] = {
            "fingerprint": fingerprint,
            "tables": [folder.described(table) for table in tables],
            "account": book.entry(),
            "report": {key: entries[before.get(key, 0) :] for key, entries in shared.report.items()},
            "trained": [[model, str(path.relative_to(folder.path))] for model, path in shared.trained[trained:]],
            "files": [str(path.relative_to(folder.path)) for _, path in shared.trained[trained:]],
        }

    def _merged_rows(self, planned: PlannedStep) -> int:
        return sum(len(self._shared.tables[name]) for name in planned.merged)

    async def _skip(self, stage: Stage, done: Finished) -> None:
        """Takes over what an earlier run of the same step wrote.

        Raises:
            UserError: somebody has changed a table since.
        """
        shared, entry, tables = self._shared, done.entry, done.tables()
        for table in tables:
            if await asyncio.to_thread(table.has_changed):
                raise UserError(_explain_change(stage.first, table))
        self._accounts.append(Account.of(entry["account"]))
        for key, entries in entry["report"].items():
            shared.report.setdefault(key, []).extend(entries)
        for model, path in entry["trained"]:
            shared.models.add_version(model, done.folder / path)
            shared.trained.append((model, done.folder / path))
        self._publish(stage, tables)
        self._view.say(f"{stage.first.label}: unchanged since the last run, taken from there")

    def _publish(self, stage: Stage, tables: Sequence[StoredTable]) -> None:
        shared = self._shared
        taught = {ModelRef.parse(version).name: table for version, table in shared.taught.items()}
        shared.lineage.add(stage.steps, self.last, shared.tables, taught, tables)
        shared.folder.note_names(tables)
        for table in tables:
            shared.tables[table.name] = table
            self.written.append(table.path.stem)
        if stage.first.step.aside:
            self.asides = [*(name for name in self.asides if name != tables[0].name), tables[0].name]
        else:
            self.last = tables[0].name

    def _close(self, books: list[Account]) -> None:
        for book in books:
            book.check()
            self._view.step_done(book)


async def _items(planned: PlannedStep, table: StoredTable | None, context: RunContext) -> AsyncIterator[Any]:
    """What a table step yields.

    Raises:
        StepMistake: it raised what is neither bad data nor an error of ours.
    """
    try:
        async for item in planned.step.run(table, planned.config, context):
            yield item
    except MissingColumn as error:
        raise DataError(f"{planned.label}: {error}") from error
    except BlackboxError:
        raise
    except Exception as error:
        raise explain(planned, error, "while it worked on the whole table") from error


def _explain_change(planned: PlannedStep, table: StoredTable) -> str:
    """Neither are the rows taken, which later steps were not told of, nor written over: it may be somebody's work."""
    return (
        f"{planned.label}: {table.path} is not what the step wrote\n"
        f"  expected: {table.rows:,} rows with the SHA-256 {table.sha256[:12]}...\n"
        "  fix: take the file away, and the same command writes it anew; to go on with other rows, put them into a "
        "file of their own and name it in data:"
    )


def _describe_steps(stage: Stage) -> str:
    """How messages name the steps of a stage, one of which they cannot tell from the others."""
    labels = [planned.label for planned in stage.steps]
    return labels[0] if len(labels) == 1 else f"{labels[0]} to {labels[-1]}"
