"""Speculative KD: the student writes, and the first token outside of the teacher's 25 likeliest is the teacher's."""

from collections.abc import Mapping
from typing import Any

import pytest

from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from tests.support.runs import KEYS
from tests.support.untrained import Chain, run_chain

IN, OUT = "i" * 25, "o" * 26
"""Words of the script: one of n letters is the n-th likeliest, and the likeliest of all is `a`."""
BLOCKS = {
    1: ["one two", " three."],
    2: [f"one {IN} two.", ""],
    3: [f"one {OUT} lost {OUT} lost", " three."],
    4: ["one two", f" {OUT}", " three."],
    5: ["never an end"] * 16,
}
"""By the question, what the student writes, block after block; a text has ended where the last one has."""
DATA = {
    "train": [{"question": f"Question {n}?", "answer": f"That makes {n}.\n#### {n}"} for n in BLOCKS],
    "test": [{"question": "Question 9?", "answer": "9"}],
}


class Student:
    """Writes the blocks in turn, and ends with the last one."""

    def __init__(self) -> None:
        self.asked: dict[int, int] = {}

    def __call__(self, model: str, text: str, row: Mapping[str, Any], sample: int) -> Any:
        n = int(row["instruction"].split()[1].strip("?"))
        if model == "teacher" or "draft" not in row or n not in BLOCKS:
            return "The answer is 9."
        at = self.asked[n] = self.asked.get(n, -1) + 1
        blocks = BLOCKS[n]
        return {
            "text": blocks[min(at, len(blocks) - 1)],
            "finish_reason": "stop" if at == len(blocks) - 1 else "length",
        }


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return run_chain("skd", tmp_path_factory.mktemp("skd"), DATA, Student(), rounds=4)


def texts(chain: Chain) -> dict[int, str]:
    rows = chain.table("trained_3")
    return {int(row["instruction"].split()[1].strip("?")): row["completion"][0]["content"] for row in rows}


def test_a_text_within_the_teacher_s_25_likeliest_stays_as_the_student_wrote_it(chain: Chain) -> None:
    assert texts(chain)[1] == "one two three."
    assert texts(chain)[2] == f"one {IN} two.", "the 25th is one of them"


def test_the_first_token_outside_is_the_teacher_s_own_and_the_student_writes_on_from_there(chain: Chain) -> None:
    assert texts(chain)[3] == "one a three.", "the 26th is none; what stood behind it is written anew"
    assert texts(chain)[4] == "one two a three."


def test_a_text_without_an_end_is_not_learnt(chain: Chain) -> None:
    assert sorted(texts(chain)) == [1, 2, 3, 4]


def test_what_has_ended_is_neither_written_on_nor_looked_over_again(chain: Chain) -> None:
    drafts = chain.funnel("generate")
    assert drafts == [(5, 5), (5, 5), (2, 2), (1, 1)]


def test_what_is_learnt_is_the_teacher_s_hundred_likeliest_at_each_place_of_the_final_text(chain: Chain) -> None:
    for row in chain.table("trained_3"):
        told = row["top_logprobs"]
        assert [len(each) for each in told["top"]] == [100] * len(row["completion"][0]["content"].split())


def test_both_have_learnt_the_task_before_and_the_student_draws_as_in_the_paper() -> None:
    recipe = load_recipe(find_bundled("recipes") / "skd.yaml", env=KEYS)
    [asking] = [p.config for p in recipe.steps if p.step.name == "generate"]
    assert (asking.temperature, asking.top_p, asking.begin) == (0.5, 0.5, "draft")  # type: ignore[attr-defined]
    trained = [p.config.model for p in recipe.steps if p.step.name == "train"]  # type: ignore[attr-defined]
    assert trained == ["teacher", "student", "student"]
    assert [p.config.method for p in recipe.steps if p.step.name == "train"][-1] == "topk"  # type: ignore[attr-defined]
