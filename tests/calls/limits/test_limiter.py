"""The limiter against servers that are simulated in virtual time: what they refuse, and how long all takes."""

import asyncio
import random
from itertools import pairwise

import pytest

from blackbox_kd.calls.limits.limiter import Limiter, Slot
from blackbox_kd.errors import EndpointRefused, ServerFault
from tests.support.simulated_servers import Lognormal, Queue, Serve, TokenBucket, Window, drive, limiter, now
from tests.support.virtual_time import run


async def sends(limits: Limiter, count: int, tokens: int = 100) -> list[float]:
    """When so many requests may be sent, each answered at once."""
    times = []
    for _ in range(count):
        slot = await limits.acquire(tokens)
        times.append(now())
        limits.note_reply(slot, {}, tokens)
    return times


class TestConcurrency:
    def test_never_more_than_the_most_are_in_flight(self) -> None:
        async def main() -> int:
            limits, flying, most = limiter(5), 0, 0

            async def serve() -> None:
                nonlocal flying, most
                flying, most = flying + 1, max(most, flying + 1)
                await asyncio.sleep(1)
                flying -= 1

            await drive(limits, serve, 50)
            return most

        assert run(main()) == 5

    def test_an_endpoint_without_limits_is_soon_used_in_full(self) -> None:
        async def bare(serve: Serve, calls: int, workers: int) -> float:
            began, left = now(), iter(range(calls))

            async def work() -> None:
                for _ in left:
                    await serve()

            await asyncio.gather(*(work() for _ in range(workers)))
            return now() - began

        async def main() -> float:
            alone = await bare(Lognormal(1, 0.8), 3000, 128)
            return await drive(limiter(128), Lognormal(1, 0.8), 3000) / alone

        assert run(main()) < 1.05

    def test_a_long_tail_of_latencies_is_not_taken_for_saturation(self) -> None:
        async def main() -> int:
            limits = limiter(128)
            await drive(limits, Lognormal(5, 0.8), 10_000)
            return limits.concurrency

        assert run(main()) == 128

    def test_a_server_that_gets_slower_but_not_faster_gets_less_at_once(self) -> None:
        async def main() -> int:
            limits = limiter(64)
            server = Queue(64, 1)
            await drive(limits, server, 1000)
            assert limits.concurrency == 64
            server.gate = asyncio.Semaphore(8)
            await drive(limits, server, 1500)
            return limits.concurrency

        assert run(main()) < 64

    def test_longer_replies_are_not_taken_for_saturation_for_good(self) -> None:
        async def main() -> int:
            limits = limiter(64)
            await drive(limits, Lognormal(1, 0.3), 2000)
            await drive(limits, Lognormal(10, 0.3), 6000)
            return limits.concurrency

        assert run(main()) == 64

    def test_a_few_faults_in_a_hundred_change_nothing_but_many_do(self) -> None:
        async def main() -> tuple[int, int]:
            limits, chance = limiter(64), random.Random(1)

            async def some(share: float) -> int:
                for _ in range(300):
                    slot = await limits.acquire(100)
                    await asyncio.sleep(0.1)
                    if chance.random() < share:
                        limits.note_fault(slot)
                    else:
                        limits.note_reply(slot, {}, 100)
                return limits.concurrency

            return await some(0.02), await some(0.6)

        few, many = run(main())
        assert few == 64
        assert many < 16

    def test_the_stricter_of_two_models_limits_their_endpoint(self) -> None:
        limits = limiter(64)
        limits.narrow(4, None, None)
        limits.narrow(32, None, None)
        assert limits.concurrency == 4

    def test_who_stops_waiting_leaves_its_place_to_others(self) -> None:
        async def main() -> None:
            limits = limiter(1)
            slot = await limits.acquire(1)
            waiting = [asyncio.ensure_future(limits.acquire(1)) for _ in range(3)]
            await asyncio.sleep(0.1)
            waiting[0].cancel()
            limits.note_reply(slot, {}, 1)
            waiting[1].cancel()  # it has leave by now, but has not run yet
            limits.note_reply(await waiting[2], {}, 1)
            limits.note_reply(await limits.acquire(1), {}, 1)

        run(main())


