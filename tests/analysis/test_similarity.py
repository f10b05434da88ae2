import itertools
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_kd.analysis.embeddings import EmbeddingPool
from blackbox_kd.analysis.similarity import MinHashPool, RougePool, SimilarityIndex, rouge_l, tokens
from blackbox_kd.errors import SetupError
from tests.support.tiny import tiny_model

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "1", "2", "東", "é"]), max_size=12).map(" ".join)


def common_subsequence(a: list[str], b: list[str]) -> int:
    """By its definition: the longest choice of words of `a` that stands in `b` in the same order."""
    for size in range(len(a), 0, -1):
        for chosen in itertools.combinations(a, size):
            rest = iter(b)
            if all(word in rest for word in chosen):
                return size
    return 0


def texts_with(common: int, of: int) -> tuple[str, str]:
    """Two texts of `of` words each that have `common` words in common, in order."""
    shared = [f"w{number}" for number in range(common)]
    return " ".join(shared + ["x"] * (of - common)), " ".join(["y"] * (of - common) + shared)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("the cat sat on the mat", "the cat is on the mat", 10 / 12),
        ("police killed the gunman", "police kill the gunman", 6 / 8),
        ("police killed the gunman", "the gunman kill police", 4 / 8),
        ("The CAT!", "the, cat", 1.0),
        ("one two", "three four", 0.0),
        ("running fast", "run fast", 0.5),
        ("5 - 3", "5 + 3", 1.0),
        ("", "", 0.0),
        ("?!", "?!", 1.0),
        ("+", "-", 0.0),
        ("🙂🙂", "🙂🙂", 1.0),
        ("+ +", "+ -", 0.5),
        ("?!", "what?!", 0.0),
        ("", "?!", 0.0),
    ],
)
def test_rouge_l_is_the_f1_of_the_longest_common_subsequence_without_stemming(a: str, b: str, expected: float) -> None:
    assert rouge_l(a, b) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop_me: 3.5 km!", ["don", "t", "stop", "me", "3", "5", "km"]),
        ("Café Straße", ["café", "straße"]),
        ("cafe\u0301", ["café"]),
        ("हिन्दी में लिखो", ["हिन्दी", "में", "लिखो"]),
        ("東京は3都市", ["東", "京", "は", "3", "都", "市"]),
        ("Привет, мир", ["привет", "мир"]),
        ("שלום עולם", ["שלום", "עולם"]),
        ("한국어 문장", ["한국어", "문장"]),
    ],
)
def test_words_are_found_in_any_script(text: str, words: list[str]) -> None:
    assert tokens(text) == words


@settings(deadline=None)
@given(WORDS, WORDS)
def test_rouge_l_is_symmetric_at_most_one_and_what_its_definition_says(a: str, b: str) -> None:
    left, right = tokens(a), tokens(b)
    expected = 2 * common_subsequence(left, right) / (len(left) + len(right)) if left and right else 0.0
    assert rouge_l(a, b) == rouge_l(b, a) == expected <= 1


@settings(deadline=None)
@given(WORDS.filter(bool))
def test_a_text_is_as_like_itself_as_can_be(text: str) -> None:
    assert rouge_l(text, text.upper()) == 1.0


@settings(deadline=None)
@given(st.integers(1, 40))
def test_seven_tenths_are_the_float_0_7_for_texts_of_any_length(tens: int) -> None:
    assert rouge_l(*texts_with(7 * tens, 10 * tens)) == 0.7
    assert rouge_l(*texts_with(7 * tens + 1, 10 * tens)) > 0.7


@settings(deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=8), WORDS)
def test_the_rouge_pool_finds_the_most_alike_text_and_its_exact_f1(texts: list[str], asked: str) -> None:
    pool = RougePool()
    for item in pool.encode(texts):
        pool.add(item)
    best = max(rouge_l(text, asked) for text in texts)
    found = pool.nearest(pool.encode([asked])[0])
    assert (found is None) == (best == 0)
    if found is not None:
        assert found[1] == best == rouge_l(texts[found[0]], asked)


def filled(pool: SimilarityIndex, *texts: str) -> SimilarityIndex:
    for item in pool.encode(texts):
        pool.add(item)
    return pool


def nearest(pool: SimilarityIndex, text: str) -> tuple[int, float] | None:
    return pool.nearest(pool.encode([text])[0])


def test_minhash_finds_texts_with_the_same_runs_of_words_and_tells_their_jaccard_exactly() -> None:
    words = [f"w{number}" for number in range(42)]
    pool = filled(MinHashPool(0.7), "something else altogether here", " ".join(words))
    changed = " ".join([*words[:39], "x", "y", "z"])
    assert nearest(pool, changed) == (1, 37 / 43)
    assert nearest(pool, " ".join(words)) == (1, 1.0)
    assert nearest(pool, "a question about quite another thing") is None
    assert nearest(pool, "") is None
    assert nearest(filled(MinHashPool(0.7), "two words"), "Two words!") == (0, 1.0)


def test_every_pool_finds_a_text_without_letters_and_digits_again() -> None:
    for pool in (RougePool(), MinHashPool(0.7)):
        assert nearest(filled(pool, "words", "+", "🙂 🙂"), "🙂 🙂") == (2, 1.0)
        assert nearest(pool, "-") is None
        assert nearest(pool, "") is None


def test_minhash_overlooks_next_to_none_of_the_texts_above_its_limit() -> None:
    for limit, kept in ((0.9, 93), (0.7, 73), (0.5, 53), (0.3, 33)):
        texts = [" ".join(f"t{text}w{number}" for number in range(102)) for text in range(60)]
        pool = filled(MinHashPool(limit), *texts)
        found = [nearest(pool, " ".join(text.split()[:kept])) for text in texts]
        assert found == [(number, (kept - 2) / 100) for number in range(60)]


def test_minhashes_are_the_same_in_every_process() -> None:
    code = (
        "from blackbox_kd.analysis.similarity import MinHashPool\n"
        "print(MinHashPool(0.7).encode(['one two three four'])[0][1])"
    )
    found = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)}
    assert len(found) == 1
    assert found != {""}


def test_an_empty_pool_has_nothing_that_is_alike() -> None:
    for pool in (RougePool(), MinHashPool(0.7), EmbeddingPool(str(tiny_model()))):
        assert nearest(pool, "some text of four words") is None


def test_embeddings_are_of_length_one_in_the_order_of_the_texts_whatever_they_are_batched_with() -> None:
    import numpy as np

    pool = EmbeddingPool(str(tiny_model()))
    texts = ["a long text " * 9, "short", "", "middling text"]
    together = pool.encode(texts)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1)
    for text, vector in zip(texts, together, strict=True):
        assert pool.encode([text])[0] == pytest.approx(vector, abs=1e-5)
    assert pool.encode([]) == []


def test_the_embedding_pool_finds_the_text_itself_among_more_than_it_had_room_for_at_first() -> None:
    pool = EmbeddingPool(str(tiny_model()))
    texts = [f"text {number}" for number in range(50)]
    for item in pool.encode(texts) * 25:
        pool.add(item)
    assert nearest(pool, "text 17") == (17, 1.0)


def test_an_encoder_that_is_not_there_is_named_with_a_fix() -> None:
    with pytest.raises(SetupError, match=r"encoder 'no/such/folder' cannot be loaded: .+\n  fix: name a folder"):
        EmbeddingPool("no/such/folder").encode(["text"])
