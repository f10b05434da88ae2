import pytest
from pydantic import ValidationError

from blackbox_kd.errors import ReplyFault
from blackbox_kd.schema import Failed, Reply, Row, Usage
from blackbox_kd.steps import generate
from tests.fakes import FakeContext, rows


async def ask(config: generate.Config, ctx: FakeContext, row: Row) -> list[Row | Failed]:
    return [outcome async for outcome in generate.run(row, config, ctx)]


async def test_each_sample_of_each_model_is_a_row_of_its_own_with_its_parents_columns() -> None:
    ctx = FakeContext(lambda model, messages, sample: f"{model} says {sample}")
    config = generate.Config(step="generate", models=["a", "b"], prompt="p", samples=2)
    found = await ask(config, ctx, rows({"instruction": "why?", "reference": "1"})[0])
    assert sorted(row["response"] for row in found) == ["a says 0", "a says 1", "b says 0", "b says 1"]
    assert len({row.id for row in found}) == 4
    assert {row["reference"] for row in found} == {"1"}


async def test_a_reply_brings_its_model_sample_finish_reason_usage_and_cost() -> None:
    ctx = FakeContext(lambda model, messages, sample: "yes")
    [row] = await ask(generate.Config(step="generate", model="a", prompt="p"), ctx, rows({"instruction": "x"})[0])
    assert (row["model"], row["sample"], row["finish_reason"], row["cost_usd"]) == ("a", 0, "stop", 0.01)
    assert row["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "cached_tokens": 0, "reasoning_tokens": 0}


async def test_the_reply_lands_in_the_column_that_as_names() -> None:
    config = generate.Config.model_validate({"step": "generate", "model": "a", "prompt": "p", "as": "feedback"})
    [row] = await ask(config, FakeContext(lambda *_: "hm"), rows({"instruction": "x"})[0])
    assert row["feedback"] == "hm"
    assert "response" not in row


async def test_hidden_reasoning_is_kept_apart_from_the_reply() -> None:
    reply = Reply("4", "stop", Usage(1, 1), "m", None, reasoning="2 + 2")
    [row] = await ask(
        generate.Config(step="generate", model="a", prompt="p"), FakeContext(lambda *_: reply), rows({"a": 1})[0]
    )
    assert (row["response"], row["reasoning"], row["cost_usd"]) == ("4", "2 + 2", None)


async def test_a_sample_that_brings_no_reply_fails_alone() -> None:
    def answer(model: str, messages: object, sample: int) -> str:
        if sample == 1:
            raise ReplyFault("cut off at 5 tokens", kind="truncated")
        return "fine"

    config = generate.Config(step="generate", model="a", prompt="p", samples=3)
    found = await ask(config, FakeContext(answer), rows({"instruction": "x"})[0])
    failed = [outcome for outcome in found if isinstance(outcome, Failed)]
    assert [(f.kind, f.error, f.row["sample"]) for f in failed] == [("truncated", "cut off at 5 tokens", 1)]
    assert sum(isinstance(outcome, Row) for outcome in found) == 2


async def test_examples_come_from_a_table_and_never_hold_the_row_itself() -> None:
    pool = rows(*({"instruction": f"q{number}"} for number in range(5)))
    ctx = FakeContext(tables={"shots": pool})
    config = generate.Config(step="generate", model="a", prompt="p", examples={"table": "shots", "count": 3})
    await ask(config, ctx, pool[1])
    assert ctx.asked[0][1][0]["content"] == "p | q0 | q2 | q3 | q1"


async def test_random_examples_are_the_same_in_every_run_and_differ_between_rows() -> None:
    pool = rows(*({"instruction": f"q{number}"} for number in range(50)))
    chosen = {"table": "shots", "count": 4, "choose": "random"}
    config = generate.Config(step="generate", model="a", prompt="p", examples=chosen)
    first, again = FakeContext(tables={"shots": pool}), FakeContext(tables={"shots": pool})
    for ctx in (first, again):
        for row in pool[:2]:
            await ask(config, ctx, row)
    assert [call[1] for call in first.asked] == [call[1] for call in again.asked]
    assert first.asked[0][1] != first.asked[1][1]


async def test_sampling_fields_reach_the_call() -> None:
    ctx = FakeContext()
    config = generate.Config(
        step="generate", model="a", prompt="p", temperature=0.3, top_p=0.9, max_tokens=7, stop=["END"],
        sampling_seed=3, extra={"top_k": 5},
    )  # fmt: skip
    await ask(config, ctx, rows({"instruction": "x"})[0])
    sampling = ctx.asked[0][2]
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.3, 0.9, 7)
    assert (sampling.stop, sampling.seed, sampling.extra) == (("END",), 3, {"top_k": 5})


def test_one_model_or_several_but_not_both_nor_none() -> None:
    with pytest.raises(ValidationError, match="either model"):
        generate.Config(step="generate", prompt="p")
    with pytest.raises(ValidationError, match="either model"):
        generate.Config(step="generate", prompt="p", model="a", models=["b"])
