"""STaR and rejection sampling: the student's own right rationales, in rounds that each train from the base."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from tests.recipes.test_cot_rationales import DATA, WAYS
from tests.support.untrained import Chain, run_chain

EXAMPLES = [{"instruction": f"Example {n}?", "response": f"Well.\nThe answer is {n}."} for n in range(4)]
MANY = [
    *WAYS,
    *[f"Way {word}: {word} of {{n}} and {word} of {{n}} give {{m}} {word}." for word in ("box", "bag", "tin")],
]


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    """Right in one sample of eight on odd questions, in all on even ones; question 8 comes twice in the same words."""
    n = int(re.findall(r"Ann has (\d+)", text)[-1])
    if n == 8:
        return f"{WAYS[0].format(n=n, m=16)} The answer is 16."
    is_right = n % 2 == 0 or sample == 3
    return f"{MANY[sample % len(MANY)].format(n=n, m=2 * n)} The answer is {2 * n if is_right else 0}."


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    dev = DATA["dev"][:4]
    return run_chain("self_taught", tmp_path_factory.mktemp("star"), DATA | {"dev": dev, "examples": EXAMPLES}, reply)


def count(rows: list[dict[str, Any]]) -> list[int]:
    return [sum(f"Ann has {n} " in row["instruction"] for row in rows) for n in range(1, 9)]


def test_eight_samples_are_written_for_every_question_in_every_round_behind_four_examples(chain: Chain) -> None:
    assert chain.funnel("generate")[:2] == [(8, 64), (8, 64)]
    asked = [text for text in chain.shown("student", "Example") if "Ann has 1 " in text]
    assert len(asked) == 16
    assert all(len(re.findall(r"Example \d\?", text)) == 4 for text in asked)
    assert not any("Right answer" in text or "####" in text for text in asked), "no hint, as in rejection sampling"


def test_two_right_ones_of_a_question_are_learnt_and_equal_ones_count_once(chain: Chain) -> None:
    rounds = chain.tables("trained_1")
    assert [count(rows) for rows in rounds] == [[1, 2, 1, 2, 1, 2, 1, 1]] * 2, "each round learns its own rows alone"
    for row in rounds[0]:
        assert row["completion"][0]["content"].endswith(f"The answer is {row['reference']}.")
        assert [turn["content"] for turn in row["prompt"]] == [row["instruction"]], "the examples are not learnt"


def test_the_control_has_the_samples_of_three_rounds_and_the_same_check(chain: Chain) -> None:
    assert chain.funnel("generate")[2] == (8, 8 * 24)
    rows = chain.table("trained_2")
    assert all(row["completion"][0]["content"].endswith(f"The answer is {row['reference']}.") for row in rows)
    assert max(count(rows)) == 2


def test_the_gold_arm_learns_the_solutions_of_the_data_set(chain: Chain) -> None:
    rows = chain.table("trained_3")
    assert count(rows) == [1] * 8
    assert rows[0]["completion"][0]["content"].endswith("apples.\nThe answer is 2")


def test_each_round_trains_from_the_base_and_all_students_have_as_many_updates() -> None:
    recipe = load_recipe(find_bundled("recipes") / "self_taught.yaml", env={})
    trainings = [p.config for p in recipe.steps if p.step.name == "train"]
    assert [(t.model, t.start, t.max_steps) for t in trainings] == [  # type: ignore[attr-defined]
        ("student", "base", 200),
        ("control", "latest", 200),
        ("gold", "latest", 200),
    ]
    [loop] = recipe.loops.values()
    assert loop.config.rounds == 3
