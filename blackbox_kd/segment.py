"""A segment: row steps in a row, through which each row moves on its own."""

import asyncio
import inspect
from collections.abc import Callable

from blackbox_kd.accounts import Account
from blackbox_kd.context import RunContext, Shared
from blackbox_kd.errors import CallError, DataError
from blackbox_kd.recipe import Planned
from blackbox_kd.schema import Failed, Outcome, Row, Table
from blackbox_kd.streaming import run_all

Sink = Callable[[int, str, Outcome], None]
"""Is given the number of the input row, the step's label, and what became of a row; rows of the last step only."""


OWN_ERRORS = (CallError, DataError, KeyError, TypeError, ValueError, ArithmeticError)
"""Errors that are taken for the row's own: the row fails, and the run goes on."""


class Segment:
    """Streams the rows of a table through row steps.

    Args:
        steps: the steps, in order.
        accounts: an account for each.
        shared: what the steps of the run share.
        sink: takes rows that leave the last step, and rows dropped or failed anywhere.
        window: rows in flight at once.
    """

    def __init__(self, steps: list[Planned], accounts: list[Account], shared: Shared, sink: Sink, window: int) -> None:
        books = zip(steps, accounts, strict=True)
        self._steps = [(planned, planned.step.run, RunContext(shared, planned, book)) for planned, book in books]
        self._fans_out = [inspect.isasyncgenfunction(planned.step.run) for planned in steps]
        self._accounts = accounts
        self._sink = sink
        self._window = window

    async def run(self, table: Table) -> None:
        """Takes every row through the steps; returns when all have ended."""
        await run_all(table, self._enter, self._window)

    async def _enter(self, number: int, row: Row) -> None:
        await self._walk(number, row, 0)

    async def _walk(self, number: int, row: Row, position: int) -> None:
        """Takes a row through the steps from `position` on."""
        while position < len(self._steps):
            self._accounts[position].rows_in += 1
            if self._fans_out[position]:
                await self._fan_out(number, row, position)
                return
            planned, run, ctx = self._steps[position]
            try:
                outcome = await run(row, planned.config, ctx)
            except OWN_ERRORS as error:
                outcome = failure(row, error)
            if not self._book(number, outcome, position):
                return
            row, position = outcome, position + 1

    async def _fan_out(self, number: int, row: Row, position: int) -> None:
        """Takes each row that a step makes of `row` on through the later steps, as soon as it is there."""
        planned, run, ctx = self._steps[position]
        made = 0
        walks: list[asyncio.Future[None]] = []
        try:
            async for outcome in run(row, planned.config, ctx):
                made += 1
                if self._book(number, outcome, position) and position + 1 < len(self._steps):
                    walks.append(asyncio.ensure_future(self._walk(number, outcome, position + 1)))
        except OWN_ERRORS as error:
            made += 1
            self._book(number, failure(row, error), position)
        finally:
            self._accounts[position].added += made - 1
            ended = await asyncio.gather(*walks, return_exceptions=True)
        for end in ended:
            if isinstance(end, BaseException):
                raise end

    def _book(self, number: int, outcome: Outcome, position: int) -> bool:
        """Counts an outcome; whether it is a row that goes on, or left the last step."""
        self._accounts[position].count(outcome)
        label = self._steps[position][0].label
        if isinstance(outcome, Row):
            if position + 1 == len(self._steps):
                self._sink(number, label, outcome)
            return True
        self._sink(number, label, outcome)
        return False


def failure(row: Row, error: Exception) -> Failed:
    """The failed row of an error that is the row's own."""
    if isinstance(error, CallError):
        return Failed(row, error.kind, str(error))
    if isinstance(error, DataError):
        return Failed(row, "data", str(error))
    detail = f"column {error} is missing" if isinstance(error, KeyError) else str(error)
    return Failed(row, type(error).__name__, detail)
