from collections import Counter
from typing import Any

import pytest

from blackbox_kd.schema import Dropped, Failed, Row
from blackbox_kd.steps import pair
from tests.support.fakes import FakeContext, outcomes, rows

TEXTS = ["one sheep on a hill", "two boats in the rain", "three cups of black tea", "four cold winter nights"]


def config(**fields: Any) -> pair.Config:
    return pair.Config.model_validate({"step": "pair", **fields})


def ranked(*scores: Any, text: list[str] = TEXTS) -> list[Row]:
    return rows(*({"instruction": "q", "response": text[n], "score": score} for n, score in enumerate(scores)))


async def paired(table: list[Row], **fields: Any) -> tuple[list[tuple[str, str, float | None]], dict[str, str]]:
    """The pairs that are made, and the reasons of the rows that are dropped."""
    found = await outcomes(pair, table, config(**fields), FakeContext())
    made = [(row["better"], row["worse"], row.get("gap")) for row in found if isinstance(row, Row)]
    return made, {item.row.id: item.reason for item in found if isinstance(item, Dropped)}


def by_score(**fields: Any) -> dict[str, Any]:
    return {"per": "instruction", "rank": "score", **fields}


class TestTwoColumns:
    """The teacher's text over the student's."""

    async def test_a_row_keeps_its_columns_and_its_id_and_gets_those_of_the_pair(self) -> None:
        table = rows({"instruction": "q", "response": "four ", "drawn": "it is five"})
        [row] = await outcomes(pair, table, config(better="response", worse="drawn"), FakeContext())
        assert row == table[0] | {"better": "four", "worse": "it is five", "length_ratio": 0.4}

    async def test_a_gap_that_a_judge_has_written_stays_as_it_is(self) -> None:
        table = rows({"response": "four", "drawn": "it is five", "gap": 2.5})
        [row] = await outcomes(pair, table, config(better="response", worse="drawn"), FakeContext())
        assert row["gap"] == 2.5

    async def test_a_row_without_a_column_fails_alone(self) -> None:
        table = rows({"a": "one", "b": "two"}, {"a": "one"}, {"b": "two"})
        found = await outcomes(pair, table, config(better="a", worse="b"), FakeContext())
        assert [(item.kind, item.error) for item in found[1:]] == [
            ("data", "column 'b' is missing"),
            ("data", "column 'a' is missing"),
        ]
        assert found[0]["better"] == "one"

    async def test_equal_signs_are_no_pair(self) -> None:
        table = rows({"a": "+", "b": "+"}, {"a": "≤", "b": "≥"})
        made, dropped = await paired(table, better="a", worse="b")
        assert (made, dropped) == ([("≤", "≥", None)], {"r0": "too similar"})

    async def test_a_gap_must_be_above_0_and_not_below_the_least(self) -> None:
        scores = [(0.7, 0.4), (0.7, 0.5), (0.5, 0.5), (0.2, 0.9)]
        table = rows(*({"a": TEXTS[0], "b": TEXTS[1], "of_a": one, "of_b": other} for one, other in scores))
        made, dropped = await paired(table, better="a", worse="b", gap="of_a - of_b", min_gap=0.3)
        assert [gap for *_, gap in made] == [pytest.approx(0.3)], "0.7 - 0.4 is 0.29999999999999993"
        assert dropped == {"r1": "gap below 0.3", "r2": "no gap", "r3": "no gap"}

    async def test_empty_and_all_but_equal_texts_are_no_pair(self) -> None:
        ten = "a b c d e f g h i j"
        table = rows(
            {"a": ten, "b": " "},
            {"a": None, "b": ten},
            {"a": ten, "b": f"{ten}!"},
            {"a": ten, "b": ten.replace("j", "x")},
            {"a": ten, "b": ten.replace("i j", "x y")},
        )
        made, dropped = await paired(table, better="a", worse="b")
        assert dropped == {"r0": "empty text", "r1": "empty text", "r2": "too similar"}
        assert len(made) == 2, "a ROUGE-L of 0.9 is allowed, more is not"
        made, _ = await paired(table, better="a", worse="b", max_similarity=0.8)
        assert len(made) == 1

    async def test_a_gap_that_cannot_be_computed_fails_its_row(self) -> None:
        table = rows({"a": "x", "b": "y", "score": None}, {"a": "x", "b": "y", "score": "much"})
        found = await outcomes(pair, table, config(better="a", worse="b", gap="score"), FakeContext())
        assert [(item.kind, item.error) for item in found if isinstance(item, Failed)] == [
            ("data", "expression 'score': column 'score' is None; to allow for it, write: score is not None and ..."),
            ("data", "expression 'score': is 'much', not a number"),
        ]


