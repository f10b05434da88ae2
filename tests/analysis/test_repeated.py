"""pass@k and maj@k of several replies to each question."""

from itertools import combinations

import pytest

from blackbox_kd.analysis import repeated
from blackbox_kd.schema import Row


@pytest.mark.parametrize("of", [1, 2, 5, 8])
def test_pass_at_k_is_the_share_of_draws_of_k_replies_that_have_a_right_one(of: int) -> None:
    for right in range(of + 1):
        replies = [True] * right + [False] * (of - right)
        for k in range(1, of + 1):
            drawn = list(combinations(replies, k))
            assert repeated.estimate_pass(right, of, k) == pytest.approx(sum(map(any, drawn)) / len(drawn))


@pytest.mark.parametrize(("right", "of", "k"), [(0, 3, 4), (4, 3, 1), (1, 3, 0)])
def test_pass_at_k_refuses_what_cannot_be(right: int, of: int, k: int) -> None:
    with pytest.raises(ValueError, match="as many right ones"):
        repeated.estimate_pass(right, of, k)


def replies(**answers: str) -> list[Row]:
    """By question its answers, a letter each; `a` is the right one, `-` cannot be read."""
    return [
        Row(id=f"{key}.{n}", question=key, sample=n, answer=None if each == "-" else each, correct=each == "a")
        for key, told in answers.items()
        for n, each in enumerate(told)
    ]


def same(one: str, other: str, row: Row) -> bool:
    return one == other


def test_a_question_is_passed_with_one_right_reply_and_won_with_most_of_them() -> None:
    found = repeated.score_questions(replies(x="aabc", y="abbb", z="ab-c", w="----", v="aa"), 4, same)
    assert sorted(found) == ["maj@4", "pass@2", "pass@4"]
    assert found["pass@4"] == {"x": 1, "y": 1, "z": 1, "w": 0}  # v had two of four replies
    assert found["pass@2"] == pytest.approx({"x": 5 / 6, "y": 0.5, "z": 0.5, "w": 0})
    assert found["maj@4"] == {"x": 1, "y": 0, "z": 0, "w": 0}  # z has no answer that is commoner than another
    told = repeated.measure(found)
    assert told["pass@4"]["value"] == 0.75
    assert told["maj@4"]["ci95"][0] < 0.25 < told["maj@4"]["ci95"][1]


def test_own_what_is_right_or_wrong_of_a_question_is_compared_in_pairs() -> None:
    before = repeated.score_questions(replies(x="bb", y="bb", z="aa"), 2, same)
    after = repeated.score_questions(replies(x="aa", y="ab", z="aa", w="aa"), 2, same)
    found = repeated.compare(before, after)
    assert found["pass@2"] | {"ci95": None} == {
        "n": 3,
        "gain": 2 / 3,
        "ci95": None,
        "p_value": 0.5,
        "gained": 2,
        "lost": 0,
    }
    assert found["maj@2"]["gained"] == 1
