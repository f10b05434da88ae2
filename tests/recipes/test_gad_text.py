"""GAD in text: on samples of the student of the round, the teacher's answer over those that a judge tells from it."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.untrained import Chain, run_chain

WORDS = ["amber", "birch", "cedar", "dune", "ember"]
GAPS = {"amber": 4.0, "birch": 1.0, "cedar": 0.5, "dune": -3.0, "ember": 2.0}
"""Teacher's minus student's mark for its first sample; each further sample is half a point closer."""
DATA = {
    "seeds": [{"instruction": f"Describe {word} now", "input": "", "output": "-"} for word in WORDS]
    + [{"instruction": "Sum it up", "input": "A long text.", "output": "Short."}],
    "test": [{"prompt": "Name a tree of the north", "completion": "Oak."}],
}
SAID = ["tells of the colour", "paints a shore at dusk", "hums about old rain", "counts seven grey stones"]


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    word = str(row["instruction"]).split()[1]
    if model == "referee":
        at = next((n for n, said in enumerate(SAID) if f"student {said}" in text), 0)
        gap = GAPS.get(word, 0.0) - at / 2
        scores = (5 + gap / 2, 5 - gap / 2) if text.index("teacher ") < text.index("student ") else None
        first, second = scores or (5 - gap / 2, 5 + gap / 2)
        return f"They differ.\nAnswer 1: {first}\nAnswer 2: {second}"
    if model == "teacher":
        return f"teacher on {word}, in full" + (" and at very great length, with all that there is" * (word == "ember"))
    return f"student {SAID[sample]}"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return run_chain("gad_text", tmp_path_factory.mktemp("gad"), DATA, reply)


def test_a_pair_is_of_what_the_judge_tells_apart_by_a_point_and_of_the_sample_that_is_farthest(chain: Chain) -> None:
    pairs = {row["instruction"].split()[1]: row for row in chain.tables("trained_2")[0]}
    assert set(pairs) == {"amber", "birch"}, "half a point is too little, and the student's may be the better one"
    assert pairs["amber"]["gap"] == 4.0
    assert pairs["amber"]["chosen"][0]["content"].startswith("teacher on amber")
    assert pairs["amber"]["rejected"][0]["content"] == f"student {SAID[0]}"


def test_one_side_is_at_most_twice_as_long_as_the_other(chain: Chain) -> None:
    assert "ember" not in {row["instruction"].split()[1] for row in chain.tables("trained_2")[0]}


def test_each_round_asks_the_student_anew_four_times_and_the_teacher_only_once(chain: Chain) -> None:
    assert chain.funnel("generate")[-2:] == [(5, 20), (5, 20)]
    asked = [text for text in chain.shown("teacher") if "Name a tree" not in text]
    assert len(asked) == 5
    assert len(chain.tables("trained_2")) == 2


def test_the_warm_up_is_the_teachers_text_of_instructions_without_an_input(chain: Chain) -> None:
    [rows] = chain.tables("trained_1")
    assert sorted(row["completion"][0]["content"].split(",")[0] for row in rows) == [f"teacher on {w}" for w in WORDS]
