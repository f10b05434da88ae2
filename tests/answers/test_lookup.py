"""How kinds are found."""

import subprocess
import sys

import pytest

from blackbox_kd import answers
from blackbox_kd.errors import DataError, SetupError


def test_every_module_that_is_not_private_is_a_kind() -> None:
    assert answers.kinds() == [
        "boolean",
        "choice",
        "exact",
        "json",
        "label",
        "math",
        "number",
        "reasoning_gym",
        "sql",
        "tool_call",
    ]


@pytest.mark.parametrize("name", answers.kinds())
def test_every_kind_reads_and_compares(name: str) -> None:
    found = answers.find(name)
    assert callable(found.read)
    assert callable(found.same)
    assert found.__doc__ != answers.AnswerKind.__doc__


def test_an_unknown_kind_is_named_with_the_nearest_one() -> None:
    with pytest.raises(SetupError, match="unknown kind of answer 'numbr'") as caught:
        answers.kind("numbr")
    assert caught.value.exists == f"kinds: {', '.join(answers.kinds())}"
    assert caught.value.fix == "did you mean 'number'?"


def test_a_kind_says_what_it_lacks_without_importing_it() -> None:
    assert answers.missing("number") is None
    code = "import sys; from blackbox_kd import answers; print(answers.missing('math'), 'math_verify' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split()[-1] == "False"


def test_what_a_recipe_says_of_a_kind_is_told_to_it() -> None:
    comma = {"number": {"decimal": ","}}
    assert answers.judge(comma, "Die Antwort ist 1.234,5.", "1234,5", {}) == ("1234.5", True)
    assert answers.judge("number", "Die Antwort ist 3,5.", "3.5", {}) == (None, False)


def test_a_text_goes_on_where_a_question_of_its_own_follows_its_answer() -> None:
    assert answers.goes_on("#### 18\n\nQuestion: What is 6 + 7?\n#### 13")
    assert not answers.goes_on("Question: What is 6 + 7?\nThe answer is 13.")


@pytest.mark.parametrize(
    ("reference", "fix"),
    [
        ("5 feet 6 inches", "answer: exact"),
        ("March 5, 2024", "answer: exact"),
        ("(3, 7)", "answer: math"),
        ("x = 4 or x = -1", "answer: math"),
        ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "answer: math"),
    ],
)
def test_a_reference_that_is_not_one_number_is_told_with_the_kind_that_fits(reference: str, fix: str) -> None:
    with pytest.raises(DataError, match="is not one number") as caught:
        answers.judge("number", "The answer is 6.", reference, {})
    assert caught.value.fix == fix


UNREADABLE = [
    *((kind, nothing) for kind in ("boolean", "choice", "exact", "math", "number") for nothing in (None, "", " ")),
    ("boolean", "maybe"),
    ("choice", "neither"),
    ("exact", "..."),
    ("number", "Paris"),
    ("number", "5 feet 6 inches"),
]


@pytest.mark.parametrize(("kind", "reference"), UNREADABLE)
@pytest.mark.parametrize("text", ["The answer is None.", "The answer is yes.", "The answer is 7.", "...", ""])
def test_a_reference_that_nothing_can_equal_is_the_rows_fault_whatever_the_text_says(
    kind: str, reference: str | None, text: str
) -> None:
    with pytest.raises(DataError, match="the reference"):
        answers.judge(kind, text, reference, {})


@pytest.mark.parametrize(
    ("kind", "text", "reference", "found"),
    [
        ("number", "The answer is 7.", 7, ("7", True)),
        ("number", "The answer is 8.", "7", ("8", False)),
        ("number", "no idea", "7", (None, False)),
        ("boolean", "The answer is yes.", True, ("yes", True)),
        ("boolean", "Perhaps.", False, (None, False)),
        ("exact", "", "Paris", (None, False)),
        ("math", "", "7", (None, False)),
        ("choice", "no idea", "B", (None, False)),
    ],
)
def test_a_text_is_judged_by_its_answer_and_without_one_it_is_wrong(
    kind: str, text: str, reference: object, found: tuple[str | None, bool]
) -> None:
    assert answers.judge(kind, text, reference, {}) == found
