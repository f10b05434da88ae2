"""What models reach in standard benchmarks: intervals, paired comparisons, and questions that were learnt."""

import pytest

from blackbox_kd.analysis import statistics
from blackbox_kd.analysis.benchmarks import compare, describe, find_overlap
from blackbox_kd.schema import Memory, Row
from tests.support.reached import QUESTIONS, reach

BEFORE = [1.0] * 30 + [0.0] * 10
AFTER = [1.0] * 12 + [0.0] * 28


def test_a_result_keeps_what_the_harness_tells_and_has_an_interval_of_ours() -> None:
    told = describe(reach(BEFORE))
    low, high = statistics.wilson(30, 40)
    assert told["metrics"]["acc"] == {"value": 0.75, "stderr": 0.05, "higher_is_better": True, "ci95": [low, high]}
    assert (told["task"], told["n"], told["few_shot"], told["versions"]) == ("rivers", 40, 0, ["1.0"])
    no_mean = reach(BEFORE, scores={})
    assert describe(no_mean)["metrics"]["acc"]["ci95"] is None


def test_models_are_compared_question_by_question_with_what_they_were() -> None:
    [found] = compare({"student@base": reach(BEFORE), "student": reach(AFTER)}, (), 7)
    expected = statistics.measure_gain([bool(each) for each in BEFORE], [bool(each) for each in AFTER]).write()
    assert found == {"table": "rivers", "model": "student", "against": "student@base", "metric": "acc", **expected}
    assert (found["gained"], found["lost"]) == (0, 18)
    assert found["ci95"][1] < 0


def test_a_model_that_is_never_trained_is_compared_with_as_well() -> None:
    results = {"student@base": reach(BEFORE), "student": reach(AFTER), "large": reach([1.0] * 40)}
    pairs = [(found["model"], found["against"]) for found in compare(results, ["large"], 7)]
    assert pairs == [("student", "student@base"), ("large", "student@base"), ("student", "large")]


def test_parts_of_a_question_are_compared_by_draws() -> None:
    before, after = ([value / 3 for value in scores] for scores in (BEFORE, AFTER))
    [found] = compare({"student@base": reach(before, "f1"), "student": reach(after, "f1")}, (), 7)
    assert found["gain"] == pytest.approx((12 - 30) / 40 / 3)
    assert found["ci95"][0] < found["gain"] < found["ci95"][1] < 0
    assert (found["metric"], found["n"], found["p_value"] < 0.01) == ("f1", 40, True)
    assert "gained" not in found


@pytest.mark.parametrize("fields", [
    {"scores": {}},
    {"metrics": {"acc": {"value": 0.75, "stderr": None, "higher_is_better": False}}},
    {"metrics": {"acc": {"value": 0.75, "stderr": None, "higher_is_better": None}}},
])  # fmt: skip
def test_what_is_no_mean_over_questions_or_better_when_low_is_told_and_not_compared(fields: dict[str, object]) -> None:
    result = reach(BEFORE, **fields)
    assert list(compare({"student@base": result, "student": result}, (), 7)) == []
    assert describe(result)["metrics"]["acc"]["value"] == 0.75


def test_numbers_beyond_a_share_are_told_and_not_compared() -> None:
    words = reach([12.0, 15.5, 9.0], "words")
    assert list(compare({"student@base": words, "student": words}, (), 7)) == []
    assert describe(words)["metrics"]["words"]["ci95"] is None


def test_questions_that_stand_among_training_rows_are_counted_without_what_a_task_writes_around_them() -> None:
    shout = QUESTIONS[3].upper()
    nearly = QUESTIONS[5].replace("is the longest", "seems the longest") + " Say why."
    learnt = [
        Row({"id": "a", "prompt": [{"role": "user", "content": shout}], "completion": []}),
        Row({"id": "b", "instruction": QUESTIONS[4]}),
        Row({"id": "c", "instruction": "Which is the longest river?"}),
        Row({"id": "d", "question": nearly}),
    ]
    found = find_overlap(reach(BEFORE), [Memory("train", learnt[:2]), Memory("more", learnt[2:])])
    assert (found["rows"], found["exact"]) == (40, 2)
    assert found["examples"][0] == QUESTIONS[3]
    none = find_overlap(reach(BEFORE), [Memory("train", learnt[2:3])])
    assert (none["exact"], none["near"]) == (0, 0)


def test_a_question_made_of_several_columns_is_compared_as_it_was_asked() -> None:
    asked = [{"doc": {"id": "0", "choice": "Nile"}, "asked": "The longest of all is called"}]
    result = reach([1.0], questions=asked)
    assert find_overlap(result, [Memory("train", [Row({"id": "a", "prompt": "the longest of all is called"})])])[
        "exact"
    ]
