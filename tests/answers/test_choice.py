"""Which option a text chooses."""

from typing import Any

import pytest

from blackbox_kd.answers import choice, kind
from blackbox_kd.errors import DataError

KIND = kind("choice")

LETTERS: dict[str, Any] = {}
PETS = {"choices": ["a dog", "a cat", "fish", "an old cat"]}
COLOURS = {"choices": {"1": "red", "2": "blue"}}
SKY = {"choices": {"label": ["A", "B"], "text": ["sun", "moon"]}}
NUMBERS = {"choices": ["1", "1.5", "2"]}
YES_NO = {"choices": ["yes", "no"]}


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("The answer is (B).", "B"),
        ("Answer: B", "B"),
        ("Answer: b)", "B"),
        ("B.", "B"),
        ("B", "B"),
        ("b", "B"),
        ("**B**", "B"),
        ("The answer is **B**.", "B"),
        (r"\boxed{B}", "B"),
        (r"\boxed{\text{(B)}}", "B"),
        ("### Answer\n(D)", "D"),
        ('{"answer": "B"}', "B"),
        ("<answer>B</answer>", "B"),
        ("#### B", "B"),
        ("The answer is option (B).", "B"),
        ("The answer is choice B", "B"),
        ("(B) is correct.", "B"),
        ("Option B is the best choice.", "B"),
        ("I choose option C", "C"),
        ("The answer is A because it barks.", "A"),
        ("The answer is B because it barks.", "B"),
        ("B is the right answer, A is not.", "B"),
        ("The answer is A. Then again, the answer is D.", "D"),
        ("It might be (A). Therefore it is (C), not (B).", "C"),
        ("The answer is not A. So the answer is B", "B"),
        ("The answer is the third one, (C) rather than (B).", "C"),
        ("Answer: Z", "Z"),
        ("The answer is a dog", None),
        ("I think so", None),
        ("I have no idea", None),
        ("The answer is A or B.", None),
        ("The answer is both (A) and (C)", None),
        ("Answer: A/B", None),
        ("", None),
    ],
)
def test_letters_are_read_without_options(text: str, label: str | None) -> None:
    assert KIND.read(text, LETTERS) == label


@pytest.mark.parametrize(
    ("text", "row", "label"),
    [
        ("The correct answer is C) fish", PETS, "C"),
        ("Answer: C. fish", PETS, "C"),
        ("The answer is a cat.", PETS, "B"),
        ("The answer is an old cat", PETS, "D"),
        ("The answer is A dog", PETS, "A"),
        ("The best answer is B: a cat", PETS, "B"),
        ("The answer is a cat, not a dog", PETS, "B"),
        ("I think the answer is fish", PETS, "C"),
        ("Dogs bark.\nB", PETS, "B"),
        ("So fish", PETS, "C"),
        ("A) a dog\nB) a cat\nC) fish", PETS, None),
        ("Answer: E", PETS, None),
        ("Answer: 2", COLOURS, "2"),
        ("Answer: blue", COLOURS, "2"),
        ("Answer: moon", SKY, "B"),
        ("(B) moon", SKY, "B"),
        ("Answer: 1.5", NUMBERS, "B"),
        ("Answer: 1", NUMBERS, "A"),
        ("Answer: No, although some say yes", YES_NO, "B"),
    ],
)
def test_the_options_of_the_row_are_read_by_label_or_text(text: str, row: dict[str, Any], label: str | None) -> None:
    assert KIND.read(text, row) == label


@pytest.mark.parametrize(
    ("reference", "row"),
    [("B", LETTERS), ("(b)", LETTERS), ("A Cat", PETS), ("1", PETS), ("moon", SKY), ("B", SKY)],
)
def test_a_reference_is_a_label_a_text_or_an_index_from_0(reference: str, row: dict[str, Any]) -> None:
    assert KIND.same("B", reference, row)
    assert not KIND.same("A", reference, row)


def test_a_reference_that_is_a_label_is_no_index() -> None:
    assert KIND.same("1", "1", COLOURS)


def test_a_reference_that_is_no_option_is_the_rows_fault() -> None:
    with pytest.raises(DataError, match="'E' is none of the options"):
        KIND.same("A", "E", PETS)


def test_choices_of_another_form_are_the_rows_fault() -> None:
    with pytest.raises(DataError, match="column 'choices' holds 'a, b'"):
        KIND.read("A", {"choices": "a, b"})


def test_options_that_are_no_text_are_read_as_json() -> None:
    row = {"choices": [True, 3, {"a": 1}]}
    assert choice.choices(row) == {"A": "true", "B": "3", "C": '{"a": 1}'}
    assert KIND.same("C", '{"a": 1}', row) is True
