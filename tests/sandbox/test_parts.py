from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_kd.errors import DataError, FieldError
from blackbox_kd.sandbox import parts, template
from blackbox_kd.sandbox.expressions import evaluate


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("He said e.g. this. Then 3.5 apples.", ["He said e.g. this.", "Then 3.5 apples."]),
        ('She said "Go." He went.', ['She said "Go."', "He went."]),
        ("一。二！三", ["一。", "二！", "三"]),
        ("A title\nA line. And another", ["A title", "A line.", "And another"]),
        ("  ", []),
        ("Это так. Потом иначе.", ["Это так.", "Потом иначе."]),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, sentences: list[str]) -> None:
    assert parts.list_sentences(text) == sentences


@given(st.text())
def test_no_letter_is_lost_between_sentences(text: str) -> None:
    def letters(text: str) -> str:
        return "".join(char for char in text if char.isalnum())

    assert letters("".join(parts.list_sentences(text))) == letters(text)


@given(st.integers(0, 60), st.integers(1, 20), st.data())
def test_chunks_hold_all_words_in_order_and_overlap_as_told(count: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    words = [str(number) for number in range(count)]
    chunks = [chunk.split() for chunk in parts.cut_chunks(" ".join(words), size, overlap)]
    joined = [word for number, chunk in enumerate(chunks) for word in (chunk if number == 0 else chunk[overlap:])]
    assert joined == words
    assert all(len(chunk) <= size for chunk in chunks)
    assert all(one[len(one) - overlap :] == other[:overlap] for one, other in pairwise(chunks))


@pytest.mark.parametrize("call", ["chunks(t, 0)", "chunks(t, 5, 5)", "chunks(t, 2.5)", "split(t, '')"])
def test_parts_that_cannot_be_are_an_error(call: str) -> None:
    with pytest.raises(DataError):
        evaluate(call, {"t": "a b c"})


@pytest.mark.parametrize(
    "call",
    [
        "chunks(words, 300, 299)",
        "turns(talk)",
        "similarity(words + words + words, words + words + words)",
    ],
)
def test_what_would_take_long_or_much_is_refused(call: str) -> None:
    talk = [{"role": "assistant", "content": "a"}] * 2000
    with pytest.raises(DataError, match=r"more than 1,000,000|at most 200,000"):
        evaluate(call, {"words": "a " * 50_000, "talk": talk})


def test_a_chunk_may_be_larger_than_the_text() -> None:
    assert evaluate("chunks(t, 100000000)", {"t": "a b"}) == ["a b"]
    assert len(evaluate("chunks(t, 300, 200)", {"t": "a " * 150_000})) == 1498


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("split(t, ';')", ["a", "b"]),
        ("json('[1, {\"a\": null}]')", [1, {"a": None}]),
        ("json(t2)['total']", 3),
        ("len(lines(t3))", 2),
        ("similarity('the cat sat', 'the cat sat')", 1.0),
        ("similarity('the cat', 'a dog')", 0.0),
        ("round(similarity('the cat sat on the mat', 'the cat is on the mat', 'chrf'), 6)", 0.645779),
        ("similarity('abc', 'abc', 'chrf')", 1.0),
        ("similarity('', 'abc', 'chrf')", 0.0),
    ],
)
def test_expressions_take_texts_apart(call: str, value: Any) -> None:
    assert evaluate(call, {"t": " a; b ;", "t2": {"total": 3}, "t3": "x\n\n y "}) == value


@pytest.mark.parametrize("call", ["mean()", "mean(a, b)", "count(a, b)", "rank()"])
def test_what_is_asked_of_a_group_has_one_argument(call: str) -> None:
    with pytest.raises(FieldError, match="takes one argument"):
        evaluate(call, {"a": 1})


@pytest.mark.parametrize("text", ["{{ 10 ** 9 }}", "{{ 'a' * 10000000 }}", "{{ a.__class__ }}", "{{ missing }}"])
def test_a_template_of_a_recipe_runs_in_the_sandbox(text: str) -> None:
    with pytest.raises(DataError, match="template"):
        template.parse(text).render({"a": 1})


def test_a_template_knows_the_columns_that_it_reads() -> None:
    assert template.parse("{{ a | upper }}{% for x in b %}{{ x }}{% endfor %}{{ range(3) }}").names == {"a", "b"}
