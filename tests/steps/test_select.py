from collections import Counter

import pytest
from pydantic import ValidationError

from blackbox_kd.schema import Dropped, Row
from blackbox_kd.steps import select
from tests.fakes import FakeContext, outcomes, rows

TABLE = rows(
    {"instruction": "a", "response": "long one", "score": 1},
    {"instruction": "a", "response": "short", "score": 3},
    {"instruction": "b", "response": "mid", "score": 2},
    {"instruction": "a", "response": "s", "score": 2},
)


async def kept(config: select.Config) -> list[str]:
    return [row.id for row in await outcomes(select, TABLE, config, FakeContext()) if isinstance(row, Row)]


@pytest.mark.parametrize(
    ("how", "ids"),
    [
        ({"by": "first"}, ["r0", "r2"]),
        ({"by": "shortest"}, ["r2", "r3"]),
        ({"by": "longest"}, ["r0", "r2"]),
        ({"by": "top", "column": "score"}, ["r1", "r2"]),
        ({"by": "bottom", "column": "score"}, ["r0", "r2"]),
    ],
)
async def test_the_best_of_each_group_stays_in_the_order_of_the_table(how: dict[str, str], ids: list[str]) -> None:
    assert await kept(select.Config(step="select", per="instruction", best=1, **how)) == ids


async def test_a_budget_of_rows_holds_after_the_best_were_taken_and_the_reasons_tell_them_apart() -> None:
    config = select.Config(step="select", per="instruction", best=1, rows=1)
    found = await outcomes(select, TABLE, config, FakeContext())
    reasons = Counter(item.reason for item in found if isinstance(item, Dropped))
    assert reasons == {"not the best": 2, "beyond the budget": 1}


async def test_a_random_subset_is_the_same_in_every_run() -> None:
    config = select.Config(step="select", rows=2, by="random")
    assert await kept(config) == await kept(config)
    assert len(await kept(config)) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give best"),
        ({"best": 1}, "best: needs per:; add per: COLUMN"),
        ({"rows": 1, "by": "top"}, "needs column"),
        ({"rows": 1, "by": "random", "column": "score"}, "looks at no column"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        select.Config.model_validate({"step": "select", **fields})
