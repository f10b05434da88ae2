import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest

from blackbox_kd.concurrency import in_order, run_all


async def test_a_slow_item_delays_nobody_else() -> None:
    ended: list[int] = []
    release = asyncio.Event()

    async def work(number: int, item: int) -> None:
        if item == 0:
            await release.wait()
        ended.append(item)
        if len(ended) == 9:
            release.set()

    await run_all(range(10), work, window=4)
    assert ended[-1] == 0
    assert sorted(ended) == list(range(10))


async def test_no_more_than_the_window_is_taken_from_the_source_at_once() -> None:
    taken, ended, most = 0, 0, 0

    def source() -> "object":
        nonlocal taken
        for number in range(50):
            taken += 1
            yield number

    async def work(number: int, item: int) -> None:
        nonlocal ended, most
        most = max(most, taken - ended)
        await asyncio.sleep(0)
        ended += 1

    await run_all(source(), work, window=5)  # type: ignore[arg-type]
    assert ended == 50
    assert most <= 6


async def test_the_first_error_stops_the_taking_but_what_began_is_finished() -> None:
    ended: list[int] = []

    async def work(number: int, item: int) -> None:
        if item == 2:
            raise ValueError("two")
        await asyncio.sleep(0.01)
        ended.append(item)

    with pytest.raises(ValueError, match="two"):
        await run_all(range(1000), work, window=3)
    assert ended
    assert max(ended) < 10


async def test_results_come_in_the_order_of_the_items() -> None:
    async def work(item: int) -> int:
        await asyncio.sleep(0.01 if item % 2 else 0)
        return item

    assert [result async for result in in_order(range(20), work, window=4)] == list(range(20))


async def test_after_an_error_the_work_that_began_is_finished_and_none_of_it_is_cut_off() -> None:
    ended: list[int] = []

    async def work(item: int) -> int:
        if item == 0:
            raise ValueError("zero")
        await asyncio.sleep(0.01)
        ended.append(item)
        return item

    with pytest.raises(ValueError, match="zero"):
        [result async for result in in_order(range(20), work, window=4)]
    assert ended == [1, 2, 3]


async def test_work_that_never_waits_lets_others_run() -> None:
    turns: list[int] = []

    async def other() -> None:
        while True:
            turns.append(len(ended))
            await asyncio.sleep(0)

    ended: list[int] = []

    async def work(number: int, item: int) -> None:
        ended.append(item)

    watching = asyncio.ensure_future(other())
    await run_all(range(1000), work, window=4)
    watching.cancel()
    assert ended == list(range(1000))
    assert max(later - earlier for earlier, later in pairwise(turns)) < 200


async def test_a_source_that_breaks_ends_the_run_once_what_began_is_finished() -> None:
    ended: list[int] = []

    def source() -> Iterator[int]:
        yield from range(3)
        raise ValueError("line 4 is no JSON")

    async def work(number: int, item: int) -> None:
        await asyncio.sleep(0.01)
        ended.append(item)

    with pytest.raises(ValueError, match="line 4 is no JSON"):
        await run_all(source(), work, window=8)
    assert sorted(ended) == [0, 1, 2]


async def test_who_is_cancelled_cancels_the_work() -> None:
    begun, ended, is_full = [], [], asyncio.Event()

    async def work(number: int, item: int) -> None:
        begun.append(item)
        if len(begun) == 3:
            is_full.set()
        await asyncio.sleep(60)
        ended.append(item)

    running = asyncio.ensure_future(run_all(range(100), work, window=3))
    await is_full.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (begun, ended) == ([0, 1, 2], [])
