"""What a report says of standard benchmarks: what was learnt comes first, and nothing is the recipe's evidence."""

from typing import Any

from blackbox_kd.analysis import benchmarks as measured
from blackbox_kd.runs.report import benchmarks, comparisons, gains
from blackbox_kd.runs.report.schema import find_fault
from tests.support.reached import reach

OVERLAP = {"rows": 40, "exact": 2, "near": 1, "examples": ["q"]}


def report(overlap: dict[str, Any] | None, **result: Any) -> dict[str, Any]:
    """The part of a report that is about a student which lost 18 of 40 questions."""
    results = {"student@base": reach([1.0] * 30 + [0.0] * 10, **result)}
    results["student"] = reach([1.0] * 12 + [0.0] * 28, **result)
    where = {"step": "steps[2] (benchmark)"}
    about = {**where, "harness": "lm_eval 0.4.13", "chat": False, "overlap": overlap}
    versions = {"student@base": "student@base", "student": "student@1"}
    entries = [{"model": m, "version": versions[m], **measured.describe(r), **about} for m, r in results.items()]
    found = measured.compare(results, (), 7)
    compared = [{**gain, **where, "version": versions[gain["model"]], "is_benchmark": True} for gain in found]
    assert find_fault("benchmarks", entries) is None
    assert find_fault("comparisons", compared) is None
    return {"evaluations": [], "benchmarks": entries, "comparisons": comparisons.correct(compared)}


def test_questions_that_were_learnt_stand_before_the_numbers_and_the_loss_is_this_student_s() -> None:
    told = report(OVERLAP)
    sentences = gains.describe_evidence(told)
    assert sentences[0] == (
        "Of the 40 questions of `rivers`, 2 stand among the rows that were learnt word for word and 1 nearly: that "
        "they can be answered says little."
    )
    assert sentences[1] == "student@base on benchmark rivers: 40 questions; acc 75.0 %"
    assert "`student` is 45.0 points worse than `student@base` in acc (95 % interval" in sentences[3]
    assert "`student` is the worse one." in sentences[3]
    lines = benchmarks.describe(told, sentences[3:])
    assert lines[0] == "## Benchmarks"
    assert "asked by lm_eval 0.4.13" in lines[2]
    assert "another training may differ" in lines[2]
    assert lines.index(sentences[0]) < lines.index(
        "| student@base | rivers | 40 | 0 | acc | 75.0 % | 5.0 % | 59.8 % to 85.8 % |"
    )
    assert lines[-2] == sentences[3]
    assert "| student (student@1) | rivers | 40 | 0 | acc | 30.0 % | 5.0 % | 18.1 % to 45.4 % |" in lines


def test_where_the_training_rows_are_not_known_that_is_said_and_without_benchmarks_nothing_is() -> None:
    assert "is not known here" in gains.describe_evidence(report(None))[0]
    assert benchmarks.describe({"comparisons": []}, []) == []
    assert benchmarks.tell({}) == []


def test_a_number_that_is_no_share_is_told_as_it_is() -> None:
    told = report(None, scores={}, metrics={"words": {"value": 12.3456, "stderr": None, "higher_is_better": False}})
    assert "| student@base | rivers | 40 | 0 | words | 12.35 | - | - |" in benchmarks.describe(told, [])
    assert told["comparisons"] == []


def test_no_point_of_a_benchmark_has_a_price() -> None:
    spent = {"usd": 5.0, "usd_unknown": 0}
    gain = {"gain": 0.3, "ci95": [0.1, 0.5], "p_value": 0.001}
    found = comparisons.price_gains([gain, {**gain, "is_benchmark": True}], spent)
    assert [entry["usd_per_point"] for entry in found] == [5.0 / 30, None]
