"""TinyLLM, as the paper and its repository have it: who is shown what, and which tasks are learnt."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from tests.support.runs import KEYS
from tests.support.untrained import Chain, run_chain


def question(n: int) -> dict[str, Any]:
    choices = {"text": [str(n + 1), str(n)], "label": ["A", "B"]}
    return {"question": f"Which number is {n}?", "choices": choices, "answerKey": "B"}


EXAMPLES = [
    {
        "instruction": f"Example {n}?",
        "choices": {"A": "this", "B": "that"},
        "reference": "A",
        "response": f"Because {n}.\nThe answer is (A).",
    }
    for n in range(6)
]


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    n = re.findall(r"Which number is (\d+)", text)[-1]
    if "label of the right option" in text:
        return "B"
    if model == "first" and n == "3":
        return "It must be the other. The answer is (A)."
    return f"{model} reads {n} there.\nThe answer is (B)."


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    data = {
        "train": [question(n) for n in range(8)],
        "dev": [question(n) for n in range(100, 120)],
        "test": [question(n) for n in range(200, 204)],
        "examples": EXAMPLES,
    }
    return run_chain("many_teachers", tmp_path_factory.mktemp("tinyllm"), data, reply)


def test_each_teacher_sees_the_right_option_and_two_examples_drawn_at_random(chain: Chain) -> None:
    for teacher in ("first", "second"):
        asked = chain.shown(teacher, "You explain")
        assert len(asked) == 8
        assert all(text.rstrip().endswith("Right answer: B") for text in asked)
        shown = [tuple(re.findall(r"Example (\d)\?", text)) for text in asked]
        assert all(len(set(examples)) == 2 for examples in shown)
        assert len(set(shown)) > 2


def test_teachers_are_asked_other_questions_without_the_right_option_before_they_explain(chain: Chain) -> None:
    before = [text for model, text, _ in chain.asked if model == "first"][:20]
    assert all("label of the right option" in text and "Right answer" not in text for text in before)
    assert sorted(int(n) for text in before for n in re.findall(r"number is (\d+)", text)) == [*range(100, 120)]


def test_three_tasks_of_the_same_weight_are_learnt_each_behind_its_prefix(chain: Chain) -> None:
    rows = {
        row["id"].rpartition(".")[2]: row for row in chain.table("trained_1") if "number is 0" in row["instruction"]
    }
    assert {name: row["completion"][0]["content"] for name, row in rows.items()} == {
        "predict": "B",
        "explain": "first reads 0 there.",
        "rationale": "second reads 0 there.",
    }, "the label that an explanation ends in is cut off"
    asked = "Which number is 0?\n(A) 1\n(B) 0"
    assert {name: row["prompt"][0]["content"] for name, row in rows.items()} == {
        "predict": f"predict: {asked}",
        "explain": f"explain: {asked}",
        "rationale": f"rationale: {asked}",
    }
    assert {row["weight"] for row in rows.values()} == {1.0}


def test_an_explanation_that_ends_in_another_option_is_not_learnt_and_the_question_stays_for_the_other_tasks(
    chain: Chain,
) -> None:
    tasks = [row["task"] for row in chain.table("trained_1") if "number is 3" in row["instruction"]]
    assert sorted(tasks) == ["predict", "rationale"]
    assert len(chain.table("trained_1")) == 3 * 8 - 1


def test_the_student_is_examined_with_predict_alone_and_its_base_with_the_form_in_which_answers_are_read() -> None:
    recipe = load_recipe(find_bundled("recipes") / "many_teachers.yaml", env=KEYS)
    exam = recipe.steps[-1].config
    assert exam.choose_prompt("student") == "student/choice_predict"  # type: ignore[attr-defined]
    assert exam.choose_prompt("student@base") == "exam/choice"  # type: ignore[attr-defined]
    assert exam.max_tokens >= 64, "what talks before it answers is read to its answer"  # type: ignore[attr-defined]
