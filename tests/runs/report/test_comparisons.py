from typing import Any

import pytest

from blackbox_kd.runs.report import comparisons

GAIN = {"model": "student", "against": "student@base", "gain": 0.05, "ci95": [0.01, 0.09]}
PAID = {"usd": 2.0, "usd_unknown": 0}


@pytest.mark.parametrize(
    ("entry", "spent", "usd"),
    [
        (GAIN, PAID, 0.4),
        (GAIN | {"ci95": [0.0001, 0.09]}, PAID, 0.4),
        (GAIN | {"ci95": [0.0, 0.09]}, PAID, None),
        (GAIN | {"ci95": [-0.01, 0.11]}, PAID, None),
        (GAIN | {"gain": 0.0, "ci95": [-0.04, 0.04]}, PAID, None),
        (GAIN | {"gain": -0.05, "ci95": [-0.09, -0.01]}, PAID, None),
        (GAIN, PAID | {"usd": 0.0}, None),
        (GAIN, PAID | {"usd_unknown": 3}, None),
    ],
)
def test_a_gain_has_a_price_where_its_interval_lies_above_0_and_all_of_the_cost_is_known(
    entry: dict[str, Any], spent: dict[str, Any], usd: float | None
) -> None:
    [priced] = comparisons.price_gains([entry], spent)
    assert priced == {**entry, "usd_per_point": pytest.approx(usd) if usd else None}


def test_agreement_is_told_beside_how_many_of_the_answers_are_wrong() -> None:
    entry = {"model": "student", "against": "teacher", "table": "test", "n": 1200, "agreement": 0.75, "same": 900}
    said = comparisons.describe({"agreements": [{**entry, "ci95": [0.725, 0.774], "same_wrong": 100, "round": 2}]})
    assert said == [
        "## Agreement",
        "",
        "- On the same 1,200 rows of `test`, round 2, `student` gives the answer of `teacher` in 75.0 % (95 % interval "
        "72.5 % to 77.4 %). Of these 900 answers, 100 are wrong.",
        "",
    ]


def test_a_win_rate_is_told_with_its_ties_and_the_share_of_the_scores() -> None:
    entry = {"model": "student", "against": "teacher", "judge": "referee", "table": "test", "n": 20, "wins": 8}
    entry |= {"losses": 2, "ties": 10, "win_rate": 0.65, "ci95": [0.43, 0.82], "p_value": 0.109, "score_ratio": 0.938}
    assert comparisons.describe({"win_rates": [entry]}) == [
        "## Win rates",
        "",
        "- `student` against `teacher` on `test`, judged by `referee` in both orders on 20 rows: 8 won, 2 lost, "
        "10 tied. With ties as halves it wins 65.0 % (95 % interval 43.0 % to 82.0 %; sign test p = 0.11). Its scores "
        "come to 93.8 % of the other's.",
        "",
    ]


def test_a_judge_without_a_verdict_is_said_to_have_given_none() -> None:
    entry = {"model": "student", "against": "teacher", "judge": "referee", "table": "test", "n": 0, "win_rate": None}
    assert "`referee` gave no verdict." in comparisons.describe({"win_rates": [entry]})[2]


def test_nothing_to_say_makes_no_section() -> None:
    assert comparisons.describe({"agreements": [], "win_rates": []}) == []
