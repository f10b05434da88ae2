"""The spending contract: what is reserved, what is counted, and what the user reads at the end of the money."""

import asyncio
import random

import pytest

from blackbox_kd.calls.budget import Budget, Reservation
from blackbox_kd.errors import BudgetReached, SetupError
from blackbox_kd.ledger.ledger import Spent
from blackbox_kd.schema import Usage

USAGE = Usage(prompt_tokens=60, completion_tokens=40)


def message_of(budget: Budget, usd: float | None = 0.5, tokens: int = 100) -> str:
    with pytest.raises(BudgetReached) as caught:
        budget.reserve(usd, tokens, model="teacher")
    return str(caught.value)


class TestLimits:
    def test_without_limits_everything_fits(self) -> None:
        budget = Budget(spent=Spent(requests=10**9, tokens=10**12, usd=1e9))
        for _ in range(1000):
            budget.reserve(1e6, 10**9)
        budget.reserve(None, 10**9)

    def test_calls_fit_until_the_limit_is_used_up_exactly(self) -> None:
        budget = Budget(usd=1.0)
        for _ in range(10):  # ten times 0.1 is a little more than 1 in floating point
            budget.reserve(0.1, 100)
        assert "budget.usd = 1.0" in message_of(budget, usd=0.001)

    def test_requests_and_tokens_are_limits_of_their_own(self) -> None:
        requests = Budget(requests=2)
        requests.reserve(None, 100)
        requests.reserve(None, 100)
        assert "budget.requests = 2" in message_of(requests, usd=None)
        tokens = Budget(tokens=250)
        tokens.reserve(None, 100)
        tokens.reserve(None, 150)
        assert "budget.tokens = 250" in message_of(tokens, usd=None, tokens=1)

    def test_a_limit_of_zero_means_none(self) -> None:
        assert "budget.requests = 0" in message_of(Budget(requests=0), usd=0.0, tokens=0)
        assert "budget.tokens = 0" in message_of(Budget(tokens=0), usd=0.0, tokens=1)
        assert "budget.usd = 0" in message_of(Budget(usd=0), usd=1e-9)

    def test_a_call_that_is_free_fits_into_no_money(self) -> None:
        Budget(usd=0).reserve(0.0, 10**6)

    def test_a_refused_call_reserves_nothing(self) -> None:
        budget = Budget(usd=1.0, tokens=100)
        message_of(budget, usd=0.9, tokens=101)
        budget.reserve(1.0, 100)

    def test_what_earlier_invocations_spent_counts(self) -> None:
        spent = Spent(requests=3, tokens=900, usd=0.75)
        budget = Budget(usd=1.0, requests=5, tokens=1200, spent=spent)
        budget.reserve(0.25, 300)
        assert "$0.7500 of budget.usd = 1.0 spent" in message_of(budget)

    def test_what_may_have_been_lost_in_a_crash_counts_with_the_most_it_can_have_cost(self) -> None:
        spent = Spent(
            requests=1, tokens=100, usd=0.25, usd_unknown=0, doubtful=2, doubtful_tokens=400, doubtful_usd=0.5
        )
        message = message_of(Budget(usd=1.0, spent=spent), usd=0.5)
        assert "$0.7500 of budget.usd = 1.0 spent" in message
        assert "2 calls that were in flight when an earlier process ended count as spent" in message
        assert "500 tokens of budget.tokens = 550 spent" in message_of(Budget(tokens=550, spent=spent))

    def test_a_lost_call_takes_no_place_of_the_requests_which_count_replies(self) -> None:
        killed = Spent(requests=2, doubtful=16)
        budget = Budget(requests=4, spent=killed)
        budget.lose(budget.reserve(None, 100))
        for _ in range(2):
            budget.settle(budget.reserve(None, 100), USAGE, None)
        said = message_of(budget, usd=None)
        assert "4 requests of budget.requests = 4 spent" in said
        assert "in flight when an earlier process ended" not in said

    def test_a_limit_in_dollars_needs_a_price(self) -> None:
        with pytest.raises(SetupError) as caught:
            Budget(usd=5.0).reserve(None, 100, model="teacher")
        assert "budget.usd = 5.0 cannot be kept: no price is known for model 'teacher'" in str(caught.value)
        assert "fix: price: {input: ..., output: ...}" in str(caught.value)
        assert "models.teacher" in str(caught.value)


