"""Values, intervals and comparisons of metrics against scikit-learn's and a brute-force bootstrap's."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import f1_score, precision_recall_fscore_support

from blackbox_kd.analysis import metrics
from blackbox_kd.analysis.metrics import Graded, Measure, compare, metric
from blackbox_kd.analysis.metrics import measure as measure_by
from blackbox_kd.analysis.metrics import tabulate_classes as tabulate
from blackbox_kd.analysis.statistics import wilson
from blackbox_kd.errors import StepMistake

UNREAD = "\0unread"
LABELS = ["billing", "delivery", "refund", "other"]


def grade(wanted: Sequence[str], answers: Sequence[str | None]) -> list[Graded]:
    return [
        Graded(f"q{n}", str(answer), label, answer=answer, wanted=label, correct=answer == label)
        for n, (label, answer) in enumerate(zip(wanted, answers, strict=True))
    ]


def score(rows: Sequence[Graded], average: str) -> float:
    """scikit-learn's own value: an unread answer is predicted as none of the labels."""
    wanted = [str(row.wanted) for row in rows]
    said = [UNREAD if row.answer is None else row.answer for row in rows]
    labels = sorted({*wanted, *said} - {UNREAD})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        return float(f1_score(wanted, said, labels=labels, average=average, zero_division=0))


def draw_rows(seed: int, rows: int, *, unread: float = 0.1, labels: Sequence[str] = LABELS) -> list[Graded]:
    rng = np.random.default_rng(seed)
    wanted = rng.choice(labels, rows, p=np.arange(1, len(labels) + 1) / sum(range(1, len(labels) + 1)))
    right, lost = rng.random(rows) < 0.6, rng.random(rows) < unread
    said = np.where(right, wanted, rng.choice(labels, rows))
    return grade(wanted.tolist(), [None if gone else str(each) for each, gone in zip(said, lost, strict=True)])


CASES: dict[str, list[Graded]] = {
    "random": draw_rows(0, 60),
    "larger": draw_rows(1, 400),
    "a class that is never predicted": grade(["a", "b", "c", "a"], ["a", "a", "b", "a"]),
    "a class that is never wanted": grade(["a", "b", "a", "a"], ["a", "c", "a", "c"]),
    "one row, right": grade(["a"], ["a"]),
    "one row, wrong": grade(["a"], ["b"]),
    "one row, unread": grade(["a"], [None]),
    "all wrong": grade(["a", "b", "a"], ["b", "a", "b"]),
    "nothing read": grade(["a", "b", "a"], [None, None, None]),
    "everything right": grade(["a", "b", "a"], ["a", "b", "a"]),
    "answers that nobody asked for": grade(["a"] * 4, ["b", "c", "d", "a"]),
}
F1S = [("macro_f1", "macro"), ("micro_f1", "micro")]


def value(name: str, rows: Sequence[Graded]) -> float | None:
    return measure(name, rows)["value"]


def measure(name: str, rows: Sequence[Graded], seed: int = 0) -> Measure:
    return measure_by(metrics.find(name), rows, seed)


@pytest.mark.parametrize(("name", "average"), F1S)
@pytest.mark.parametrize("case", CASES)
def test_an_f1_is_that_of_scikit_learn(name: str, average: str, case: str) -> None:
    assert value(name, CASES[case]) == pytest.approx(score(CASES[case], average), abs=1e-12)


