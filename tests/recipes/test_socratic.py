"""Socratic chains of thought, as the paper has them: two data sets of one plan, and an exam that feeds itself."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.untrained import Chain, run_chain

FALSE = 3
"""The question of which the plan's last answer is wrong."""


def number_of(text: str) -> int:
    return int(re.findall(r"Ann has (\d+) apples", text)[-1])


def question(n: int) -> dict[str, Any]:
    return {
        "question": f"Ann has {n} apples and buys {n} more, twice. How many?",
        "answer": f"She buys 2 * {n} = <<2*{n}={2 * n}>>{2 * n}.\nThat is {3 * n}.\n#### {3 * n}",
    }


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    n = number_of(text)
    if model == "asker":
        return f"How many does she buy?\n\nHow many has she in the end, of {n}?"
    if model == "student" and "How many does she buy?" in text:
        return f"It is {3 * n} then." if "in the end" in text else f"{2 * n} at first."
    if "break problems into questions" in text:
        steps = [
            {"question": "How many does she buy?", "answer": f"2 * {n} = {2 * n}."},
            {"question": "How many\nhas she?", "answer": f"{n} + {2 * n} = {3 * n}. The answer is {3 * n}."},
        ]
        if n == FALSE:
            steps = [*reversed(steps)]
        return json.dumps({"steps": steps})
    return f"The answer is {3 * n}."


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    data = {
        "train": [question(n) for n in range(1, 5)],
        "dev": [question(n) for n in range(100, 120)],
        "test": [question(n) for n in (20, 21)],
    }
    return run_chain("socratic", tmp_path_factory.mktemp("socratic"), data, reply)


def test_a_plan_whose_last_answer_is_not_the_problems_is_dropped_whatever_stands_before_it(chain: Chain) -> None:
    assert [number_of(row["instruction"]) for row in chain.table("plans")] == [1, 2, 4]
    assert not any("####" in text or "She buys" in text for text in chain.shown("teacher", "break problems"))


def test_the_one_that_asks_sees_the_problem_alone_and_learns_all_of_its_questions_one_a_line(chain: Chain) -> None:
    rows = chain.table("trained_1")
    assert [number_of(row["instruction"]) for row in rows] == [1, 2, 4]
    assert {row["completion"][0]["content"] for row in rows} == {"How many does she buy?\nHow many has she?"}
    assert all(row["prompt"][0]["content"].startswith(row["instruction"]) for row in rows)


def test_the_one_that_answers_has_a_row_for_each_step_with_the_questions_and_answers_before_it(chain: Chain) -> None:
    rows = chain.table("trained_2")
    assert len(rows) == 6
    first, second = rows[:2]
    problem = first["instruction"]
    assert first["prompt"] == [{"role": "user", "content": f"{problem}\n\nHow many does she buy?"}]
    assert first["completion"] == [{"role": "assistant", "content": "2 * 1 = 2."}]
    assert second["prompt"] == [
        {"role": "user", "content": f"{problem}\n\nHow many does she buy?"},
        {"role": "assistant", "content": "2 * 1 = 2."},
        {"role": "user", "content": "How many\nhas she?"},
    ]
    assert second["completion"] == [{"role": "assistant", "content": "1 + 2 = 3. The answer is 3."}]


def test_the_arms_learn_the_same_answers_as_one_chain_and_the_solutions_of_the_data_set(chain: Chain) -> None:
    assert [row["completion"][0]["content"] for row in chain.table("chains")] == [
        f"2 * {n} = {2 * n}.\n{n} + {2 * n} = {3 * n}. The answer is {3 * n}." for n in (1, 2, 4)
    ]
    assert {row["prompt"][0]["content"] == row["instruction"] for row in chain.table("chains")} == {True}
    gold = chain.table("as_it_came")[0]["completion"][0]["content"]
    assert gold == "She buys 2 * 1 = 2.\nThat is 3.\nThe answer is 3."


def test_in_the_exam_the_questions_are_those_of_the_one_that_asks_and_the_answers_before_are_the_students_own(
    chain: Chain,
) -> None:
    asked = [text for text in chain.shown("student", "Ann has 20 apples", "does she buy") if "short steps" not in text]
    problem = question(20)["question"]
    assert asked == [
        f"{problem}\n\nHow many does she buy?",
        f"{problem}\n\nHow many does she buy?\n40 at first.\nHow many has she in the end, of 20?",
    ]


def test_the_last_answer_is_the_exams(chain: Chain) -> None:
    answered = chain.table("answered")
    assert (answered[0]["replies"], answered[0]["final"]) == (
        ["40 at first.", "It is 60 then."],
        "It is 60 then.",
    )
    assert chain.job is not None
    [of_turns] = [entry for entry in chain.job.report["evaluations"] if entry["table"] == "answered"]
    assert (of_turns["right"], of_turns["n"]) == (2, 2)
