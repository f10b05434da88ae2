"""ClassroomKD: a teacher teaches a question only where it is better on it than the student is by itself."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.recipes.test_cot_rationales import DATA, WAYS
from tests.support.untrained import Chain, run_chain

STUDENT_RIGHT = {1: 4, 2: 3, 3: 0, 4: 2, 5: 1, 6: 4, 7: 0, 8: 3}
"""How many of the student's four samples are right."""
TEACHERS_WRONG = {("first", 3), ("first", 7), ("second", 7), ("second", 2)}


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    n = int(re.findall(r"Ann has (\d+)", text)[-1])
    if model == "student":
        return f"The answer is {2 * n + (sample >= STUDENT_RIGHT.get(n, 4))}."
    way = WAYS[model == "second"].format(n=n, m=2 * n)
    return f"{way} The answer is {2 * n + ((model, n) in TEACHERS_WRONG)}."


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return run_chain("classroom_filter", tmp_path_factory.mktemp("classroom"), DATA, reply)


def test_the_students_mark_is_the_share_of_its_four_samples_that_are_right(chain: Chain) -> None:
    marks = {int(re.findall(r"\d+", row["instruction"])[0]): row["student_mark"] for row in chain.table("marked")}
    assert marks == {n: right / 4 for n, right in STUDENT_RIGHT.items()}


def test_a_teacher_is_silent_where_the_student_is_always_right_or_it_is_wrong_itself(chain: Chain) -> None:
    taught = {(row["model"], int(re.findall(r"\d+", row["instruction"])[0])) for row in chain.table("taught")}
    both = {(model, n) for model in ("first", "second") for n in range(1, 9)}
    assert taught == both - TEACHERS_WRONG - {(model, n) for model in ("first", "second") for n in (1, 6)}


def test_where_no_teacher_is_active_the_data_sets_own_solution_is_learnt_and_nowhere_else(chain: Chain) -> None:
    assert len(chain.table("solved")) == 8
    by_question: dict[int, list[str]] = {}
    for row in chain.table("trained_1"):
        n = int(re.findall(r"\d+", row["instruction"])[0])
        is_chain = any(row["response"].startswith(way.split("{")[0]) for way in WAYS[:2])
        by_question.setdefault(n, []).append("teacher" if is_chain else "gold")
    assert by_question == {
        n: ["gold"] if n in {1, 6, 7} else ["teacher"] if n in {2, 3} else ["teacher"] * 2 for n in range(1, 9)
    }


def test_both_teachers_are_asked_about_every_question_once(chain: Chain) -> None:
    train = [text for text in chain.shown("first") if int(re.findall(r"Ann has (\d+)", text)[-1]) < 100]
    assert len(train) == len(set(train)) == 8
    assert chain.funnel("generate")[-2:] == [(8, 8), (8, 8)]
