"""Lion, as the paper and its repository have it: gaps, new instructions, pools, and what each round learns."""

import re
from collections.abc import Mapping
from itertools import count
from typing import Any

import pytest

from tests.support.untrained import Chain, run_chain

WORDS = ["amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath"]
SEEDS = [f"Describe {word} in one short line of your own" for word in WORDS]
GAPS = {"amber": (1.0, 1.0), "birch": (2.0, -0.5), "cedar": (3.0, 3.0), "dune": (-4.0, -4.0)}
"""Teacher's minus student's score, with the teacher shown first and second; 5.0 and 5.0 for any other."""
SIMILAR = "Describe amber in one short line"
"""ROUGE-L with the seed: 6 of 6 and of 9 words in common, 0.8."""

COUNT = count()


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    if model == "referee":
        return judge(text, str(row["instruction"]))
    if "brand-new one" not in text:
        if "no task here" in text:
            return "NO TASK"
        return f"{model} on {text.splitlines()[-1]}" if model != "student" else f"student on {text.split()[1]}"
    seed = str(row["instruction"])
    kind = "rare" if "more rarely" in text else "like"
    drawn = str(row["id"])
    number = int(re.findall(r"\d+", drawn)[-1]) if re.findall(r"\d+", drawn) else 0
    if kind == "like" and number % 5 == 1:
        return SIMILAR
    if kind == "like" and number % 5 == 2:
        return "Too short it"
    if kind == "rare" and number % 5 == 1:
        return f"There is no task here about {drawn} at all"
    if kind == "rare" and number % 5 == 2:
        return f"{drawn} " * (4 * len(seed.split()) + 1)
    own = next(COUNT)
    return f"{kind} {own} alpha{own} beta{own} gamma{own} of {seed.split()[1]}"


def judge(text: str, instruction: str) -> str:
    a_first, b_first = GAPS.get(instruction.split()[1], (0.0, 0.0))
    teacher_first = text.index("teacher on") < text.index("student on")
    gap = a_first if teacher_first else b_first
    scores = (5 + gap / 2, 5 - gap / 2) if teacher_first else (5 - gap / 2, 5 + gap / 2)
    return f"They differ.\nAnswer 1: {scores[0]}\nAnswer 2: {scores[1]}"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    data = {
        "seeds": [{"instruction": text, "input": "", "output": f"Alpaca says {text.split()[1]}"} for text in SEEDS]
        + [{"instruction": "Sum it up", "input": "A long text.", "output": "Short."}],
        "test": [{"prompt": f"Name {n} tall trees of northern woods", "completion": "Oak."} for n in range(2)],
    }
    few = {"rows": 10}
    changes = {
        "generate_3": few,
        "generate_4": few,
        "generate_6": few,
        "filter_6": {"share": {"of": "seed_id", "max": 0.6}},
    }
    return run_chain("adversarial_loop", tmp_path_factory.mktemp("lion"), data, reply, rounds=3, **changes)


def test_a_gap_is_the_mean_of_both_orders_with_its_sign_and_1_itself_is_hard(chain: Chain) -> None:
    hard, easy = chain.tables("hard")[0], chain.tables("easy")[0]
    gaps = {row["instruction"].split()[1]: row["gap"] for row in [*hard, *easy]}
    assert {word: gaps[word] for word in GAPS} == {"amber": 1.0, "birch": 0.75, "cedar": 3.0, "dune": -4.0}
    assert [row["instruction"].split()[1] for row in hard] == ["amber", "cedar"]
    assert len(easy) == 6
    assert len(chain.shown("referee", SEEDS[0])) == 2 * 3, "both orders in each of three rounds"


def test_the_student_is_compared_with_what_it_was_taught_and_the_teacher_answers_once(chain: Chain) -> None:
    answers = [text for text in chain.shown("teacher") if "brand-new one" not in text and "no task here" not in text]
    assert len(answers) == len(set(answers))
    taught = {row["instruction"]: row["response"] for row in chain.tables("trained_1")[0]}
    assert len(taught) == len(SEEDS), "an instruction that comes with an input is none without it"
    [both, _] = chain.shown("referee", SEEDS[0])[:2]
    assert taught[SEEDS[0]] in both


def test_hard_ones_bring_the_same_kind_and_easy_ones_rarer_ones_as_many_tries_of_each(chain: Chain) -> None:
    hard = {row["id"] for row in chain.tables("hard")[0]}
    assert [len(rows) for rows in chain.tables("from_hard")[:1] + chain.tables("from_easy")[:1]] == [10, 10]
    assert {row["seed_id"] for row in chain.tables("from_hard")[0]} <= {row.partition(".")[0] for row in hard} | hard
    assert all("more rarely" not in text for text in chain.shown("teacher", "brand-new one", "the same kind"))


def test_what_is_too_short_too_long_too_similar_or_no_task_is_no_new_instruction(chain: Chain) -> None:
    new = [row["instruction"] for rows in chain.tables("answered") for row in rows]
    assert new
    assert SIMILAR not in new
    assert "Too short it" not in new
    assert not any("no task here" in text for text in new)
    assert all(len(text.split()) <= 4 * 9 for text in new)


def test_the_pool_grows_by_what_a_round_has_answered_and_each_training_has_all_of_it(chain: Chain) -> None:
    pools, answered = chain.tables("pool"), chain.tables("answered")
    assert [len(rows) for rows in pools] == [len(SEEDS) + sum(map(len, answered[:n])) for n in range(4)]
    learnt = [*chain.tables("trained_1"), *chain.tables("trained_2")]
    assert [[row["id"] for row in rows] for rows in learnt] == [[row["id"] for row in rows] for rows in pools]
    assert all(rows for rows in answered), "the last round's is learnt by the last imitation"


def test_round_2_judges_what_round_1_has_brought(chain: Chain) -> None:
    rounds = zip(chain.tables("hard"), chain.tables("easy"), strict=True)
    judged = [{row["instruction"] for row in [*hard, *easy]} for hard, easy in rounds]
    assert {row["instruction"] for row in chain.tables("answered")[0]} <= judged[1]
    assert [len(texts) for texts in judged] == [len(rows) for rows in chain.tables("pool")[:3]]


def test_the_referee_is_not_the_teacher(chain: Chain) -> None:
    assert not [text for model, text, _ in chain.asked if model == "teacher" and "Answer 1: NUMBER" in text]


def test_the_arms_have_rarer_instructions_from_seeds_at_random_and_the_answers_that_came_with_the_seeds(
    chain: Chain,
) -> None:
    rows = chain.table("at_random")
    new = chain.table("new_at_random")
    assert len(rows) == len(SEEDS) + len(new)
    assert all(row["instruction"].startswith("rare ") for row in new)
    gold = chain.table("as_it_came")
    assert [row["completion"][0]["content"] for row in gold] == [f"Alpaca says {word}" for word in WORDS]
