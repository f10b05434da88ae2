from typing import Any

import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.steps import check
from tests.support.fakes import FakeContext, rows


@pytest.mark.parametrize(
    ("response", "answer", "correct"),
    [
        ("3 + 4 = 7. The answer is 7.", "7", True),
        ("The answer is 8.", "8", False),
        ("I do not know.", None, False),
    ],
)
async def test_the_last_stated_answer_is_read_and_compared(response: str, answer: str | None, correct: bool) -> None:
    [row] = rows({"response": response, "reference": "7"})
    found = await check.run(row, check.Config(step="check", answer="number"), FakeContext())
    assert (found["answer"], found["correct"]) == (answer, correct)


@pytest.mark.parametrize("response", ["The answer is 7.", "I do not know."])
@pytest.mark.parametrize(
    ("kind", "reference"), [("number", "Paris"), ("number", "5 feet 6 inches"), ("exact", None), ("exact", "")]
)
async def test_a_reference_that_cannot_be_read_fails_the_row_with_and_without_an_answer(
    response: str, kind: str, reference: str | None
) -> None:
    [row] = rows({"response": response, "reference": reference})
    with pytest.raises(DataError, match="the reference"):
        await check.run(row, check.Config(step="check", answer=kind), FakeContext())


async def test_other_columns_can_be_checked_against_others() -> None:
    [row] = rows({"draft": "yes", "gold": "Yes", "response": "no", "reference": "no"})
    config = check.Config(step="check", answer="boolean", of="draft", against="gold")
    assert (await check.run(row, config, FakeContext()))["correct"] is True


@pytest.mark.parametrize(
    "said",
    ["1/2 + 1/4 = 3/4, so 3/4.", "2^3 + 1 = 9.", "3 + 4 = 8, and 8 - 1 = 7.", "At 9:30 + 1 = 10:30.", "7 / 2 = 3 r 1."],
)
async def test_the_text_that_is_checked_stays_as_it_was_written(said: str) -> None:
    [row] = rows({"response": said, "reference": "7"})
    assert (await check.run(row, check.Config(step="check", answer="number"), FakeContext()))["response"] == said


async def test_rows_whose_text_goes_on_with_another_question_are_counted() -> None:
    texts = ["#### 7\n\nQuestion: What is 6 + 7?\n#### 13", "The answer is 7."]
    ctx = FakeContext()
    for row in rows(*({"response": text, "reference": "7"} for text in texts)):
        assert (await check.run(row, check.Config(step="check", answer="number"), ctx))["correct"]
    assert ctx.counted == {"goes_on": 1}


async def test_two_texts_of_a_row_are_checked_into_columns_of_their_own() -> None:
    [row] = rows({"response": "The answer is 7.", "student_response": "The answer is 8.", "reference": "7"})
    teacher = check.Config(step="check", answer="number")
    student = check.Config(
        step="check", answer="number", of="student_response", answer_as="student_answer", correct_as="student_correct"
    )
    found = await check.run(await check.run(row, teacher, FakeContext()), student, FakeContext())
    assert (found["answer"], found["correct"]) == ("7", True)
    assert (found["student_answer"], found["student_correct"]) == ("8", False)


CALLED = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]
HERMES = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
WANTED = '[{"name": "f", "arguments": {"a": 1}}]'


@pytest.mark.parametrize(
    ("columns", "config", "answer", "correct"),
    [
        ({"response": "", "tool_calls": CALLED, "reference": WANTED}, {}, WANTED, True),
        ({"response": "Let me see.", "tool_calls": CALLED, "reference": "[]"}, {}, WANTED, False),
        ({"response": "I cannot.", "tool_calls": [], "reference": "[]"}, {}, "[]", True),
        ({"response": HERMES, "tool_calls": [], "reference": WANTED}, {}, WANTED, True),
        ({"response": HERMES, "reference": WANTED}, {}, WANTED, True),
        ({"response": "", "tool_calls": CALLED, "reference": "[]"}, {"of": "response"}, "[]", True),
    ],
)
async def test_the_calls_of_a_reply_are_its_answer_as_in_an_exam(
    columns: dict[str, Any], config: dict[str, Any], answer: str, correct: bool
) -> None:
    [row] = rows(columns)
    found = await check.run(row, check.Config(step="check", answer="tool_call", **config), FakeContext())
    assert (found["answer"], found["correct"]) == (answer, correct)
