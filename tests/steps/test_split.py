from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from blackbox_kd.schema import Dropped, Failed, Row
from blackbox_kd.steps import split
from tests.support.fakes import FakeContext, outcomes, rows

GAPS = rows({"gap": 2.0}, {"gap": 1.0}, {"gap": 0.9}, {"gap": -3.0}, {"gap": 0.0})


async def test_a_row_goes_to_the_first_branch_whose_expression_holds() -> None:
    config = split.Config(step="split", outputs={"hard": "gap >= 1", "easy": "gap < 1"})
    found = [(name, row["gap"]) for name, row in await outcomes(split, GAPS, config, FakeContext())]
    assert found == [("hard", 2.0), ("hard", 1.0), ("easy", 0.9), ("easy", -3.0), ("easy", 0.0)]


async def test_a_row_that_no_branch_takes_is_dropped_with_a_reason() -> None:
    config = split.Config(step="split", outputs={"hard": "gap >= 2"})
    found = await outcomes(split, GAPS, config, FakeContext())
    assert Counter(item.reason for _, item in found if isinstance(item, Dropped)) == {"no branch": 4}


async def test_a_row_for_which_an_expression_cannot_be_told_fails_alone() -> None:
    config = split.Config(step="split", outputs={"hard": "gap >= 1", "easy": "gap < 1"})
    found = await outcomes(split, rows({"gap": None}, {"gap": 2}, {"gap": "x"}, {}), config, FakeContext())
    failed = [item for _, item in found if isinstance(item, Failed)]
    assert {item.row.id: item.kind for item in failed} == dict.fromkeys(["r0", "r2", "r3"], "data")
    assert failed[0].error.startswith("expression 'gap >= 1': column 'gap' is None")
    assert [(name, item.id) for name, item in found if isinstance(item, Row)] == [("hard", "r1")]


async def test_upsampling_repeats_rows_of_the_smaller_branch_under_ids_of_their_own() -> None:
    config = split.Config(step="split", outputs={"hard": "gap >= 1", "easy": "gap < 1"}, balance="upsample")
    found = await outcomes(split, GAPS, config, FakeContext())
    assert Counter(name for name, _ in found) == {"hard": 3, "easy": 3}
    assert len({row.id for _, row in found}) == 6


@pytest.mark.parametrize(
    ("gap", "branch"),
    [(1.0, "hard"), (1, "hard"), (0.9999999, "easy"), (1.0000001, "hard"), (-1.0, "easy"), (2 / 2, "hard")],
)
async def test_a_gap_of_exactly_one_is_hard_and_the_gap_has_a_sign(gap: float, branch: str) -> None:
    config = split.Config(step="split", outputs={"hard": "gap >= 1.0", "easy": "gap < 1.0"}, balance="upsample")
    assert [name for name, _ in await outcomes(split, rows({"gap": gap}), config, FakeContext())] == [branch]


async def test_upsampling_goes_around_the_smaller_branch_and_leaves_an_empty_one_empty() -> None:
    config = split.Config(
        step="split", outputs={"hard": "gap >= 1", "easy": "gap > -5", "none": "gap > 9"}, balance="upsample"
    )
    table = rows(*({"gap": gap} for gap in (2, 2, 0, 0, 0, 0, 0)))
    found = await outcomes(split, table, config, FakeContext())
    hard = [row.id for name, row in found if name == "hard"]
    assert hard == ["r0", "r1", "r0.copy1", "r1.copy1", "r0.copy2"]
    assert Counter(name for name, _ in found) == {"hard": 5, "easy": 5}


async def test_copies_of_copies_have_ids_of_their_own() -> None:
    table = [Row(id=name, gap=gap) for name, gap in (("x", 2), ("x.copy1", 2), ("a", 0), ("b", 0), ("c", 0), ("d", 0))]
    config = split.Config(step="split", outputs={"hard": "gap >= 1", "easy": "gap < 1"}, balance="upsample")
    hard = [row.id for name, row in await outcomes(split, table, config, FakeContext()) if name == "hard"]
    assert hard == ["x", "x.copy1", "x.copy1.2", "x.copy1.copy1"]


@settings(deadline=None)
@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0, 2.0]), max_size=20))
async def test_upsampled_branches_are_of_one_size_and_hold_every_row(gaps: list[float]) -> None:
    config = split.Config(step="split", outputs={"hard": "gap >= 1", "easy": "gap < 1"}, balance="upsample")
    found = await outcomes(split, rows(*({"gap": gap} for gap in gaps)), config, FakeContext())
    sizes = Counter(name for name, _ in found)
    assert {row.id for _, row in found} >= {f"r{number}" for number in range(len(gaps))}
    assert len(set(sizes.values())) <= 1
    assert len({row.id for _, row in found}) == len(found)


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


async def test_rows_of_one_document_stay_together() -> None:
    table = rows(*({"source": f"{number // 10}.md"} for number in range(200)))
    config = split.Config(step="split", outputs={"train": 0.7, "test": 0.3}, per="source")
    found = await outcomes(split, table, config, FakeContext())
    sides: dict[str, set[str]] = {}
    for name, row in found:
        sides.setdefault(row["source"], set()).add(name)
    assert all(len(names) == 1 for names in sides.values())
    assert Counter(next(iter(names)) for names in sides.values()) == {"train": 14, "test": 6}


async def test_a_row_that_lacks_the_column_by_which_rows_stay_together_fails_alone() -> None:
    config = split.Config(step="split", outputs={"a": 0.5, "b": 0.5}, per="source")
    found = await outcomes(split, rows({"source": "x"}, {"other": 1}), config, FakeContext())
    assert [type(item) for _, item in found] == [Failed, Row]


def test_per_goes_with_shares() -> None:
    with pytest.raises(ValidationError, match="per: goes with shares"):
        split.Config(step="split", outputs={"a": "gap > 1"}, per="source")
