"""The tables of classes and fields, as a person reads them."""

from typing import Any

from blackbox_kd.analysis.metrics import Graded, tabulate_classes
from blackbox_kd.runs.report import classes
from blackbox_kd.runs.report.gains import describe_evidence


def entry(pairs: list[tuple[str, str | None]], model: str = "m", **more: Any) -> dict[str, Any]:
    rows = [Graded(str(n), "", a, answer=b, wanted=a, correct=a == b) for n, (a, b) in enumerate(pairs)]
    found = {"step": "s", "table": "test", "model": model, "version": model, "n": len(rows), "metrics": {}}
    return {**found, **tabulate_classes(rows, None), **more}


def test_a_few_classes_are_a_table_of_each_and_a_table_of_what_was_answered() -> None:
    one = entry([("refund", "refund"), ("refund", "other"), ("other", "other"), ("other", None)])
    assert classes.describe(one, [one]) == [
        "m on test, by class:",
        "",
        "| class  | precision | recall |     F1 | rows |",
        "|--------|----------:|-------:|-------:|-----:|",
        "| other  |    50.0 % | 50.0 % | 50.0 % |    2 |",
        "| refund |   100.0 % | 50.0 % | 66.7 % |    2 |",
        "",
        "m on test, what was answered (a line for each right answer, a column for each that was given):",
        "",
        "|        | other | refund | (unread) |",
        "|--------|------:|-------:|---------:|",
        "| other  |     1 |      0 |        1 |",
        "| refund |     1 |      1 |        0 |",
        "",
    ]


def test_of_many_classes_those_with_the_most_mistakes_are_shown_and_the_worst_confusions_named() -> None:
    pairs = [(f"c{n:02}", f"c{n:02}") for n in range(12)] + [("c03", "c07")] * 3 + [("c05", None)]
    one = entry(pairs)
    lines = classes.describe(one, [one])
    assert lines[0] == "m on test, by class, the 10 of 12 classes with the most mistakes:"
    assert [line.split("|")[1].strip() for line in lines[4:7]] == ["c03", "c07", "c05"]
    assert len(lines) == 4 + 10 + 1 + 2
    assert lines[-2] == "m on test, the worst confusions: c03 answered as c07 in 3; c05 answered as (unread) in 1."


def test_the_name_of_a_class_breaks_no_table_and_no_line() -> None:
    one = entry([("a|b\n<img>", "x" * 200)])
    text = "\n".join(classes.describe(one, [one]))
    assert "a\\|b\\n\\<img>" in text
    assert "x" * 31 not in text
    assert {line.count("|") - line.count("\\|") for line in text.splitlines() if line.startswith("| ")} == {6, 5}


def test_an_evaluation_without_classes_has_no_tables() -> None:
    plain = {"step": "s", "table": "test", "model": "m", "version": "m"}
    assert classes.describe(plain, [plain]) == []
    assert classes.describe_metrics([plain]) == []


def test_on_a_screen_the_tables_are_those_of_the_models_that_were_trained() -> None:
    pairs = [("a", "a"), ("b", None)]
    told = [entry(pairs, "s@base"), entry(pairs, "s", version="s@1"), entry(pairs, "teacher")]
    assert [line for line in classes.describe_latest(told) if "by class" in line] == ["s on test, by class:"]
    untrained = [told[0], told[2]]
    assert len([line for line in classes.describe_latest(untrained) if "by class" in line]) == 2


def test_replies_that_nobody_reads_are_told_by_their_metrics() -> None:
    one = {"step": "s", "table": "test", "model": "m", "n": 4, "accuracy": None, "ci95": None, "right": None}
    one |= {"read": None, "truncated": 0, "metrics": {"rouge_l": {"value": 0.25, "ci95": [0.1, 0.4]}}}
    other = {"metric": "rouge_l", "model": "m", "against": "n", "table": "test", "step": "s", "n": 4, "gain": -0.1}
    lines = describe_evidence({"evaluations": [one], "comparisons": [{**other, "ci95": [-0.2, -0.05]}]})
    assert lines == [
        "m on test: 4 replies; rouge_l 25.0 % (95 % interval 10.0 % to 40.0 %)",
        "On the same 4 rows of `test`, `m` is 10.0 points worse than `n` in rouge_l (95 % interval -20.0 to -5.0). "
        "The interval lies below 0: `m` is the worse one.",
    ]
