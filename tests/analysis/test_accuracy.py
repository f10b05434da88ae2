"""What a gain is made of."""

from typing import Any

import pytest

from blackbox_kd.analysis import accuracy
from blackbox_kd.schema import Row

UNREAD, WRONG, RIGHT = "unread", "wrong", "right"


def replies(model: str, *kinds: str) -> dict[str, Row]:
    return {
        f"q{n}": Row(
            id=f"q{n}.{model}", answer=None if kind == UNREAD else "7", correct=kind == RIGHT, finish_reason="stop"
        )
        for n, kind in enumerate(kinds)
    }


def compare(before: list[str], after: list[str]) -> dict[str, Any]:
    answered = {"student@base": replies("student@base", *before), "student": replies("student", *after)}
    [found] = accuracy.gains(answered)
    return found


@pytest.mark.parametrize(
    ("before", "after", "by_form", "by_answers"),
    [
        ([UNREAD] * 10, [RIGHT] * 6 + [WRONG] * 4, 0.6, 0.0),
        ([WRONG] * 10, [RIGHT] * 6 + [WRONG] * 4, 0.0, 0.6),
        ([UNREAD] * 5 + [WRONG] * 5, [RIGHT] * 7 + [WRONG] * 3, 0.5, 0.2),
        ([RIGHT] * 8 + [WRONG] * 2, [UNREAD] * 6 + [RIGHT] * 4, -0.6, 0.2),
        ([UNREAD, RIGHT] * 5, [RIGHT, UNREAD] * 5, 0.0, 0.0),
    ],
    ids=["none was read", "all were read", "both", "form was lost", "form changed sides"],
)
def test_the_two_parts_of_a_gain_add_up_to_it(
    before: list[str], after: list[str], by_form: float, by_answers: float
) -> None:
    found = compare(before, after)
    split = found["split"]
    assert (split["by_form"], split["by_answers"]) == (pytest.approx(by_form), pytest.approx(by_answers))
    assert split["by_form"] + split["by_answers"] == pytest.approx(found["gain"])
    assert (split["against_read"], split["read"]) == (10 - before.count(UNREAD), 10 - after.count(UNREAD))


def test_where_nothing_was_read_of_one_model_the_answers_right_tell_nothing() -> None:
    split = compare([UNREAD] * 30, [RIGHT] * 30)["split"]
    assert (split["both_read"], split["p_value"]) == (0, 1.0)
    assert split["ci95"][0] < 0 < split["ci95"][1]


def test_the_interval_of_the_answers_right_is_in_points_of_all_rows() -> None:
    split = compare([UNREAD] * 50 + [WRONG] * 50, [RIGHT] * 70 + [WRONG] * 30)["split"]
    low, high = split["ci95"]
    assert split["by_answers"] == pytest.approx(0.2)
    assert 0.1 < low < 0.2 < high < 0.3
    assert split["both_read"] == 50
    assert split["p_value"] == pytest.approx(2 / 2**20)


def test_what_is_recorded_can_stand_in_a_report() -> None:
    from blackbox_kd.runs.report.schema import find_fault

    where = {"table": "test", "step": "steps[1] (evaluate)"}
    assert find_fault("comparisons", [compare([UNREAD, WRONG], [RIGHT, RIGHT]) | where]) is None
