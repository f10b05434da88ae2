"""NesyCD, as the paper and its repository have it: whose mistakes become notes, which notes stand before a question."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.untrained import Chain, run_chain

RIGHT = {0, 1, 2}
"""Questions that the first student answers rightly."""
SAID = " ".join(["again"] * 300)
"""What it says where it does not come to an end: more than 256 words."""
THINGS = ("apples", "pears", "nuts", "eggs", "cups", "coins", "books", "pens", "hats")


def number_of(text: str) -> int:
    return int(re.findall(r"Ann has (\d+) ", text)[-1])


def question(n: int) -> dict[str, Any]:
    thing = THINGS[n % 9]
    return {
        "question": f"Ann has {n} {thing} and buys {n} more {thing}. How many?",
        "answer": f"She has {n} + {n} = <<{n}+{n}={2 * n}>>{2 * n} {thing}.\n#### {2 * n}",
    }


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    n = number_of(text)
    if model == "student":
        return f"So: {2 * n}.\nThe answer is {2 * n}." if n in RIGHT else SAID
    if "study notes" in text:
        summary = f"Add both amounts; here {2 * n}." if n == 5 else f"Add both amounts, told by {n} mistakes."
        return json.dumps({"summary": summary, "knowledge": "A sum has two parts."})
    return f"{n} + {n} = {2 * n}.\nThe answer is {0 if n == 8 else 2 * n}."


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    data = {
        "train": [question(n) for n in range(9)],
        "dev": [question(n) for n in range(100, 120)],
        "test": [question(n) for n in (16, 17)],
    }
    return run_chain("nesycd", tmp_path_factory.mktemp("nesycd"), data, reply)


def test_the_first_student_learns_the_right_rationales_and_is_asked_about_the_same_questions(chain: Chain) -> None:
    first = chain.table("trained_1")
    assert [number_of(row["instruction"]) for row in first] == [*range(8)], "that of question 8 was wrong"
    assert all(row["prompt"][0]["content"] == row["instruction"] for row in first)
    asked = [text for text in chain.shown("student") if number_of(text) < 16]
    assert sorted(asked) == sorted(row["instruction"] for row in first)


def test_a_note_is_asked_for_each_mistake_alone_with_256_words_of_the_wrong_answer_and_without_the_right_one(
    chain: Chain,
) -> None:
    asked = chain.shown("teacher", "study notes")
    assert sorted(map(number_of, asked)) == [3, 4, 5, 6, 7]
    assert {text.count("again") for text in asked} == {256}
    assert not any("####" in text or "She has" in text or " = " in text for text in asked)


def test_a_note_that_tells_the_result_stays_out_of_the_book_which_holds_no_results(chain: Chain) -> None:
    book = chain.table("book")
    assert [number_of(row["instruction"]) for row in book] == [3, 4, 6, 7]
    assert not {"reference", "rationale", "solution", "note"} & set().union(*book)


def test_before_a_mistake_stand_the_three_nearest_notes_its_own_first(chain: Chain) -> None:
    helped = {number_of(row["instruction"]): row for row in chain.table("helped")}
    assert sorted(helped) == [3, 4, 5, 6, 7]
    assert {len(row["lessons"]) for row in helped.values()} == {3}
    firsts = {n: number_of(row["lessons"][0]["instruction"]) for n, row in helped.items()}
    assert all(firsts[n] == n for n in (3, 4, 6, 7))
    assert firsts[5] != 5, "its own told the result"
    for n, row in helped.items():
        [shown] = [message["content"] for message in row["prompt"]]
        assert re.findall(r"told by (\d) mistakes", shown) == [str(number_of(e["instruction"])) for e in row["lessons"]]
        assert shown.endswith(row["instruction"])
        assert row["completion"][0]["content"] == f"{n} + {n} = {2 * n}.\nThe answer is {2 * n}."


def test_where_the_student_was_right_no_notes_are_needed(chain: Chain) -> None:
    alone = chain.table("alone")
    assert sorted(number_of(row["instruction"]) for row in alone) == sorted(RIGHT)
    assert all(row["prompt"][0]["content"] == f"No notes are needed here.\n\n{row['instruction']}" for row in alone)


def test_the_second_student_learns_right_and_wrong_ones_together_and_each_arm_as_many(chain: Chain) -> None:
    assert sorted(number_of(row["instruction"]) for row in chain.table("trained_2")) == [*range(8)]
    for name in ("untold", "at_random", "as_it_came"):
        assert sorted(number_of(row["instruction"]) for row in chain.table(name)) == [*range(8)]
    gold = {number_of(row["instruction"]): row["completion"][0]["content"] for row in chain.table("as_it_came")}
    assert gold[7] == "She has 7 + 7 = 14 eggs.\nThe answer is 14.".replace("eggs", THINGS[7])
    drawn = [row for row in chain.table("helped_at_random") if len(row["lessons"]) == 3]
    assert len(drawn) == 5


def test_the_exam_shows_the_three_nearest_notes_and_no_result(chain: Chain) -> None:
    shown = [text for text in chain.shown("student", "Notes on similar problems") if number_of(text) >= 16]
    assert [number_of(text) for text in shown] == [16, 17]
    assert all(text.count("told by") == 3 for text in shown)
    nearest = re.findall(r"told by (\d)", shown[0])[0]
    assert nearest == "7", "of the same things"
