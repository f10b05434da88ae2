import itertools
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_kd.analysis.embeddings import EmbeddingPool
from blackbox_kd.analysis.similarity import (
    MinHashPool,
    RougePool,
    SimilarityIndex,
    differ_in_numbers,
    rouge_l,
    split_tokens,
    take_compared,
)
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
        ("5 - 3", "5 + 3", 2 / 3),
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
    assert split_tokens(text) == words


@settings(deadline=None)
@given(WORDS, WORDS)
def test_rouge_l_is_symmetric_at_most_one_and_what_its_definition_says(a: str, b: str) -> None:
    left, right = split_tokens(a), split_tokens(b)
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


DISTINCT = [
    ("x+2=5", "x-2=5"),
    ("7 > 5", "7 < 5"),
    ("7 ≥ 5", "7 ≤ 5"),
    ("C++", "C#"),
    ("Write hello world in C++.", "Write hello world in C."),
    ("a && b", "a || b"),
    ("i++", "i--"),
    ("a == b", "a != b"),
    ("!ready", "ready"),
    ("Is x - y even?", "Is x y even?"),
    ("Is A-B empty?", "Is A+B empty?"),
    ("Compute -5 + 3", "Compute 5 + 3"),
    ("Compute −5 + 3", "Compute 5 + 3"),
    ("Compute 5!", "Compute 5."),
    ("3.5", "35"),
    ("3.5", "3 5"),
    ("3:4", "3/4"),
    ("2^3", "23"),
    ("2³", "23"),
    ("x² + 1", "x2 + 1"),
    ("H₂O", "H2O"),
    ("3½ cups", "31/2 cups"),
    ("50 %", "50"),
    ("$5", "€5"),
    ("20 °C", "20 C"),
    ("(2 + 3) * 4", "2 + (3 * 4)"),
    ("f'(x)", "f(x)"),
    ("f(x)", "f x"),
    ("a[0]", "a(0)"),
    ("5' 6\"", "5 6"),
    ("A ∪ B", "A ∩ B"),
    ("p → q", "p ← q"),
    ("计算7+2", "计算7-2"),
    ("７＋２", "７－２"),
    ("Сколько будет 7·2?", "Сколько будет 7/2?"),
    ("x_1", "x1"),
    ("print('a')", "print(a)"),
    ("a.b", "a b"),
    ("1,5", "15"),
    (r"\frac{a}{b}", "frac a b"),
    ("Great 🙂", "Great 🙁"),
]


@pytest.mark.parametrize(("a", "b"), DISTINCT, ids=[f"{a} | {b}" for a, b in DISTINCT])
def test_texts_with_other_signs_are_not_the_same_where_they_hold_digits_or_code(a: str, b: str) -> None:
    assert rouge_l(a, a) == rouge_l(b, b) == 1.0
    assert rouge_l(a, b) == rouge_l(b, a) < 0.99
    for pool in (RougePool(), MinHashPool(0.3)):
        found = nearest(filled(pool, a), b)
        assert found is None or found[1] < 0.99


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("What is the capital of France?", "what is the capital of france"),
        ("A well-known, old story.", "a well known old story"),
        ("He said: “Come here!”", "He said, come here."),
        ("Tell me about it (briefly)!", "Tell me about it, briefly."),
        ("Don't stop.", "don’t stop"),
        ("Tom has 5 apples.", "tom has 5 apples"),
        ("What is 7 + 2?", "what is 7 + 2."),
        ("Compute 7 − 2.", "compute 7 - 2"),
        ("７＋２は？", "7+2は?"),
        ("The “answer” is 7.", 'The "answer" is 7'),
        ("¿Cuánto es 7 + 2?", "cuánto es 7 + 2"),
    ],
)
def test_case_and_the_punctuation_of_sentences_make_no_other_text(a: str, b: str) -> None:
    assert rouge_l(a, b) == 1.0
    assert nearest(filled(MinHashPool(0.9), a), b) == (0, 1.0)


CODE = st.text(st.sampled_from("ab12 +-*/=<>().,!?'²½é東−"), min_size=1, max_size=12)


@settings(deadline=None)
@given(CODE, CODE)
def test_texts_are_the_same_to_every_pool_or_to_none(a: str, b: str) -> None:
    words = [take_compared(text) for text in (a, b)]
    same = bool(words[0]) and words[0] == words[1]
    assert (rouge_l(a, b) == 1.0) is same
    found = nearest(filled(MinHashPool(0.5), a), b)
    assert (found == (0, 1.0)) is same


def test_texts_with_the_same_runs_of_words_are_not_the_same_to_minhash() -> None:
    assert nearest(filled(MinHashPool(0.5), "a b c a b c"), "a b c a b c a b c") == (0, 3 / 4)


@pytest.mark.parametrize(
    ("a", "b", "only_numbers"),
    [
        ("Tom has 5 apples.", "Tom has 17 apples.", True),
        ("What is 7 + 2?", "What is 7 + 2", False),
        ("What is 7 + 2?", "What is 7 - 2?", False),
        ("What is 7 + 2?", "What is 3.5 + 2?", False),
        ("Tom has 5 apples.", "Tom has five apples.", False),
        ("从5到7", "从5到9", True),
    ],
)
def test_texts_that_differ_in_numbers_alone_are_known(a: str, b: str, only_numbers: bool) -> None:
    assert differ_in_numbers(a, b) is only_numbers
