"""HARD in text: variants that the teacher answers alike, three times of five, and the student otherwise."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.recipes.test_cot_rationales import WAYS
from tests.support.hub_rows import HUB
from tests.support.untrained import Chain, run_chain

DATA = {
    "seeds": [HUB["openai/gsm8k"](n) for n in range(1, 7)],
    "dev": [HUB["openai/gsm8k"](n) for n in range(100, 120)],
    "test": [HUB["openai/gsm8k"](n) for n in range(200, 204)],
}
THINGS = {1: "boats", 2: "chairs", 3: "doves", 4: "eels", 5: "forks", 6: "gates"}
VARIANTS = {
    1: "The harbour keeps 1 of its boats afloat while another 1 joins: what is the fleet?",
    2: "My school keeps 2 chairs by each window, and the wall doubles that. Count them all.",
    3: "A loft keeps 3 doves; three fly in at noon. What number sits inside?",
    4: "In one pond a keeper keeps 4 eels, in the next just as many; give their total.",
    5: "Grandmother keeps 5 silver forks beside five of tin, so that makes what sum?",
}
AGREE = {"boats": 5, "chairs": 3, "doves": 2, "eels": 4, "forks": 5}
"""Of five samples of the teacher so many give one answer; of gates there is no variant that is new."""
STUDENT_AGREES = {"boats", "eels"}


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    if "brand-new one" in text:
        n = int(re.findall(r"Ann has (\d+)", text)[-1])
        if n == 6:
            return str(row["instruction"])
        return VARIANTS[n]
    thing = next((thing for thing in AGREE if thing in text), None)
    n = int(re.findall(r"(?:has|keeps) (\d+)", text)[-1])
    if thing is None:
        return f"The answer is {2 * n}."
    if model == "student":
        return f"The answer is {2 * n if thing in STUDENT_AGREES else 2 * n + 50}."
    return f"{WAYS[sample % 4].format(n=n, m=2 * n)} The answer is {2 * n if sample < AGREE[thing] else 100 + sample}."


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return run_chain("disagreement_aug", tmp_path_factory.mktemp("hard"), DATA, reply)


def things(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(thing for row in rows for thing in THINGS.values() if thing in row["instruction"])


def test_a_variant_is_kept_with_three_of_five_votes_and_not_with_two(chain: Chain) -> None:
    assert things(chain.tables("variants")[0]) == ["boats", "chairs", "doves", "eels", "forks"]
    assert things(chain.tables("voted")[0]) == ["boats", "chairs", "eels", "forks"]


def test_what_the_student_answers_like_the_vote_teaches_nothing_and_is_dropped(chain: Chain) -> None:
    disputed = chain.tables("disputed")[0]
    assert things(disputed) == ["chairs", "forks"]
    for row in disputed:
        n = int(re.findall(r"\d+", row["instruction"])[0])
        assert row["completion"][0]["content"].endswith(f"The answer is {2 * n}."), "the vote, not the student's"


def test_what_is_like_a_question_there_is_is_no_variant_in_the_next_round_either(chain: Chain) -> None:
    assert things(chain.tables("variants")[1]) == ["boats", "doves", "eels"], "two are in the pool by now"
    assert [len(rows) for rows in chain.tables("pool")] == [6, 6 + 2, 6 + 2]


def test_the_first_training_is_the_seeds_and_the_last_has_what_the_rounds_brought(chain: Chain) -> None:
    assert len(chain.tables("trained_1")[0]) == 6
    assert things(chain.table("trained_2")) == ["chairs", "forks"]
    assert "<<" not in chain.table("trained_2")[0]["completion"][0]["content"]
