"""MiniPLM: the half of the texts stays in which the teacher is farthest ahead of a small model, token by token."""

from collections.abc import Mapping
from typing import Any

import pytest

from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from tests.support.runs import KEYS
from tests.support.untrained import Chain, run_chain

AHEAD = {1: 0.2, 2: 0.9, 3: 0.1, 4: 0.8, 5: -0.3, 6: 0.7, 7: 0.4, 8: 0.6}
"""By the number of a question, how many nats a letter the small model needs more than the teacher."""
LONG = 7
DATA = {
    "train": [
        {"question": f"What is {n} and {n}?", "answer": f"{'abcd ' * (60 if n == LONG else 4)}\n#### {2 * n}"}
        for n in AHEAD
    ],
    "test": [{"question": "What is 9 and 9?", "answer": "18"}],
}


def script(model: str, text: str, row: Mapping[str, Any], sample: int) -> Any:
    n = next((n for n in AHEAD if row["instruction"] == f"What is {n} and {n}?"), 1)
    return {"text": "The answer is 18.", "nats": 1.0 if model == "teacher" else 1.0 + AHEAD[n]}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return run_chain("difference_sampling", tmp_path_factory.mktemp("miniplm"), DATA, script)


def number(row: Mapping[str, Any]) -> int:
    return int(row["instruction"].split()[2])


def test_the_half_stays_in_which_the_teacher_is_farthest_ahead_in_the_order_in_which_it_came(chain: Chain) -> None:
    assert [number(row) for row in chain.table("trained_2")] == [2, 4, 6, 8]
    assert chain.funnel("select")[-1] == (8, 4)


def test_a_long_text_has_no_advantage_as_losses_are_means_over_its_tokens(chain: Chain) -> None:
    words = len(DATA["train"][LONG - 1]["answer"].split())
    assert AHEAD[LONG] * words > max(AHEAD.values()) * 10, "its sum is the largest of all"
    assert LONG not in [number(row) for row in chain.table("trained_2")]


def test_the_difference_is_the_small_model_s_loss_less_the_teacher_s(chain: Chain) -> None:
    for row in chain.table("trained_2"):
        assert row["ahead"] == pytest.approx(row["teacher_logprob_mean"] - row["reference_logprob_mean"])
        assert row["ahead"] > 0
        assert row["teacher_logprob_tokens"] == row["reference_logprob_tokens"]


def test_both_score_every_text_and_the_small_one_has_learnt_a_part_of_them_alone(chain: Chain) -> None:
    scored = {"teacher": 0, "reference": 0}
    for model, text, _ in chain.asked:
        if model in scored and "The answer is" in text:
            scored[model] += 1
    assert scored == {"teacher": 8, "reference": 8}
    assert len(chain.table("trained_1")) < 8
    recipe = load_recipe(find_bundled("recipes") / "difference_sampling.yaml", env=KEYS)
    shares = [p.config.share for p in recipe.steps if p.step.name == "select"]  # type: ignore[attr-defined]
    assert shares == [0.05, 0.5]
