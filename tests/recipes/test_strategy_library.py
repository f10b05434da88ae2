"""Strategy teaching: scenarios, strategies until the teacher is content, a library to look up; then without it."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.untrained import Chain, run_chain

GOALS = ["hires a bike", "is charged too much", "is never content"]
LESSON, OTHER = "Begin with what the ride costs in all.", "Offer to call the customer back within an hour."


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    if model == "customer":
        turns = text.count("Shop says")
        return (
            "[done]" if turns == 2 or ("hires a bike" in text and turns == 1) else f"Question {turns} of {row['goal']}."
        )
    if model != "teacher":
        return "Shop says: the price first." if LESSON in text else f"Shop says: {model} knows."
    if "Answer 1: NUMBER" in text:
        return "The first.\nAnswer 1: 8\nAnswer 2: 6"
    good = "the price first" in text and "never content" not in text
    strategies = [] if good else [OTHER] if "the price first" in text else [LESSON]
    return json.dumps({"own_answer": "Nine euros.", "good_enough": good, "strategies": strategies})


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    data = {
        "goals": [{"persona": "a cook", "goal": goal, "facts": "A ride costs 9 euros."} for goal in GOALS],
        "test": [{"persona": "a nurse", "goal": "asks for a badge", "facts": "Badges are free."}],
        "begun": [{"instruction": "The customer hires a bike.", "strategy": "Say good day first."}],
    }
    return run_chain("strategy_library", tmp_path_factory.mktemp("strategies"), data, reply)


def turns_of(rows: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(row["goal"], len(row["messages"])) for row in rows]


def test_each_turn_of_the_student_is_a_scenario_with_all_that_was_said_before_it(chain: Chain) -> None:
    first = chain.tables("met")[0]
    assert turns_of(first) == [(GOALS[0], 1), (GOALS[1], 1), (GOALS[1], 3), (GOALS[2], 1), (GOALS[2], 3)]
    assert first[2]["instruction"] == f"The customer {GOALS[1]}, and says: Question 1 of {GOALS[1]}."
    assert all(row["messages"][-1]["role"] == "user" for row in first), "the student's own answer is not among them"


def test_the_customer_knows_its_goal_and_the_student_the_facts_and_neither_the_other(chain: Chain) -> None:
    assert all(
        "9 euros" not in text and "cook" in text for text in chain.shown("customer", "Shop:") if "nurse" not in text
    )
    for text in chain.shown("student"):
        assert "This customer" not in text
        assert "cook" not in text


def test_where_the_teacher_is_not_content_its_strategies_go_into_the_library_once(chain: Chain) -> None:
    library = chain.tables("library")
    assert [[row["strategy"] for row in rows] for rows in library] == [
        ["Say good day first."],
        ["Say good day first.", LESSON],
        ["Say good day first.", LESSON, OTHER],
    ]
    assert library[-1][1].keys() & {"messages", "persona", "facts", "response"} == set(), "it is for people to read"


def test_the_next_round_answers_with_the_strategies_of_like_situations_what_was_left_over(chain: Chain) -> None:
    again = chain.tables("unsettled")
    assert len(again[0]) == 5, "nobody has the lesson in round 1"
    asked = chain.shown("teacher", "You coach")
    assert len(asked) == 5 + 5 + 5, "in round 2 those that are left over, and those of new talks"
    assert all("- Say good day first." in text for text in asked)
    assert [LESSON in text for text in asked].count(True) >= 6
    assert all(row["goal"] == GOALS[2] for row in again[1])


def test_answers_that_the_teacher_is_content_with_are_learnt_without_the_strategies(chain: Chain) -> None:
    learnt = chain.table("trained_1")
    assert {row["prompt"][1]["content"] for row in learnt} == {f"Question 0 of {goal}." for goal in GOALS[:2]}
    for row in learnt:
        assert row["completion"][0]["content"] == "Shop says: the price first."
        assert LESSON not in json.dumps(row["prompt"])
        assert LESSON in json.dumps(row["prompt_teacher"])
        assert "9 euros" in row["prompt"][0]["content"]


def test_the_control_learns_what_the_student_says_to_the_same_turns_without_strategies(chain: Chain) -> None:
    told, learnt = chain.table("trained_2"), chain.table("trained_1")
    assert [row["prompt"] for row in told] == [row["prompt"] for row in learnt]
    assert {row["completion"][0]["content"] for row in told} == {"Shop says: student knows."}


def test_held_out_customers_are_seen_by_no_strategy(chain: Chain) -> None:
    assert not any("badge" in text for text in chain.shown("teacher", "You coach"))
    assert any(LESSON in text for text in chain.shown("coached", "Badges are free"))
    assert not any(LESSON in text for text in chain.shown("student", "Badges are free"))
