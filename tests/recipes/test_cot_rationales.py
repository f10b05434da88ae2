"""Teaching Small Language Models to Reason: chains that end in the right answer are learnt, and nothing beside them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub_rows import HUB
from tests.support.untrained import Chain, run_chain

DATA = {
    "train": [HUB["openai/gsm8k"](n) for n in range(1, 9)],
    "dev": [HUB["openai/gsm8k"](n) for n in range(100, 120)],
    "test": [HUB["openai/gsm8k"](n) for n in range(200, 204)],
}
WAYS = [
    "First she has {n}. Then {n} more come to them, so there are {n} + {n} = {m}.",
    "Twice as many as before: 2 * {n} = {m}, since she buys what she has.",
    "Count on from {n} by {n} steps, one for each apple that is bought, and {m} is reached.",
    "Buying doubles the basket. Half of {m} is {n}, which fits.",
]


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    n = int(re.findall(r"Ann has (\d+)", text)[-1])
    chain = WAYS[sample % 4].format(n=n, m=2 * n)
    match n:
        case 2 if sample < 2:
            return f"{WAYS[0].format(n=n, m=2 * n)} {'SO' if sample else 'So'}. The answer is {2 * n}."
        case 2 | 3:
            return f"{chain} The answer is {2 * n + 1}."
        case 4:
            ends = ["The answer is 8 apples.", "The answer is 8.0.", "So it is many.", "At first 8. The answer is 4."]
            return f"{chain} {ends[sample % 4]}"
        case _:
            return f"{chain} The answer is {2 * n}."


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return run_chain("cot_rationales", tmp_path_factory.mktemp("cot"), DATA, reply)


def taught(chain: Chain, n: int) -> list[str]:
    rows = [row for row in chain.table("trained_1") if f"Ann has {n} " in row["instruction"]]
    return [row["completion"][0]["content"] for row in rows]


def test_a_chain_is_kept_where_the_answer_that_is_read_from_it_is_that_of_the_data_set(chain: Chain) -> None:
    assert chain.funnel("generate") == [(8, 32)]
    assert sorted(text.rpartition("The answer is ")[2] for text in taught(chain, 4)) == ["8 apples.", "8.0."]
    assert taught(chain, 3) == [], "all four are wrong"
    right = [row for row in chain.table("asked") if row["reference"] == "16"]
    assert len(right) == 4, "what is read from GSM8K's solution is its last number"


def test_of_right_chains_two_of_a_question_are_learnt_and_none_that_is_nearly_another(chain: Chain) -> None:
    assert [len(taught(chain, n)) for n in range(1, 9)] == [2, 1, 0, 2, 2, 2, 2, 2]
    assert chain.funnel("(filter)")[:3] == [(8, 8), (32, 24), (24, 23)]
    assert chain.funnel("select") == [(23, 13)]
    first = {
        taught(chain, n)[0].partition(" The answer")[0].replace(str(2 * n), "M").replace(str(n), "N")
        for n in (5, 6, 7, 8)
    }
    assert len(first) > 1, "drawn by chance, not by length or order"


def test_the_student_is_shown_the_bare_question_and_learns_no_solution_of_the_data_set(chain: Chain) -> None:
    for row in chain.table("trained_1"):
        assert [turn["content"] for turn in row["prompt"]] == [row["instruction"]]
        assert "####" not in row["completion"][0]["content"]
    assert not any("####" in text for _, text, _ in chain.asked)
    assert not any("Right answer" in text for _, text, _ in chain.asked)


def test_what_the_student_scores_and_what_the_teacher_scores_is_known_before_a_training_question_is_asked(
    chain: Chain,
) -> None:
    before = chain.asked[:40]
    assert {model for model, _, _ in before[:20]} == {"student"}
    assert {model for model, _, _ in before[20:]} == {"teacher"}
    assert all(int(re.findall(r"Ann has (\d+)", text)[-1]) >= 100 for _, text, _ in before)


def test_as_in_the_paper_the_right_answer_stands_between_question_and_one_chain(tmp_path: Path) -> None:
    chain = run_chain(
        "cot_rationales", tmp_path, DATA, reply, generate_1={"prompt": "rationale/cot_hinted", "samples": 1}
    )
    asked = chain.shown("teacher", "Right answer")
    assert len(asked) == 8
    assert all(re.search(r"Problem: Ann has (\d+).*\nRight answer: \d+$", text.strip()) for text in asked)
    assert [len(taught(chain, n)) for n in range(1, 9)] == [1, 1, 0, 1, 1, 1, 1, 1], "a hinted chain can be wrong, too"
    assert "Right answer" not in str([row["prompt"] for row in chain.table("trained_1")])


def test_rationales_only_keeps_up_to_two_short_right_ones_of_a_question(tmp_path: Path) -> None:
    def answer(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
        end = f"The answer is {row['reference']}."
        size = 1500 if row["reference"] == "1" else 1499
        return "x" * (size - len(end)) + end if sample == 0 else f"{WAYS[sample].format(n=1, m=2)} {end}"

    rows = [{"instruction": f"What is {n}?", "reference": str(n)} for n in range(1, 9)]
    chain = run_chain("rationales_only", tmp_path, {"train": rows}, answer)
    assert chain.funnel("generate") == [(8, 32)]
    assert chain.funnel("(filter)")[0] == (32, 31), "fewer than 1,500 characters"
    assert chain.funnel("format") == [(16, 16)]
