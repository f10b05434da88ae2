"""Symbolic knowledge distillation, as the paper and its repository have it: what is made up, judged and learnt."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.runs import rows_of
from tests.support.untrained import Chain, run_chain

SEEDS = [{"event": f"PersonX sees {n} birds"} for n in range(12)]
RELATIONS = [
    {"relation": f"r{n}", "phrase": f"By way {n}", "shots": [{"event": "PersonX sits", "tail": f"shot {n}"}]}
    for n in range(7)
]
WORDS = ["apples", "bread", "cheese", "dates", "eggs", "figs", "grapes", "honey", "ice", "jam", "kale", "lemons"]
ODD = [
    "1. PersonX counts",
    "Here are ten events:",
    "PersonX naps",
    "PersonX paints Ünal a tree",
    "PersonX sees 3 birds",
]
"""Lines that are no events, too short, of other letters, or a seed."""


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    if "Write ten other events" in text:
        return "\n".join([*ODD, *(f"PersonX buys {2 * n} {word} from PersonY" for n, word in enumerate(WORDS)), ""])
    if "Up to five ends" in text:
        return "glad.\n glad\nno\ntired of it\n"
    if "one word: valid or invalid" in text:
        return "invalid" if "oddly" in text else "Valid."
    return "oddly so.\nAnd more" if model == "teacher" else "glad."


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    marked = [{"event": e["event"], "phrase": "By", "relation": "r", "tail": "t", "verdict": "valid"} for e in SEEDS]
    other = {"event": "PersonX digs a well", "phrase": "Before", "relation": "s", "tail": "thirst", "verdict": "valid"}
    data = {"seeds": SEEDS, "relations": RELATIONS, "marked": marked, "marked_test": [other]}
    return run_chain("symbolic_kd", tmp_path_factory.mktemp("symbolic"), data, reply, generate_1={"rows": 3})


def events(chain: Chain, table: str) -> set[str]:
    return {row["event"] for row in chain.table(table)}


def test_ten_seeds_drawn_at_random_are_shown_and_nothing_of_the_row_is_kept(chain: Chain) -> None:
    asked = chain.shown("teacher", "Write ten other events")
    shown = [re.findall(r"PersonX sees \d+ birds", text) for text in asked]
    assert [len(each) for each in shown] == [10] * 3
    assert len({tuple(each) for each in shown}) == 3


def test_events_of_other_letters_too_short_or_already_there_are_dropped_and_each_stays_once(chain: Chain) -> None:
    made = chain.funnel("score")[0][0]
    assert made == len(WORDS), "twelve, of three replies that say the same"
    kept = events(chain, "heads") | events(chain, "heads_dev") | events(chain, "heads_test")
    assert kept <= {f"PersonX buys {2 * n} {word} from PersonY" for n, word in enumerate(WORDS)}


def test_the_least_likely_fifth_is_dropped_by_the_small_base(chain: Chain) -> None:
    [(before, after)] = [each for each in chain.funnel("select") if each[0] == len(WORDS)]
    assert (before, after) == (12, 10)
    asked = {model for model, text, _ in chain.asked if "Name an everyday event" in text}
    assert asked == {"critic"}
    [scored, _] = sorted((chain.folder / "run/tables").glob("*_score.jsonl"))
    likely = sorted(row["likely"] for row in rows_of(scored))
    kept = [row["likely"] for row in chain.table("heads") + chain.table("heads_dev") + chain.table("heads_test")]
    assert sorted(kept) == likely[2:]


def test_an_event_is_on_one_side_with_all_its_triples(chain: Chain) -> None:
    heads, test = events(chain, "heads"), events(chain, "heads_test")
    assert not heads & test
    assert len(heads) + len(test) + len(events(chain, "heads_dev")) == 10
    assert events(chain, "triples") == heads
    assert events(chain, "judged") == test


def test_each_event_is_asked_of_all_seven_relations_with_the_shots_of_each(chain: Chain) -> None:
    asked = chain.shown("teacher", "Up to five ends")
    assert len(asked) == 7 * len(events(chain, "heads"))
    for text in asked:
        [way] = set(re.findall(r"By way (\d)", text))
        assert f"shot {way}" in text
        assert len(re.findall(r"shot \d", text)) == 1


def test_of_the_ends_to_one_beginning_each_stays_once_and_two_letters_are_none(chain: Chain) -> None:
    tails: dict[str, list[str]] = {}
    for row in chain.table("triples"):
        tails.setdefault(row["pair"], []).append(row["tail"])
    assert set(map(tuple, tails.values())) == {("glad", "tired of it")}


def test_the_critic_learns_the_judged_triples_and_39_of_100_are_learnt_by_the_student(chain: Chain) -> None:
    assert [row["completion"][0]["content"] for row in chain.table("trained_1")] == ["valid"] * 12
    triples, taught = chain.table("triples"), chain.table("trained_2")
    assert len(taught) == round(0.39 * len(triples))
    [_, scored] = sorted((chain.folder / "run/tables").glob("*_score.jsonl"))
    liked = sorted((row["valid"] for row in rows_of(scored)), reverse=True)
    assert sorted((row["valid"] for row in taught), reverse=True) == liked[: len(taught)]
    assert taught[0]["prompt"][0]["content"].startswith(f"{taught[0]['event']}. By way ")
    assert taught[0]["completion"][0]["content"] in ("glad", "tired of it")


def test_first_lines_on_events_of_the_exam_are_judged_by_a_model_that_has_filtered_nothing(chain: Chain) -> None:
    judged = chain.table("judged")
    assert {row["author"] for row in judged} >= {"student", "teacher"}
    assert {(row["author"], row["tail"], row["opinion"]) for row in judged if row["author"] != "student@base"} == {
        ("student", "glad", "valid"),
        ("teacher", "oddly so", "invalid"),
    }
    assert {model for model, text, _ in chain.asked if "oddly so" in text} == {"judge"}
