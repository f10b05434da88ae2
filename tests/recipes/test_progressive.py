"""Progressive distillation: from a weak teacher to a strong one, and then only what still confuses the student."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.recipes.test_cot_rationales import DATA, WAYS
from tests.support.untrained import Chain, run_chain

RIGHT = {1: 4, 2: 3, 3: 0, 4: 2, 5: 1, 6: 4, 7: 0, 8: 3}
"""How many of the student's four samples are right after the first stage."""


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    n = int(re.findall(r"Ann has (\d+)", text)[-1])
    if model == "student":
        return f"The answer is {2 * n + (sample >= RIGHT.get(n, 4))}."
    wrong = (model == "weak" and n in {5, 8}) or (model == "strong" and n == 7 and sample == 1)
    return f"{WAYS[sample + 2 * (model == 'strong')].format(n=n, m=2 * n)} The answer is {2 * n + wrong}."


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    changes = {"select_1": {"rows": 3}}
    return run_chain("progressive", tmp_path_factory.mktemp("progressive"), DATA, reply, **changes)


def number(row: Mapping[str, Any]) -> int:
    return int(re.findall(r"\d+", row["instruction"])[0])


def test_the_first_stage_is_the_weak_teachers_right_chains_of_all_questions(chain: Chain) -> None:
    assert sorted(map(number, chain.table("trained_1"))) == [1, 2, 3, 4, 6, 7]
    assert {row["model"] for row in chain.table("trained_1")} == {"weak"}


def test_the_strong_teacher_is_asked_only_about_what_confuses_the_student_most_even_where_the_weak_one_failed(
    chain: Chain,
) -> None:
    assert sorted(map(number, chain.table("confusing"))) == [3, 5, 7], "none, one and none of four samples are right"
    asked = {int(re.findall(r"Ann has (\d+)", text)[-1]) for text in chain.shown("strong")}
    assert {n for n in asked if n < 100} == {3, 5, 7}


def test_the_second_stage_has_the_strong_teachers_right_chains_and_a_third_of_the_first_lesson(chain: Chain) -> None:
    rows = chain.table("trained_2")
    strong = [number(row) for row in rows if row["model"] == "strong"]
    assert sorted(strong) == [3, 3, 5, 5, 7]
    assert len(rows) - len(strong) == 3, "3 of 8 rows: the fewest that are a third"
