"""PCoreSet: the texts whose guesses are farthest from those of all that is labelled get the teacher's label."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.untrained import Chain, run_chain

KINDS = ["heating", "water", "power", "rent"]
SURE = [{"instruction": f"Radiator {n} is cold again tonight"} for n in range(20)]
TORN = [{"instruction": f"Something number {n} drips on the {kind} box"} for n, kind in enumerate(KINDS)]
DATA = {
    "pool": [*SURE, *TORN],
    "dev": [{"instruction": f"My flat {n} is cold", "reference": "heating"} for n in range(20)],
    "test": [{"instruction": "The hall is cold", "reference": "heating"}],
}


def guess(text: str, sample: int) -> str:
    """All five samples alike, or three of five for one kind and two for another: a distribution of its own each."""
    for n, kind in enumerate(KINDS):
        if f"{kind} box" in text:
            return kind if sample < 3 else KINDS[(n + 1) % 4]
    return "heating"


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    return "heating" if model == "teacher" else guess(str(row["instruction"]), sample)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    changes = {"select_1": {"rows": 4, "by": "first"}, "select_2": {"rows": 4}}
    return run_chain("pcoreset_select", tmp_path_factory.mktemp("pcoreset"), DATA, reply, **changes)


def test_the_texts_that_are_labelled_next_are_those_whose_guesses_are_far_from_the_labelled_ones(chain: Chain) -> None:
    first = [row["instruction"] for row in chain.tables("new")[0]]
    assert sorted(first) == sorted(row["instruction"] for row in TORN), "all others are guessed like those labelled"


def test_no_text_is_labelled_twice_and_the_teacher_is_asked_about_no_other(chain: Chain) -> None:
    taught = [row["instruction"] for row in chain.table("taught")]
    assert len(taught) == len(set(taught)) == 4 + 4 + 4
    asked = Counter(text.splitlines()[-1] for text in chain.shown("teacher") if "My flat" not in text)
    assert {text for text in asked if text != "The hall is cold"} == set(taught)
    assert set(asked.values()) == {1}


def test_each_round_trains_on_all_that_is_labelled_so_far(chain: Chain) -> None:
    assert [len(rows) for rows in chain.tables("trained_1")] == [4, 8]
    assert len(chain.table("trained_2")) == 12
    assert all(row["completion"][0]["content"] == "heating" for row in chain.table("trained_2"))
