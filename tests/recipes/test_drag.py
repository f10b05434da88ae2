"""DRAG: N statements, ranked twice with the nearest first, relations of those that are shown, and none that leaks."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from blackbox_kd.analysis.similarity import chrf
from tests.support.untrained import Chain, run_chain


def ask(n: int) -> dict[str, Any]:
    choices = {"text": ["Iron.", "oak"], "label": ["A", "B"]}
    return {"question": f"Question {n}: which of them rusts?", "choices": choices, "answerKey": "A"}


DATA = {
    "train": [ask(n) for n in range(1, 7)],
    "dev": [ask(n) for n in range(100, 120)],
    "test": [ask(n) for n in range(200, 202)],
}
FACTS = [f"{'which of them rusts ' * (number // 4)}fact {number:02}" for number in range(1, 16)]
FACTS[2] += ", as IRON does"
FACTS[4] += ", as an oak does not"
LEAKS = {3, 5}
TRIED: Counter[int] = Counter()


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    n = int((re.findall(r"Question (\d+)", text) or [0])[-1])
    if '{"evidence"' in text:
        TRIED[n] += 1
        too_few = n == 4 or (n == 3 and TRIED[n] == 1)
        return json.dumps({"evidence": FACTS[:14] if too_few else FACTS})
    if '{"relations"' in text:
        return json.dumps({"relations": [{"one": "water", "relation": "eats", "other": "metal"}]})
    wrong = n == 2 or (n == 5 and sample == 0)
    return f"{model} {sample} says so. The answer is ({'B' if wrong else 'A'})."


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    TRIED.clear()
    return run_chain("drag", tmp_path_factory.mktemp("drag"), DATA, reply, max_failed_share=0.5)


def list_shown(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"^- .*fact (\d\d)", text, flags=re.M)]


def list_expected(question: str) -> list[int]:
    """The ten best of those that leak nothing, worked out in plain words."""
    free = [number for number in range(1, 16) if number not in LEAKS]
    near = {number: chrf(FACTS[number - 1], question) for number in free}
    places = {number: 1 + sum(each > near[number] for each in near.values()) + number for number in free}
    return sorted(free, key=lambda number: (places[number], number))[:10]


def test_fifteen_statements_are_asked_for_until_there_are_fifteen_and_a_question_without_them_fails(
    chain: Chain,
) -> None:
    assert (TRIED[1], TRIED[3], TRIED[4]) == (1, 2, 3)
    assert len(chain.table("told")) == 5
    assert not [row for row in chain.table("told") if "Question 4" in row["instruction"]]


def test_ten_are_shown_by_the_sum_of_both_ranks_with_the_nearest_first_and_none_that_holds_an_option(
    chain: Chain,
) -> None:
    for row in [*chain.table("told"), *chain.table("exam")]:
        shown = list_shown(row["evidence"])
        assert shown == list_expected(row["instruction"])
        assert not LEAKS.intersection(shown)
    [first, *_] = chain.table("told")
    shown = list_shown(first["evidence"])
    assert shown.index(4) < shown.index(1), "it is nearer, though it was told later"


def test_relations_are_taken_from_the_shown_statements_alone(chain: Chain) -> None:
    asked = chain.shown("teacher", '{"relations"')
    assert len(asked) == 7, "one call for each question, of the exam too"
    assert all(len(list_shown(text)) == 10 and "Question" not in text for text in asked)


def test_the_teacher_answers_twice_from_statements_and_one_right_answer_of_a_question_is_learnt(chain: Chain) -> None:
    assert chain.funnel("generate")[-1] == (5, 10)
    learnt = {row["instruction"]: row for row in chain.table("trained_1")}
    assert sorted(int(re.findall(r"Question (\d+)", name)[0]) for name in learnt) == [1, 3, 5, 6]
    assert "teacher 1" in learnt[ask(5)["question"]]["completion"][0]["content"]
    assert len(chain.table("trained_1")) == 4


def test_the_student_sees_statements_and_relations_and_never_the_right_label(chain: Chain) -> None:
    for row in chain.table("trained_1"):
        [turn] = row["prompt"]
        assert len(list_shown(turn["content"])) == 10
        assert "- water eats metal" in turn["content"]
        assert turn["content"].endswith("(A) Iron.\n(B) oak")
    asked = chain.shown("student", "Question 200")
    assert [len(list_shown(text)) for text in asked] == [10, 0], "with statements, then without"
