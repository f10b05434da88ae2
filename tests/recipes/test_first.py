"""FIRST: a teacher that has learnt the task tells its five likeliest tokens at each place of the task's own answers."""

from collections.abc import Mapping
from typing import Any

import pytest

from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from tests.support.runs import KEYS
from tests.support.untrained import Chain, run_chain

DATA = {
    "train": [
        {"question": f"What is {n} and {n}?", "answer": f"{n} + {n} = <<{n}+{n}={2 * n}>>{2 * n}.\n#### {2 * n}"}
        for n in range(1, 9)
    ],
    "test": [{"question": "What is 9 and 9?", "answer": "18"}],
}


def script(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    return "The answer is 18."


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return run_chain("first", tmp_path_factory.mktemp("first"), DATA, script)


def test_five_tokens_and_their_logarithms_are_kept_at_each_place_of_the_answer_and_of_nothing_else(
    chain: Chain,
) -> None:
    rows = chain.table("trained_2")
    assert len(rows) == 8
    for row in rows:
        answer = row["completion"][0]["content"]
        told = row["top_logprobs"]
        assert len(told["tokens"]) == len(answer.split()), "the script takes words for tokens"
        assert (
            [len(each) for each in told["top"]] == [len(each) for each in told["logprobs"]] == [5] * len(answer.split())
        )
        assert all(each == sorted(each, reverse=True) for each in told["logprobs"])


def test_the_answers_are_the_data_s_own_and_not_the_teacher_s(chain: Chain) -> None:
    assert [row["completion"][0]["content"] for row in chain.table("trained_2")][:1] == ["1 + 1 = 2.\nThe answer is 2."]
    assert [row["completion"] for row in chain.table("trained_1")] == [
        row["completion"] for row in chain.table("trained_2")
    ], "the teacher has learnt the same answers before"


def test_the_student_learns_the_teacher_s_probabilities_in_three_passes() -> None:
    recipe = load_recipe(find_bundled("recipes") / "first.yaml", env=KEYS)
    trained: list[Any] = [p.config for p in recipe.steps if p.step.name == "train"]
    assert [(each.model, each.method, each.epochs) for each in trained] == [
        ("teacher", "sft", 3),
        ("student", "topk", 3),
    ]
    assert trained[1].temperature == 2.0
