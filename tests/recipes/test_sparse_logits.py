"""RS-KD: fifty draws at each place, learnt by how often each token came; the biased form is an arm."""

from typing import Any

import pytest

from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from tests.recipes.test_first import DATA, script
from tests.support.runs import KEYS
from tests.support.untrained import Chain, run_chain


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return run_chain("sparse_logits", tmp_path_factory.mktemp("rskd"), DATA, script)


def test_counts_of_fifty_draws_are_kept_at_each_place_and_no_logarithms(chain: Chain) -> None:
    rows = chain.table("trained_2")
    assert len(rows) == 8
    for row in rows:
        told = row["top_logprobs"]
        assert set(told) == {"tokens", "top", "counts"}
        assert [sum(counts) for counts in told["counts"]] == [50] * len(row["completion"][0]["content"].split())


def test_the_arm_of_the_likeliest_has_as_many_as_fifty_draws_have_different_ones() -> None:
    recipe = load_recipe(find_bundled("recipes") / "sparse_logits.yaml", env=KEYS)
    [scoring] = [p.config for p in recipe.steps if p.step.name == "score"]
    assert (scoring.draws, scoring.top) == (50, None)  # type: ignore[attr-defined]
    assert recipe.head.arms["likeliest"].set["steps.3"]["top"] == 12
    trained: list[Any] = [p.config for p in recipe.steps if p.step.name == "train"]
    assert [(each.model, each.method) for each in trained] == [("teacher", "sft"), ("student", "topk")]
