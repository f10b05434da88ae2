"""How soon all is well again after a stretch of time in which an endpoint refused everything."""

import asyncio

import pytest

from tests.support.simulated_servers import UNTOLD, Stretch, TokenBucket, drive, limiter, now
from tests.support.virtual_time import run

CALLS, IN_FLIGHT = 400, 64
ENDPOINTS = {"quick": (0.1, 0.005), "of today": (1.0, 0.05), "slow": (5.0, 0.1)}
"""Seconds of a reply, and of a refusal."""
SAYS = {"nothing": UNTOLD, "a second": 1.0, "the rest": None}


async def drive_through(stretch: Stretch, calls: int = CALLS) -> tuple[float, int]:
    """How much longer all calls take than without the stretch, as a share of it; and what was refused."""
    took = await drive(limiter(IN_FLIGHT), stretch, calls)
    undisturbed = await drive(limiter(IN_FLIGHT), Stretch(0, 0, stretch.latency_s, stretch.refusal_s, UNTOLD), calls)
    return (took - undisturbed) / stretch.stretch_s, stretch.refused


@pytest.mark.parametrize("says", SAYS)
@pytest.mark.parametrize("first", [0, 60, 200])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("stretch_s", [2, 8, 30])
def test_a_stretch_of_refusals_costs_less_than_twice_its_length(
    stretch_s: float, endpoint: str, first: int, says: str
) -> None:
    async def main() -> tuple[float, int]:
        return await drive_through(Stretch(stretch_s, first, *ENDPOINTS[endpoint], SAYS[says]))

    lost, refused = run(main())
    assert lost < 2
    assert 1 <= refused <= 50


@pytest.mark.parametrize("says", SAYS)
def test_a_later_stretch_costs_no_more_than_the_first(says: str) -> None:
    async def main() -> list[float]:
        limits, lost = limiter(IN_FLIGHT), []
        undisturbed = await drive(limits, Stretch(0, 0, 1.0, 0.05, UNTOLD), 4000)
        for _ in range(3):
            took = await drive(limits, Stretch(8, 1000, 1.0, 0.05, SAYS[says]), 4000)
            lost.append((took - undisturbed) / 8)
        return lost

    assert max(run(main())) < 2


def test_an_endpoint_that_admits_so_many_a_minute_is_refused_by_it_now_and_then_only() -> None:
    class Minute:
        """Allows 30 requests in every minute of its clock; says nothing about when to come back."""

        def __init__(self) -> None:
            self.minute, self.count, self.refused = 0, 0, 0

        async def __call__(self) -> float | None:
            if self.minute != now() // 60:
                self.minute, self.count = int(now() // 60), 0
            self.count += 1
            is_refused = self.count > 30
            self.refused += is_refused
            await asyncio.sleep(0.01 if is_refused else 0.2)
            return UNTOLD if is_refused else None

    async def main() -> tuple[float, int]:
        server = Minute()
        return await drive(limiter(IN_FLIGHT), server, 300), server.refused

    took, refused = run(main())
    assert took < 11 * 60
    assert refused <= 10 * 10


def test_an_endpoint_that_admits_three_a_minute_is_asked_little_more_often_than_that() -> None:
    async def main() -> tuple[float, int]:
        server = TokenBucket(3 / 60, 3, 0.5)
        return await drive(limiter(IN_FLIGHT), server, 60), server.refused

    took, refused = run(main())
    assert took < 57 / (3 / 60) * 1.3
    assert refused <= 2 * 60


def test_a_request_that_was_given_leave_and_not_sent_leaves_it_to_the_next_one_to_go_ahead() -> None:
    async def main() -> list[float]:
        limits, pauses = limiter(IN_FLIGHT), []
        limits.note_reply(await limits.acquire(1), {}, 1)
        for _ in range(4):
            slot = await limits.acquire(1)
            began = now()
            limits.note_refusal(slot, None)
            limits.withdraw(await limits.acquire(1))
            pauses.append(now() - began)
        return pauses

    pauses = run(main())
    assert pauses == sorted(pauses)


def test_replies_to_requests_from_before_a_stretch_do_not_end_it() -> None:
    async def main() -> list[float]:
        limits, pauses = limiter(IN_FLIGHT), []
        before = [await limits.acquire(1) for _ in range(5)]
        for old in before:
            slot = await limits.acquire(1)
            began = now()
            limits.note_refusal(slot, None)
            limits.note_reply(old, {}, 1)
            limits.withdraw(await limits.acquire(1))
            pauses.append(now() - began)
        return pauses

    pauses = run(main())
    assert pauses == sorted(pauses)
    assert pauses[-1] > 4 * pauses[0]
