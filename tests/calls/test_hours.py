"""The clock of a run, in virtual time: when it strikes, whom it tells, and what is waited for until then."""

import asyncio

import pytest

from blackbox_kd.calls.budget import Budget
from blackbox_kd.calls.hours import Hours
from blackbox_kd.calls.limits.limiter import Limiter
from blackbox_kd.calls.retries import EndpointState, Patience, Tries
from blackbox_kd.errors import BudgetReached, HoursOver, QuotaSpent, ServerFault
from tests.support.virtual_time import run


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("hours", [8, 0.5, 1e-6])
def test_it_strikes_at_its_hour(hours: float) -> None:
    async def main() -> float:
        struck: list[float] = []
        began = now()
        with Hours(hours).count(lambda error: struck.append(now())):
            await asyncio.sleep(100 * 3600)
        return struck[0] - began

    assert run(main()) == pytest.approx(hours * 3600, abs=1e-3)


@pytest.mark.parametrize("hours", [8, None])
def test_it_does_not_strike_after_the_run_has_ended_nor_without_hours(hours: float | None) -> None:
    async def main() -> list[HoursOver]:
        struck: list[HoursOver] = []
        with Hours(hours).count(struck.append):
            await asyncio.sleep(7 * 3600)
        await asyncio.sleep(7 * 3600)
        return struck

    assert run(main()) == []


def test_what_is_left_is_told_and_is_nothing_without_hours() -> None:
    async def main() -> tuple[float, float]:
        hours, none = Hours(8), Hours(None)
        with hours.count(lambda error: None), none.count(lambda error: None):
            await asyncio.sleep(2 * 3600)
            return hours.find_left_s(), none.find_left_s()

    assert run(main()) == (6 * 3600, 0)


def test_who_waits_for_room_is_told_and_who_is_under_way_ends() -> None:
    async def main() -> tuple[list[object], float]:
        budget, limiter = Budget(requests=1, hours=8), Limiter("endpoint", 1)

        def stop(error: HoursOver) -> None:
            budget.stop(error)
            limiter.stop(error)

        with budget.hours.count(stop):
            slot, under_way = await limiter.acquire(1), budget.reserve(None, 1)
            waiting = [asyncio.ensure_future(budget.wait(None, 1)), asyncio.ensure_future(limiter.acquire(1))]
            found: list[object] = list(await asyncio.gather(*waiting, return_exceptions=True))
            at = now()
            limiter.note_reply(slot, {}, 1)
            budget.release(under_way)
            with pytest.raises(HoursOver, match=r"budget\.hours = 8 are over") as caught:
                budget.reserve(None, 1)
            return [*found, caught.value], at - 1000

    found, at = run(main())
    assert [type(error) for error in found] == [HoursOver] * 3
    assert at == pytest.approx(8 * 3600)


@pytest.mark.parametrize(
    ("hours", "pause_s", "is_waited_for"),
    [(None, 600, True), (None, 601, False), (8, 7 * 3600, True), (8, 9 * 3600, False), (0.01, 500, True)],
)
def test_a_named_pause_is_waited_for_within_ten_minutes_or_the_hours(
    hours: float | None, pause_s: float, is_waited_for: bool
) -> None:
    async def main() -> type[Exception]:
        budget = Budget(hours=hours)
        with budget.hours.count(lambda error: None):
            endpoint = EndpointState(Limiter("endpoint", 1))
            fault = ServerFault("429", kind="rate_limit", retry_after_s=pause_s)
            return type(Patience(600, budget.hours.find_left_s).grade(endpoint, Tries(), fault))

    assert run(main()) is (ServerFault if is_waited_for else QuotaSpent)


def test_an_endpoint_whose_long_pause_was_waited_for_is_given_its_time_anew() -> None:
    async def main() -> float:
        limiter, began = Limiter("endpoint", 1), now()
        limiter.note_refusal(await limiter.acquire(1), 2 * 3600.0)
        limiter.note_refusal(await limiter.acquire(1), 10.0)
        limiter.note_reply(await limiter.acquire(1), {}, 1)
        return now() - began

    assert run(main()) >= 2 * 3600 + 10


def test_a_run_that_is_stopped_says_the_first_reason() -> None:
    budget = Budget()
    budget.stop(HoursOver("first"))
    budget.stop(BudgetReached("second"))
    with pytest.raises(HoursOver, match="first"):
        budget.refuse_late()
