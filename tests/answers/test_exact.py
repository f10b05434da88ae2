"""Texts as answers."""

import pytest

from blackbox_kd.answers import exact


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("The answer is Paris.", "paris"),
        ("The answer is Paris. It is the capital of France.", "paris"),
        ("Answer: Bob. He is 5.", "bob"),
        ("The answer is St. Louis.", "st. louis"),
        ("Answer: J. K. Rowling", "j. k. rowling"),
        ("Answer:  New   York ", "new york"),
        ('Thinking.\n\n"Paris"', "paris"),
        (r"\boxed{\text{Paris}}", "paris"),
        ("**Paris**", "paris"),
        ("Answer: `x_1 + 2`", "x_1 + 2"),
        ("The answer is not Rome. Answer: Paris", "paris"),
        ("Answer: (a, b)", "a, b"),
        ("Answer: f(x)", "f(x)"),
        ("Answer: (1) or (2)", "(1) or (2)"),
        ("<answer>Paris</answer>", "paris"),
        ("Answer: Straße", "strasse"),
        ("Answer: 3.5", "3.5"),
        ("...", None),
        ("", None),
    ],
)
def test_the_answer_is_read_after_the_phrase_or_from_the_last_line(text: str, read: str | None) -> None:
    assert exact.read(text, {}) == read


def test_case_spaces_and_punctuation_around_do_not_count() -> None:
    assert exact.same("paris", " **Paris**. ", {})
    assert exact.same("e\u0301te\u0301", "\u00e9t\u00e9", {})


def test_every_other_character_counts() -> None:
    assert not exact.same("paris", "paris france", {})
    assert not exact.same("x - 1", "x + 1", {})