class TestGroups:
    """Ranked rows of the same question."""

    async def test_all_ordered_pairs_are_made_the_largest_gap_first_within_a_row(self) -> None:
        made, dropped = await paired(ranked(2, 1, 3), **by_score())
        assert made == [(TEXTS[0], TEXTS[1], 1.0), (TEXTS[2], TEXTS[1], 2.0), (TEXTS[2], TEXTS[0], 1.0)]
        assert dropped == {"r1": "the worse side of a pair"}

    async def test_a_pair_keeps_the_columns_of_the_better_row_and_its_id_tells_both(self) -> None:
        found = await outcomes(pair, ranked(2, 1), config(**by_score()), FakeContext())
        assert (found[0].id, found[0]["score"], found[0]["response"]) == ("r0.over_r1", 2, TEXTS[0])

    async def test_a_row_without_a_column_fails_alone(self) -> None:
        bare = [Row(id="x", instruction="q", score=3), Row(id="y", response=TEXTS[2], score=3)]
        found = await outcomes(pair, [*ranked(2, 1), *bare], config(**by_score()), FakeContext())
        assert {item.row.id: (item.kind, item.error) for item in found if isinstance(item, Failed)} == {
            "x": ("data", "column 'response' is missing"),
            "y": ("data", "column 'instruction' is missing"),
        }
        assert [row["gap"] for row in found if isinstance(row, Row)] == [1.0]

    async def test_a_check_is_a_rank(self) -> None:
        made, dropped = await paired(ranked(False, True, True), **by_score())
        assert made == [(TEXTS[1], TEXTS[0], 1.0), (TEXTS[2], TEXTS[0], 1.0)]
        assert dropped == {"r0": "the worse side of a pair"}

    async def test_a_gap_of_just_the_least_is_kept(self) -> None:
        made, dropped = await paired(ranked(0.7, 0.4, 0.5), **by_score(min_gap=0.3))
        assert [(better, worse) for better, worse, _ in made] == [(TEXTS[0], TEXTS[1])]
        assert dropped == {"r1": "the worse side of a pair", "r2": "gap below 0.3"}

    async def test_rows_of_one_rank_and_rows_alone_are_in_no_pair(self) -> None:
        table = [*ranked(1, 1), Row({"id": "x", "instruction": "another", "response": "a", "score": 9})]
        assert await paired(table, **by_score()) == (
            [],
            {"r0": "no gap", "r1": "no gap", "x": "alone in its group"},
        )

    async def test_a_group_has_its_most_pairs_of_the_largest_gaps_and_ties_go_by_the_order_of_the_rows(self) -> None:
        made, dropped = await paired(ranked(3, 1, 3, 2), **by_score(max_pairs=2))
        assert [(better, worse, gap) for better, worse, gap in made] == [
            (TEXTS[0], TEXTS[1], 2.0),
            (TEXTS[2], TEXTS[1], 2.0),
        ]
        assert dropped == {"r1": "the worse side of a pair", "r3": "beyond max_pairs 2"}
        made, _ = await paired(ranked(3, 1, 3, 2), **by_score(max_pairs=1))
        assert made == [(TEXTS[0], TEXTS[1], 2.0)]

    async def test_texts_that_are_all_but_equal_make_room_for_the_next_pair(self) -> None:
        texts = ["it is four", "It is FOUR!", "no idea"]
        made, dropped = await paired(ranked(3, 1, 2, text=texts), **by_score(max_pairs=1))
        assert made == [("it is four", "no idea", 1.0)]
        assert dropped == {"r1": "beyond max_pairs 1", "r2": "the worse side of a pair"}

    async def test_a_row_that_only_fails_for_likeness_says_so(self) -> None:
        made, dropped = await paired(ranked(2, 1, text=["four", "Four."]), **by_score())
        assert (made, dropped) == ([], {"r0": "too similar", "r1": "too similar"})

    async def test_another_column_can_hold_the_text_and_an_empty_one_is_in_no_pair(self) -> None:
        table = rows(*({"q": 1, "say": text, "n": n} for n, text in enumerate(["", *TEXTS[:2]])))
        made, dropped = await paired(table, per="q", rank="-n", of="say")
        assert made == [(TEXTS[0], TEXTS[1], 1.0)]
        assert dropped == {"r0": "empty text", "r2": "the worse side of a pair"}

    async def test_rows_balance_and_the_mean_ratio_of_lengths_can_be_told(self) -> None:
        ctx, table = FakeContext(), ranked(1, 2, 3, None)
        found = await outcomes(pair, table, config(**by_score()), ctx)
        assert Counter(type(item).__name__ for item in found) == {"Row": 3, "Dropped": 1, "Failed": 1}
        assert ctx.counted["pairs"] == 3
        ratios = [len(b) / len(a) for a, b in ((TEXTS[0], TEXTS[1]), (TEXTS[0], TEXTS[2]), (TEXTS[1], TEXTS[2]))]
        assert ctx.counted["length_ratio_sum"] == pytest.approx(sum(ratios), abs=1e-3)


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({}, "step", "nothing says what is paired"),
        ({"better": "a"}, "better", "'a' stands without worse:"),
        ({"rank": "a"}, "rank", "'a' stands without per:"),
        ({"better": "a", "worse": "b", "per": "c"}, "better", "pairs the columns of a row, but per: the rows"),
        ({"better": "a", "worse": "b", "min_gap": 1}, "min_gap", "min_gap: 1 has no gap: to look at"),
        ({"better": "a", "worse": "b", "max_pairs": 1}, "max_pairs", "no effect beside better: and worse:"),
        ({"per": "a", "rank": "b", "gap": "c"}, "gap", "no effect beside per: and rank:"),
    ],
)
def test_fields_that_do_not_fit_together_are_told(fields: dict[str, Any], field: str, says: str) -> None:
    [(at, message, fix)] = config(**fields).problems()
    assert (at, fix != "") == (field, True)
    assert says in message