class TestRates:
    def test_requests_a_minute_are_spread_evenly(self) -> None:
        async def main() -> list[float]:
            return await sends(limiter(rpm=60), 10)

        times = run(main())
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert all(0.9 < gap < 1.1 for gap in gaps)

    def test_tokens_a_minute_are_counted_as_they_were_used(self) -> None:
        async def main() -> list[float]:
            limits = limiter(tpm=6000)  # a hundred a second
            return await sends(limits, 10, tokens=500)

        times = run(main())
        assert times[-1] - times[-2] == pytest.approx(5, abs=0.1)
        assert times[-1] - times[0] == pytest.approx(45, abs=5)

    @pytest.mark.parametrize("latency_s", [0.005, 0.1, 0.5])
    def test_the_rate_that_a_server_allows_is_found_with_few_refusals(self, latency_s: float) -> None:
        async def main() -> tuple[float, int]:
            server = TokenBucket(50, 50, latency_s)
            return await drive(limiter(128), server, 1000), server.refused

        took, refused = run(main())
        assert refused <= 50
        assert took < 20 * 1.08

    @pytest.mark.parametrize("burst", [2, 10, 25, 100])
    def test_it_is_found_too_when_bursts_are_smaller_or_larger_than_a_second_allows(self, burst: int) -> None:
        async def main() -> tuple[float, int]:
            server = TokenBucket(50, burst, 0.05)
            return await drive(limiter(128), server, 1000), server.refused

        took, refused = run(main())
        assert refused <= 50
        assert took < 20 * 1.25

    @pytest.mark.parametrize(("per_s", "latency_s"), [(1, 0.05), (5, 0.5), (200, 0.05), (1000, 0.01)])
    def test_slow_and_fast_limits_are_found_with_few_refusals_too(self, per_s: int, latency_s: float) -> None:
        async def main() -> tuple[float, int]:
            server = TokenBucket(per_s, per_s, latency_s)
            return await drive(limiter(128), server, 20 * per_s), server.refused

        took, refused = run(main())
        assert refused <= 50
        assert took < 20 * 1.3

    def test_an_endpoint_without_limits_that_answers_quickly_is_at_full_speed_at_once(self) -> None:
        async def main() -> float:
            return await drive(limiter(128), TokenBucket(1e9, 1e9, 0.005), 5000)

        assert run(main()) < 0.15 + 5000 / 128 * 0.006

    def test_it_is_found_where_requests_are_counted_by_the_second(self) -> None:
        async def main() -> tuple[float, int]:
            server = Window(50)
            return await drive(limiter(128), server, 1000), server.refused

        took, refused = run(main())
        assert refused <= 50
        assert took < 20 * 1.1

    def test_a_raised_limit_is_noticed(self) -> None:
        async def main() -> float:
            server = TokenBucket(20, 20, 0.05)
            limits = limiter(128)
            await drive(limits, server, 1000)
            server.per_s = server.burst = 200
            await drive(limits, server, 3000)
            return await drive(limits, server, 2000)

        assert run(main()) < 2000 / 20 / 4

    def test_headers_that_report_little_left_slow_the_sending_to_what_comes_back(self) -> None:
        async def main() -> list[float]:
            limits = limiter()
            low = {
                "x-ratelimit-limit-requests": "600",
                "x-ratelimit-remaining-requests": "30",
                "x-ratelimit-reset-requests": "57s",
            }
            limits.note_reply(await limits.acquire(1), low, 1)
            return await sends(limits, 11)

        times = run(main())
        assert times[-1] - times[0] == pytest.approx(1.0, abs=0.1)

    def test_headers_that_report_much_left_change_nothing(self) -> None:
        async def main() -> list[float]:
            limits = limiter()
            await drive(limits, TokenBucket(1e9, 1e9, 0), 500)
            high = {
                "anthropic-ratelimit-requests-limit": "600",
                "anthropic-ratelimit-requests-remaining": "599",
                "anthropic-ratelimit-requests-reset": "2020-01-01T00:00:00Z",
            }
            limits.note_reply(await limits.acquire(1), high, 1)
            return await sends(limits, 11)

        times = run(main())
        assert times[-1] == times[0]


