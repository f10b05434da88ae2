"""Where a text states its answer."""

from blackbox_kd.answers._stated import cut_off, drop_thought, find_affirmed, find_statements, last_line, sentence


def test_statements_come_last_first() -> None:
    text = "The answer is 1. \\boxed{2}\n<answer>3</answer>\n#### 4"
    assert [statement.text for statement in find_statements(text)] == ["4", "3", "2", "1. \\boxed{2}"]


def test_braces_in_a_box_may_nest() -> None:
    assert find_statements(r"\boxed{\frac{1}{2}} and more")[0].text == r"\frac{1}{2}"


def test_a_box_without_its_brace_ends_with_the_formula_or_the_line() -> None:
    assert find_statements(r"\(\boxed{42\) is it")[0].text == "42"
    assert find_statements("\\boxed{42\nis it")[0].text == "42"


def test_a_text_that_ends_in_a_box_is_cut_off() -> None:
    assert cut_off(r"The answer is \(\boxed{51")
    assert not cut_off(r"The answer is \(\boxed{51}")
    assert not cut_off("The answer is 51")


def test_a_hashed_line_in_the_middle_is_a_heading() -> None:
    assert find_statements("#### Step 3\nAdd them") == []


def test_doubts_and_denials_are_not_affirmed() -> None:
    assert find_statements("Let us see whether the answer is 12") == []
    assert find_affirmed("The answer is not 12") == []


def test_the_answer_may_stand_some_lines_below() -> None:
    assert find_statements("The answer is:\n\n\\[\n7 apples\n\\]")[0].text == "7 apples"


def test_it_is_told_whether_the_answer_stands_on_the_line_of_its_phrase() -> None:
    for text in ("The answer is 7", "**Answer:** 7", "#### 7"):
        assert [statement.beside for statement in find_statements(text)] == [True], text
    for text in ("The answer is\n7", "The answer is:\n7", "## Answer\n\n7", "<answer>7</answer>"):
        assert [statement.beside for statement in find_statements(text)] == [False], text


def test_hidden_reasoning_is_left_out_unless_it_is_all() -> None:
    assert drop_thought("<think>1</think>2") == "2"
    assert drop_thought("<think>1</think> ") == "<think>1</think> "


def test_sentences_end_neither_in_initials_nor_in_numbers() -> None:
    assert sentence("Dr. J. Who is 3.5 years old. He said so.") == "Dr. J. Who is 3.5 years old."


def test_the_last_line_says_something() -> None:
    assert last_line("one\ntwo\n\n---\n") == "two"
