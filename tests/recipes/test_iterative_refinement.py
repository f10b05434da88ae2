"""UNDO, as its abstract, reviews and summaries have it: what the teacher sees of the student, and what is learnt."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from tests.support.runs import KEYS
from tests.support.untrained import Chain, run_chain

RIGHT_SAMPLES = {0: 3, 1: 3, 2: 3, 3: 2, 4: 1}
"""In how many of three samples the student is right; in none for other questions."""


def number_of(text: str) -> int:
    return int(re.findall(r"Ann has (\d+) apples", text)[-1])


def question(n: int) -> dict[str, Any]:
    return {
        "question": f"Ann has {n} apples and buys {n} more. How many?",
        "answer": f"She has {n} + {n} = <<{n}+{n}={2 * n}>>{2 * n} apples.\n#### {2 * n}",
    }


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    if "You study what one student" in text:
        return f"- It adds wrongly ({text.count('[BEGIN test')} wrong ones)."
    n = number_of(text)
    if model != "teacher":
        right = n < 110 if n >= 100 else sample < RIGHT_SAMPLES.get(n, 0)
        return f"{model} thinks.\nThe answer is {2 * n if right else 99}."
    if '"Gap:"' not in text:
        return f"Plainly.\nThe answer is {1 if n == 5 else 2 * n}."
    if n == 6:
        return "I have no mark."
    return f"Gap: it slips.\nRationale: With care for {n}.\nThe answer is {1 if n == 7 else 2 * n}."


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    data = {
        "train": [question(n) for n in range(8)],
        "slice": [question(n) for n in range(100, 120)],
        "dev": [question(n) for n in range(120, 124)],
        "test": [question(n) for n in range(200, 202)],
    }
    return run_chain("iterative_refinement", tmp_path_factory.mktemp("undo"), data, reply, max_failed_share=0.9)


def rewritten(chain: Chain, n: int) -> list[str]:
    """What the teacher is shown when it rewrites the rationale of a question, in each round."""
    return list(dict.fromkeys(text for text in chain.shown("teacher", '"Gap:"') if number_of(text) == n))


def test_round_0_learns_plain_rationales_that_end_in_the_right_answer(chain: Chain) -> None:
    assert [number_of(row["instruction"]) for row in chain.table("trained_1")] == [0, 1, 2, 3, 4, 6, 7]


def test_what_the_student_gets_right_in_most_of_three_samples_it_learns_in_its_own_words(chain: Chain) -> None:
    for own in chain.tables("own"):
        assert [number_of(row["instruction"]) for row in own] == [0, 1, 2, 3]
        assert all(row["completion"][0]["content"].startswith("student thinks.") for row in own)
    assert len(chain.tables("own")) == 2


def test_what_it_gets_wrong_is_rewritten_and_kept_where_it_ends_in_the_right_answer(chain: Chain) -> None:
    asked = {number_of(text) for text in chain.shown("teacher", '"Gap:"')}
    assert asked == {4, 5, 6, 7}, "one that is right by chance, and the question that was lost in round 0, too"
    for refined in chain.tables("refined"):
        assert [number_of(row["instruction"]) for row in refined] == [4, 5]
        assert all(row["completion"][0]["content"].startswith("With care for") for row in refined)
    learnt = chain.tables("trained_2")
    assert [sorted(number_of(row["instruction"]) for row in rows) for rows in learnt] == [[0, 1, 2, 3, 4, 5]] * 2


def test_the_teacher_sees_the_students_wrong_answer_and_no_right_one(chain: Chain) -> None:
    for text in chain.shown("teacher", '"Gap:"'):
        assert "student thinks.\nThe answer is 99." in text
        assert "####" not in text
    assert "14" not in rewritten(chain, 7)[0].replace("The answer is 14.", ""), "but in its own earlier solution"


def test_the_teacher_is_told_that_its_earlier_rationale_was_wrong(chain: Chain) -> None:
    assert "[BEGIN earlier solution, which is wrong " in rewritten(chain, 5)[0]
    assert "[BEGIN earlier solution " in rewritten(chain, 4)[0]


def test_round_2_sees_the_rationale_of_round_1_where_it_was_kept_and_the_older_one_elsewhere(chain: Chain) -> None:
    first, second = rewritten(chain, 5)
    assert ("Plainly." in first, "With care for 5." in first) == (True, False)
    assert ("Plainly." in second, "With care for 5." in second) == (False, True)
    assert all("Plainly." in text and "With care" not in text for text in rewritten(chain, 7))
    assert all("Plainly." in text for text in rewritten(chain, 6))


def test_no_question_is_lost_between_rounds(chain: Chain) -> None:
    assert [sorted(number_of(row["instruction"]) for row in rows) for rows in chain.tables("latest")] == [
        [*range(8)]
    ] * 3


def test_the_history_of_all_rounds_is_summed_up_in_one_call_a_round_and_each_question_sees_the_summary(
    chain: Chain,
) -> None:
    summed = chain.shown("teacher", "You study what one student")
    assert len(summed) == 2
    assert ["20 of 40 answers were right" in text for text in summed] == [False, True]
    assert "10 of 20 answers were right" in summed[0]
    assert "Student: student thinks.\nThe answer is 99." in summed[0]
    assert "238" not in summed[0]
    assert all(chain.shown("teacher", '"Gap:"', f"({count} wrong ones)") for count in (10, 20))
    assert not any("Ann has 110 apples" in text for text in chain.shown("teacher", '"Gap:"'))


def test_what_ends_the_loop_is_measured_on_200_questions_that_neither_the_teacher_nor_a_student_learns_from() -> None:
    recipe = load_recipe(find_bundled("recipes") / "iterative_refinement.yaml", env=KEYS)
    [loop] = recipe.loops.values()
    assert (loop.config.rounds, loop.config.until.on, loop.config.until.patience) == (3, "dev", 1)  # type: ignore[union-attr]
    assert [recipe.data[name].split for name in ("slice", "dev")] == ["train[1000:1020]", "train[1020:1220]"]
    read = {mention.value for p in recipe.steps for mention in p.references if mention.kind == "table"}
    assert "dev" not in read - {p.config.input for p in recipe.steps if p.step.name == "evaluate"}


def test_the_control_has_two_plain_rationales_of_each_question_passed_by_the_same_check(chain: Chain) -> None:
    rows = chain.table("trained_3")
    assert [number_of(row["instruction"]) for row in rows] == [n for n in range(8) if n != 5 for _ in range(2)]
    gold = chain.table("trained_4")
    assert [row["completion"][0]["content"] for row in gold][3] == "She has 3 + 3 = 6 apples.\nThe answer is 6."