class TestPauses:
    @pytest.mark.parametrize(
        ("headers", "pause_s"),
        [
            ({"x-ratelimit-remaining": "0"}, 1),
            ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "12"}, 12),
            ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "6m0s"}, 60),
            ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9999999999999"}, 60),
            ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": "12"}, 0),
            ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2020-01-01T00:00:00Z"}, 0),
            ({"x-ratelimit-remaining": "own: none"}, 0),
        ],
    )
    def test_a_reply_that_uses_up_a_quota_without_a_name_holds_the_next_one_back(
        self, headers: dict[str, str], pause_s: float
    ) -> None:
        async def main() -> float:
            limits = limiter()
            limits.note_reply(await limits.acquire(1), headers, 1)
            began = now()
            await limits.acquire(1)
            return now() - began

        assert run(main()) == pytest.approx(pause_s, abs=0.05)

    def test_a_retry_after_holds_for_all_calls_to_the_endpoint(self) -> None:
        async def main() -> float:
            limits = limiter()
            refused, other = await limits.acquire(1), await limits.acquire(1)
            limits.note_refusal(refused, 200.0)
            limits.note_reply(other, {}, 1)
            began = now()
            await limits.acquire(1)
            return now() - began

        assert 200 <= run(main()) <= 200 * 1.05

    def test_leave_given_before_a_refusal_is_known_to_be_held_back(self) -> None:
        async def main() -> tuple[bool, bool]:
            limits = limiter()
            first, second = await limits.acquire(1), await limits.acquire(1)
            before = limits.is_held_back(second)
            await asyncio.sleep(0.01)
            limits.note_refusal(first, 1.0)
            return before, limits.is_held_back(second)

        assert run(main()) == (False, True)

    def test_without_a_retry_after_pauses_get_longer(self) -> None:
        async def main() -> list[float]:
            limits, pauses = limiter(), []
            for _ in range(5):
                slot = await limits.acquire(1)
                began = now()
                limits.note_refusal(slot, None)
                limits.withdraw(await limits.acquire(1))
                pauses.append(now() - began)
            return pauses

        pauses = run(main())
        assert pauses == sorted(pauses)
        assert pauses[-1] > 4 * pauses[0]

    def test_the_pause_of_a_broken_server_is_kept_too(self) -> None:
        async def main() -> float:
            limits = limiter()
            slot = await limits.acquire(1)
            began = now()
            limits.note_fault(slot, 30.0)
            await limits.acquire(1)
            return now() - began

        assert run(main()) == pytest.approx(30)


