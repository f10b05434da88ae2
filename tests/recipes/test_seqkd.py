"""Sequence-level distillation: of five replies the nearest to the reference is learnt, whether it is right or not."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from blackbox_kd.analysis.similarity import chrf
from tests.recipes.test_cot_rationales import DATA
from tests.support.untrained import Chain, run_chain

WORDS = [
    "Plums.",
    "She has some, and buys some.",
    "She has {n} + {n} pears.",
    "She has {n} + {n} = {m} apples.",
    "{m}.",
]


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    n = int(re.findall(r"Ann has (\d+)", text)[-1])
    return WORDS[(sample + n) % 5].format(n=n, m=2 * n + (n == 3)) + f"\nThe answer is {2 * n + (n == 3)}."


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return run_chain("seqkd", tmp_path_factory.mktemp("seqkd"), DATA, reply, evaluate_1={"require": None})


def test_each_question_has_five_replies_of_the_teacher_that_sees_no_reference(chain: Chain) -> None:
    assert chain.funnel("generate") == [(8, 40)]
    assert not any("<<" in text or "She has" in text for text in chain.shown("teacher"))


def test_of_the_five_the_nearest_to_the_reference_is_learnt_a_wrong_one_too(chain: Chain) -> None:
    learnt = chain.table("trained_1")
    assert len(learnt) == 8, "one of each question: nothing is checked"
    assert [row["completion"][0]["content"].partition("\n")[0] for row in learnt] == [
        f"She has {n} + {n} = {2 * n + (n == 3)} apples." for n in range(1, 9)
    ]


def test_near_is_chrf_against_the_solution_without_its_notes_for_a_calculator(chain: Chain) -> None:
    for row in chain.table("five"):
        n = int(re.findall(r"Ann has (\d+)", row["instruction"])[-1])
        assert row["worked"] == f"She has {n} + {n} = {2 * n} apples.\nThe answer is {2 * n}."
        assert row["near"] == pytest.approx(chrf(row["response"], row["worked"]), abs=1e-9)
    best = {row["instruction"]: row["near"] for row in chain.table("trained_1")}
    assert all(row["near"] <= best[row["instruction"]] for row in chain.table("five"))


def test_plain_seq_kd_takes_one_of_the_same_five_whatever_the_reference_says(chain: Chain) -> None:
    one = chain.table("one")
    assert len(one) == 8
    five = {(row["instruction"], row["response"]) for row in chain.table("five")}
    assert {(row["instruction"], row["response"]) for row in one} <= five
    assert len({row["response"].partition("\n")[0][:12] for row in one}) > 2
