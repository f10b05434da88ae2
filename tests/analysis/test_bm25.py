import math

import pytest

from blackbox_kd.analysis.bm25 import K1, B, Bm25

TEXTS = ["a cat sat", "a dog sat and sat and sat", "a bird flew over a cat", ""]


def test_the_score_of_a_text_is_the_published_formula() -> None:
    index = Bm25(["cat sat", "dog sat on the mat"])
    # One of two texts has "dog", once among its 5 words; the mean length is 3.5.
    idf = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    weight = (K1 + 1) / (1 + K1 * (1 - B + B * 5 / 3.5))
    assert index.scores("dog") == pytest.approx([0, idf * weight])


def test_a_rare_word_counts_more_than_a_frequent_one() -> None:
    index = Bm25(["sat dog", "sat cat", "sat bird", "sat here"])
    assert index.nearest("sat bird", 4) == [2, 0, 1, 3]


def test_the_shorter_of_two_texts_with_the_word_is_nearer() -> None:
    assert Bm25(TEXTS).nearest("cat", 2) == [0, 2]


def test_texts_without_a_common_word_come_last_in_their_order() -> None:
    assert Bm25(TEXTS).nearest("bird", 4) == [2, 0, 1, 3]
    assert Bm25(TEXTS).nearest("", 3) == [0, 1, 2]


@pytest.mark.parametrize("texts", [[], ["", "..."]])
def test_texts_without_words_are_no_error(texts: list[str]) -> None:
    assert Bm25(texts).nearest("cat", 5) == list(range(len(texts)))
