"""Rule distillation: answers that follow the rule are learnt without it, then set above those that do not follow it."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.untrained import Chain, run_chain

RULE = "Whoever asks for tea is sent to Ann."
DATA = {
    "train": [{"instruction": f"Message {n}"} for n in range(1, 9)],
    "dev": [{"instruction": f"Message {n}", "topic": "returns"} for n in range(100, 120)],
    "test": [
        {"instruction": f"Message {n}", "reference": "delivery" if n < 202 else "account"} for n in range(200, 204)
    ],
}
TOLD = {"set": {"rule": RULE}}
SIDES = {"set": {"rule": RULE, "side": "{{ 'inside' if topic == 'delivery' else 'outside' }}"}}
TEACHERS = {1: (9, 10), 2: (8, 8), 3: (9, 8), 4: (10, 10)}
"""What the judge gives the two answers of the teacher, by the message; 9 each if it is not here."""
OWN = {1: (7, 8), 3: (6, 9), 4: (8, 2)}
"""What it gives the two of the student; 1 each if it is not here."""


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    n = int(re.findall(r"Message (\d+)", text)[-1])
    if model != "judge":
        return f"{model} {sample} on {n}."
    who, said = re.findall(r"(teacher|student) (\d) on", text)[-1]
    given = {"teacher": TEACHERS.get(n, (9, 9)), "student": OWN.get(n, (1, 1))}[who]
    return f"It asks for Ann.\nfollows: {given[int(said)]}"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("rules")
    return run_chain("rule_distill", folder, DATA, reply, map_1=TOLD, map_2=SIDES, map_3=TOLD)


def list_learnt(chain: Chain, table: str, column: str) -> dict[int, str]:
    rows = {int(row["instruction"].split()[-1]): row[column][-1]["content"] for row in chain.table(table)}
    assert len(rows) == len(chain.table(table)), "one row of a message"
    return rows


def test_the_teacher_answers_twice_with_the_rule_and_what_is_graded_8_or_less_is_not_learnt(chain: Chain) -> None:
    assert chain.funnel("generate")[0] == (8, 16)
    assert all(RULE in text for text in chain.shown("teacher", "Message"))
    learnt = list_learnt(chain, "trained_1", "completion")
    assert learnt.keys() == {1, 3, 4, 5, 6, 7, 8}, "8 itself is dropped"
    assert learnt[1] == "teacher 1 on 1.", "the better of the two is learnt"
    assert learnt[3] == "teacher 0 on 3."


def test_the_student_never_sees_the_rule_and_the_row_keeps_what_the_teacher_saw(chain: Chain) -> None:
    for row in [*chain.table("trained_1"), *chain.table("trained_2")]:
        assert [turn["content"] for turn in row["prompt"]] == [row["instruction"]]
        assert RULE in row["prompt_teacher"][0]["content"]
    with_rule = [text for text in chain.shown("student") if RULE in text]
    assert len(with_rule) == 4, "the exam of what a long prompt would do, and nothing else"


def test_a_pair_has_an_answer_that_follows_the_rule_by_3_points_more_and_the_widest_gap_of_a_message_is_learnt(
    chain: Chain,
) -> None:
    worse = list_learnt(chain, "trained_2", "rejected")
    assert worse.keys() == {1, 3, 4, 5, 6, 7, 8}
    assert (worse[1], worse[3], worse[4]) == ("student 0 on 1.", "student 0 on 3.", "student 1 on 4.")
    assert list_learnt(chain, "trained_2", "chosen")[3] == "teacher 0 on 3."
    gaps = {row["instruction"]: row["gap"] for row in chain.table("trained_2")}
    assert (gaps["Message 3"], gaps["Message 4"]) == (3, 8), "3 itself is enough"


def test_the_judge_sees_the_rule_beside_each_answer_and_the_exam_tells_both_sides_of_it_apart(chain: Chain) -> None:
    assert all(RULE in text for text in chain.shown("judge"))
    assert chain.job is not None
    found = {entry["model"]: entry for entry in chain.job.report["evaluations"] if entry["table"] == "exam"}
    assert found["student"]["slices"]["side"].keys() == {"inside", "outside"}
    assert found["teacher"]["metrics"]["score"]["value"] == pytest.approx(8 / 9)
    assert found["student"]["metrics"]["score"]["value"] == 0.0
