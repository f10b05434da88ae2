"""Rows drawn with replacement."""

import random
from collections import Counter

import pytest

from blackbox_kd.schema import Memory
from blackbox_kd.tables.sampling import Drawn
from tests.fakes import rows

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
