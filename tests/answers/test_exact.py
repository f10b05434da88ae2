"""Texts as answers."""

from typing import Any

import pytest

from blackbox_kd.answers import judge, kind

KIND = kind("exact")


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
    assert KIND.read(text, {}) == read


def test_case_spaces_and_punctuation_around_do_not_count() -> None:
    assert KIND.same("paris", " **Paris**. ", {})
    assert KIND.same("e\u0301te\u0301", "\u00e9t\u00e9", {})


def test_every_other_character_counts() -> None:
    assert not KIND.same("paris", "paris france", {})
    assert not KIND.same("x - 1", "x + 1", {})


BILL = {"total": 3, "paid": True, "who": "Ann Lee"}


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ('{"total": 3, "paid": true, "who": "Ann Lee"}', True),
        ('{\n  "who": "ann lee.",\n  "paid": true,\n  "total": 3.0\n}', True),
        ('Here it is:\n```json\n{"paid":true,"total":3,"who":"Ann Lee"}\n```', True),
        ('The answer is {"paid":true,"total":3,"who":"Ann Lee"}.', True),
        ('<think>{"total": 4}</think>{"paid":true,"total":3,"who":"Ann Lee"}', True),
        ('{"total": 4, "paid": true, "who": "Ann Lee"}', False),
        ('{"total": 3, "paid": 1, "who": "Ann Lee"}', False),
        ('{"total": 3, "paid": true}', False),
        ("{'total': 3, 'paid': True, 'who': 'Ann Lee'}", False),
        ("It is three, paid by Ann Lee.", False),
        ('{"total": 3, "paid": true, "who": "Ann Lee"', False),
        ("", False),
    ],
)
def test_an_object_as_the_right_answer_is_compared_value_by_value(text: str, right: bool) -> None:
    assert judge("exact", text, BILL, {})[1] is right


@pytest.mark.parametrize(
    ("reference", "text", "right"),
    [
        (["a", "b"], '["a", "b"]', True),
        (["a", "b"], '["b", "a"]', False),
        ([], "[]", True),
        ({}, "{}", True),
        ('{"a": [1, {"b": null}]}', '{"a":[1,{"b":null}]}', True),
        ("a", '["a"]', True),
        ("[1, 2]", "The answer is [1, 2].", True),
        ("1, 2", "[1, 2]", True),
        ("42", "\\boxed{42}", True),
        ("b", "[draft]\nb", True),
    ],
)
def test_own_lists_and_texts_with_brackets(reference: Any, text: str, right: bool) -> None:
    assert judge("exact", text, reference, {})[1] is right
