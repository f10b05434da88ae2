import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_kd.schema import Row
from blackbox_kd.tables.sampling import Ids, quotas


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.floats(0.01, 100), min_size=1, max_size=8), st.integers(0, 1000))
def test_whole_numbers_add_up_to_the_total_and_none_is_a_row_off_its_share(weights, total) -> None:
    found = quotas(weights, total)
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
    assert quotas(weights, total) == expected


def test_a_row_whose_id_is_taken_gets_the_first_free_id_below_it() -> None:
    ids = Ids()
    found = [ids.own(Row(id=name), "from_b").id for name in ("x", "x", "x.from_b", "x", "y")]
    assert found == ["x", "x.from_b", "x.from_b.from_b", "x.from_b.2", "y"]
