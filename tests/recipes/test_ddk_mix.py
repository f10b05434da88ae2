"""DDK: questions are drawn by how far the student is behind the teacher in each subject, anew in every round."""

from collections.abc import Mapping
from math import exp
from typing import Any

import pytest

from tests.support.untrained import Chain, run_chain

DOMAINS = ("Anatomy", "Surgery", "Dental")
RIGHT = {"Anatomy": 1.0, "Surgery": 0.5, "Dental": 0.0}
"""What the student gets right, by subject; the teacher misses a quarter of Dental."""
OTHERS = {"opb": "no", "opc": "never", "opd": "none"}
DATA = {
    "train": [
        {"question": f"Question {n}?", "opa": "yes", **OTHERS, "cop": 0, "subject_name": DOMAINS[n % 3]}
        for n in range(30)
    ],
    "dev": [
        {"question": f"Exam {n} of {domain}?", "opa": "yes", **OTHERS, "cop": 0, "subject_name": domain}
        for domain in DOMAINS
        for n in range(8)
    ],
    "test": [{"question": "Test?", "opa": "yes", **OTHERS, "cop": 0, "subject_name": "Anatomy"}],
}


def script(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    question = row["question"]
    if model == "teacher":
        return "The answer is B." if question.endswith(("9?", "3 of Dental?", "7 of Dental?")) else "The answer is A."
    is_right = not question.startswith("Exam") or int(question.split()[1]) < 8 * RIGHT[row["domain"]]
    return "The answer is A." if is_right else "The answer is C."


GAP = {"by": "domain", "teacher": "teacher", "student": "student", "on": "dev_asked"}
"""As in the recipe, whose `on:` plain YAML would read as true; its numbers are those that hold by themselves."""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return run_chain("ddk_mix", tmp_path_factory.mktemp("ddk"), DATA, script, mix_1={"rows": 24, "gap": GAP})


def test_questions_are_drawn_by_the_softmax_of_the_gap_over_a_tenth_and_half_of_the_round_before(chain: Chain) -> None:
    assert chain.job is not None
    first, second = chain.job.report["mixtures"]
    gaps = {"Anatomy": 0.0, "Surgery": 0.5, "Dental": 0.75}
    assert first["gaps"] == second["gaps"] == gaps
    floor = 0.2 / 3
    powers = {name: exp(gap / 0.1) for name, gap in gaps.items()}
    above = powers["Surgery"] + powers["Dental"]
    assert powers["Surgery"] / above > floor
    for name in ("Surgery", "Dental"):
        assert first["weights"][name] == pytest.approx((1 - floor) * powers[name] / above)
    now = {name: power / sum(powers.values()) for name, power in powers.items()}
    mixed = {name: 0.5 * first["weights"][name] + 0.5 * now[name] for name in gaps}
    assert mixed["Anatomy"] < floor
    for name in ("Surgery", "Dental"):
        assert second["weights"][name] == pytest.approx((1 - floor) * mixed[name] / (1 - mixed["Anatomy"]))


def test_no_subject_falls_below_a_fifth_of_its_even_share(chain: Chain) -> None:
    assert chain.job is not None
    first, _ = chain.job.report["mixtures"]
    assert first["weights"]["Anatomy"] == pytest.approx(0.2 / 3)
    assert first["rows"]["Anatomy"] >= 1


def test_as_many_questions_as_the_budget_says_are_asked_and_right_answers_are_learnt(chain: Chain) -> None:
    assert chain.funnel("mix")[0][1] == chain.funnel("mix")[1][1] == 24
    for rows in chain.tables("trained_1"):
        assert rows
        assert all(row["completion"][0]["content"] == "The answer is A." for row in rows)
        assert not any(row["question"].endswith("9?") for row in rows)


def test_the_teacher_sits_the_exam_once_and_nobody_sees_the_right_letter(chain: Chain) -> None:
    exams = [text for name, text, _ in chain.asked if name == "teacher" and "Exam" in text]
    assert len(exams) == 24
    assert not any("cop" in text or "reference" in text for _, text, _ in chain.asked)