class TestOutages:
    async def fail(self, limits: Limiter, count: int) -> None:
        for _ in range(count):
            limits.note_fault(await limits.acquire(1))

    def test_an_endpoint_that_fails_everything_is_probed_by_one_call_at_a_time(self) -> None:
        async def main() -> list[int]:
            limits = limiter(64)
            await self.fail(limits, 20)
            flying, seen = 0, []

            async def work() -> None:
                nonlocal flying
                slot = await limits.acquire(1, again=True)
                flying += 1
                seen.append(flying)
                await asyncio.sleep(5)
                flying -= 1
                limits.note_fault(slot)

            working = [asyncio.ensure_future(work()) for _ in range(10)]
            await asyncio.sleep(60)
            for task in working:
                task.cancel()
            return seen

        seen = run(main())
        assert set(seen) == {1}
        assert 2 <= len(seen) <= 5

    def test_a_probe_that_succeeds_opens_the_endpoint_again(self) -> None:
        async def main() -> float:
            limits = limiter(16)
            await self.fail(limits, 20)
            limits.note_reply(await limits.acquire(1), {}, 1)
            return await drive(limits, TokenBucket(1e9, 1e9, 0.1), 200)

        assert run(main()) < 200 * 0.1 / 2

    def test_faults_are_the_endpoints_once_it_is_out_and_the_calls_own_before(self) -> None:
        async def main() -> list[bool]:
            limits = limiter(64)
            slots: list[Slot] = [await limits.acquire(1) for _ in range(25)]
            return [limits.note_fault(slot) for slot in slots]

        assert run(main()) == [False] * 19 + [True] * 6

    def test_after_enough_patience_all_who_wait_are_told(self) -> None:
        async def main() -> list[BaseException | Slot]:
            limits = limiter(64, patience_s=100)

            async def work() -> Slot:
                while True:
                    slot = await limits.acquire(1, again=True)
                    await asyncio.sleep(0.1)
                    limits.note_fault(slot)

            return await asyncio.gather(*(work() for _ in range(30)), return_exceptions=True)

        errors = run(main())
        assert all(isinstance(error, ServerFault) and error.kind == "outage" for error in errors)
        assert "no reply for more than 100 s" in str(errors[0])

    def test_an_endpoint_that_only_refuses_is_given_up_as_well(self) -> None:
        async def main() -> None:
            limits = limiter(4, patience_s=100)
            while True:
                limits.note_refusal(await limits.acquire(1), 10.0)

        with pytest.raises(ServerFault, match="no reply for more than 100 s") as caught:
            run(main())
        assert caught.value.kind == "outage"

    def test_a_call_that_is_given_up_as_probe_lets_another_one_probe(self) -> None:
        async def main() -> None:
            limits = limiter(4)
            await self.fail(limits, 20)
            probe = await limits.acquire(1)
            limits.withdraw(probe)
            limits.note_reply(await limits.acquire(1), {}, 1)

        run(main())

    def test_a_stopped_endpoint_sends_all_who_wait_and_all_who_come_away(self) -> None:
        async def main() -> list[BaseException | Slot]:
            limits = limiter(1)
            await limits.acquire(1)
            waiting = [asyncio.ensure_future(limits.acquire(1)) for _ in range(3)]
            await asyncio.sleep(0)
            limits.stop(EndpointRefused("no such model", kind="endpoint_refused"))
            late = asyncio.ensure_future(limits.acquire(1))
            return await asyncio.gather(*waiting, late, return_exceptions=True)

        assert [str(error) for error in run(main())] == ["no such model"] * 4


@pytest.mark.parametrize("retry_after_s", [None, 1.0, 30.0])
def test_refusals_that_go_on_are_told_with_the_endpoints_words_and_again_every_minute(
    caplog: pytest.LogCaptureFixture, retry_after_s: float | None
) -> None:
    async def main() -> None:
        limits = limiter()
        until = now() + 150
        while now() < until:
            slot = await limits.acquire(1)
            await asyncio.sleep(0.1)
            limits.note_refusal(slot, retry_after_s, "429 Too Many Requests: tier full")

    run(main())
    assert 2 <= len(caplog.messages) <= 3
    assert caplog.messages[0] == (
        "endpoint: it refuses all calls; it is waited for, up to 600 s, and asked now and then; it last said: 429 Too "
        "Many Requests: tier full"
    )


def test_own_a_refusal_now_and_then_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        limits = limiter()
        for number in range(60):
            slot = await limits.acquire(1)
            await asyncio.sleep(0.5)
            if number % 3:
                limits.note_reply(slot, {}, 1)
            else:
                limits.note_refusal(slot, 1.0, "429")

    run(main())
    assert caplog.messages == []
