"""Answers to reasoning-gym's tasks: how they are read, and what its verifiers are kept from evaluating."""

import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd import answers
from blackbox_kd.answers import reasoning_gym
from blackbox_kd.errors import DataError

KIND = answers.kind("reasoning_gym")

GRID = "1 2 3\n4 5 6"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("The answer is 42.", "42"),
        ("Hence\n42", "42"),
        (r"The answer is \(\boxed{126}\).", "126"),
        ("<answer>-4</answer>", "-4"),
        ("Answer: `94*4 - 61 - 6`", "94*4 - 61 - 6"),
        ("The answer is:\n\n7", "7"),
        ('So\nAnswer: {"0": 1,\n "1": 2} as shown', '{"0": 1,\n "1": 2}'),
        ("Here:\n```\n1 2\n3 4\n```\nDone.", "1 2\n3 4"),
        ("", None),
    ],
)
def test_an_answer_of_one_line_or_of_json_or_code_is_read(text: str, read: str | None) -> None:
    assert KIND.read(text, {"reference": "0"}) == read


@pytest.mark.parametrize(
    "text", [GRID, f"The answer is:\n{GRID}\n\nI hope it helps.", f"Well.\n{GRID}", f"```\n{GRID}\n```"]
)
def test_as_many_lines_are_read_as_the_reference_has(text: str) -> None:
    assert KIND.read(text, {"reference": "a\nb"}) == GRID


def test_a_full_stop_is_part_of_the_answer_where_the_reference_has_one() -> None:
    assert KIND.read("Answer: He left.", {"reference": "She came."}) == "He left."


@pytest.mark.parametrize(
    "answer",
    [
        "94*4 - 61 - 6",
        "(1 + 2)**2 / 3",
        "x**3/3 + 2*sin(x) + C",
        "[[1, 2], [3, 4]]",
        '["A", "B"]',
        '{"0": 1}',
        "_ _ Q _\nQ _ _ _",
        "ABCABC",
    ],
)
def test_formulas_and_literals_are_inert(answer: str) -> None:
    assert reasoning_gym.inert(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "__import__('os').system('true')",
        "exit()",
        "open ('x')",
        "(lambda: 1)()",
        "[x for x in (1, 2)]",
        "().__class__",
        "x.y",
        "9**9**9**9",
        "(9**99)**(9**9)",
        "9**999999999",
        "((9**99)**99)**99",
        "'a'*10**9",
        "[0]*999999999",
        "99999999!",
        "sin(exp(exp(99)))",
        "factorial(9999999)",
    ],
)
def test_what_runs_code_or_takes_long_is_not(answer: str) -> None:
    assert not reasoning_gym.inert(answer)


def test_rows_of_another_origin_are_refused() -> None:
    with pytest.raises(DataError, match="needs the columns 'task' and 'metadata'"):
        KIND.same("1", "1", {"instruction": "?"})


def row_of(task: str, number: int = 0) -> dict[str, Any]:
    """A row as it comes out of a table: through JSON."""
    library = pytest.importorskip("reasoning_gym")
    entry = library.create_dataset(task, size=number + 1, seed=3)[number]
    columns = {"instruction": entry["question"], "reference": entry["answer"] or "", "task": task}
    return {**columns, "metadata": json.loads(json.dumps(entry["metadata"]))}


@pytest.mark.parametrize("task", ["gsm_symbolic", "chain_sum", "countdown", "sudoku", "arc_agi", "n_queens"])
def test_the_reference_is_right_and_nonsense_is_not(task: str) -> None:
    row = row_of(task)
    answer = KIND.read(f"The answer is:\n{row['reference']}", row)
    assert answer is not None
    assert KIND.same(answer, row["reference"], row)
    assert not KIND.same("nonsense", row["reference"], row)


def test_a_task_with_many_right_answers_accepts_each() -> None:
    row = row_of("graph_color")
    right = json.dumps(row["metadata"]["possible_answer"])
    assert KIND.same(right, "", row)
    assert not KIND.same(right.replace("2", "1").replace("3", "1"), "", row)


def test_the_text_of_a_model_is_not_run_by_a_verifier(tmp_path: Path) -> None:
    row = row_of("countdown")
    target = tmp_path / "written"
    assert not KIND.same(f"open({str(target)!r}, 'w').write('x')", row["reference"], row)
    assert not target.exists()


def test_metadata_that_a_verifier_cannot_read_is_the_rows_fault() -> None:
    row = row_of("sudoku")
    with pytest.raises(DataError, match="verifier cannot read the row's metadata"):
        KIND.same("1", row["reference"], {**row, "metadata": {}})


def test_an_unknown_task_is_the_rows_fault() -> None:
    row = row_of("sudoku")
    with pytest.raises(DataError, match="no verifier for the task 'sudoko'"):
        KIND.same("1", row["reference"], {**row, "task": "sudoko"})
