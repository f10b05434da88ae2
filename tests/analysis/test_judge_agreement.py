"""How far judges agree, counted row by row and told in the report."""

from collections import Counter
from collections.abc import Mapping

import pytest

from blackbox_kd.analysis import judge_agreement
from blackbox_kd.runs.report import judges


def counted(*rows: tuple[Mapping[str, float], bool | None], above: float = 3) -> Counter[str]:
    total: Counter[str] = Counter()
    for numbers, correct in rows:
        total.update(judge_agreement.count_numbers(numbers, above, correct))
    return total


def test_two_reviewers_are_compared_by_their_numbers_and_by_the_side_of_the_threshold() -> None:
    rows = [({"a": 5, "b": 5}, None), ({"a": 4, "b": 5}, None), ({"a": 3, "b": 4}, None), ({"a": 1, "b": 1}, None)]
    [entry] = judge_agreement.summarise(counted(*rows))["agreement"]
    assert entry["reviewers"] == ["a", "b"]
    assert (entry["rows"], entry["equal"], entry["same_side"]) == (4, 2, 3)
    assert (entry["both"], entry["only_first"], entry["only_second"], entry["neither"]) == (2, 0, 1, 1)
    # Agreement 3/4; by chance 2/4 * 3/4 + 2/4 * 1/4 = 1/2.
    assert entry["kappa"] == pytest.approx((0.75 - 0.5) / (1 - 0.5))
    assert entry["ci95"] == pytest.approx([0.300642, 0.954413], abs=1e-6)


def test_reviewers_who_never_differ_in_their_verdict_have_no_kappa() -> None:
    [entry] = judge_agreement.summarise(counted(({"a": 5, "b": 4}, None), ({"a": 4, "b": 5}, None)))["agreement"]
    assert entry["kappa"] is None
    assert entry["same_side"] == 2


def test_three_reviewers_make_three_pairs_and_a_row_without_one_of_them_counts_for_the_others() -> None:
    found = judge_agreement.summarise(counted(({"a": 5, "b": 5, "c": 1}, None), ({"b": 5, "c": 5}, None)))["agreement"]
    assert {tuple(entry["reviewers"]): entry["rows"] for entry in found} == {
        ("a", "b"): 1,
        ("a", "c"): 1,
        ("b", "c"): 2,
    }


def test_judges_and_their_mean_are_held_against_checked_answers() -> None:
    rows = [({"a": 5, "b": 1}, True), ({"a": 5, "b": 2}, False), ({"a": 5, "b": 5}, True), ({"a": 5, "b": 5}, None)]
    found = {entry["judge"]: entry for entry in judge_agreement.summarise(counted(*rows))["checked"]}
    assert set(found) == {"a", "b", judge_agreement.MEAN}
    assert (found["a"]["right_accepted"], found["a"]["wrong_accepted"]) == (2, 1)
    assert (found["b"]["right_accepted"], found["b"]["wrong_accepted"]) == (1, 0)
    mean = found[judge_agreement.MEAN]  # 3.0, 3.5 and 5.0: 3 is not above 3
    assert (mean["right_accepted"], mean["right"], mean["wrong_accepted"], mean["wrong"]) == (1, 2, 1, 1)


def test_a_judge_who_follows_the_place_is_told_from_one_who_follows_the_text() -> None:
    total: Counter[str] = Counter()
    for gaps in ((2, -2), (1, -3), (2, 2), (-1, 1), (0, 1), (0, 0)):
        total.update(judge_agreement.count_orders({"j": gaps}))
    [entry] = judge_agreement.summarise(total)["orders"]
    assert (entry["rows"], entry["changed"]) == (6, 4)
    assert (entry["first_won_twice"], entry["second_won_twice"], entry["tie_in_one_order"]) == (2, 1, 1)


def test_judges_of_pairs_agree_when_they_name_the_same_winner() -> None:
    total: Counter[str] = Counter()
    for one, other in (((2, 2), (1, 1)), ((2, 2), (-1, -1)), ((1, -1), (0, 0))):
        total.update(judge_agreement.count_orders({"j": one, "k": other}))
    [entry] = judge_agreement.summarise(total)["agreement"]
    assert (entry["question"], entry["rows"], entry["equal"], entry["both"]) == ("a better", 3, 2, 1)


def test_the_report_says_how_far_judges_can_be_trusted() -> None:
    counts = counted(({"a": 5, "b": 1}, True), ({"a": 4, "b": 4}, False), above=3)
    counts.update(judge_agreement.count_orders({"j": (2, -2)}))
    entries = judges.collect_judges([{"step": "steps[1] (judge)", "counts": counts}, {"step": "steps[2] (filter)"}])
    assert [entry["step"] for entry in entries] == ["steps[1] (judge)"]
    text = "\n".join(judges.describe(entries))
    assert "| `a` and `b` | 2 | 1 (50.0 %) | above 3: 1 (50.0 %) | 9.5 to 90.5 % | 0.00 |" in text
    assert "Of 2 checked answers, `a` is above 3 on 1 of 1 right answers (20.7 to 100.0 %) and 1 of 1 wrong" in text
    assert "the mean of all is above 3 on 0 of 1 right answers" in text
    assert "`j` names another winner when the two texts change places in 1 (100.0 %) of 1 comparisons" in text
    assert "It favours the first place." in text


def test_a_round_of_a_loop_is_named() -> None:
    counts = counted(({"a": 5, "b": 5}, None))
    [entry] = judges.collect_judges([{"step": "steps[1] (judge)", "round": 2, "counts": counts}])
    assert "**steps[1] (judge), round 2**" in judges.describe([entry])


def test_other_counters_of_a_step_are_no_judges() -> None:
    assert judges.collect_judges([{"step": "steps[0] (x)", "counts": {"seen": 3}}]) == []
    assert judges.describe([]) == []


def test_how_often_the_longer_text_wins_is_told_of_comparisons_with_a_winner_and_two_lengths() -> None:
    counts: Counter[str] = Counter()
    for gaps, a, b in [((2, 2), "long text", "short"), ((3, -1), "tiny", "a long one"), ((1, 1), "same", "size")]:
        counts.update(judge_agreement.count_lengths({"j": gaps}, a, b))
    counts.update(judge_agreement.count_lengths({"j": (1, -1)}, "no winner here", "no"))
    [entry] = judge_agreement.summarise(counts)["lengths"]
    assert (entry["judge"], entry["rows"], entry["longer_won"]) == ("j", 2, 1)
    assert entry["ci95"] == pytest.approx([0.0945, 0.9055], abs=1e-4)
    said = "\n".join(judges.describe([{"step": "judge", "lengths": [entry]}]))
    assert "Of 2 comparisons in which `j` names a winner, the longer text wins 1 (50.0 %)" in said
