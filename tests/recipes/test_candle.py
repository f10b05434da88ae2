"""CANDLE, as the paper and its repository have it: concepts, critics, instances, and with what a round begins."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.untrained import Chain, run_chain

OWNED = {"cat": "glad", "kite": "free", "drum": "loud"}
SAID = {"phrase": "PersonX feels", "relation": "feeling"}
HEADS = [
    {"head": f"PersonX owns a {name}", "instance": f"a {name}", "tail": tail, **SAID} for name, tail in OWNED.items()
]
POSITIVES = [{"abstract": f"PersonX has it {n}", "concept": f"it {n}", "instance": f"one {n}"} for n in range(12)]
GRADES = {"good thing": (9, 9), "poor thing": (9, 8), "wild thing": (10, 10)}
"""What the first critic gives a concept: means of 9, 8.5 and 10."""
MADE = {"a good cat thing": "a tame parrot", "a wild cat thing": "a lone wolf in winter"}


def between(text: str, name: str) -> str:
    found = re.search(rf"\[BEGIN {name} \w+\]\n(.*?)\n\[END", text, re.DOTALL)
    assert found is not None
    return found[1]


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    if "You name concepts" in text:
        part = between(text, "part").removeprefix("a ").split()[0]
        return json.dumps({"concepts": [f"a {kind} {part} thing" for kind in ("good", "poor", "wild")]})
    if "You make sentences concrete" in text:
        concept = between(text, "concept")
        thing = MADE.get(concept, f"one {concept.removeprefix('a ')} or two of them")
        if concept == "a wild drum thing" and sum("a wild drum thing" in each for each in SEEN) < 2:
            SEEN.append(text)
            return json.dumps({"head": f"Someone owns {thing}", "instance": thing})
        SEEN.append(text)
        return json.dumps({"head": f"PersonX now owns {thing}.", "instance": thing})
    if "Grade the answer" in text and model == "second":
        candidate = between(text, "answer").split()
        one, other = GRADES[f"{candidate[1]} {candidate[-1]}"]
        return f"Well.\nfits: {one}\nholds: {other}"
    if "Grade the answer" in text:
        grade = 8 if "lone wolf" in text else 9
        return f"Well.\nplausible: {grade}"
    return "(A) glad"


SEEN: list[str] = []
"""What the second model was asked to make concrete."""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    test = [{"instruction": "PersonX sings. PersonX feels ...", "choices": ["glad", "ill", "blue"], "reference": "A"}]
    data = {"heads": HEADS, "positives": POSITIVES, "test": test}
    return run_chain("candle", tmp_path_factory.mktemp("candle"), data, reply)


def test_concepts_are_named_of_the_marked_part_and_stand_in_its_place(chain: Chain) -> None:
    asked = chain.shown("teacher", "You name concepts")
    assert [between(text, "part") for text in asked[:3]] == ["a cat", "a kite", "a drum"]
    assert "PersonX owns a cat. PersonX feels glad." in asked[0]
    first = chain.tables("concepts_now")[0]
    assert {row["abstract"] for row in first if row["head"].endswith("cat")} == {
        "PersonX owns a good cat thing",
        "PersonX owns a wild cat thing",
    }


def test_a_concept_with_a_mean_of_9_stays_and_with_8_and_a_half_is_dropped_by_the_other_model(chain: Chain) -> None:
    assert {row["fits"] for row in chain.table("concepts")} == {9, 10}
    graded = [model for model, text, _ in chain.asked if "Grade the answer" in text and "concept" in text]
    assert set(graded) == {"second"}


def test_an_instance_is_asked_for_with_ten_positive_examples_drawn_anew_and_again_until_it_is_of_a_person(
    chain: Chain,
) -> None:
    asked = chain.shown("second", "You make sentences concrete")
    shown = [tuple(re.findall(r"Concept: (it \d+)", text)) for text in asked]
    assert {len(each) for each in shown} == {10}
    assert len(set(shown)) > 1
    assert all(row["head"].startswith("PersonX ") for row in chain.table("triples"))
    assert all(row["instance"] in row["head"] for row in chain.table("triples"))
    assert sum("a wild drum thing" in between(text, "concept") for text in asked) == 3


def test_a_triple_below_9_is_dropped_by_the_second_critic_and_stays_among_the_unjudged(chain: Chain) -> None:
    assert not any("lone wolf" in row["head"] for row in chain.table("triples"))
    assert any("lone wolf" in row["head"] for row in chain.table("made"))
    assert {row["plausible"] for row in chain.table("triples")} == {9}


def test_the_second_round_begins_with_the_new_instances_alone_and_tables_of_both_rounds_are_kept(chain: Chain) -> None:
    asked = [between(text, "part") for text in chain.shown("teacher", "You name concepts")]
    first = chain.tables("triples_now")[0]
    assert asked[3:] == [row["instance"] for row in first]
    assert "a tame parrot" in asked[3:]
    assert not {"a cat", "a kite", "a drum"} & set(asked[3:])
    assert len(chain.table("triples")) == len(first) + len(chain.tables("triples_now")[1])
    assert len(chain.table("concepts")) == sum(len(each) for each in chain.tables("concepts_now"))
    assert len({row["abstract"] for row in chain.table("concepts")}) == len(chain.table("concepts"))


def test_the_student_ends_each_sentence_and_chooses_among_three_ends_with_half_of_the_loss_each(chain: Chain) -> None:
    rows = chain.table("trained_1")
    assert len(rows) == 2 * len(chain.table("triples"))
    assert {row["weight"] for row in rows} == {0.5}
    for row in rows:
        shown, said = row["prompt"][0]["content"], row["completion"][0]["content"]
        if row["task"] == "complete":
            assert (shown, said) == (f"{row['head']}. PersonX feels ... (the end in a few words)", row["tail"])
        else:
            assert row["choices"] == ["free", "glad", "loud"], "the ends of other events are the wrong ones"
            assert said == f"({'ABC'[row['choices'].index(row['tail'])]}) {row['tail']}"
            assert "(A) free\n(B) glad\n(C) loud" in shown
