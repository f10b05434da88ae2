from collections import Counter

from blackbox_kd.schema import Dropped, Row
from blackbox_kd.steps import mix
from tests.fakes import FakeContext, outcomes, rows

NEW = [row | {"id": f"new{row.id}"} for row in rows(*({"from": "new"} for _ in range(10)))]
OLD = [row | {"id": f"old{row.id}"} for row in rows(*({"from": "old"} for _ in range(10)))]


async def mixed(**fields: object) -> list[Row | Dropped]:
    config = mix.Config.model_validate({"step": "mix", **fields})
    return await outcomes(mix, [], config, FakeContext(tables={"new": NEW, "old": OLD}))


async def test_weights_repeat_and_thin_out_tables_and_say_what_was_left() -> None:
    found = await mixed(tables={"new": 2.0, "old": 0.3})
    taken = [row for row in found if isinstance(row, Row)]
    assert Counter(row["from"] for row in taken) == {"new": 20, "old": 3}
    assert len({row.id for row in taken}) == 23
    assert Counter(item.reason for item in found if isinstance(item, Dropped)) == {"not drawn": 7}


async def test_with_a_number_of_rows_the_weights_are_shares() -> None:
    taken = [row for row in await mixed(tables={"new": 3, "old": 1}, rows=8) if isinstance(row, Row)]
    assert Counter(row["from"] for row in taken) == {"new": 6, "old": 2}


async def test_the_same_table_comes_out_of_every_run_and_order_only_without_shuffle() -> None:
    assert await mixed(tables={"new": 1, "old": 1}) == await mixed(tables={"new": 1, "old": 1})
    plain = [row["from"] for row in await mixed(tables={"new": 1, "old": 1}, shuffle=False)]
    shuffled = [row["from"] for row in await mixed(tables={"new": 1, "old": 1})]
    assert plain == ["new"] * 10 + ["old"] * 10
    assert shuffled != plain
