"""Learning from Committee, as the paper and its repository have it: who is asked what, and what is learnt."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.untrained import Chain, run_chain

RIGHT = {0, 1, 2, 3}
"""Questions that the student answers rightly."""
SCORES = {4: (3, 3), 5: (3, 4), 6: (5, 5), 7: (2, 3)}
"""What the two reviewers of each rationale give: means of 3, 3.5, 5 and 2.5."""
TEACHERS = ("first", "second", "third")


def number_of(text: str) -> int:
    found = re.search(r"Ann has (\d+) apples", text)
    assert found is not None
    return int(found[1])


def question(n: int) -> dict[str, Any]:
    return {
        "question": f"Ann has {n} apples and buys {n} more. How many?",
        "answer": f"She has {n} + {n} = <<{n}+{n}={2 * n}>>{2 * n} apples.\n#### {2 * n}",
    }


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    n = number_of(text)
    if model == "student":
        return f"I think.\nThe answer is {2 * n if n in RIGHT else 99}."
    if "points out mistakes" in text:
        return f"You added wrongly, says {model}."
    if "You review" in text:
        author = str(row["model"])
        others = [name for name in TEACHERS if name != author]
        return f"It follows.\n[{SCORES[n][others.index(model)]}]"
    if n == 6 and model == "first":
        return f"A slip of {model}.\nThe answer is 1."
    return f"{n} + {n} = {2 * n}, says {model}.\nThe answer is {2 * n}."


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    data = {
        "train": [question(n) for n in range(8)],
        "dev": [question(n) for n in range(100, 120)],
        "test": [question(n) for n in range(200, 202)],
    }
    return run_chain("mistake_feedback", tmp_path_factory.mktemp("fair"), data, reply)


def test_the_exam_is_the_question_alone_and_only_what_the_student_gets_wrong_is_kept(chain: Chain) -> None:
    assert question(4)["question"] in chain.shown("student")
    assert [number_of(row["instruction"]) for row in chain.table("mistakes")] == [4, 5, 6, 7]
    assert [number_of(row["instruction"]) for row in chain.table("own")] == sorted(RIGHT)


def test_teachers_write_rationales_to_the_bare_question(chain: Chain) -> None:
    asked = chain.shown("second", "You solve problems", "Ann has 5 apples")
    assert len(asked) == 1, "the arm of all questions finds this one in the ledger"
    assert "99" not in asked[0]
    assert "#### " not in asked[0]
    assert "10" not in asked[0]


def test_a_rationale_is_reviewed_by_the_two_others_and_never_by_its_author(chain: Chain) -> None:
    reviews = [(model, text) for model, text, _ in chain.asked if "You review" in text]
    assert len(reviews) == 2 * (3 + 3 + 2 + 3)
    assert all(f"says {model}." not in text for model, text in reviews)


def test_what_ends_wrongly_is_dropped_before_it_is_reviewed_and_reviewers_are_not_shown_the_right_answer(
    chain: Chain,
) -> None:
    reviews = [text for _, text, _ in chain.asked if "You review" in text]
    assert not any("A slip of first" in text for text in reviews)
    assert not any("right answer" in text for text in reviews)


def test_a_mean_above_3_is_accepted_and_3_itself_is_rejected(chain: Chain) -> None:
    lessons = [row for row in chain.table("lessons") if row["task"] == "rationale"]
    assert [(number_of(row["instruction"]), row["score"]) for row in lessons] == [(5, 3.5), (6, 5.0)]


def test_one_accepted_rationale_and_one_feedback_remain_of_each_mistake_and_only_that_feedback_is_paid(
    chain: Chain,
) -> None:
    asked = [text for model, text, _ in chain.asked if "points out mistakes" in text and model in TEACHERS]
    assert sorted(map(number_of, asked)) == [5, 6]
    assert all("The answer is 99." in text and "hint for you" in text for text in asked)
    lessons = chain.table("lessons")
    assert sorted((number_of(row["instruction"]), row["task"]) for row in lessons) == [
        (n, task) for n in (5, 6) for task in ("feedback", "rationale")
    ]
    for row in lessons:
        assert row["feedback"] == f"You added wrongly, says {row['model']}."
        assert f"says {row['rationale_model']}." in row["rationale"]


def test_half_of_the_loss_is_on_each_task_and_the_feedback_task_alone_shows_the_right_answer(chain: Chain) -> None:
    for row in chain.table("lessons"):
        assert row["weight"] == 0.5
        shown = row["prompt"][0]["content"]
        assert ("The right result is" in shown) == (row["task"] == "feedback")
        assert shown == row["instruction"] or row["task"] == "feedback"


def test_one_in_five_rows_is_a_right_answer_of_the_students_own(chain: Chain) -> None:
    rows = chain.table("trained_1")
    own = [row for row in rows if row["completion"][0]["content"].startswith("I think.")]
    assert (len(rows), len(own)) == (5, 1)
    assert number_of(own[0]["instruction"]) in RIGHT
    assert (own[0]["task"], own[0]["weight"]) == ("rationale", 0.5)


def test_the_arms_have_right_rationales_of_all_questions_and_the_worked_solutions_of_the_data_set(
    chain: Chain,
) -> None:
    at_random = chain.table("at_random")
    assert [number_of(row["instruction"]) for row in at_random] == [*range(8)]
    assert all(row["correct"] for row in at_random)
    gold = chain.table("as_it_came")
    assert [row["completion"][0]["content"] for row in gold][7] == "She has 7 + 7 = 14 apples.\nThe answer is 14."


def test_the_base_is_examined_in_the_form_in_which_answers_are_read(chain: Chain) -> None:
    assert any("Think in short steps" in text and "Ann has 200 apples" in text for text in chain.shown("student"))


def test_teachers_are_measured_on_other_questions_before_they_are_paid_for_more(chain: Chain) -> None:
    asked = [number_of(text) for model, text, _ in chain.asked if model == "first"]
    assert sorted(asked[:20]) == [*range(100, 120)]
