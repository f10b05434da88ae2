"""How rows move through the row steps of a segment, with steps that wait for each other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blackbox_kd.engine.context import RunContext
from blackbox_kd.engine.row_errors import Mistakes
from blackbox_kd.engine.segment import Segment
from blackbox_kd.errors import CallError, DataError, StepError
from blackbox_kd.runs.accounts import Account
from blackbox_kd.schema import Dropped, Failed, Outcome, Row
from blackbox_kd.sdk import StepConfig
from tests.support.fakes import FakeTable

Step = Callable[..., Any]


async def stream(
    *steps: Step, rows: int = 3, window: int = 8, books: list[Account] | None = None
) -> tuple[list[tuple[int, str, Outcome]], list[Account]]:
    """What leaves a segment, in the order in which it does, and the accounts of its steps."""
    planned: list[Any] = [
        SimpleNamespace(
            step=SimpleNamespace(run=step, file=Path(__file__), code="a step of one's own"),
            config=StepConfig(step=step.__name__),
            label=step.__name__,
            round=0,
            list_names=lambda kind: [],
        )
        for step in steps
    ]
    shared: Any = SimpleNamespace(
        recipe=SimpleNamespace(head=SimpleNamespace(seed=7)), mistakes=Mistakes(), models=None
    )
    books = [] if books is None else books
    books += [Account(step.__name__) for step in steps]
    left: list[tuple[int, str, Outcome]] = []
    segment = Segment(planned, books, shared, lambda *what: left.append(what), window)
    await segment.run(FakeTable("t", [Row(id=f"r{number}") for number in range(rows)]))
    for book in books:
        book.check()
    return left, books


def ids(left: list[tuple[int, str, Outcome]]) -> list[str]:
    return [outcome.id for _, _, outcome in left if isinstance(outcome, Row)]


async def copies(row: Row, config: None, ctx: object) -> AsyncIterator[Outcome]:
    for sample in range(4):
        yield row.child(str(sample), {"sample": sample})


async def keeps(row: Row, config: None, ctx: object) -> Row:
    return row


async def test_rows_that_a_step_makes_at_once_all_go_through_the_later_steps() -> None:
    left, books = await stream(copies, keeps)
    assert sorted(ids(left)) == [f"r{row}.{sample}" for row in range(3) for sample in range(4)]
    assert {number: sum(each == number for each, _, _ in left) for number in range(3)} == {0: 4, 1: 4, 2: 4}
    assert [(book.rows_in, book.added, book.out) for book in books] == [(3, 9, 12), (12, 0, 12)]


async def test_a_row_goes_on_while_its_step_still_makes_others_of_the_same_row() -> None:
    arrived = asyncio.Event()

    async def waits_for_the_first(row: Row, config: None, ctx: object) -> AsyncIterator[Outcome]:
        yield row.child("0", {})
        await asyncio.wait_for(arrived.wait(), 10)
        yield row.child("1", {})

    async def tells(row: Row, config: None, ctx: object) -> Row:
        arrived.set()
        return row

    left, _ = await stream(waits_for_the_first, tells, rows=1)
    assert ids(left) == ["r0.0", "r0.1"]


async def test_a_row_that_waits_in_a_later_step_delays_none_of_its_siblings() -> None:
    last = asyncio.Event()

    async def the_first_waits_for_the_last(row: Row, config: None, ctx: object) -> Row:
        if row["sample"] == 0:
            await asyncio.wait_for(last.wait(), 10)
        if row["sample"] == 3:
            last.set()
        return row

    left, _ = await stream(copies, the_first_waits_for_the_last, rows=1)
    assert sorted(ids(left)) == ["r0.0", "r0.1", "r0.2", "r0.3"]
    assert ids(left)[-1] == "r0.0"


async def test_a_step_that_fails_after_some_rows_loses_none_of_them() -> None:
    async def breaks(row: Row, config: None, ctx: object) -> AsyncIterator[Outcome]:
        yield row.child("0", {})
        raise ValueError("no more")

    left, books = await stream(breaks, keeps, rows=2)
    assert sorted(ids(left)) == ["r0.0", "r1.0"]
    assert [outcome.kind for _, _, outcome in left if isinstance(outcome, Failed)] == ["ValueError"] * 2
    assert (books[0].added, dict(books[0].failed)) == (2, {"ValueError": 2})


async def test_what_ends_the_run_in_a_later_step_ends_it_once_its_siblings_are_done() -> None:
    done: list[int] = []

    async def stops(row: Row, config: None, ctx: object) -> Row:
        if row["sample"] == 3:
            raise StepError("the disk is full")
        await asyncio.sleep(0)
        done.append(row["sample"])
        return row

    with pytest.raises(StepError, match="the disk is full"):
        await stream(copies, stops, rows=1)
    assert sorted(done) == [0, 1, 2]


async def test_rows_that_were_broken_off_are_in_and_neither_added_nor_out() -> None:
    async def stops(row: Row, config: None, ctx: object) -> AsyncIterator[Outcome]:
        await asyncio.sleep(0)
        if row.id != "r0":
            raise StepError("the disk is full")
        yield row.child("0", {})

    books: list[Account] = []
    with pytest.raises(StepError, match="the disk is full"):
        await stream(stops, books=books)
    assert (books[0].rows_in, books[0].added, books[0].out) == (3, 0, 1)


async def test_rows_that_are_made_of_one_row_fan_out_again_and_can_be_dropped() -> None:
    async def drops_odd(row: Row, config: None, ctx: object) -> Row | Dropped:
        return row if row["sample"] % 2 == 0 else Dropped(row, "odd")

    left, books = await stream(copies, copies, drops_odd, rows=2)
    assert len(ids(left)) == 2 * 4 * 2
    assert books[2].dropped == {"odd": 2 * 4 * 2}


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (CallError("cut off", kind="truncated"), "truncated", "cut off"),
        (DataError("no number"), "data", "no number"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError", "division by zero"),
    ],
)
async def test_an_error_of_a_row_fails_it_in_a_table_step_as_in_a_row_step(
    error: Exception, kind: str, text: str
) -> None:
    async def fails(row: Row, config: None, ctx: object) -> Row:
        raise error

    async def fails_later(row: Row, config: None, ctx: RunContext) -> AsyncIterator[Outcome]:
        async for outcome in ctx.each([row], lambda row: fails(row, config, ctx)):  # type: ignore[arg-type, return-value]
            yield outcome

    for step in (fails, fails_later):
        left, _ = await stream(step, rows=1)
        assert [outcome for _, _, outcome in left] == [Failed(Row(id="r0"), kind, text)]


async def test_an_error_that_is_no_rows_own_ends_the_run() -> None:
    async def stops(row: Row, config: None, ctx: object) -> Row:
        raise StepError("the model is gone")

    with pytest.raises(StepError, match="the model is gone"):
        await stream(stops, rows=1)
