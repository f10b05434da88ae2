"""Prompt distillation: questions and answers with the passage at hand, learnt without it."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from tests.support.untrained import Chain, run_chain

PASSAGES = {
    n: f"Depot {n} opens at {n} o'clock. " + "More is told of it in other words here. " * 3 for n in range(1, 5)
}
EXAM = "What is the code of the alarm in depot nine?"


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    if "Write one question" in text:
        n = int(re.findall(r"Depot (\d)", text)[-1])
        if sample == 0:
            return "When does depot open in the passage?"
        if sample == 1:
            return EXAM
        words = re.findall("....", hashlib.sha256(f"{n} {sample // 2}".encode()).hexdigest())
        return f"Of {' '.join(words[:6])} depot {n}?"
    if "reply with the one word NONE" in text:
        return "NONE" if sample == 2 else f"At {row['instruction'][-2]} o'clock, {sample}."
    return "I do not know."


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    data = {
        "passages": [{"text": text, "heading": f"Depot {n}"} for n, text in PASSAGES.items()]
        + [{"text": "A title", "heading": ""}],
        "recall": [{"instruction": EXAM, "reference": "77", "text": "The code is 77."}],
    }
    return run_chain("prompt_distill", tmp_path_factory.mktemp("inject"), data, reply, evaluate_1={"require": None})


def test_each_passage_is_asked_about_twenty_times_above_temperature_1(chain: Chain) -> None:
    assert chain.funnel("generate")[0] == (4, 80), "a title alone is no passage"
    recipe = load_recipe(find_bundled("recipes") / "prompt_distill.yaml", env={})
    first, second = [p.config for p in recipe.steps if p.step.name == "generate"]
    assert (first.samples, first.temperature > 1) == (20, True)  # type: ignore[attr-defined]
    assert second.samples == 3, "several answers to a question"  # type: ignore[attr-defined]


def test_questions_stand_without_their_passage_differ_and_are_none_of_the_exam(chain: Chain) -> None:
    questions = [row["instruction"] for row in chain.table("asked")]
    assert len(questions) == len(set(questions)) == 4 * 9
    assert not any("passage" in text or text == EXAM for text in questions)


def test_the_answer_is_given_with_the_passage_and_learnt_without_it(chain: Chain) -> None:
    for text in chain.shown("author", "reply with the one word NONE"):
        assert "More is told of it" in text
    learnt = chain.table("trained_1")
    assert len(learnt) == 4 * 9 * 2, "of three answers the one that says that the passage does not tell is dropped"
    for row in learnt:
        [asked] = row["prompt"]
        assert re.fullmatch(r"Of .* depot \d\?", asked["content"])
        assert "More is told of it" in json.dumps(row["prompt_teacher"])


def test_the_author_is_the_students_own_base_and_nobody_is_paid() -> None:
    recipe = load_recipe(find_bundled("recipes") / "prompt_distill.yaml", env={})
    assert {model.model for model in recipe.models.values()} == {recipe.models["student"].model}


def test_the_control_reads_the_passages_themselves(chain: Chain) -> None:
    assert [row["completion"][0]["content"] for row in chain.table("trained_2")] == [
        text.strip() for text in PASSAGES.values()
    ]


def test_the_exam_is_sat_without_a_passage(chain: Chain) -> None:
    assert all("The code is 77" not in text for text in chain.shown("student"))