@pytest.mark.parametrize("seed", range(30))
def test_an_f1_is_that_of_scikit_learn_on_random_data(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = draw_rows(
        seed, int(rng.integers(1, 80)), unread=rng.random(), labels=[f"l{n}" for n in range(rng.integers(1, 15))]
    )
    for name, average in F1S:
        assert value(name, rows) == pytest.approx(score(rows, average), abs=1e-12)


def bootstrap(work_out: Callable[[Sequence[Graded]], float], rows: Sequence[Graded]) -> tuple[float, float]:
    rng = np.random.default_rng(99)
    found = [work_out([rows[at] for at in rng.integers(len(rows), size=len(rows))]) for _ in range(400)]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize(("name", "average"), F1S)
@pytest.mark.parametrize("case", ["random", "a class that is never wanted", "one row, right", "all wrong"])
def test_an_interval_is_that_of_a_brute_force_bootstrap_of_scikit_learns_value(
    name: str, average: str, case: str
) -> None:
    rows = CASES[case]
    expected = bootstrap(lambda drawn: score(drawn, average), rows)
    assert measure(name, rows)["ci95"] == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(("name", "average"), F1S)
def test_a_difference_of_two_models_is_drawn_in_pairs(name: str, average: str) -> None:
    before, after = draw_rows(3, 60), draw_rows(3, 60, unread=0.0)
    better = [b if row.correct else a for row, a, b in zip(before, after, before, strict=True)]
    pairs = {id(a): b for a, b in zip(before, better, strict=True)}
    found = compare(metrics.find(name), before, better, seed=0)
    assert found["gain"] == pytest.approx(score(better, average) - score(before, average), abs=1e-12)
    expected = bootstrap(
        lambda drawn: score([pairs[id(row)] for row in drawn], average) - score(drawn, average), before
    )
    assert found["ci95"] == pytest.approx(expected, abs=0.03)


def test_a_model_that_is_compared_with_its_like_gains_nothing_for_certain() -> None:
    rows = CASES["random"]
    for name in ("macro_f1", "micro_f1", "accuracy", "rouge_l"):
        assert compare(metrics.find(name), rows, rows, seed=1) == {"gain": 0.0, "ci95": [0.0, 0.0], "p_value": 1.0}


@pytest.mark.parametrize("name", ["macro_f1", "accuracy"])
def test_the_permutation_test_finds_what_is_there_and_seldom_what_is_not(name: str) -> None:
    rng = np.random.default_rng(5)
    found = []
    for _ in range(200):
        wanted = rng.integers(3, size=40)
        sides = [np.where(rng.random(40) < 0.6, wanted, rng.integers(3, size=40)) for _ in range(2)]
        before, after = (
            [answer_by_number(n, w, a) for n, (w, a) in enumerate(zip(wanted, side, strict=True))] for side in sides
        )
        found.append(compare(metrics.find(name), before, after, seed=1)["p_value"])
    assert 0.01 < np.mean(np.array(found) < 0.05) < 0.1
    right = [answer_by_number(n, w, w) for n, w in enumerate(wanted)]
    assert compare(metrics.find(name), before, right, seed=1)["p_value"] < 0.01


def answer_by_number(number: int, wanted: int, answer: int) -> Graded:
    return Graded(f"q{number}", "", str(wanted), str(answer), str(wanted), bool(wanted == answer))


@pytest.mark.parametrize("name", ["macro_f1", "micro_f1", "rouge_l"])
def test_own_copies_of_a_question_in_a_cluster_tell_no_more_than_the_question(name: str) -> None:
    once = CASES["random"]
    copied = [replace(row, cluster=row.question) for row in once for _ in range(6)]
    plain = [replace(row, cluster=None) for row in copied]
    widths = [np.ptp(measure(name, rows)["ci95"]) for rows in (once, copied, plain)]
    assert widths[1] == pytest.approx(widths[0], rel=0.1)
    assert widths[2] < 0.6 * widths[0]


def test_accuracy_keeps_the_interval_of_wilson() -> None:
    rows = CASES["random"]
    right = sum(bool(row.correct) for row in rows)
    assert measure("accuracy", rows) == {"value": right / 60, "ci95": list(wilson(right, 60))}


def test_without_rows_there_is_no_value_and_no_interval() -> None:
    for name in metrics.names():
        assert measure(name, []) == {"value": None, "ci95": None}


def test_the_same_seed_gives_the_same_interval_and_the_order_of_rows_does_not_matter() -> None:
    rows = CASES["random"]
    assert measure("macro_f1", rows, 5) == measure("macro_f1", rows, 5)
    assert value("macro_f1", rows[::-1]) == value("macro_f1", rows)


def test_thousands_of_classes_are_worked_out() -> None:
    rows = grade([str(n) for n in range(3000)], [str(n * 2) for n in range(3000)])
    assert value("macro_f1", rows) == pytest.approx(score(rows, "macro"))


def fields(*rows: dict[str, tuple[int, int, int]]) -> list[Graded]:
    return [Graded(f"q{n}", "", "", fields=each) for n, each in enumerate(rows)]


def test_field_f1_counts_all_fields_of_all_rows_together() -> None:
    rows = fields({"total": (1, 0, 0), "tags": (1, 1, 2)}, {"total": (0, 1, 1), "tags": (2, 0, 0)}, {})
    assert value("field_f1", rows) == pytest.approx(2 * 4 / (2 * 4 + 2 + 3))


def test_field_f1_is_scikit_learns_micro_f1_of_what_is_found_and_what_is_there() -> None:
    rng = np.random.default_rng(4)
    there, found = rng.random((50, 6)) < 0.7, rng.random((50, 6)) < 0.6
    rows = fields(
        *(
            {
                f"f{n}": (int(a and b), int(b and not a), int(a and not b))
                for n, (a, b) in enumerate(zip(x, y, strict=True))
            }
            for x, y in zip(there, found, strict=True)
        )
    )
    assert value("field_f1", rows) == pytest.approx(f1_score(there, found, average="micro", zero_division=0))


def test_field_f1_of_rows_without_any_field_is_0_as_scikit_learns_is() -> None:
    assert value("field_f1", fields({}, {})) == 0.0


def test_rouge_l_is_the_mean_over_the_replies() -> None:
    rows = [Graded("q0", "the cat sat", "the cat sat"), Graded("q1", "a dog", "no words alike")]
    assert measure("rouge_l", rows) == {"value": 0.5, "ci95": [0.0, 1.0]}


def test_the_table_of_classes_is_that_of_scikit_learn() -> None:
    rows = CASES["larger"]
    told = {each["name"]: each for each in tabulate(rows, None)["classes"]}
    said = [UNREAD if row.answer is None else row.answer for row in rows]
    names = sorted(told)
    expected = precision_recall_fscore_support([r.wanted for r in rows], said, labels=names, zero_division=0)
    for name, *numbers in zip(names, *expected, strict=True):
        found = [told[name][key] or 0.0 for key in ("precision", "recall", "f1", "support")]
        assert found == pytest.approx(numbers)


def test_the_confusion_has_a_column_for_answers_that_nobody_could_read() -> None:
    rows = grade(["a", "a", "b", "unread"], ["a", None, "a", "unread"])
    assert tabulate(rows, None)["confusion"] == [
        {"wanted": "a", "answer": "a", "n": 1},
        {"wanted": "a", "answer": None, "n": 1},
        {"wanted": "b", "answer": "a", "n": 1},
        {"wanted": "unread", "answer": "unread", "n": 1},
    ]


def test_an_unread_answer_is_missed_and_speaks_against_no_class() -> None:
    told = {each["name"]: each for each in tabulate(grade(["a", "a"], ["a", None]), None)["classes"]}
    assert told["a"] == {"name": "a", "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}


def test_a_class_of_the_label_set_that_never_occurs_is_in_the_table_and_not_in_the_mean() -> None:
    rows = grade(["a", "b"], ["a", "b"])
    told = tabulate(rows, ["b", "never", "a"])["classes"]
    assert [each["name"] for each in told] == ["b", "never", "a"]
    assert told[1] == {"name": "never", "precision": None, "recall": None, "f1": None, "support": 0}
    assert value("macro_f1", rows) == 1.0


def test_a_wrong_answer_that_reads_like_the_right_one_is_wrong() -> None:
    row = Graded("q", "", "", answer="a", wanted="a", correct=False)
    assert value("micro_f1", [row]) == 0.0


@metric
def run(rows: Sequence[Graded]) -> float:
    return sum(len(row.response) > 3 for row in rows) / len(rows)


BROKEN = metric(lambda rows: rows[0].nothing).metric  # type: ignore[attr-defined]
OUT_OF_BOUNDS = metric(lambda rows: 17).metric  # type: ignore[attr-defined]
SELDOM = metric(lambda rows: None if rows[0].response == "long one" else 0.25).metric  # type: ignore[attr-defined]


def test_a_metric_that_gives_a_number_has_an_interval_of_draws_of_the_rows() -> None:
    rows = [Graded(f"q{n}", "long one" if n % 3 else "no", "") for n in range(60)]
    found = measure_by(run.metric, rows, 0)
    assert found["value"] == pytest.approx(2 / 3)
    assert found["ci95"] == pytest.approx(list(wilson(40, 60)), abs=0.03)
    assert compare(run.metric, rows, rows, seed=0) == {"gain": 0.0, "ci95": [0.0, 0.0], "p_value": 1.0}


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (BROKEN, "AttributeError: 'Graded' object has no attribute 'nothing'"),
        (OUT_OF_BOUNDS, "gave 17; a metric is a number from 0 to 1, the higher the better, or None"),
    ],
)
def test_a_metric_that_is_wrong_is_told_by_its_name_and_file(broken: metrics.Metric, what: str) -> None:
    with pytest.raises(StepMistake, match="metric 'test_metrics'") as told:
        measure_by(broken, [Graded("q", "", "")], 0)
    assert what in str(told.value)
    assert __file__ in str(told.value)


def test_draws_in_which_a_metric_is_not_defined_are_left_out_of_its_interval() -> None:
    rows = [Graded("q0", "short", ""), Graded("q1", "long one", "")]
    assert measure_by(SELDOM, rows, 0) == {"value": 0.25, "ci95": [0.25, 0.25]}
    assert measure_by(SELDOM, rows[1:], 0) == {"value": None, "ci95": None}


def test_a_metric_cannot_change_what_others_measure() -> None:
    with pytest.raises(AttributeError):
        Graded("q", "", "").correct = True  # type: ignore[misc]
