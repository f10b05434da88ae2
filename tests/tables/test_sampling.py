"""Rows drawn with replacement, and by shares."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_kd.schema import Memory, Row
from blackbox_kd.tables.sampling import Drawn, Ids, share_out
from tests.support.fakes import rows

THREE = Memory("pool", rows({"n": 0}, {"n": 1}, {"n": 2}))


def test_so_many_rows_are_drawn_and_each_drawing_has_an_id_of_its_own() -> None:
    drawn = Drawn(THREE, 50, random.Random(1))
    found = list(drawn)
    assert len(drawn) == len(found) == len({row.id for row in found}) == 50
    assert {row.id.partition(".")[0] for row in found} == {"r0", "r1", "r2"}
    assert [row["n"] for row in found] == sorted(row["n"] for row in found), "in the order of the table"


def test_the_same_rows_are_drawn_each_time_it_is_read_and_in_each_run() -> None:
    drawn = Drawn(THREE, 9, random.Random(4))
    assert list(drawn) == list(drawn) == list(Drawn(THREE, 9, random.Random(4)))


def test_every_row_is_as_likely_as_any_other() -> None:
    counts = Counter(row["n"] for row in Drawn(THREE, 3000, random.Random(2)))
    assert all(900 < counts[n] < 1100 for n in range(3))


@pytest.mark.parametrize("wanted", [1, 7])
def test_from_an_empty_table_none_are_drawn(wanted: int) -> None:
    drawn = Drawn(Memory("empty", []), wanted, random.Random(0))
    assert (len(drawn), list(drawn)) == (0, [])


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.floats(0.01, 100), min_size=1, max_size=8), st.integers(0, 1000))
def test_whole_numbers_add_up_to_the_total_and_none_is_a_row_off_its_share(weights, total) -> None:
    found = share_out(weights, total)
    assert sum(found.values()) == total
    mass = sum(weights.values())
    assert all(abs(found[name] - total * weight / mass) < 1 + 1e-6 for name, weight in weights.items())


@pytest.mark.parametrize(
    ("weights", "total", "expected"),
    [
        ({"a": 1, "b": 1, "c": 1}, 10, {"a": 4, "b": 3, "c": 3}),
        ({"a": 0.1, "b": 0.2, "c": 0.7}, 10, {"a": 1, "b": 2, "c": 7}),
        ({"a": 0.0}, 5, {"a": 0}),
        ({}, 5, {}),
    ],
)
def test_the_largest_remainders_are_rounded_up(weights, total, expected) -> None:
    assert share_out(weights, total) == expected


def test_a_row_whose_id_is_taken_gets_the_first_free_id_below_it() -> None:
    ids = Ids()
    found = [ids.own(Row(id=name), "from_b").id for name in ("x", "x", "x.from_b", "x", "y")]
    assert found == ["x", "x.from_b", "x.from_b.from_b", "x.from_b.2", "y"]
