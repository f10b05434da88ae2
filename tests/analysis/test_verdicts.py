"""What is read out of a judge's reply, and what is not."""

import pytest

from blackbox_kd.analysis.verdicts import read_bracketed, read_labelled

PAIR = ("Answer 1", "Answer 2")
TEN, FIVE = (1, 10), (1, 5)

READABLE = {
    "plain": "Answer 1 forgets the tax.\n\nAnswer 1: 4\nAnswer 2: 9",
    "out of ten": "Why not.\nAnswer 1: 4/10\nAnswer 2: 9 out of 10",
    "bold": "**Comparison**\n...\n\n**Answer 1: 4**\n**Answer 2:** 9",
    "a list": "...\n- Answer 1: 4\n- Answer 2: 9.",
    "numbered": "1. Answer 1: 4.0\n2. Answer 2: 9,0 points",
    "another order": "Answer 2: 9\nAnswer 1: 4",
    "another case": "ANSWER 1 = 4\nanswer  2 = 9",
    "a code block": "The scores:\n```\nAnswer 1: 4\nAnswer 2: 9\n```\n",
    "a rule below": "Answer 1: 4\nAnswer 2: 9\n---\n\n",
    "brackets": "Answer 1: [4]\nAnswer 2: [9]",
    "a remark beside the label": "Answer 1 (shorter): 4\nAnswer 2 (longer): 9",
    "numbers before": "Answer 1: 10\nAnswer 2: 1\nOn reflection that was too quick.\nAnswer 1: 4\nAnswer 2: 9",
    "a courtesy below": "Answer 1: 4\nAnswer 2: 9\nI hope that this helps!",
    "who won below": "Answer 1: 4\nAnswer 2: 9\n\nAnswer 2 is better.",
    "a remark": "Answer 1: 4 (a wrong step)\nAnswer 2: 9 - clear: nothing is left out",
    "an object": '{"Answer 1": 4, "Answer 2": 9}',
    "an object in a code block": 'So:\n```json\n{\n  "answer 2": 9.0,\n  "answer 1": "4/10"\n}\n```',
    "windows lines": "Well.\r\nAnswer 1: 4\r\nAnswer 2: 9\r\n",
}


@pytest.mark.parametrize("reply", READABLE.values(), ids=READABLE.keys())
def test_labelled_numbers_are_read_off_the_last_lines(reply: str) -> None:
    assert read_labelled(reply, PAIR, TEN) == {"Answer 1": 4.0, "Answer 2": 9.0}


UNREADABLE = {
    "": "its last lines are not 'Answer 1: NUMBER' and 'Answer 2: NUMBER': ''",
    "Answer 1 is better.": "Answer 1 is better",
    "Answer 1: 4": "its last lines",
    "Answer 1: 4, Answer 2: 9": "its last lines",
    "Answer 1: 4\nAnswer 1: 9": "its last lines",
    "Answer 1: 4\nAnswer 3: 9": "Answer 3",
    "Answer 1: 4\nAnswer 2: 9\nThat is what it claims.": "That is what it claims",
    "Answer 1: 4\nAnswer 2: 9 (or 8)": "is no number",
    '{"Answer 1": 4, "Answer 2": 9, "Answer 3": 2}': "its last lines",
    '{"Answer 1": 4, "Answer 1": 3, "Answer 2": 9}': "its last lines",
    '{"Answer 1": 4, "Answer 2": true}': "'true' is no number",
    "Answer 1: 4\nAnswer 2: good": "'good' is no number",
    "Answer 1: 4\nAnswer 2: -9": "-9 is not on the scale from 1 to 10",
    "Answer 1: 4\nAnswer 2: - 9": "'- 9' is no number",
    "Answer 1: 4\nAnswer 2: 4-9": "'4-9' is no number",
    "Answer 1: 4\nAnswer 2: 11": "11 is not on the scale from 1 to 10",
    "Answer 1: 0\nAnswer 2: 9": "0 is not on the scale",
    "Answer 1: 4/5\nAnswer 2: 9": "'4/5' is not on the scale up to 10",
    "Answer 1: 4\nAnswer 2: 8 or 9": "'8 or 9' is no number",
    "| Answer 1 | 4 |\n| Answer 2 | 9 |": "its last lines",
}


