import contextlib
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.schema import Dropped, Failed, Row
from blackbox_kd.sdk import StepConfig
from blackbox_kd.steps import select
from tests.support.fakes import FakeContext, outcomes, rows
from tests.support.steps import config_of, messages_of

TABLE = rows(
    {"instruction": "a", "response": "long one", "score": 1},
    {"instruction": "a", "response": "short", "score": 3},
    {"instruction": "b", "response": "mid", "score": 2},
    {"instruction": "a", "response": "s", "score": 2},
)


def config(**fields: Any) -> StepConfig:
    return config_of("select", fields)


async def kept(chosen: StepConfig, table: list[Row] = TABLE, ctx: FakeContext | None = None) -> list[str]:
    found = await outcomes(select, table, chosen, ctx or FakeContext())
    assert len(found) == len(table)
    return [row.id for row in found if isinstance(row, Row)]


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
    assert await kept(config(per="instruction", best=1, **how)) == ids


async def test_a_budget_of_rows_holds_after_the_best_were_taken_and_the_reasons_tell_them_apart() -> None:
    found = await outcomes(select, TABLE, config(per="instruction", best=1, rows=1), FakeContext())
    reasons = Counter(item.reason for item in found if isinstance(item, Dropped))
    assert reasons == {"not the best": 2, "beyond the budget": 1}


async def test_a_random_subset_is_the_same_in_every_run() -> None:
    assert await kept(config(rows=2, by="random")) == await kept(config(rows=2, by="random"))
    assert len(await kept(config(rows=2, by="random"))) == 2


@pytest.mark.parametrize(
    ("how", "values", "errors"),
    [
        ({"rows": 1, "by": "top"}, [1, None, 3], {"r1": "column 'x' is None, not a number"}),
        ({"rows": 1, "by": "top"}, [1, float("nan"), "3"], {"r1": "column 'x' is nan, not a number"}),
        ({"rows": 1, "by": "bottom"}, [2, "high", 1], {"r1": "column 'x' is 'high', not a number"}),
        ({"rows": 1, "by": "bottom"}, [2, [0], 1], {"r1": "column 'x' is [0], not a number"}),
        ({"rows": 1, "by": "bottom"}, [2, {"a": None}, 1], {"r1": "column 'x' is {\"a\": null}, not a number"}),
        ({"rows": 1, "by": "bottom"}, [2, [True, "b"], 1], {"r1": "column 'x' is [true, \"b\"], not a number"}),
        ({"rows": 1, "by": "shortest"}, ["longer", None, "text"], {"r1": "column 'x' is empty"}),
        ({"rows": 1, "by": "shortest"}, ["longer", " ", "text"], {"r1": "column 'x' is empty"}),
        ({"rows": 1, "by": "longest"}, ["one", None, "longer"], {"r1": "column 'x' is empty"}),
        ({"rows": 3, "by": "kcenter"}, [[1, 2], ["a", 2], [5, 5]], {"r1": "column 'x' is [\"a\", 2], not a list of 2"}),
        ({"rows": 3, "by": "kcenter"}, [[1, 2], [1], [5, 5]], {"r1": "column 'x' is [1], not a list of 2 numbers"}),
        ({"rows": 3, "by": "kcenter"}, [[1], [None], [2], None], {"r1": "column 'x' is [null]", "r3": "column 'x' is"}),
        (
            {"rows": 3, "by": "kcenter"},
            ["a", [1], "b", None],
            {"r1": "column 'x' is [1], not a text", "r3": "column 'x'"},
        ),
    ],
)
async def test_a_row_that_cannot_be_compared_fails_alone(
    how: dict[str, Any], values: list[Any], errors: dict[str, str]
) -> None:
    found = await outcomes(select, rows(*({"x": value} for value in values)), config(column="x", **how), FakeContext())
    failed = {item.row.id: item for item in found if isinstance(item, Failed)}
    assert failed.keys() == errors.keys()
    assert all(failed[name].error.startswith(error) for name, error in errors.items())
    assert {item.kind for item in failed.values()} == {"data"}
    assert len(found) == len(values)
    expected = ["r0", "r2"] if how["by"] == "kcenter" else ["r2"]
    assert [row.id for row in found if isinstance(row, Row)] == expected


