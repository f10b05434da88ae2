"""Held-out rows among training rows."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from blackbox_kd.analysis.contamination import compare, refuse, split_words, take_question
from blackbox_kd.errors import DataError
from blackbox_kd.schema import Row

NAMES = ["Ann", "Bob", "Cal", "Dan", "Eve", "Fay", "Gus", "Hal"]


class Rows:
    def __init__(self, name: str, texts: list[str]) -> None:
        self.name = name
        self._texts = texts

    def __iter__(self) -> Iterator[Row]:
        return (Row({"id": str(number), "instruction": text}) for number, text in enumerate(self._texts))

    def __len__(self) -> int:
        return len(self._texts)


def found(held_out: list[str], training: list[str]) -> tuple[int, int]:
    entry = compare(Rows("test", held_out), [Rows("train", training)])
    return entry["exact"], entry["near"]


def text(seed: int, length: int = 100) -> str:
    rng = random.Random(seed)
    return " ".join(f"w{rng.randrange(5_000)}" for _ in range(length))


def task(seed: int) -> str:
    """A task of a template: fixed sentences with other names and numbers."""
    rng = random.Random(seed)
    a, b = rng.sample(NAMES, 2)
    x, y, z = (rng.randint(100, 999) for _ in range(3))
    return (
        f"{a} has a bag of pebbles with {x} inside. On the way home {a} tripped over a stick and dropped {y} of them. "
        f"{b} scrambled to search for them but only came up with {z} of those that were lost on the way to the house. "
        f"How many pebbles did {a} end up with? Give the result as your final answer. Do not include units."
    )


def test_case_punctuation_and_spaces_do_not_count() -> None:
    assert found(["What is the capital of France?"], ["what is  THE capital of france"]) == (1, 0)


def test_signs_and_numbers_count() -> None:
    assert found(["What is 5 - 3?"], ["What is 5 + 3?", "What is 53?", "What is -5 3"]) == (0, 0)
    assert found(["(2+3)*4"], ["2+(3*4)"]) == (0, 0)


def test_words_are_found_in_any_script() -> None:
    assert split_words("Don't stop_me, “naïve” 1,234.5!") == ["don", "t", "stop", "me", "naïve", "1", "234", "5"]
    assert split_words("東京です。") == ["東", "京", "で", "す"]
    assert split_words("ＡＢＣ") == ["abc"]


def test_most_of_a_row_in_one_training_row_is_a_near_duplicate() -> None:
    long = text(1)
    assert found([long], [text(2), "Solve this: " + long + " Thank you."]) == (0, 1)


def test_half_of_a_row_is_none() -> None:
    half = " ".join(text(1).split()[:50])
    assert found([text(1)], [half + " " + text(3, 50)]) == (0, 0)


def test_the_halves_of_a_row_in_two_training_rows_are_none() -> None:
    parts = text(1).split()
    assert found([text(1)], [" ".join(parts[:55]), " ".join(parts[45:])]) == (0, 0)


def test_80_percent_of_the_n_grams_is_the_limit() -> None:
    parts = text(1, 112).split()  # 100 13-grams
    assert found([" ".join(parts)], [" ".join(parts[:92])]) == (0, 1)
    assert found([" ".join(parts)], [" ".join(parts[:91])]) == (0, 0)


def test_short_texts_have_exact_duplicates_only() -> None:
    short = text(1, 12)
    assert found([short], [short + " please"]) == (0, 0)
    assert found([short], [short]) == (1, 0)


def test_tasks_of_one_template_are_no_duplicates() -> None:
    assert found([task(seed) for seed in range(200)], [task(seed) for seed in range(1_000, 3_000)]) == (0, 0)


def test_a_long_instruction_before_a_short_question_is_template() -> None:
    lead = "Read the following question with great care and answer it as well as you can, step by step: what is"
    assert found([f"{lead} {n}?" for n in range(50)], [f"{lead} {n}?" for n in range(50, 300)]) == (0, 0)
    assert found([f"{lead} {n}?" for n in range(50)], [f"{lead} {n}?" for n in range(40, 300)]) == (10, 0)


def test_every_exact_duplicate_in_a_large_table_is_found_with_examples() -> None:
    held_out = [task(seed) for seed in range(100)]
    training = [task(seed) for seed in range(1_000, 1_500)] + held_out[10:15]
    entry = compare(Rows("test", held_out), [Rows("train", training)])
    assert (entry["table"], entry["rows"], entry["exact"], entry["near"]) == ("test", 100, 5, 0)
    assert entry["examples"] == [row[:200] for row in held_out[10:13]]


def test_empty_texts_are_no_duplicates() -> None:
    assert found(["", "?"], ["", "!"]) == (0, 0)


def test_overlap_is_refused_with_counts_and_an_example() -> None:
    with pytest.raises(DataError) as error:
        refuse([Rows("test", ["a b", "c d"])], [Rows("train", ["A b."])])
    assert str(error.value) == (
        "held-out table 'test': 1 of 2 rows stand among the training rows word for word, 0 nearly; such as 'a b'\n"
        "  fix: take these rows out of one of the tables"
    )


def test_tables_without_overlap_are_reported() -> None:
    entries = refuse([Rows("test", ["a b"])], [Rows("train", ["c d"]), Rows("more", ["e f"])])
    assert entries == [{"table": "test", "rows": 1, "exact": 0, "near": 0, "examples": []}]


@pytest.mark.parametrize(
    "row",
    [
        {"id": "1", "instruction": "a b", "response": "c"},
        {"id": "1", "question": "a b", "answer": "c"},
        {"prompt": [{"role": "user", "content": "a b"}], "completion": [{"role": "assistant", "content": "c"}]},
        {"messages": [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "c"}]},
        {"conversations": [{"from": "human", "value": "a b"}, {"from": "gpt", "value": "c"}]},
        {"id": "1", "source_id": "x", "title": "a b"},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a b"}]}]},
        {"messages": '[{"role": "user", "content": "a b"}, {"role": "assistant", "content": "c"}]'},
        {
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
                {"role": "tool", "content": "b", "tool_call_id": "1"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d"}}],
        },
    ],
)
def test_what_a_row_asks_is_compared_and_not_its_answer(row: dict[str, Any]) -> None:
    assert take_question(row) == "a b"
