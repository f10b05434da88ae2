"""Whether a report's words say form where only form can be told."""

from typing import Any

import pytest

from blackbox_kd.analysis import accuracy
from blackbox_kd.runs.report import gains
from blackbox_kd.runs.report.build import SCHEMA_VERSION
from tests.analysis.test_accuracy import RIGHT, UNREAD, WRONG, replies


def report(before: list[str], after: list[str]) -> dict[str, Any]:
    answered = {"base": replies("base", *before), "student": replies("student", *after)}
    where = {"table": "test", "step": "steps[1] (evaluate)"}
    evaluations = [{"model": m, **accuracy.accuracy(list(rows.values())), **where} for m, rows in answered.items()]
    compared = [{**entry, **where} for entry in accuracy.gains(answered)]
    return {"schema_version": SCHEMA_VERSION, "evaluations": evaluations, "comparisons": compared}


def told(before: list[str], after: list[str]) -> str:
    return gains.describe_evidence(report(before, after))[-1]


def test_a_gain_over_a_base_that_could_not_be_read_is_not_called_real() -> None:
    said = told([UNREAD] * 40, [RIGHT] * 30 + [WRONG] * 10)
    assert "the gain is real" not in said
    assert "in no reply of `base` an answer could be read: the gain is one of form" in said
    assert "An answer could be read in 40 of its 40 replies (`base`: 0); of the answers read, 75.0 % are right" in said
    assert "Of the +75.0 points, +75.0 come from answers read" in said
    assert "none from answers right: there is no row where both could be read" in said


def test_a_gain_of_form_alone_is_told_from_one_that_holds_where_both_were_read() -> None:
    form = told([UNREAD] * 20 + [RIGHT] * 20, [RIGHT] * 40)
    assert "but not that of the answers right: these rows tell a gain of form alone" in form
    assert "+50.0 come from answers read" in form
    assert "+0.0 from answers right (the 20 rows where both could be read; 95 % interval" in form
    both = told([UNREAD] * 10 + [WRONG] * 30, [RIGHT] * 40)
    assert "the gain is real on rows like these. That of the answers right does, too." in both
    assert "Of the +100.0 points, +25.0 come from answers read" in both
    assert "+75.0 from answers right (the 30 rows where both could be read; 95 % interval" in both


def test_a_loss_of_form_is_not_called_one_of_knowledge() -> None:
    said = told([RIGHT] * 40, [UNREAD] * 40)
    assert "in no reply of `student` an answer could be read: the loss is one of form" in said
    assert "tell a loss of form alone" in told([RIGHT] * 40, [UNREAD] * 30 + [RIGHT] * 10)
    assert "is the worse one. That of the answers right does, too" in told([RIGHT] * 40, [UNREAD] * 2 + [WRONG] * 38)


def test_models_that_are_never_read_on_the_same_row_are_told_so() -> None:
    said = told([RIGHT] * 4 + [UNREAD] * 36, [UNREAD] * 4 + [RIGHT] * 36)
    assert "in no row could both be read: the gain is one of form" in said


@pytest.mark.parametrize("unread", [0, 4])
def test_where_as_many_could_be_read_of_both_the_gain_is_not_split(unread: int) -> None:
    said = told([UNREAD] * unread + [WRONG] * 20, [UNREAD] * unread + [RIGHT] * 20)
    assert "The interval lies above 0: the gain is real on rows like these." in said
    assert "come from answers read" not in said


def test_an_evaluation_says_on_the_screen_how_many_answers_could_be_read() -> None:
    first = gains.describe_evidence(report([UNREAD] * 3 + [RIGHT], [RIGHT] * 4))[0]
    assert first.startswith("base on test: 1 of 4 right (25.0 %, 95 % interval ")
    assert first.endswith("; an answer could be read in 1")


@pytest.mark.parametrize(("unread", "split"), [(10, "all of them, as none was read"), (5, "")])
def test_own_a_comparison_of_an_earlier_version_is_split_only_where_its_counts_tell_how(
    unread: int, split: str
) -> None:
    found = report([UNREAD] * unread + [WRONG] * (10 - unread), [RIGHT] * 10)
    for entry in found["comparisons"]:
        del entry["split"]
    said = gains.describe_evidence(found)[-1]
    assert f"An answer could be read in 10 of its 10 replies (`base`: {10 - unread})" in said
    assert ("+100.0 come from answers read" in said) is bool(split)
    assert ("the gain is real" in said) is not bool(split)


@pytest.mark.parametrize(("version", "whom"), [("student@1", "for this student "), ("teacher", ""), ("m@base", "")])
def test_a_gain_of_a_trained_model_is_said_to_be_that_of_this_student(version: str, whom: str) -> None:
    found = report([WRONG] * 20, [RIGHT] * 20)
    found["evaluations"][1]["version"] = version
    assert f"the gain is real {whom}on rows like these." in gains.describe_evidence(found)[-1]
