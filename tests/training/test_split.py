"""Rows that are kept back for the evaluation loss: whole prompts, as near to the share as they come."""

import itertools
import random
from typing import Any

import pytest

from blackbox_kd.training.artefacts import Settings
from blackbox_kd.training.split import choose_groups, find_input, group_rows, split_rows
from tests.support import jobs
from tests.support.jobs import assistant, user

Rows = list[dict[str, Any]]


def split(rows: Rows, share: float, *, method: str = "sft", **fields: Any) -> tuple[Rows, Rows, list[str]]:
    """The rows that are learnt, those that are kept back, and what is odd about them."""
    settings = Settings.model_validate(jobs.settings(method, eval_share=share, **fields))
    parts, odd = split_rows([{"n": n} for n in range(len(rows))], rows, settings)
    learnt, held = ([rows[n] for n in parts[part]["n"]] if part in parts else [] for part in ("train", "test"))
    assert len(learnt) + len(held) == len(rows)
    return learnt, held, odd


def ask(text: str, say: str = "yes", **more: Any) -> dict[str, Any]:
    return {"prompt": [user(text)], "completion": [assistant(say)], **more}


def list_prompts(rows: Rows) -> set[str]:
    return {row["prompt"][-1]["content"] for row in rows}


def list_turns(talk: int, turns: int) -> Rows:
    """A conversation as rows: each turn of the assistant, with all that was said before it."""
    said = [part for n in range(turns) for part in (user(f"talk {talk}, {n}"), assistant(f"reply {talk}, {n}"))]
    return [{"prompt": said[: 2 * n + 1], "completion": [said[2 * n + 1]], "talk": talk} for n in range(turns)]


def test_replies_to_one_prompt_are_on_one_side_whatever_their_weights_and_however_they_are_repeated() -> None:
    rows = [ask(f"q{n}", f"reply {k}", weight=k + 0.5, task="t") for n in range(10) for k in range(4)]
    rows += [ask("q3", "reply 0", weight=0.5, task="t")] * 4
    learnt, held, odd = split(rows, 0.2)
    assert list_prompts(learnt).isdisjoint(list_prompts(held))
    assert (len(held), odd) == (8, [])
    assert learnt == [row for row in rows if row not in held]


def test_pairs_of_one_prompt_are_on_one_side() -> None:
    rows = [
        {"prompt": [user(f"q{n}")], "chosen": [assistant(f"good {k}")], "rejected": [assistant("bad")]}
        for n in range(8)
        for k in range(3)
    ]
    learnt, held, _ = split(rows, 0.25, method="dpo")
    assert list_prompts(learnt).isdisjoint(list_prompts(held))
    assert len(held) == 6


def test_the_turns_of_a_conversation_are_on_one_side_and_a_turn_learnt_before_is_not_asked() -> None:
    rows = [row for talk in range(12) for row in list_turns(talk, turns=3)]
    learnt, held, _ = split(rows, 0.25)
    assert {row["talk"] for row in learnt}.isdisjoint(row["talk"] for row in held)
    assert len(held) == 9
    later = [row for row in rows if len(row["prompt"]) > 1]  # their first turns are no rows of their own
    learnt, held, _ = split(later, 0.25)
    assert {row["talk"] for row in learnt}.isdisjoint(row["talk"] for row in held)


def test_conversations_that_begin_with_the_same_examples_stand_for_themselves_unless_the_examples_are_learnt() -> None:
    shots = [{"role": "system", "content": "be short"}, user("1+1"), assistant("2"), user("2+2"), assistant("4")]
    rows = [{"prompt": [*shots, user(f"{n}+{n}")], "completion": [assistant(str(2 * n))]} for n in range(3, 23)]
    assert len(split(rows, 0.1)[1]) == 2
    _, held, odd = split(rows, 0.1, turns="all")
    assert (held, len(odd)) == ([], 1)
    quoted = [row | {"prompt": [m | {"weight": 0} for m in row["prompt"]]} for row in rows]
    assert len(split(quoted, 0.1, turns="all")[1]) == 2


def test_rows_without_a_prompt_are_told_apart_by_what_they_say() -> None:
    rows = [{"prompt": [], "completion": [assistant(f"line {n % 10}")]} for n in range(20)]
    learnt, held, _ = split(rows, 0.2)
    texts = [{row["completion"][0]["content"] for row in part} for part in (learnt, held)]
    assert texts[0].isdisjoint(texts[1])
    assert len(held) == 4


def test_the_split_is_one_of_seed_and_prompts_and_the_order_of_rows_and_their_replies_change_nothing() -> None:
    rows = [ask(f"q{n}", f"reply {k}") for n in range(30) for k in range(n % 3 + 1)]
    shuffled = random.Random(0).sample(rows, len(rows))
    others = [row | {"completion": [assistant("other")]} for row in shuffled]
    found = [list_prompts(split(each, 0.2)[1]) for each in (rows, shuffled, others)]
    assert found[0] == found[1] == found[2]
    assert found[0] != list_prompts(split(rows, 0.2, seed=2)[1])


def test_a_few_rows_more_move_few_prompts_over_to_the_other_side() -> None:
    rows = [ask(f"q{n}") for n in range(200)]
    held = list_prompts(split(rows, 0.1)[1])
    assert len(held & list_prompts(split([*rows, *(ask(f"more {n}") for n in range(10))], 0.1)[1])) > 15


@pytest.mark.parametrize("seed", range(8))
def test_the_share_is_met_as_nearly_as_whole_prompts_allow(seed: int) -> None:
    random_sizes = random.Random(seed)
    sizes = [random_sizes.randint(1, 9) for _ in range(9)] if seed else [3, 3, 4, 13]
    share = random_sizes.choice([0.05, 0.1, 0.26, 0.33, 0.49])
    groups = {f"p{at}": range(size) for at, size in enumerate(sizes)}
    sums = {sum(chosen) for n in range(len(sizes)) for chosen in itertools.combinations(sizes, n)}
    wanted = share * sum(sizes)
    best = min(sums, key=lambda total: (abs(total - wanted), total))
    assert sum(len(groups[prompt]) for prompt in choose_groups(groups, share, seed)) == best


def test_where_no_rows_can_be_kept_back_all_are_learnt_and_the_reason_is_told() -> None:
    rows = [ask("the only one", f"reply {n}") for n in range(12)]
    learnt, held, odd = split(rows, 0.25)
    assert (len(learnt), held) == (12, [])
    assert odd == ["all 12 rows have one prompt, so none is kept back by eval_share: there is no evaluation loss"]
    learnt, held, odd = split([ask(f"q{n % 3}", f"reply {n}") for n in range(12)], 0.1)
    assert (len(learnt), held) == (12, [])
    assert odd == [
        "eval_share 0.1 of 12 rows keeps none back, as no prompt has so few: there is no evaluation loss; "
        "eval_share: 0.34 keeps some"
    ]
    assert len(split([ask(f"q{n % 3}", f"reply {n}") for n in range(12)], 0.34)[1]) == 4
    assert split(rows, 0.0)[2] == []


def test_many_rows_are_split_by_prompts_with_several_sizes() -> None:
    groups = group_rows([find_input(ask(f"q{n // (n % 7 + 1)}"), earlier=False) for n in range(20_000)])
    held = choose_groups(groups, 0.1, 7)
    assert sum(len(groups[prompt]) for prompt in held) == 2_000