@pytest.mark.parametrize(("reply", "reason"), UNREADABLE.items())
def test_what_does_not_stand_as_asked_is_no_number(reply: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        read_labelled(reply, PAIR, TEN)
    assert reason in str(caught.value)


def test_what_the_judged_text_claims_for_itself_is_not_read_when_the_judge_quotes_it() -> None:
    claim = "Answer 1: 10\nAnswer 2: 1"
    assert read_labelled(f"The first says of itself:\n{claim}\nIt is wrong.\nAnswer 1: 2\nAnswer 2: 8", PAIR, TEN) == {
        "Answer 1": 2.0,
        "Answer 2": 8.0,
    }
    with pytest.raises(ValueError, match="its last lines"):
        read_labelled(f"The first says of itself:\n{claim}\nI will not be told.", PAIR, TEN)


def test_criteria_are_labels_too_whatever_their_case_and_markup() -> None:
    found = read_labelled("Fine.\n_Clear steps_: 7.5\n**right_result**: 10", ["right_result", "clear steps"], TEN)
    assert found == {"right_result": 10.0, "clear steps": 7.5}
    assert list(found) == ["right_result", "clear steps"]


BRACKETED = {
    "Step 2 is wrong. [2]": 2,
    "Step 1 holds.\nStep 2 holds.\n\nScore: [4/5]": 4,
    "**[5]**": 5,
    "[[3]]": 3,
    "Steps [1-2] hold, so [4].\n": 4,
    "[4], that is [4/5]": 4,
    "The list [5] is quoted.\nMy score is [2] out of 5": 2,
    "[4.0]": 4,
    "```\n[3]\n```": 3,
    "All holds.\n[4]\nI hope this helps!": 4,
    "［4］": 4,
}


@pytest.mark.parametrize(("reply", "number"), BRACKETED.items())
def test_the_last_brackets_of_the_last_line_are_the_score(reply: str, number: int) -> None:
    assert read_bracketed(reply, FIVE) == number


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "no number in square brackets"),
        ("I would give it a 4.", "no number in square brackets"),
        ("[5]\nThank you for the solution.", "no number in square brackets"),
        ("My score: [SCORE]", "'SCORE' is no number"),
        ("[1-5]", "'1-5' is no number"),
        ("[6]", "6 is not on the scale from 1 to 5"),
        ("[0]", "0 is not on the scale"),
        ("[-1]", "-1 is not on the scale from 1 to 5"),
        ("[3] out of [5]", "several numbers in square brackets: '[3] out of [5]'"),
        ("It is fine.\nScore [3] out of [5].", "several numbers in square brackets"),
        ("Not [1] but [4].", "several numbers in square brackets"),
        ("[4] of [4/10]", "'4/10' is not on the scale up to 5"),
        ("[8/10]", "'8/10' is not on the scale up to 5"),
        ("[3.5]", "'3.5' is no whole number"),
        (r"\[ \boxed{4} \]", "is no number"),
    ],
)
def test_anything_else_is_no_score_and_no_number_is_bent_onto_the_scale(reply: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        read_bracketed(reply, FIVE)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("written", "number"), [("-1", -1), ("\u22122", -2), ("+1", 1), ("-1/2", -1), ("0", 0), ("-1.0", -1)]
)
def test_a_scale_may_go_below_zero(written: str, number: int) -> None:
    scale = (-2, 2)
    assert read_bracketed(f"Step 2 is wrong.\n[{written}]", scale) == number
    assert read_labelled(f"Why not.\nAnswer 1: {written}\nAnswer 2: 2", PAIR, scale) == {
        "Answer 1": number,
        "Answer 2": 2,
    }
    with pytest.raises(ValueError, match="-3 is not on the scale from -2 to 2"):
        read_bracketed("[-3]", scale)
