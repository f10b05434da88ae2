"""How a stage is run: a segment streams its rows, a table step is skipped if nothing about it has changed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from blackbox_kd.engine import requirements
from blackbox_kd.engine.context import RunContext
from blackbox_kd.engine.fingerprint import compute_fingerprints
from blackbox_kd.engine.plan import Stage
from blackbox_kd.engine.progress import View
from blackbox_kd.engine.row_errors import explain
from blackbox_kd.engine.segment import Segment
from blackbox_kd.engine.sharding.shard import Shard, ShardPlan, ShardTable
from blackbox_kd.engine.state import Done, RunState
from blackbox_kd.engine.window import find_window
from blackbox_kd.errors import BlackboxError, MissingColumn, Stopped, UserError
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.runs.accounts import Account, refuse_failures
from blackbox_kd.runs.folder import Finished
from blackbox_kd.runs.manifest import FinishedStage, TableFile
from blackbox_kd.runs.report.schema import Balance, find_fault
from blackbox_kd.runs.stage_files import StageFiles
from blackbox_kd.schema import ModelRef, Table
from blackbox_kd.tables.sampling import Drawn
from blackbox_kd.tables.stored import StoredTable


class StageRunner:
    """Runs the stages of a run.

    Args:
        shared: what the steps share.
        view: shows how it goes.
        shard: the part of the rows that is worked on, and the stages that it leads.
        retry_failed: whether a finished table step with failed rows is run again.
        is_trial: whether the run takes a part of its rows only.
        on_stage: is told of each stage that has ended well.

    Attributes:
        accounts: those of the steps, as far as the run has come.
        names: names of the stages that were run.
    """

    def __init__(
        self,
        shared: RunState,
        view: View,
        *,
        shard: tuple[Shard, ShardPlan] | None = None,
        retry_failed: bool = False,
        is_trial: bool = False,
        on_stage: Callable[[Stage], None] = lambda stage: None,
    ) -> None:
        self.accounts: list[Account] = []
        self.names: list[str] = []
        self._shared, self._view, self._shard = shared, view, shard
        self._retry_failed, self._on_stage = retry_failed, on_stage
        self._is_trial = is_trial
        # A part of the rows may have all the failures of the whole, which `merge` looks at.
        self._limit = 1.0 if shard is not None else shared.recipe.head.max_failed_share

    async def run(self, stage: Stage) -> None:
        """Runs a stage; its tables, its account and what it reported are there when this returns.

        Raises:
            TooManyFailed: too large a share of the rows of an earlier step, or of a row step of this stage, failed.
        """
        refuse_failures(self.accounts, self._limit, self._shared.folder.path)
        stage = replace(stage, name=stage.name + self._shared.recipe.suffix)
        self.names.append(stage.name)
        trained = len(self._shared.models.versions)
        try:
            if stage.kind == "row":
                tables = await self._run_segment(stage)
            else:
                tables = await self._run_table_step(stage)
        except Stopped:
            # Rows that waited for a call when a step's mistake stopped them may be heard of before it.
            if self._shared.mistakes.found is not None:
                raise self._shared.mistakes.found from None
            raise
        done = Done(stage, tables, self._shared.models.versions.list_since(trained))
        self._shared.done[stage.first.place] = done
        self._on_stage(stage)
        self._shared.folder.save()
        if self._shared.lead is None:  # what an arm is there to show must not end the run
            requirements.check(stage.first, self._shared, is_trial=self._is_trial)

    def branch(self, shared: RunState) -> Self:
        """What runs the stages of a variant of the recipe, with the same books."""
        other = type(self)(shared, self._view, retry_failed=self._retry_failed, is_trial=self._is_trial)
        other.accounts, other.names = self.accounts, self.names
        return other

    def take(self, done: Done) -> None:
        """Takes over a stage that was run for another variant of the recipe, and would be the same here."""
        shared = self._shared
        assert shared.lead is not None
        for version in done.trained:
            shared.models.versions.add(version.ref.name, version.folder, version.source)
        for planned in done.stage.steps:
            shared.records.take(shared.lead.records, planned.place)
        shared.done[done.stage.first.place] = done
        self._publish(done.stage, done.tables)

    def _find_input(self, planned: PlannedStep) -> StoredTable | None:
        table = self._shared.tables.find_input(planned)
        if table is not None and self._shard is not None and self._shard[1].splits(planned, table.name):
            return ShardTable(table, self._shard[0])
        return table

    async def _run_segment(self, stage: Stage) -> Sequence[StoredTable]:
        table: Table | None = self._find_input(stage.steps[0])
        assert table is not None
        first, last = stage.steps[0], stage.steps[-1]
        if (rows := first.config.rows_to_draw()) is not None:
            if not len(table):
                self._view.say(f"{first.label}: table {table.name!r} has no rows, so none can be drawn from it")
            table = Drawn(table, rows, RunContext(self._shared, first).rng("rows"))
        books = [self._open_account(planned) for planned in stage.steps]
        self.accounts += books
        self._view.begin(books, len(table))
        with StageFiles(self._shared.folder, stage.name, [last.config.output or last.unnamed]) as outputs:
            window = find_window(stage.steps, self._shared.models)
            await Segment(stage.steps, books, self._shared, outputs.take, window, self._limit).run(table)
        self._close(books)
        return self._publish(stage, outputs.finish(_describe_steps(stage)))

    def _open_account(self, planned: PlannedStep) -> Account:
        return Account(planned.label, round=planned.round, marks=self._shared.recipe.marks)

    async def _run_table_step(self, stage: Stage) -> Sequence[StoredTable]:
        planned, table = stage.first, self._find_input(stage.first)
        fingerprint, *earlier = compute_fingerprints(planned, table, self._shared)
        done = self._shared.folder.find_finished(stage.name, [fingerprint, *earlier])
        if done is not None and _can_take(done) and not (self._retry_failed and done.entry.account.failed):
            done.entry.fingerprint = fingerprint
            return await self._skip(stage, done, table)
        book = self._open_account(planned)
        self.accounts.append(book)
        book.rows_in = len(table) if table is not None else self._count_merged(planned)
        self._view.begin([book], book.rows_in * planned.config.outcomes_per_row())
        shared = self._shared
        reported, trained = shared.records.count(), len(shared.models.versions)
        with StageFiles(shared.folder, stage.name, planned.outputs) as outputs:
            context = RunContext(shared, planned, book, table)
            number = 0
            async for item in _yield_items(planned, table, context):
                name, outcome = item if isinstance(item, tuple) else (outputs.names[0], item)
                book.count(outcome)
                outputs.take(number, planned.label, outcome, name)
                number += 1
        book.added = max(0, book.ended - book.rows_in)
        self._close([book])
        tables = outputs.finish(planned.label)
        self._publish(stage, tables)
        self._note(stage, fingerprint, tables, book, reported, trained)
        return tables

    def _note(
        self,
        stage: Stage,
        fingerprint: str,
        tables: Sequence[StoredTable],
        book: Account,
        reported: Mapping[str, int],
        trained: int,
    ) -> None:
        """Notes that a table step has finished, and all that a later run needs to take it over.

        Args:
            stage: the stage.
            fingerprint: of the step.
            tables: that it has written.
            book: its account.
            reported: entries that each list of the report had before it.
            trained: trainings that the run had made before it.
        """
        shared, folder = self._shared, self._shared.folder
        files = [
            (version.ref.name, folder.describe(version.folder))
            for version in shared.models.versions.list_since(trained)
        ]
        folder.note_stage(
            stage.name,
            FinishedStage(
                fingerprint=fingerprint,
                tables=[
                    TableFile(name=t.name, path=folder.describe(t.path), rows=t.rows, sha256=t.sha256) for t in tables
                ],
                account=Balance.model_validate(book.entry()),
                report=shared.records.find_since(reported),
                trained=files,
                files=[path for _, path in files],
            ),
        )

    def _count_merged(self, planned: PlannedStep) -> int:
        return sum(len(self._shared.tables[name]) for name in planned.merged)

    async def _skip(self, stage: Stage, done: Finished, source: StoredTable | None) -> Sequence[StoredTable]:
        """Takes over what an earlier run of the same step wrote.

        Raises:
            UserError: somebody has changed a table since.
        """
        shared, entry, tables = self._shared, done.entry, done.tables()
        for table in tables:
            if await asyncio.to_thread(table.has_changed):
                raise _explain_change(stage.first, table)
        self.accounts.append(replace(Account.of(entry.account.write()), marks=shared.recipe.marks))
        for key, entries in entry.report.items():
            shared.records.add(key, stage.first.place, entries)
        for model, path in entry.trained:
            shared.models.versions.add(model, done.folder / path, source)
        self._view.say(f"{stage.first.label}: unchanged since the last run, taken from there")
        return self._publish(stage, tables)

    def _publish(self, stage: Stage, tables: Sequence[StoredTable]) -> Sequence[StoredTable]:
        sources = self._shared.models.versions.list_sources()
        taught = {ModelRef.parse(version).name: table for version, table in sources.items()}
        self._shared.tables.publish(stage, tables, taught)
        return tables

    def _close(self, books: list[Account]) -> None:
        for book in books:
            book.check()
            self._view.step_done(book)


def _can_take(done: Finished) -> bool:
    """Whether what a finished step has recorded can stand in this version's report."""
    return all(find_fault(key, entries) is None for key, entries in done.entry.report.items())


async def _yield_items(planned: PlannedStep, table: StoredTable | None, context: RunContext) -> AsyncIterator[Any]:
    """What a table step yields.

    Raises:
        StepMistake: it raised what is neither bad data nor an error of ours.
    """
    try:
        async for item in planned.step.run(table, planned.config, context):
            yield item
    except MissingColumn as error:
        raise error.within(planned.label) from error
    except BlackboxError:
        raise
    except Exception as error:
        raise explain(planned, error, "while it worked on the whole table") from error


def _explain_change(planned: PlannedStep, table: StoredTable) -> UserError:
    """Neither are the rows taken, which later steps were not told of, nor written over: it may be somebody's work."""
    return UserError(
        f"{planned.label}: {table.path} is not what the step wrote",
        exists=f"expected: {table.rows:,} rows with the SHA-256 {table.sha256[:12]}...",
        fix="take the file away, and the same command writes it anew; to go on with other rows, put them into a "
        "file of their own and name it in data:",
    )


def _describe_steps(stage: Stage) -> str:
    """How messages name the steps of a stage, one of which they cannot tell from the others."""
    labels = [planned.label for planned in stage.steps]
    return labels[0] if len(labels) == 1 else f"{labels[0]} to {labels[-1]}"
