"""A segment: row steps in a row, through which each row moves on its own."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from blackbox_kd.concurrency import run_all
from blackbox_kd.engine.context import RunContext
from blackbox_kd.engine.state import RunState
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.runs.accounts import Account, refuse_failures
from blackbox_kd.schema import Failed, Outcome, Row, Table

Sink = Callable[[int, str, Outcome], None]
"""Is given the number of the input row, the step's label, and what became of a row; rows of the last step only."""


class Segment:
    """Streams the rows of a table through row steps.

    Args:
        steps: the steps, in order.
        accounts: an account for each.
        shared: what the steps of the run share.
        sink: takes rows that leave the last step, and rows dropped or failed anywhere.
        window: rows in flight at once.
        limit: the share of failed rows of a step from which on no more rows are begun.
    """

    def __init__(
        self,
        steps: list[PlannedStep],
        accounts: list[Account],
        shared: RunState,
        sink: Sink,
        window: int,
        limit: float = 1.0,
    ) -> None:
        books = zip(steps, accounts, strict=True)
        self._steps = [(planned, planned.step.run, RunContext(shared, planned, book)) for planned, book in books]
        self._fans_out = [inspect.isasyncgenfunction(planned.step.run) for planned in steps]
        self._mistakes = shared.mistakes
        self._accounts = accounts
        self._sink = sink
        self._window = window
        self._shared = shared
        self._limit = limit

    async def run(self, table: Table) -> None:
        """Takes every row through the steps; returns when all have ended.

        Raises:
            TooManyFailed: too large a share of a step's rows has failed; those that were begun have ended.
        """
        await run_all(table, self._walk, self._window)

    async def _walk(self, number: int, row: Row, position: int = 0) -> None:
        """Takes a row through the steps from `position` on."""
        while position < len(self._steps):
            self._accounts[position].rows_in += 1
            if self._fans_out[position]:
                await self._fan_out(number, row, position)
                return
            planned, run, ctx = self._steps[position]
            try:
                outcome = await run(row, planned.config, ctx)
            except Exception as error:
                outcome = self._mistakes.fail_row(planned, row, error)
            on = self._book(number, outcome, position)
            if on is None:
                return
            row, position = on, position + 1

    async def _fan_out(self, number: int, row: Row, position: int) -> None:
        """Takes each row that a step makes of `row` on through the later steps, as soon as it is there.

        A step that asks for several samples makes its rows over minutes. If they waited for each other, the models of
        later steps would have nothing to do meanwhile, and a kill would find rows paid for and not yet judged.
        """
        is_last = position + 1 == len(self._steps)
        made = 0
        planned, run, ctx = self._steps[position]
        outcomes: AsyncIterator[Outcome] | None = run(row, planned.config, ctx)
        walks = _Walks(lambda row: self._walk(number, row, position + 1))
        try:
            while outcomes is not None:
                try:
                    outcome = await anext(outcomes)
                except StopAsyncIteration:
                    break
                except Exception as error:  # the step breaks off, and makes no more
                    outcome, outcomes = self._mistakes.fail_row(planned, row, error), None
                made += 1
                on = self._book(number, outcome, position)
                if on is not None and not is_last:
                    walks.begin(on)
        except BaseException:
            # The step might have made more: the row counts as one that is still worked on, and what it has made so
            # far as added to it, so that a report of the stopped run tells how many rows are under way.
            self._accounts[position].added += max(0, made - 1)
            await walks.finish()
            raise
        # One of the rows that were made stands for the row that went in; a step that made none has taken one away.
        self._accounts[position].added += made - 1
        await walks.end()

    def _book(self, number: int, outcome: Outcome, position: int) -> Row | None:
        """Counts an outcome; returns the row that goes on, or has left the last step."""
        self._accounts[position].count(outcome)
        label = self._steps[position][0].label
        if isinstance(outcome, Row):
            if position + 1 == len(self._steps):
                self._sink(number, label, outcome)
            return outcome
        self._sink(number, label, outcome)
        if isinstance(outcome, Failed) and self._accounts[position].has_failed(self._limit):
            refuse_failures([self._accounts[position]], self._limit, self._shared.folder.path)
        return None


class _Walks:
    """The ways of the rows that a step makes of one row, side by side.

    A way of its own costs a task, and most steps make one row of one: `generate` with `samples: 1`, `format` without
    tasks. So the row made last is held ready. If the step makes another one, or waits for anything, the row sets out in
    a task: it must not wait for its step. If the step is done by then, the row goes on in the task of the row that it
    was made of, which has nothing else to do.
    """

    def __init__(self, walk: Callable[[Row], Coroutine[Any, Any, None]]) -> None:
        self._walk = walk
        self._tasks: list[asyncio.Task[None]] = []
        self._ready: tuple[Row, asyncio.Handle] | None = None

    def begin(self, row: Row) -> None:
        """Has a row set out, at the latest when the step waits for something."""
        self._set_out()
        # The loop gets its turn only when the step waits: until then it may be done, and the row need no task.
        self._ready = row, asyncio.get_running_loop().call_soon(self._set_out)

    async def end(self) -> None:
        """Returns when all have ended; raises the first error."""
        if self._ready is not None:
            row = self._hold_back()
            try:
                await self._walk(row)
            except BaseException:
                await self.finish()
                raise
        for end in await self.finish():
            if end is not None:
                raise end

    async def finish(self) -> list[BaseException | None]:
        """Lets those that have set out end, as what they have paid for is to be kept; no other sets out."""
        if self._ready is not None:
            self._hold_back()
        return await asyncio.gather(*self._tasks, return_exceptions=True) if self._tasks else []

    def _set_out(self) -> None:
        if self._ready is not None:
            self._tasks.append(asyncio.ensure_future(self._walk(self._hold_back())))

    def _hold_back(self) -> Row:
        assert self._ready is not None
        row, start = self._ready
        start.cancel()
        self._ready = None
        return row
