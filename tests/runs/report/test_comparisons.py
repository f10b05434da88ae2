from typing import Any

import pytest

from blackbox_kd.runs.report import comparisons, gains

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


def evaluation(model: str, right: int, step: int = 5, *, prompt: str = "exam/plain", read: int = 30) -> dict[str, Any]:
    shares = {"n": 30, "right": right, "read": read, "truncated": 0, "accuracy": right / 30, "ci95": [0.0, 0.1]}
    return {"model": model, "table": "test", "step": f"steps[{step}] (evaluate)", "prompt": prompt, **shares}


def comparison(gained: int = 0, lost: int = 0) -> dict[str, Any]:
    gain = (gained - lost) / 30
    about = {"model": "student", "against": "base", "table": "test", "step": "steps[5] (evaluate)", "n": 30}
    return {**about, "gain": gain, "ci95": [gain, gain], "gained": gained, "lost": lost, "p_value": 1.0}


def test_two_models_that_have_none_right_are_not_called_as_good_as_each_other() -> None:
    entries = [evaluation("base", 0, read=2), evaluation("student", 0)]
    assert gains.describe_comparison(comparison(), entries) == (
        "Of the same 30 rows of `test`, neither `student` nor `base` has one right: that does not tell which one is "
        "better. An answer could be read in 30 of its 30 replies (`base`: 2)."
    )


def test_own_two_models_with_other_rows_right_are_compared() -> None:
    entries = [evaluation("base", 1), evaluation("student", 1)]
    assert "`student` is as good as `base`" in gains.describe_comparison(comparison(1, 1), entries)


def test_one_model_under_two_prompts_is_told_apart_by_them() -> None:
    entries = [evaluation("student", 12), evaluation("student", 20, 6, prompt="mine"), evaluation("base", 12)]
    assert [comparisons.name_measured(entry, entries) for entry in entries] == [
        "student (prompt `exam/plain`)",
        "student (prompt `mine`)",
        "base",
    ]
    said = gains.describe_comparison(comparison(), entries)
    assert said.startswith("On the same 30 rows of `test` (prompt `exam/plain`), `student` is as good as `base`")


def test_own_one_model_asked_in_two_other_ways_is_told_apart_by_its_steps() -> None:
    entries = [evaluation("student", 12), evaluation("student", 20, 6)]
    assert [comparisons.tell_apart(entry, entries) for entry in entries] == [
        "steps[5] (evaluate)",
        "steps[6] (evaluate)",
    ]


@pytest.mark.parametrize(
    "other",
    [evaluation("student", 12, 6), {**evaluation("student", 20, 6), "round": 2}, evaluation("base", 20, 6)],
    ids=["the same again", "another round", "another model"],
)
def test_what_needs_no_telling_apart_is_called_by_its_name(other: dict[str, Any]) -> None:
    first = evaluation("student", 12)
    assert comparisons.tell_apart(first, [first, other]) == ""


def test_win_rates_under_two_prompts_are_told_apart() -> None:
    entry = {"model": "student", "against": "teacher", "judge": "referee", "table": "test", "n": 0, "win_rate": None}
    entries = [{**entry, "step": f"s{n}", "prompt": f"p{n}", "ties": n} for n in range(2)]
    said = comparisons.describe({"win_rates": entries})
    assert said[2].startswith("- `student` against `teacher` on `test`, prompt `p0`: ")
    assert said[3].startswith("- `student` against `teacher` on `test`, prompt `p1`: ")
