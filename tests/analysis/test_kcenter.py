import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_kd.analysis.kcenter import choose_farthest, count_votes, embed_texts

POINTS = st.lists(st.tuples(*[st.integers(-9, 9)] * 2), min_size=2, max_size=20).map(lambda it: np.array(it, float))


def gaps(points: np.ndarray, centers: list[int]) -> np.ndarray:
    """Distance of each point to the nearest center."""
    return np.linalg.norm(points[:, None] - points[centers][None], axis=2).min(axis=1)


@settings(deadline=None)
@given(POINTS, st.integers(1, 6), st.randoms(use_true_random=False))
def test_greedy_k_center_covers_all_points_within_the_distance_of_its_closest_picks(points, count, random) -> None:
    count = min(count, len(points))
    picked = choose_farthest(points, count, start=random.randrange(len(points)))
    assert len(set(picked)) == count
    for number in range(1, count):
        # Each pick was the point that those before it covered worst: that is the 2-approximation.
        before = gaps(points, picked[:number])
        assert before[picked[number]] == pytest.approx(before.max())


@settings(deadline=None)
@given(POINTS, st.integers(1, 6))
def test_centers_count_as_picked_and_are_never_picked(points, count) -> None:
    picked = choose_farthest(points, count, start=0, centers=[0, 1])
    assert len(picked) == min(count, len(points) - 2)
    assert not {0, 1} & set(picked)
    if picked:
        before = gaps(points, [0, 1])
        assert before[picked[0]] == pytest.approx(before[2:].max())


def test_texts_are_the_nearer_the_more_of_their_characters_stand_in_the_same_order() -> None:
    vectors = embed_texts(["How many apples are left?", "How many apples remain?", "東京の天気は?", ""])
    alike = (vectors @ vectors.T).toarray()
    assert alike.diagonal()[:3] == pytest.approx(1)
    assert alike[0, 1] > 0.2 > alike[0, 2]
    assert alike[3].tolist() == [0, 0, 0, 0]


def test_sparse_and_dense_points_are_picked_alike() -> None:
    vectors = embed_texts([f"question {number} about {'xyz'[number % 3] * 9}" for number in range(12)])
    assert choose_farthest(vectors, 5, start=3) == choose_farthest(vectors.toarray(), 5, start=3)


def test_text_vectors_are_the_same_in_every_process() -> None:
    code = "from blackbox_kd.analysis.kcenter import embed_texts as t; v = t(['some text']); print(sorted(v.indices))"
    found = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)}
    assert len(found) == 1
    assert found != {""}


def test_distributions_are_shares_of_the_votes_over_all_answers_that_were_given() -> None:
    found = count_votes([Counter({"4": 3, "5": 1}), Counter({"5": 2}), Counter({"6": 1})])
    assert found.tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 1]]
