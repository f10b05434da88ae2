"""PGKD: a report, right and wrong rows and hard negatives are shown, and the new rows join those that are learnt."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from tests.support.runs import KEYS
from tests.support.untrained import Chain, run_chain


def row_of(n: int) -> dict[str, Any]:
    return {
        "instruction": f"Case {n}: {'tap' if n % 2 else 'radiator'} {'x' * n}",
        "reference": "water" if n % 2 else "heating",
    }


def number_of(text: str) -> int:
    return int(re.findall(r"Case (\d+)", text)[-1])


def reply(model: str, text: str, row: Mapping[str, Any], sample: int) -> str:
    if model != "teacher":
        return "heating"
    if "Reply with a JSON object" not in text:
        return "water" if "tap" in row["instruction"] else "heating"
    n = number_of(text)
    words = " ".join(re.findall("...", hashlib.sha256(str(row["id"]).encode()).hexdigest())[:8])
    label = "sauna" if n % 4 == 1 else "heating" if n % 8 == 3 else "water"
    return json.dumps({"text": f"A tap {words}", "label": label})


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    data = {
        "pool": [row_of(n) for n in range(1, 100)],
        "dev": [row_of(n) for n in range(100, 120)],
        "test": [row_of(n) for n in range(200, 204)],
    }
    return run_chain(
        "pgkd",
        tmp_path_factory.mktemp("pgkd"),
        data,
        reply,
        max_failed_share=1,
        generate_1={"rows": 24},
        generate_3={"rows": 12},
        score_1={"step": "map", "input": "wrong", "set": {"sure_mean": {"expr": "len(instruction)"}}},
    )


def asked(chain: Chain) -> list[str]:
    return list(dict.fromkeys(chain.shown("teacher", "Wrong, and it was sure")))


def test_the_exam_that_the_teacher_is_told_of_is_of_rows_that_are_not_learnt_and_not_those_that_end_the_rounds(
    chain: Chain,
) -> None:
    shown = {row["instruction"] for row in chain.tables("shown")[0]}
    assert not shown & {row["prompt"][-1]["content"] for row in chain.table("trained_2")}
    told = {number_of(line) for text in asked(chain) for line in text.splitlines() if "Case" in line}
    assert told <= {number_of(text) for text in shown}, "of dev it sees no message"


def test_the_teacher_sees_the_report_and_what_was_right_and_what_was_wrong(chain: Chain) -> None:
    rows = chain.tables("exam")[0]
    right = sum(row["correct"] for row in rows)
    for text in asked(chain):
        assert f"- heating: 100 % of {right} found" in text
        assert f"- water: 0 % of {len(rows) - right} found" in text
        assert f"- water for heating, {len(rows) - right} times" in text
        assert "rent: " not in text.partition("[BEGIN")[0].partition("by label")[2], "what was not asked has no figure"
        good, _, bad = text.partition("Right:")[2].partition("Wrong, with the label")
        assert (good.count("radiator"), good.count("tap")) == (min(8, right), 0)
        assert bad.count('"it said": "heating"') == min(8, len(rows) - right) + 1


def test_hard_negatives_are_what_the_student_got_wrong_and_was_surest_of_twelve_at_most(chain: Chain) -> None:
    wrong, hard = chain.tables("wrong")[0], chain.tables("hard")[0]
    lengths = sorted((len(row["instruction"]) for row in wrong), reverse=True)
    assert len(lengths) > 12
    assert sorted((len(row["instruction"]) for row in hard), reverse=True) == lengths[:12]
    last = {number_of(text) for text in asked(chain)}
    assert last <= {number_of(row["instruction"]) for row in hard}


def test_a_label_that_nobody_knows_is_dropped_and_so_is_one_that_the_teacher_does_not_give_blind(chain: Chain) -> None:
    drafted, new = chain.tables("drafted")[0], chain.tables("new")[0]
    assert {row["meant"] for row in drafted} == {"heating", "water"}, "no sauna"
    assert {row["label"] for row in new} == {"water"}
    assert len(new) == sum(row["meant"] == "water" for row in drafted)
    for text in chain.shown("teacher", "A tap"):
        assert "meant" not in text
        assert text.rstrip().splitlines()[-1].startswith("A tap"), "the message alone"


def test_each_round_learns_all_that_was_written_so_far(chain: Chain) -> None:
    seeds = len(chain.tables("seeds")[0])
    made = [len(rows) for rows in chain.tables("new")]
    assert len(chain.table("trained_1")) == seeds
    assert [len(rows) for rows in chain.tables("trained_2")] == [seeds + made[0], seeds + sum(made)]
    assert all(made)


def test_the_control_is_told_of_no_mistake_and_gold_learns_the_whole_pool(chain: Chain) -> None:
    for text in chain.shown("teacher", "Write one new message with the same label"):
        assert "it said" not in text
        assert "How the classifier does" not in text
    assert len(chain.table("trained_4")) == 99


def test_the_numbers_are_those_of_the_paper_or_said_to_be_ours() -> None:
    recipe = load_recipe(find_bundled("recipes") / "pgkd.yaml", env=KEYS)
    [loop] = recipe.loops.values()
    assert (loop.config.rounds, loop.config.until.on, loop.config.until.patience) == (5, "dev", 2)  # type: ignore[union-attr]
    more, lot = [p.config.rows for p in recipe.steps if getattr(p.config, "rows", None) and p.step.name == "generate"]  # type: ignore[attr-defined]
    assert lot == loop.config.rounds * more, "the control has as many calls as all rounds"
