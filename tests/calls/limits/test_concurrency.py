"""The adaptive limit by itself: what raises it, what cuts it, and by how much."""

import pytest

from blackbox_kd.calls.limits.concurrency import AdaptiveLimit

QUICK_S = 0.1


def answer(limit: AdaptiveLimit, replies: int, now: float = 0.0) -> None:
    for _ in range(replies):
        limit.note_reply(now, QUICK_S)


def fail(limit: AdaptiveLimit, faults: int, *, sent_at: float, now: float) -> None:
    for _ in range(faults):
        limit.note_fault(sent_at, now)


def test_it_starts_at_the_most_and_replies_do_not_raise_it_beyond() -> None:
    limit = AdaptiveLimit(10)
    answer(limit, 50)
    assert limit.now == 10


def test_a_refusal_cuts_below_what_was_in_flight_and_a_round_of_replies_adds_one() -> None:
    limit = AdaptiveLimit(100)
    limit.note_refusal(in_flight=40)
    assert limit.now == 28
    answer(limit, 29)
    assert limit.now == 29


def test_a_refusal_with_more_in_flight_than_allowed_now_cuts_what_is_allowed() -> None:
    limit = AdaptiveLimit(100)
    limit.note_refusal(in_flight=40)
    limit.note_refusal(in_flight=40)
    assert limit.now == 19


def test_it_never_falls_below_one() -> None:
    limit = AdaptiveLimit(2)
    for _ in range(5):
        limit.note_refusal(in_flight=1)
    assert limit.now == 1


def test_faults_of_one_round_trip_cut_it_once_and_those_sent_since_cut_it_again() -> None:
    limit = AdaptiveLimit(100)
    fail(limit, 50, sent_at=1.0, now=2.0)
    assert limit.now == 70
    fail(limit, 50, sent_at=1.9, now=3.0)
    assert limit.now == 70, "sent before the cut"
    fail(limit, 1, sent_at=2.5, now=3.0)
    assert limit.now == 49


def test_replies_make_a_few_faults_forgotten() -> None:
    limit = AdaptiveLimit(100)
    for number in range(100):
        fail(limit, 1, sent_at=number, now=number)
        answer(limit, 4, number)
    assert limit.now == 100


def test_after_an_outage_it_doubles_in_a_round_trip_up_to_half_and_then_adds_one() -> None:
    limit = AdaptiveLimit(64)
    limit.start_over()
    found = [limit.now]
    for _ in range(7):
        answer(limit, limit.now)
        found.append(limit.now)
    assert found[:6] == [1, 2, 4, 8, 16, 32]
    assert found[6:] == [32, 33]


@pytest.mark.parametrize("most", [4, 200])
def test_the_stricter_of_two_models_holds_for_good(most: int) -> None:
    limit = AdaptiveLimit(64)
    limit.narrow(most)
    answer(limit, 500)
    assert limit.now == min(most, 64)