@pytest.mark.parametrize(
    ("how", "column"),
    [
        ({"per": "g", "best": 1}, "g"),
        ({"rows": 9, "by": "shortest"}, "response"),
        ({"rows": 9, "by": "longest", "column": "x"}, "x"),
        ({"rows": 9, "by": "top", "column": "x"}, "x"),
        ({"rows": 9, "by": "kcenter", "column": "x"}, "x"),
        ({"rows": 9, "by": "kcenter", "per": "g", "votes": "x"}, "x"),
        ({"by": "retrieve", "index": "t", "column": "x"}, "x"),
    ],
)
async def test_a_row_without_a_column_fails_alone(how: dict[str, Any], column: str) -> None:
    table = rows({"g": "a", "response": "b", "x": "1"}, {})
    ctx = FakeContext(tables={"t": [Row(id="t", x="1")]})
    found = await outcomes(select, table, config(**how), ctx)
    assert [item.row.id for item in found if isinstance(item, Failed)] == ["r1"]
    missing = "g" if "per" in how else column
    assert [item.error for item in found if isinstance(item, Failed)] == [f"column {missing!r} is missing"]
    assert [row.id for row in found if isinstance(row, Row)] == ["r0"]


# k-center.


async def test_rows_far_from_each_other_are_picked_by_their_numbers() -> None:
    table = rows(*({"v": [x, 0]} for x in (0, 1, 2, 100, 101, -50)))
    ids = await kept(config(by="kcenter", column="v", rows=3), table)
    assert len(ids) == 3
    assert len({"r0", "r1", "r2"} & set(ids)) == len({"r3", "r4"} & set(ids)) == len({"r5"} & set(ids)) == 1


async def test_rows_far_from_each_other_are_picked_by_their_texts() -> None:
    texts = [f"How many {fruit} are left in the basket?" for fruit in ("apples", "plums", "pears")]
    texts += ["Write a poem about the sea.", "Übersetze den Satz ins Französische"]
    ids = await kept(config(by="kcenter", column="text", rows=3), rows(*({"text": text} for text in texts)))
    assert {"r3", "r4"} < set(ids)


async def test_what_is_labelled_already_is_not_picked_again_nor_what_is_like_it() -> None:
    table = rows(*({"v": [x]} for x in (0, 1, 50, 100)))
    ctx = FakeContext(tables={"done": [Row(id="d0", v=[99.0]), Row(id="d1", v=[0.5])]})
    assert await kept(config(by="kcenter", column="v", rows=1, labelled="done"), table, ctx) == ["r2"]
    assert await kept(config(by="kcenter", column="v", rows=4, labelled="done"), table, ctx) == ["r0", "r1", "r2", "r3"]


