import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.schema import Dropped
from blackbox_kd.steps import filter as filter_step
from tests.fakes import FakeContext, rows


async def test_rows_for_which_the_expression_holds_stay_and_others_are_dropped_with_it_as_reason() -> None:
    good, bad = rows({"correct": True, "score": 4}, {"correct": True, "score": 2})
    config = filter_step.Config(step="filter", keep="correct and score >= 3")
    assert await filter_step.run(good, config, FakeContext()) == good
    assert await filter_step.run(bad, config, FakeContext()) == Dropped(bad, "not (correct and score >= 3)")


async def test_a_row_without_the_column_is_an_error_not_a_silent_no() -> None:
    with pytest.raises((DataError, ValueError, KeyError)):
        await filter_step.run(rows({"a": 1})[0], filter_step.Config(step="filter", keep="score > 3"), FakeContext())
