"""Estimates of recipes with arms and seeds: what they share is counted once, what one asks besides is its own."""

from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine import pricing
from blackbox_kd.errors import RecipeError
from tests.engine.estimate.test_estimate import ROWS, estimate, load
from tests.support.tiny import tiny_model

PRICE = {"input": 1, "output": 1}
ASK = {"step": "generate", "model": "teacher", "prompt": "student/plain", "max_tokens": 100, "temperature": 0.0}
FORMAT = {"step": "format", "completion": "response"}
TRAIN = {"step": "train", "model": "student", "max_steps": 2}
EXAM = {"step": "evaluate", "input": "test", "models": ["student", "teacher"], "answer": "number", "max_tokens": 20}
EXAM_ROWS = 4


def values(*steps: Any, arms: dict[str, dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    found = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}, "test": {"path": "test.jsonl", "held_out": True}},
        "models": {
            "teacher": {"provider": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1", "price": PRICE},
            "student": {"provider": "transformers", "model": str(tiny_model())},
        },
        "steps": list(steps),
        **({"arms": {name: {"set": changed} for name, changed in arms.items()}} if arms else {}),
    }
    return found | changes


def calls(found: dict[str, Any], model: str = "teacher") -> list[tuple[str, Any, dict[str, float]]]:
    return [(s["step"], s.get("arm"), s["calls"]) for s in found["steps"] if s["model"] == model]


def exactly(count: int) -> dict[str, float]:
    return {"low": count, "likely": count, "high": count}


async def test_seeds_repeat_trainings_and_what_a_student_is_asked_and_nothing_that_is_paid_for(tmp_path: Path) -> None:
    plain = await estimate(tmp_path, values(ASK, FORMAT, TRAIN, EXAM))
    found = await estimate(tmp_path, values(ASK, FORMAT, TRAIN, EXAM, seeds=[0, 1, 2]))
    assert calls(found) == calls(plain), "no line of a teacher, whose calls are those of all seeds"
    own = [(s["seed"], s["calls"]["likely"]) for s in found["steps"] if s["model"] == "student"]
    assert own == [(0, EXAM_ROWS), (1, EXAM_ROWS), (2, EXAM_ROWS)]
    assert found["variants"] == [{"seed": seed, "trainings": exactly(1), "exams": exactly(1)} for seed in (0, 1, 2)]
    assert (plain["variants"], found["total"]["usd"]) == ([], plain["total"]["usd"])
    assert found["total"]["seconds"]["high"] > plain["total"]["seconds"]["high"], "three students answer"


async def test_an_arm_without_a_filter_asks_for_the_rows_that_were_filtered_out_and_for_no_other(
    tmp_path: Path,
) -> None:
    few = {"step": "filter", "keep": "number(reference) <= 4"}
    chain = values(few, ASK, FORMAT, TRAIN, EXAM, arms={"all_rows": {"steps.0.keep": "number(reference) <= 99"}})
    found = await estimate(tmp_path, chain | {"seeds": [0, 1]})
    assert calls(found) == [
        ("steps[1] (generate)", "main", exactly(4)),
        ("steps[4] (evaluate)", "main", exactly(EXAM_ROWS)),
        ("steps[1] (generate)", "all_rows", exactly(len(ROWS) - 4)),
    ]
    assert [(v["arm"], v["seed"], v["trainings"]["likely"]) for v in found["variants"]] == [
        ("main", 0, 1),
        ("main", 1, 1),
        ("all_rows", 0, 1),
        ("all_rows", 1, 1),
    ]


async def test_where_nobody_knows_yet_which_rows_pass_the_high_case_has_no_call_of_an_arm_for_another_ones(
    tmp_path: Path,
) -> None:
    checked, kept = {"step": "check", "answer": "number", "output": "checked"}, {"step": "filter", "keep": "correct"}
    again = {**ASK, "input": "kept", "as": "second", "prompt": "again"}
    (tmp_path / "again.jinja").write_text("Shorten: {{ response }}")
    arms = {
        "others": {"steps.2.keep": "len(response) > 0"},
        "all_rows": {"steps.3.input": "checked"},
        "shorter": {"steps.3.max_tokens": 20},
    }
    last = {**FORMAT, "completion": "second"}
    chain = values(ASK, checked, {**kept, "output": "kept"}, again, last, TRAIN, arms=arms)
    chain["data"].pop("test")
    found = await estimate(tmp_path, chain)
    assert calls(found) == [
        ("steps[0] (generate)", None, exactly(10)),
        ("steps[3] (generate)", "main", {"low": 3, "likely": 6, "high": 10}),
        ("steps[3] (generate)", "others", {"low": 0, "likely": 6, "high": 10}),
        ("steps[3] (generate)", "all_rows", {"low": 4, "likely": 4, "high": 10}),
        ("steps[3] (generate)", "shorter", {"low": 3, "likely": 6, "high": 10}),
    ]


async def test_an_arm_that_changes_a_step_in_a_loop_is_counted_in_each_round(tmp_path: Path) -> None:
    inner = [{"step": "filter", "input": "train", "keep": "number(reference) <= 4"}, ASK, FORMAT, TRAIN]
    arms = {"all_rows": {"steps.0.loop.steps.0.keep": "number(reference) <= 99"}}
    loop = {"loop": {"rounds": 2, "steps": inner}}
    found = await estimate(tmp_path, values(loop, {**EXAM, "models": ["student"]}, arms=arms))
    rounds = [(s["step"], s["arm"], s["calls"]["likely"]) for s in found["steps"] if s["model"] == "teacher"]
    label = "steps[0].loop.steps[1] (generate), round"
    assert rounds[0] == (f"{label} 1", "main", 4)
    assert next((step, count) for step, arm, count in rounds if arm == "all_rows") == (f"{label} 1", 6)
    assert [v["trainings"]["high"] for v in found["variants"]] == [2, 2]


@pytest.mark.parametrize("until", ["filter", "generate"])
async def test_a_limit_and_an_end_are_those_of_all_arms(tmp_path: Path, until: str) -> None:
    few = {"step": "filter", "keep": "number(reference) <= 2"}
    chain = values(few, ASK, FORMAT, TRAIN, arms={"all_rows": {"steps.0.keep": "number(reference) <= 99"}})
    chain["data"].pop("test")
    found = await estimate(tmp_path, chain, limit=5, until=until)
    assert found["total"]["calls"] == exactly(5 if until == "generate" else 0)
    assert {v["trainings"]["high"] for v in found["variants"]} == {0}


async def test_a_model_that_only_an_arm_asks_has_to_have_a_price_too(tmp_path: Path) -> None:
    odd = {"provider": "openai", "model": "nobodys", "base_url": "http://127.0.0.1:9/v1"}
    chain = values(ASK, FORMAT, TRAIN, EXAM, budget={"usd": 1}, arms={"odd": {"steps.0.model": "odd"}})
    chain["models"]["odd"] = odd
    found = await estimate(tmp_path, chain)
    assert [each["verdict"] for each in found["budget"]] == ["no price"]
    with pytest.raises(RecipeError, match="no price is known for 'nobodys'"):
        await pricing.check(load(tmp_path, chain), tmp_path, {"OPENAI_API_KEY": "sk-test"})