async def test_a_group_may_be_named_by_what_is_no_text() -> None:
    table = rows(*({"q": [n // 3], "v": "ab"[n % 2]} for n in range(9)))
    assert len(await kept(config(by="kcenter", per="q", votes="v", rows=2), table, FakeContext())) == 2


async def test_groups_are_compared_by_the_shares_of_their_votes_and_one_row_stands_for_each() -> None:
    votes = {"sure": "4 4 4 4", "sure too": "4 4 4 4", "torn": "4 5 4 5", "wrong": "7 7 7 7"}
    table = rows(*({"instruction": name, "answer": a} for name, given in votes.items() for a in given.split()))
    ctx = FakeContext(tables={"done": [Row(id="d", instruction="done", answer="4")]})
    chosen = config(by="kcenter", per="instruction", votes="answer", rows=2, labelled="done")
    found = await outcomes(select, table, chosen, ctx)
    assert [row["instruction"] for row in found if isinstance(row, Row)] == ["torn", "wrong"]
    reasons = Counter(item.reason for item in found if isinstance(item, Dropped))
    assert reasons == {"not the best": 12, "beyond the budget": 2}


async def test_the_most_different_rows_of_each_group_are_its_best() -> None:
    table = rows(*({"g": g, "v": [v]} for g, v in (("a", 0), ("a", 1), ("a", 90), ("b", 5), ("b", 6))))
    ids = await kept(config(by="kcenter", per="g", best=2, column="v"), table)
    assert {"r2", "r3", "r4"} < set(ids)
    assert len(ids) == 4


async def test_labelled_rows_that_cannot_be_compared_are_left_out_and_if_none_can_it_is_an_error() -> None:
    chosen = config(by="kcenter", column="v", rows=1, labelled="done")
    done = [Row(id="d", v=[1, "x"]), Row(id="e", v=None), Row(id="f"), Row(id="g", v=[0])]
    table = rows({"v": [1, 1]}, {"v": [9, 9]})
    with pytest.raises(
        DataError, match=r"no row of table 'done' has a list of 2 numbers in 'v'.*\n  fix: name a table"
    ):
        await kept(chosen, table, FakeContext(tables={"done": done}))
    assert await kept(chosen, table, FakeContext(tables={"done": [*done, Row(id="h", v=[0, 0])]})) == ["r1"]
    with pytest.raises(DataError, match="no row of table 'done' has a text in 'v'"):
        await kept(chosen, rows({"v": "a"}), FakeContext(tables={"done": [Row(id="f")]}))
    votes = config(by="kcenter", per="q", votes="v", rows=1, labelled="done")
    with pytest.raises(DataError, match="no row of table 'done' has 'q' and 'v'"):
        await kept(votes, rows({"q": "a", "v": "b"}), FakeContext(tables={"done": done}))
    assert await kept(chosen, [], FakeContext(tables={"done": done})) == []


async def test_no_rows_and_fewer_rows_than_the_budget_are_kept_as_they_are() -> None:
    assert await kept(config(by="kcenter", column="v", rows=3), []) == []
    assert await kept(config(by="kcenter", column="v", rows=3), rows({"v": [1]})) == ["r0"]


# Retrieve.

NOTES = [
    Row(id="n0", instruction="How long does a train take at 60 km per hour?", note="distance by speed"),
    Row(id="n1", instruction="What share of the pupils are girls?", note="percent of a total"),
    Row(id="n2", instruction="How long does a car take at 90 km per hour?", note="mind the units"),
]


async def retrieved(text: str, notes: list[Row] = NOTES, **fields: Any) -> list[str]:
    ctx = FakeContext(tables={"notes": notes})
    [row] = await outcomes(select, rows({"instruction": text}), config(by="retrieve", index="notes", **fields), ctx)
    return [note["note"] for note in row[fields.get("as", "retrieved")]]


async def test_the_nearest_rows_are_put_into_each_row_best_first() -> None:
    assert await retrieved("How long does a car take at 50 km per hour?") == ["mind the units", "distance by speed"]
    assert await retrieved("How long does a car take at 50 km per hour?", count=1) == ["mind the units"]
    assert await retrieved("How many pupils are girls?", **{"as": "notes"}, count=1) == ["percent of a total"]


async def test_a_row_is_not_shown_its_own_text_unless_it_may_be() -> None:
    text = NOTES[0]["instruction"]
    assert await retrieved(text, count=1) == ["mind the units"]
    assert await retrieved(text, count=1, own=True) == ["distance by speed"]


async def test_rows_that_share_no_word_are_not_retrieved_and_an_empty_table_gives_none() -> None:
    assert await retrieved("Bonjour!") == []
    assert await retrieved("How long?", notes=[]) == []
    assert await retrieved("How long?", notes=[Row(id="n", note="x"), *NOTES], count=1) == ["distance by speed"]
    with pytest.raises(DataError, match=r"no row of table 'notes' has the column 'instruction'\n  fix: name a table"):
        await retrieved("How long?", notes=[Row(id="n", note="x")])


PAIRS = rows(
    {"relation": "xWant", "head": "a", "tail": "1"},
    {"relation": "xWant", "head": "b", "tail": "2"},
    {"relation": "xWant", "head": "c", "tail": "3"},
    {"relation": "xNeed", "head": "d", "tail": "4"},
)


async def drawn(table: list[Row], **fields: Any) -> list[list[str]]:
    found = await outcomes(
        select, table, config(by="draw", index="pairs", **fields), FakeContext(tables={"pairs": PAIRS})
    )
    return [[each["tail"] for each in row["drawn"]] for row in found if isinstance(row, Row)]


async def test_rows_of_another_table_are_drawn_none_twice_and_the_same_in_every_run() -> None:
    many = rows(*({"head": str(number)} for number in range(40)))
    found = await drawn(many, count=2)
    assert found == await drawn(many, count=2)
    assert all(len(set(each)) == 2 for each in found)
    assert {tail for each in found for tail in each} == {"1", "2", "3", "4"}
    assert {tuple(sorted(each)) for each in await drawn(many, count=9)} == {("1", "2", "3", "4")}


async def test_only_rows_that_fit_the_row_are_drawn_however_few_they_are() -> None:
    where = "relation == other['relation'] and head != other['head']"
    [first, *_, last] = await drawn(PAIRS, count=5, where=where)
    assert (sorted(first), last) == (["2", "3"], [])


async def test_a_row_that_cannot_be_compared_with_others_fails_by_itself() -> None:
    chosen = config(by="draw", index="pairs", where="head != other['head']")
    ctx = FakeContext(tables={"pairs": PAIRS})
    [bad, good] = await outcomes(select, rows({"x": 1}, {"head": "z"}), chosen, ctx)
    assert isinstance(bad, Failed)
    assert "column 'head'" in bad.error
    assert len(good["drawn"]) == 3


@pytest.mark.parametrize(("share", "ids"), [(0.75, ["r1", "r2", "r3"]), (0.5, ["r1", "r2"]), (0.01, ["r1"]), (1, None)])
async def test_a_share_of_the_rows_stays_and_never_none(share: float, ids: list[str] | None) -> None:
    found = await kept(config(share=share, by="top", column="score"))
    assert found == (ids or [row.id for row in TABLE])


async def test_a_share_is_of_what_the_best_of_each_group_have_left() -> None:
    assert await kept(config(per="instruction", best=1, share=0.5, by="top", column="score")) == ["r1"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "a field is missing.; give best: N (with per:), rows: N or share: N, or two of them"),
        ({"best": 1}, "best: needs per:.; add per: COLUMN"),
        ({"per": "a", "rows": 1}, "per: needs best:.; add best: N"),
        ({"rows": 1, "by": "top"}, "field 'column' is missing.; add column: NAME"),
        (
            {"rows": 1, "by": "random", "column": "score"},
            "column: means nothing with by: random.; take column: out, or write by: shortest or longest or top or "
            "bottom or kcenter or majority or retrieve",
        ),
        ({"rows": 1, "by": "kcenter"}, "by: 'kcenter' is not enough.; give either column: NAME or votes: NAME"),
        (
            {"rows": 1, "by": "kcenter", "column": "a", "votes": "b", "per": "c"},
            "give either column: NAME or votes: NAME with by: kcenter",
        ),
        ({"rows": 1, "by": "kcenter", "votes": "b"}, "votes: needs per:.; add per: COLUMN"),
        (
            {"rows": 1, "labelled": "t"},
            "labelled: means nothing with by: first.; take labelled: out, or write by: kcenter",
        ),
        (
            {"rows": 1, "as": "x"},
            "as: means nothing with by: first.; take as: out, or write by: majority or retrieve or draw",
        ),
        ({"by": "retrieve"}, "field 'index' is missing.; add index: NAME"),
        ({"by": "retrieve", "index": "t", "rows": 3}, "rows: means nothing with by: retrieve.; take rows: out"),
        (
            {"by": "majority", "per": "a", "best": 2},
            "best: means nothing with by: majority.; take best: out, or write by: first or random or shortest or "
            "longest or top or bottom or kcenter",
        ),
        ({"rows": 1, "share": 0.5}, "rows: and share: both say how many are kept.; take one of them out"),
        ({"by": "draw"}, "field 'index' is missing.; add index: NAME"),
        ({"by": "draw", "index": "t", "own": True}, "own: means nothing with by: draw.; take own: out"),
        ({"by": "majority"}, "field 'per' is missing.; add per: NAME"),
        ({"rows": 1, "by": "shortst"}, "'majority', 'retrieve' or 'draw', not 'shortst'.; did you mean 'shortest'?"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(fields: dict[str, Any], message: str) -> None:
    [found] = messages_of("select", fields)
    assert message in found


def votes(*answers: Any, question: str = "q") -> list[Row]:
    return rows(*({"instruction": question, "answer": answer} for answer in answers))


async def voted(table: list[Row], **fields: Any) -> tuple[list[str], list[str]]:
    """The ids that stay, and the reason of each other row."""
    chosen = config(per="instruction", by="majority", **fields)
    found = await outcomes(select, table, chosen, FakeContext())
    dropped = [each.reason for each in found if isinstance(each, Dropped)]
    return [row.id for row in found if isinstance(row, Row)], dropped


@pytest.mark.parametrize(
    ("given", "fields", "ids", "reasons"),
    [
        (("a", "b", "b"), {}, ["r1"], ["not the best"] * 2),
        (("a", "b"), {}, [], ["no majority"] * 2),
        (("a", "a", "b", "b", "c"), {}, [], ["no majority"] * 5),
        (("a",), {}, ["r0"], []),
        ((None,), {}, [], ["no majority"]),
        (("", None, "a"), {}, ["r2"], ["not the best"] * 2),
        (("", None, "a"), {"min_share": 0.5}, [], ["no majority"] * 3),
        (("a", "a", "a", "b", "c"), {"min_share": 0.6}, ["r0"], ["not the best"] * 4),
        (("a", "a", "b", "c", None), {"min_share": 0.6}, [], ["no majority"] * 5),
        (("A", "a ", "b"), {}, [], ["no majority"] * 3),
        (("A", "a ", "b"), {"answer": "exact"}, ["r0"], ["not the best"] * 2),
        (("b", "1/2", "0.5"), {"answer": "number"}, ["r1"], ["not the best"] * 2),
        (("?", "?!", "0.5", "0.50"), {"answer": "number"}, ["r2"], ["not the best"] * 3),
        (("1125", "1.125", "9/8"), {"answer": {"number": {"decimal": ","}}}, ["r1"], ["not the best"] * 2),
        (("1125", "1.125"), {"answer": {"number": {"decimal": ","}}}, [], ["no majority"] * 2),
        (({"t": 1.0}, {"t": 1}, {"t": 2}), {"answer": "json"}, ["r0"], ["not the best"] * 2),
    ],
)
async def test_of_each_group_the_first_row_with_the_commonest_answer_stays(
    given: tuple[Any, ...], fields: dict[str, Any], ids: list[str], reasons: list[str]
) -> None:
    assert await voted(votes(*given), **fields) == (ids, reasons)


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        (("SELECT 2 + 1", "SELECT 3", "SELECT 4"), ["r0"]),
        (("SELECT nme FROM item", "SELECT nme FROM item", "SELECT 3"), ["r2"]),
        (("SELECT 3 FROM", "SELECT 3 FROM", "SELECT 3 FROM"), []),
        (("DELETE FROM item", "DELETE FROM item"), []),
    ],
)
async def test_queries_are_equal_that_find_the_same_and_one_that_fails_has_no_vote(
    given: tuple[str, ...], ids: list[str], tmp_path: Path
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.sqlite")) as database:
        database.execute("CREATE TABLE item (name TEXT)")
    answer = {"sql": {"database": str(tmp_path / "shop.sqlite")}}
    assert (await voted(votes(*given), answer=answer))[0] == ids


async def test_the_share_of_the_votes_is_written_where_that_is_asked_for() -> None:
    table = [*votes("a", "b", "b"), Row({"id": "x", "instruction": "other", "answer": "a"})]
    found = await outcomes(
        select, table, config(per="instruction", by="majority", **{"as": "vote_share"}), FakeContext()
    )
    assert {row.id: row["vote_share"] for row in found if isinstance(row, Row)} == {"r1": 2 / 3, "x": 1.0}


async def test_a_row_without_the_column_of_the_votes_fails() -> None:
    table = [*votes("a", "a"), Row({"id": "x", "instruction": "q"})]
    found = await outcomes(select, table, config(per="instruction", by="majority"), FakeContext())
    assert [type(each) for each in found] == [Failed, Row, Dropped]
