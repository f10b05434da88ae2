"""PLaD: the teacher's text over the student's own, here where the one is right and the other wrong."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.recipes.test_cot_rationales import DATA
from tests.support.untrained import Chain, run_chain

END = "The answer is {}."


def write(words: int, answer: object, word: str = "so") -> str:
    return f"{' '.join(f'{word}{n}' for n in range(words))} {END.format(answer)}"


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    n = int(re.findall(r"Ann has (\d+)", text)[-1])
    right, wrong = 2 * n, 2 * n + 1
    if model == "teacher" or n >= 100:
        return write(21, wrong if n == 2 else right)
    match n:
        case 1:  # right twice, wrong twice
            return write(21, wrong if sample < 2 else right, f"well{sample}")
        case 3:
            return write(21, right, "never")
        case 4:  # but for its number the teacher's text
            return write(21, wrong)
        case 5:  # a text that is exactly half as long as the teacher's, and longer ones
            told = write(21, right)
            assert len(told) % 2 == 0
            half = END.format(wrong)
            return "y" * (len(told) // 2 - len(half)) + half if sample == 0 else write(60, wrong, "long")
        case 6:
            return write(60, wrong, "long")
        case _:
            return write(21, wrong, f"well{sample}")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return run_chain("preference_pairs", tmp_path_factory.mktemp("plad"), DATA, reply)


def pairs(chain: Chain, n: int) -> list[dict[str, Any]]:
    return [row for row in chain.table("trained_2") if f"Ann has {n} " in row["instruction"]]


def test_the_student_first_learns_right_answers_of_the_teacher(chain: Chain) -> None:
    assert chain.funnel("generate")[0] == (8, 8)
    assert len(chain.table("trained_1")) == 7
    assert not [row for row in chain.table("trained_1") if "Ann has 2 " in row["instruction"]]


def test_it_is_asked_four_times_the_question_alone_where_the_teacher_is_right(chain: Chain) -> None:
    assert chain.funnel("generate")[1] == (7, 28)
    asked = [text for text in chain.shown("student") if 2 <= int(re.findall(r"Ann has (\d+)", text)[-1]) < 9]
    assert {text for text in asked if "Ann has 3 " in text} == {DATA["train"][2]["question"]}


def test_a_pair_is_a_right_answer_over_a_wrong_one_and_one_of_a_question_is_learnt(chain: Chain) -> None:
    assert [len(pairs(chain, n)) for n in range(1, 9)] == [1, 0, 0, 0, 1, 0, 1, 1]
    for row in chain.table("trained_2"):
        assert row["chosen"][0]["content"] == write(21, row["reference"])
        assert row["rejected"][0]["content"].endswith(END.format(int(row["reference"]) + 1))
    [first] = pairs(chain, 1)
    assert re.match("well[01]", first["rejected"][0]["content"]), "its right samples are no worse side"


def test_pairs_of_nearly_one_text_are_dropped_and_those_of_which_one_is_more_than_twice_as_long(chain: Chain) -> None:
    [half] = pairs(chain, 5)
    assert half["length_ratio"] == 2.0, "twice as long is kept"
    assert pairs(chain, 4) == [], "the same but for the number: above 0.9"
    assert pairs(chain, 6) == [], "less than half as long is not kept"
