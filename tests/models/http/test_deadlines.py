"""Deadlines that share a timer: who is ended, when, and who is left alone; in virtual time."""

import asyncio

import pytest

from blackbox_kd.models.http.deadlines import Deadlines
from tests.support.virtual_time import run


async def work(deadlines: Deadlines, seconds: float) -> str:
    task = deadlines.begin()
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if not deadlines.is_over(task):
            raise
        return f"over at {asyncio.get_running_loop().time() - 1000:g}"
    finally:
        deadlines.end(task)
    return "done"


def test_each_is_ended_at_its_own_time_and_the_quick_ones_never() -> None:
    async def main() -> list[str]:
        deadlines = Deadlines(10)

        async def later(delay: float, seconds: float) -> str:
            await asyncio.sleep(delay)
            return await work(deadlines, seconds)

        return await asyncio.gather(later(0, 60), later(1, 2), later(3, 60), later(4, 9.5), later(50, 60))

    assert run(main()) == ["over at 10", "done", "over at 13", "done", "over at 60"]


def test_a_task_goes_on_after_its_deadline_and_has_a_new_one_the_next_time() -> None:
    async def main() -> list[str]:
        deadlines = Deadlines(10)
        return [await work(deadlines, seconds) for seconds in (60, 2, 60)]

    assert run(main()) == ["over at 10", "done", "over at 22"]


def test_who_is_cancelled_by_another_is_cancelled_also_when_the_time_is_up() -> None:
    async def main(cancelled_at: float) -> int:
        deadlines = Deadlines(10)
        task = asyncio.ensure_future(work(deadlines, 60))
        asyncio.get_running_loop().call_later(cancelled_at, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(deadlines._due) + len(deadlines._late)

    assert [run(main(at)) for at in (5, 10)] == [0, 0]


def test_a_time_out_around_it_is_told_apart() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await work(Deadlines(10), 60)

    run(main())


def test_when_nothing_is_under_way_no_timer_is_left() -> None:
    async def main() -> None:
        deadlines = Deadlines(10)
        await work(deadlines, 1)
        await asyncio.sleep(10)
        assert deadlines._timer is None
        await work(deadlines, 1)
        deadlines.close()
        assert deadlines._timer is None

    run(main())
