from collections import Counter

import pytest
from pydantic import ValidationError

from blackbox_kd.schema import Dropped
from blackbox_kd.steps import split
from tests.fakes import FakeContext, outcomes, rows

GAPS = rows({"gap": 2.0}, {"gap": 1.0}, {"gap": 0.9}, {"gap": -3.0}, {"gap": 0.0})


async def test_a_row_goes_to_the_first_branch_whose_expression_holds() -> None:
    config = split.Config(step="split", outputs={"hard": "gap >= 1", "easy": "gap < 1"})
    found = [(name, row["gap"]) for name, row in await outcomes(split, GAPS, config, FakeContext())]
    assert found == [("hard", 2.0), ("hard", 1.0), ("easy", 0.9), ("easy", -3.0), ("easy", 0.0)]


async def test_a_row_that_no_branch_takes_is_dropped_with_a_reason() -> None:
    config = split.Config(step="split", outputs={"hard": "gap >= 2"})
    found = await outcomes(split, GAPS, config, FakeContext())
    assert Counter(item.reason for _, item in found if isinstance(item, Dropped)) == {"no branch": 4}


async def test_upsampling_repeats_rows_of_the_smaller_branch_under_ids_of_their_own() -> None:
    config = split.Config(step="split", outputs={"hard": "gap >= 1", "easy": "gap < 1"}, balance="upsample")
    found = await outcomes(split, GAPS, config, FakeContext())
    assert Counter(name for name, _ in found) == {"hard": 3, "easy": 3}
    assert len({row.id for _, row in found}) == 6


async def test_shares_part_the_rows_by_the_seed_and_the_row_alone() -> None:
    table = rows(*({"n": number} for number in range(400)))
    config = split.Config(step="split", outputs={"dev": 0.25, "rest": 0.75})
    found = await outcomes(split, table, config, FakeContext())
    backwards = await outcomes(split, list(reversed(table)), config, FakeContext())
    assert {(name, row.id) for name, row in found} == {(name, row.id) for name, row in backwards}
    assert 70 < sum(name == "dev" for name, _ in found) < 130


def test_shares_above_one_and_mixtures_of_kinds_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"outputs: the shares add up to 1\.4"):
        split.Config(step="split", outputs={"a": 0.7, "b": 0.7})
    with pytest.raises(ValidationError, match="give one kind to all branches"):
        split.Config(step="split", outputs={"a": 0.7, "b": "gap > 1"})
