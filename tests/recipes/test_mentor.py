"""Mentor-KD: up to three right chains of the teacher, three samples of a mentor, both learnt by the student."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from tests.recipes.test_cot_rationales import DATA, WAYS
from tests.support.runs import KEYS
from tests.support.untrained import Chain, run_chain

OTHER_WAYS = [
    "Her apples are {n}, the shop's are {n} as well, which makes {m} of them together.",
    "Put {n} red ones in a row, and {n} green ones under it. Altogether one sees {m}.",
    "{m} less {n} is {n}: that many were bought, that many were there.",
]


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    n = int(re.findall(r"Ann has (\d+)", text)[-1])
    wrong = (model, n) in {("teacher", 2), ("mentor", 3)} or (model == "teacher" and n == 5 and sample)
    way = (WAYS if model == "teacher" else OTHER_WAYS)[sample % 3].format(n=n, m=2 * n)
    return f"{way} The answer is {2 * n + wrong}."


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return run_chain("mentor", tmp_path_factory.mktemp("mentor"), DATA, reply)


def count_writers(chain: Chain, table: str) -> dict[int, Counter[str]]:
    found: dict[int, Counter[str]] = {n: Counter() for n in range(1, 9)}
    for row in chain.table(table):
        found[int(re.findall(r"Ann has (\d+)", row["instruction"])[0])][row["model"]] += 1
    return found


def test_the_mentor_learns_up_to_three_right_chains_of_the_teacher(chain: Chain) -> None:
    assert chain.funnel("generate")[0] == (8, 24)
    learnt = count_writers(chain, "trained_1")
    assert [sum(learnt[n].values()) for n in range(1, 9)] == [3, 0, 3, 3, 1, 3, 3, 3]


def test_the_mentor_answers_every_question_three_times_at_0_7_and_what_is_right_is_kept(chain: Chain) -> None:
    assert chain.funnel("generate")[1] == (8, 24), "those that the teacher missed, too"
    rows = chain.table("mentor_chains")
    assert len(rows) == 7 * 3
    recipe = load_recipe(find_bundled("recipes") / "mentor.yaml", env=KEYS)
    [asking] = [
        p.config for p in recipe.steps if getattr(p.config, "model", "") == "mentor" and p.step.name == "generate"
    ]
    assert (asking.temperature, asking.samples) == (0.7, 3)  # type: ignore[attr-defined]


def test_the_student_learns_from_both_four_chains_of_a_question_at_most(chain: Chain) -> None:
    learnt = count_writers(chain, "trained_2")
    assert [sum(learnt[n].values()) for n in range(1, 9)] == [4, 3, 3, 4, 4, 4, 4, 4]
    assert set(learnt[2]) == {"mentor"}
    assert set(learnt[3]) == {"teacher"}
    together = sum((counts for n, counts in learnt.items() if n not in {2, 3}), Counter[str]())
    assert set(together) == {"teacher", "mentor"}


def test_chains_are_right_and_the_student_sees_neither_answer_nor_system_prompt(chain: Chain) -> None:
    for row in chain.table("trained_2"):
        assert row["completion"][0]["content"].endswith(f"The answer is {row['reference']}.")
        assert [turn["content"] for turn in row["prompt"]] == [row["instruction"]]


def test_nothing_is_chosen_on_the_test_table(chain: Chain) -> None:
    asked = [int(re.findall(r"Ann has (\d+)", text)[-1]) for _, text, _ in chain.asked]
    first = next(at for at, n in enumerate(asked) if n >= 200)
    assert all(n >= 200 for n in asked[first:]), "it is asked at the very end"