class TestSettling:
    def test_the_true_cost_replaces_the_reserved_one(self) -> None:
        budget = Budget(usd=1.0)
        budget.settle(budget.reserve(0.9, 1000), USAGE, 0.1)
        budget.settle(budget.reserve(0.9, 1000), USAGE, 0.1)
        assert "$0.2000 of budget.usd = 1.0 spent; the next call can take up to $0.9000" in message_of(budget, usd=0.9)

    def test_a_released_call_costs_nothing(self) -> None:
        budget = Budget(usd=1.0, requests=1, tokens=100)
        for _ in range(5):
            budget.release(budget.reserve(1.0, 100))
        budget.reserve(1.0, 100)

    def test_what_the_endpoint_does_not_say_counts_as_the_most_it_can_be(self) -> None:
        budget = Budget(usd=1.0, tokens=1000)
        budget.settle(budget.reserve(0.75, 600), Usage(), None)
        assert "$0.7500 of budget.usd = 1.0 spent" in message_of(budget, usd=0.3)
        assert "600 tokens of budget.tokens = 1000 spent" in message_of(budget, usd=0.0, tokens=500)

    def test_a_cost_above_the_reservation_is_counted_in_full(self) -> None:
        budget = Budget(usd=1.0)
        budget.settle(budget.reserve(0.1, 100), USAGE, 1.5)
        assert "$1.5000 of budget.usd = 1.0 spent" in message_of(budget, usd=0.0)

    def test_a_lost_call_is_booked_with_the_most_that_it_can_have_cost(self) -> None:
        budget = Budget(usd=1.0, tokens=1000)
        budget.lose(budget.reserve(0.75, 600))
        assert "$0.7500 of budget.usd = 1.0 spent" in message_of(budget, usd=0.3)
        assert "600 tokens of budget.tokens = 1000 spent" in message_of(budget, usd=0.0, tokens=500)

    def test_a_reservation_is_settled_once(self) -> None:
        budget = Budget(usd=1.0)
        reservation = budget.reserve(0.5, 100)
        budget.settle(reservation, USAGE, 0.25)
        budget.release(reservation)
        assert "$0.2500 of budget.usd = 1.0 spent;" in message_of(budget, usd=1.0)
        with pytest.raises(ValueError, match="settled or released before"):
            budget.settle(reservation, USAGE, 0.25)

    async def test_calls_side_by_side_never_break_the_limit(self) -> None:
        budget, chance = Budget(usd=1.0, tokens=10_000), random.Random(7)
        paid: list[float] = []

        async def call() -> None:
            most = chance.random() * 0.1
            reservation = await budget.wait(most, 100)
            await asyncio.sleep(chance.random() * 0.001)
            if chance.random() < 0.1:
                budget.release(reservation)
                return
            paid.append(most * chance.random())
            budget.settle(reservation, USAGE, paid[-1])

        results = await asyncio.gather(*[call() for _ in range(500)], return_exceptions=True)
        assert sum(paid) <= 1.0
        assert sum(isinstance(result, BudgetReached) for result in results) > 300
        assert len(paid) > 15, "most of a call's reservation comes back, so that more calls fit than their most says"


class TestWaiting:
    async def test_a_call_waits_for_calls_in_flight_that_can_leave_room(self) -> None:
        budget = Budget(usd=1.0)
        first = budget.reserve(0.75, 100)
        second = asyncio.create_task(budget.wait(0.75, 100))
        await asyncio.sleep(0)
        assert not second.done()
        budget.settle(first, USAGE, 0.1)
        assert (await second).usd == 0.75

    async def test_it_stops_when_the_calls_in_flight_did_not_leave_enough(self) -> None:
        budget = Budget(usd=1.0)
        first = budget.reserve(0.75, 100)
        second = asyncio.create_task(budget.wait(0.75, 100))
        await asyncio.sleep(0)
        budget.settle(first, USAGE, 0.5)
        with pytest.raises(BudgetReached, match=r"\$0.5000 of budget.usd = 1.0 spent; the next call"):
            await second

    async def test_it_does_not_wait_for_what_cannot_fit(self) -> None:
        budget = Budget(usd=1.0, spent=Spent(usd=0.5))
        budget.reserve(0.25, 100)
        with pytest.raises(BudgetReached):
            await budget.wait(0.75, 100)

    async def test_all_who_wait_get_on(self) -> None:
        budget = Budget(requests=100, tokens=100)

        async def call() -> None:
            reservation: Reservation = await budget.wait(None, 90)
            await asyncio.sleep(0)
            budget.release(reservation)

        await asyncio.gather(*[call() for _ in range(50)])

    async def test_who_stops_waiting_holds_nothing(self) -> None:
        budget = Budget(usd=1.0)
        first = budget.reserve(1.0, 100)
        second = asyncio.create_task(budget.wait(1.0, 100))
        await asyncio.sleep(0)
        second.cancel()
        budget.release(first)
        budget.reserve(1.0, 100)


class TestMessage:
    def test_it_says_what_is_spent_reserved_needed_and_how_to_go_on(self) -> None:
        budget = Budget(usd=5.0, spent=Spent(requests=400, usd=4.5))
        budget.reserve(0.25, 100)
        budget.reserve(0.2, 100)
        assert message_of(budget, usd=0.123) == (
            "budget reached: $4.5000 of budget.usd = 5.0 spent, $0.4500 set aside for 2 calls in flight; "
            "the next call can take up to $0.1230.\n"
            "  fix: raise budget.usd to 5.08 or more, in the recipe or with --set budget.usd=5.08, "
            "and run the same command: replies paid for are not bought again; blackbox-kd estimate "
            "says what all of the rest takes"
        )

    def test_the_limit_that_it_names_is_enough(self) -> None:
        spent = Spent(requests=400, usd=4.5)
        Budget(usd=4.63, spent=spent).reserve(0.123, 100)
        assert "--set budget.usd=4.63," in message_of(Budget(usd=4.6, spent=spent), usd=0.123)

    def test_small_amounts_are_not_shown_as_zero(self) -> None:
        assert "up to $2.0e-06" in message_of(Budget(usd=0), usd=0.000002)

    def test_the_exit_status_is_that_of_a_reached_budget(self) -> None:
        assert BudgetReached.exit_status == 3
