"""Whether a text says yes or no."""

import pytest

from blackbox_kd.answers import kind
from blackbox_kd.errors import DataError

KIND = kind("boolean")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("The answer is yes.", "yes"),
        ("Answer: No", "no"),
        ("Yes", "yes"),
        ("No.", "no"),
        ("**No**", "no"),
        ("True", "yes"),
        ("false", "no"),
        ("So the answer is: True.", "yes"),
        (r"\boxed{\text{False}}", "no"),
        ("#### no", "no"),
        ("<answer>yes</answer>", "yes"),
        ('{"answer": true}', "yes"),
        ("The answer is correct", "yes"),
        ("The answer is a resounding yes", "yes"),
        ("The answer is clearly yes.", "yes"),
        ("Yes, because no dog flies", "yes"),
        ("No, since it is not the case.", "no"),
        ("No\n\nBecause dogs bark.", "no"),
    ],
)
def test_yes_and_no_are_read(text: str, read: str) -> None:
    assert KIND.read(text, {}) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("The answer is not true.", "no"),
        ("The answer is not yes", "no"),
        ("The answer is not necessarily true", "no"),
        ("The answer is definitely not.", "no"),
        ("It is not true.", "no"),
        ("It isn't true", "no"),
        ("The statement is never true.", "no"),
        ("That is not false.", "yes"),
        ("The claim is untrue.", "no"),
    ],
)
def test_a_negation_turns_the_answer_round(text: str, read: str) -> None:
    assert KIND.read(text, {}) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("There is no doubt about it, so yes.", "yes"),
        ("There is no way. Thus, no.", "no"),
        ("The answer is no doubt hard. Yes.", "yes"),
        ("Answer: no one knows", None),
        ("Is it true or false? It is false.", "no"),
        ("Yes or no?", None),
        ("I do not know", None),
        ("", None),
    ],
)
def test_other_uses_of_the_words_are_no_answer(text: str, read: str | None) -> None:
    assert KIND.read(text, {}) == read


def test_the_last_answer_wins() -> None:
    assert KIND.read("The answer is yes. On reflection the answer is no.", {}) == "no"
    assert KIND.read("The answer is unclear. True", {}) == "yes"


def test_what_is_said_of_a_clause_wins_over_the_clause() -> None:
    assert KIND.read("It is false that dogs are true", {}) == "no"
    assert KIND.read("It is true that he said it was false", {}) == "yes"


@pytest.mark.parametrize("reference", ["yes", "True", "1", "Y", "true."])
def test_a_reference_may_be_written_in_many_ways(reference: str) -> None:
    assert KIND.same("yes", reference, {})
    assert not KIND.same("no", reference, {})


def test_a_reference_of_another_kind_is_the_rows_fault() -> None:
    with pytest.raises(DataError, match="'maybe' is neither yes, true or 1 nor no"):
        KIND.same("yes", "maybe", {})
