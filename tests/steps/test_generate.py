import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from blackbox_kd.errors import DataError, ReplyFault, StepError
from blackbox_kd.schema import Ask, Failed, Message, Reply, Row, T, Usage
from blackbox_kd.sdk import few_shot
from blackbox_kd.steps import generate
from blackbox_kd.tables.sampling import Drawn
from tests.support.fakes import FakeContext, FakeTable, rows
from tests.support.steps import config_of, messages_of


async def ask(config: generate.Config, ctx: FakeContext, row: Row) -> list[Row | Failed]:
    return [outcome async for outcome in generate.run(row, config, ctx)]


async def test_each_sample_of_each_model_is_a_row_of_its_own_with_its_parents_columns() -> None:
    ctx = FakeContext(lambda model, messages, sample: f"{model} says {sample}")
    config = generate.Config(step="generate", models=["a", "b"], prompt="p", samples=2)
    found = await ask(config, ctx, rows({"instruction": "why?", "reference": "1"})[0])
    assert sorted(row["response"] for row in found) == ["a says 0", "a says 1", "b says 0", "b says 1"]
    assert len({row.id for row in found}) == 4
    assert {row["reference"] for row in found} == {"1"}


async def test_of_several_models_one_may_be_drawn_for_each_row_and_all_its_samples_are_of_that_one() -> None:
    ctx = FakeContext(lambda model, messages, sample: model)
    values = {"step": "generate", "models": ["a", "b", "c"], "prompt": "p", "samples": 2, "choose": "one"}
    config = generate.Config.model_validate(values)
    drawn = [await ask(config, ctx, row) for row in rows(*({"instruction": str(n)} for n in range(60)))]
    assert all(len(found) == 2 and found[0]["model"] == found[1]["model"] for found in drawn)
    counts = Counter(found[0]["model"] for found in drawn)
    assert set(counts) == {"a", "b", "c"}
    assert min(counts.values()) >= 10, "none is drawn much more often than another"
    again = [await ask(config, ctx, row) for row in rows(*({"instruction": str(n)} for n in range(60)))]
    assert [[row.id for row in found] for found in again] == [[row.id for row in found] for found in drawn]
    assert config.calls_by_model() == dict.fromkeys("abc", pytest.approx(2 / 3))
    assert config.calls_per_row() == pytest.approx(2)


def test_one_model_is_drawn_from_several_only() -> None:
    with pytest.raises(ValidationError, match="choose: one draws from several models"):
        generate.Config(step="generate", model="a", prompt="p", choose="one")


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
    reply = Reply("4", "stop", Usage(1, 1), "m", None, reasoning="2 + 2", value={"response": "4"})
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


async def test_a_sample_that_ends_the_run_lets_the_others_come_to_their_end() -> None:
    ended = []

    class Slow(FakeContext):
        async def ask(self, model: str, ask: Ask[T]) -> Reply[T]:
            if ask.sample == 1:
                raise StepError("the budget is reached")
            await asyncio.sleep(0.01)
            ended.append(ask.sample)
            return await super().ask(model, ask)

    config = generate.Config(step="generate", model="a", prompt="p", samples=3)
    with pytest.raises(StepError, match="budget"):
        await ask(config, Slow(lambda model, messages, sample: "fine"), rows({"instruction": "x"})[0])
    assert sorted(ended) == [0, 2]


async def test_examples_come_from_a_table_and_never_hold_the_row_itself() -> None:
    pool = rows(*({"instruction": f"q{number}"} for number in range(5)))
    ctx = FakeContext(tables={"shots": pool})
    config = generate.Config(step="generate", model="a", prompt="p", examples={"table": "shots", "count": 3})
    await ask(config, ctx, pool[1])
    assert ctx.asked[0][1][0]["content"] == "p | q0 | q2 | q3 | q1"


@pytest.mark.parametrize(("column", "shown"), [({}, ([], "")), ({"context": "of the row"}, ([], "of the row"))])
async def test_a_prompt_may_name_examples_and_context_that_the_step_does_not_give(
    column: dict[str, str], shown: tuple[list[Row], str]
) -> None:
    seen = []

    class Rendering(FakeContext):
        def render(self, prompt: str, row: Mapping[str, Any]) -> list[Message]:
            seen.append((row["examples"], row["context"]))
            return super().render(prompt, row)

    config = generate.Config(step="generate", model="a", prompt="p")
    await ask(config, Rendering(), rows({"instruction": "x", **column})[0])
    assert seen == [shown]
    assert config.prompt_variables() == {"examples", "context"}


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


class ShowingContext(FakeContext):
    """Its prompts show the rows of `examples` and what is in `context`."""

    def render(self, prompt: str, row: Mapping[str, Any]) -> list[Message]:
        shown = {name: row[name] for name in ("examples", "context") if name in row}
        return [{"role": "user", "content": json.dumps(shown)}]


def given(ctx: FakeContext, name: str) -> list[Any]:
    """What the prompts of all calls were given under a name."""
    return [json.loads(call[1][0]["content"])[name] for call in ctx.asked]


def in_turn(*texts: str) -> Callable[..., str]:
    """Answers with one text after the other, the last one for good."""
    left = list(texts)
    return lambda *_: left.pop(0) if len(left) > 1 else left[0]


async def test_random_examples_are_drawn_for_each_sample_anew_and_for_all_models_alike() -> None:
    pool = rows(*({"instruction": f"q{number}"} for number in range(50)))
    ctx = ShowingContext(tables={"shots": pool})
    chosen = {"table": "shots", "count": 2, "choose": "random"}
    config = generate.Config(step="generate", models=["a", "b"], prompt="p", samples=2, examples=chosen)
    await ask(config, ctx, Row({"id": "new", "instruction": "another"}))
    names = [[example["instruction"] for example in shown] for shown in given(ctx, "examples")]
    by_call = {(call[0], call[3]): shown for call, shown in zip(ctx.asked, names, strict=True)}
    assert by_call["a", 0] != by_call["a", 1]
    assert by_call["a", 0] == by_call["b", 0]
    assert all(len(set(shown)) == 2 for shown in names)


async def test_random_examples_are_drawn_from_all_rows_but_those_that_ask_the_same() -> None:
    pool = rows(*({"instruction": f"q{number // 2}"} for number in range(8)))
    config = few_shot.Examples(table="shots", count=6, choose="random")
    ctx = ShowingContext(tables={"shots": pool})
    drawn = [few_shot.choose_examples(config, pool[0], sample, ctx) for sample in range(40)]
    assert {len(shown) for shown in drawn} == {6}
    assert all({example.id for example in shown} == {f"r{number}" for number in range(2, 8)} for shown in drawn)
    firsts = [shown[0].id for shown in drawn]
    assert set(firsts) == {f"r{number}" for number in range(2, 8)}


async def test_the_nearest_examples_share_the_rows_rare_words_and_the_nearest_stands_last() -> None:
    texts = ["How many apples are left?", "How fast is the train?", "Which train of the two trains is the faster?",
             "How old is Ann?"]  # fmt: skip
    ctx = ShowingContext(tables={"shots": rows(*({"instruction": text} for text in texts))})
    config = generate.Config(
        step="generate", model="a", prompt="p", examples={"table": "shots", "count": 2, "choose": "nearest"}
    )
    await ask(config, ctx, Row({"id": "x", "instruction": "How fast is a train with a faster engine?"}))
    [shown] = given(ctx, "examples")
    assert [example["instruction"] for example in shown] == [texts[2], texts[1]]


async def test_rows_without_an_instruction_have_no_nearest_ones() -> None:
    ctx = ShowingContext(tables={"shots": rows({"instruction": "q"})})
    config = few_shot.Examples(table="shots", choose="nearest")
    with pytest.raises(DataError, match="row 'x' has none"):
        few_shot.choose_examples(config, Row({"id": "x"}), 0, ctx)


async def test_a_context_shows_the_last_rows_of_a_table() -> None:
    ctx = ShowingContext(tables={"history": rows(*({"answer": number} for number in range(5)))})
    config = generate.Config(step="generate", model="a", prompt="p", context={"table": "history", "rows": 2})
    await ask(config, ctx, Row({"id": "x"}))
    assert given(ctx, "context") == [[{"id": "r3", "answer": 3}, {"id": "r4", "answer": 4}]]


async def test_a_context_shows_the_latest_evaluation_of_the_model_on_the_table() -> None:
    ctx = ShowingContext()
    entries = [("dev", "student", 0.1), ("dev", "student", 0.4), ("dev", "teacher", 0.9), ("test", "student", 0.2)]
    ctx.record("evaluations", [{"table": table, "model": model, "accuracy": share} for table, model, share in entries])
    config = generate.Config(step="generate", model="a", prompt="p", context={"evaluation": "dev", "model": "student"})
    await ask(config, ctx, Row({"id": "x"}))
    assert given(ctx, "context") == [{"table": "dev", "model": "student", "accuracy": 0.4}]


async def test_several_contexts_are_shown_each_under_its_name() -> None:
    ctx = ShowingContext(tables={"right": rows({"answer": 1}), "wrong": rows(*({"answer": n} for n in range(9)))})
    ctx.record("evaluations", [{"table": "dev", "model": "student", "accuracy": 0.4}])
    context = {
        "right": {"table": "right"},
        "wrong": {"table": "wrong", "rows": 2, "choose": "random"},
        "report": {"evaluation": "dev", "model": "student"},
    }
    config = generate.Config(step="generate", model="a", prompt="p", context=context, samples=6, temperature=1)
    for name in ("x", "y"):
        await ask(config, ctx, Row({"id": name}))
    shown = given(ctx, "context")
    assert all([row["answer"] for row in each["right"]] == [1] for each in shown)
    assert all(each["report"]["accuracy"] == 0.4 for each in shown)
    drawn = [tuple(row["answer"] for row in each["wrong"]) for each in shown]
    assert all(len(set(each)) == 2 for each in drawn)
    assert len(set(drawn)) > 2, "another draw for each row and sample"


async def test_a_context_of_an_evaluation_is_empty_before_the_first_one() -> None:
    ctx = ShowingContext()
    config = generate.Config(step="generate", model="a", prompt="p", context={"evaluation": "dev", "model": "student"})
    await ask(config, ctx, Row({"id": "x"}))
    assert given(ctx, "context") == [{}]


@pytest.mark.parametrize(
    "context", [{}, {"table": "t", "evaluation": "t", "model": "m"}, {"evaluation": "t"}, {"table": "t", "model": "m"}]
)
def test_a_context_is_a_table_or_an_evaluation_with_its_model(context: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="either table: NAME, or evaluation: TABLE and model: NAME"):
        generate.Config(step="generate", prompt="p", model="a", context=context)


async def test_a_reply_is_asked_for_anew_until_the_expression_holds() -> None:
    ctx = FakeContext(in_turn("one", "one two", "one two three"))
    config = generate.Config(step="generate", model="a", prompt="p", retry_until="words(response) >= n", tries=5)
    [row] = await ask(config, ctx, rows({"instruction": "x", "n": 3})[0])
    assert row["response"] == "one two three"
    assert len(ctx.asked) == 3


async def test_a_row_fails_after_its_tries_and_says_what_the_last_reply_was() -> None:
    ctx = FakeContext(in_turn("first", "then " * 60 + "the end"))
    config = generate.Config(step="generate", model="a", prompt="p", retry_until="words(response) == 3", tries=4)
    [failed] = await ask(config, ctx, rows({"instruction": "x"})[0])
    assert isinstance(failed, Failed)
    assert failed.kind == "retry_until"
    assert failed.error.startswith("retry_until: 'words(response) == 3' does not hold; the last reply was 'then then ")
    assert "then the end'" in failed.error
    assert len(failed.error) < 250
    assert len(ctx.asked) == 4


async def test_the_expression_sees_the_reply_under_the_name_of_its_column() -> None:
    fields = {"step": "generate", "model": "a", "prompt": "p", "as": "draft", "retry_until": "draft != response"}
    ctx = FakeContext(in_turn("old", "new"))
    [row] = await ask(generate.Config.model_validate(fields), ctx, rows({"response": "old"})[0])
    assert row["draft"] == "new"


async def test_other_faults_keep_their_kind_where_an_expression_is_waited_for() -> None:
    def answer(model: str, messages: object, sample: int) -> str:
        raise ReplyFault("cut off at 5 tokens", kind="truncated")

    config = generate.Config(step="generate", model="a", prompt="p", retry_until="len(response) > 3")
    [failed] = await ask(config, FakeContext(answer), rows({"instruction": "x"})[0])
    assert (failed.kind, failed.error) == ("truncated", "cut off at 5 tokens")


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        ("Gap: it adds.\nRationale:\n3 * 4 = 12. The answer is 12.", "3 * 4 = 12. The answer is 12."),
        ("Gap: x\n**Rationale:**\n\nSo 12.", "So 12."),
        ("Gap: x\n**Rationale:** *Now* 12.", "*Now* 12."),
        ("Rationale: a first one\nGap: y\nRationale: 12.", "12."),
    ],
)
async def test_only_the_text_after_the_last_mark_is_kept(reply: str, kept: str) -> None:
    config = generate.Config(step="generate", model="a", prompt="p", after="Rationale:")
    [row] = await ask(config, FakeContext(lambda *_: reply), rows({"instruction": "x"})[0])
    assert row["response"] == kept


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ("3 * 4 = 12.", "the mark 'Rationale:' is not in the reply '3 * 4 = 12.'"),
        ("Gap: x\nRationale:\n", "nothing follows the mark 'Rationale:' in the reply 'Gap: x Rationale:'"),
    ],
)
async def test_a_reply_without_its_mark_is_asked_for_anew_and_then_fails_as_unreadable(reply: str, error: str) -> None:
    ctx = FakeContext(lambda *_: reply)
    config = generate.Config(step="generate", model="a", prompt="p", after="Rationale:", tries=2)
    [failed] = await ask(config, ctx, rows({"instruction": "x"})[0])
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.error) == ("unreadable", f"{error} (2 attempts)")
    assert len(ctx.asked) == 2


async def test_what_was_read_is_kept_and_the_reply_is_not_read_again() -> None:
    reply = Reply("no mark in here", "stop", Usage(1, 1), "m", value={"response": "12"})
    config = generate.Config(step="generate", model="a", prompt="p", after="Rationale:")
    [row] = await ask(config, FakeContext(lambda *_: reply), rows({"instruction": "x"})[0])
    assert row["response"] == "12"


async def test_the_expression_sees_what_stands_after_the_mark() -> None:
    ctx = FakeContext(in_turn("12\nRationale: no", "no\nRationale: 12"))
    config = generate.Config(step="generate", model="a", prompt="p", after="Rationale:", retry_until="response == '12'")
    [row] = await ask(config, ctx, rows({"instruction": "x"})[0])
    assert row["response"] == "12"


async def test_a_kept_reply_begins_a_row_that_knows_its_parent_and_its_seed() -> None:
    fields = {"step": "generate", "model": "a", "prompt": "p", "as": "instruction", "keep": ["topic"]}
    config = generate.Config.model_validate(fields)
    [seed] = rows({"instruction": "old?", "reference": "4", "topic": "sums"})
    [child] = await ask(config, FakeContext(lambda *_: "new?"), seed)
    [grandchild] = await ask(config, FakeContext(lambda *_: "newer?"), child)
    assert set(child) == {
        "id", "topic", "instruction", "parent", "seed_id", "model", "sample", "finish_reason", "usage", "cost_usd"
    }  # fmt: skip
    assert (child["instruction"], child["topic"]) == ("new?", "sums")
    assert (child["parent"], child["seed_id"]) == (seed.id, seed.id)
    assert (grandchild["parent"], grandchild["seed_id"]) == (child.id, seed.id)
    assert len({seed.id, child.id, grandchild.id}) == 3


async def test_all_drawings_of_a_row_have_it_as_their_seed() -> None:
    fields = {"step": "generate", "model": "a", "prompt": "p", "as": "instruction", "keep": [], "rows": 9}
    config = generate.Config.model_validate(fields)
    drawn = Drawn(FakeTable("t", rows({"instruction": "old?"}, {"instruction": "other?"})), 9, random.Random(0))
    found = [child for row in drawn for child in await ask(config, FakeContext(lambda *_: "new?"), row)]
    assert len({child.id for child in found}) == 9
    assert {(child["parent"], child["seed_id"]) for child in found} == {("r0", "r0"), ("r1", "r1")}


def test_after_keep_only_the_kept_columns_and_those_of_the_step_are_there() -> None:
    fields = {"step": "generate", "model": "a", "prompt": "p", "as": "instruction", "keep": ["topic"]}
    config = generate.Config.model_validate(fields)
    assert config.columns_after({"id", "instruction", "reference", "topic"}) == {"id", "topic", "parent", "seed_id"}
    config = generate.Config(step="generate", model="a", prompt="p")
    assert config.columns_after({"id", "reference"}) == {"id", "reference"}


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"samples": 4}, "samples"),
        ({"rows": 9}, "rows"),
        ({"retry_until": "len(response) > 3"}, "retry_until"),
    ],
)
def test_asking_again_at_temperature_zero_is_a_problem(fields: dict[str, Any], at: str) -> None:
    config = generate.Config(step="generate", model="a", prompt="p", temperature=0, **fields)
    assert [problem[0] for problem in config.problems()] == [at]
    assert not config.model_copy(update={"temperature": 0.7}).problems()


def test_other_random_examples_make_other_replies_at_temperature_zero() -> None:
    shots = {"table": "shots", "choose": "random"}
    config = generate.Config(step="generate", model="a", prompt="p", temperature=0, samples=2, rows=9, examples=shots)
    assert not config.problems()


@pytest.mark.parametrize("name", ["response", "model", "seed_id"])
def test_what_the_step_writes_cannot_be_kept(name: str) -> None:
    config = generate.Config(step="generate", model="a", prompt="p", keep=["topic", name])
    assert [(at, name in what) for at, what, _ in config.problems()] == [("keep[1]", True)]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_model_that_is_named_twice_would_make_rows_of_the_same_id(temperature: float) -> None:
    fields = {"step": "generate", "prompt": "p", "models": ["t", "s", "t"], "temperature": temperature}
    [problem] = generate.Config.model_validate(fields).problems()
    assert problem == ("models", "model 't' is named twice; it would only say the same again.", "name it once")


def test_the_models_that_are_asked_make_the_calls_and_not_the_one_in_the_context() -> None:
    context = {"evaluation": "dev", "model": "student"}
    config = generate.Config(step="generate", models=["a", "b"], prompt="p", samples=3, context=context)
    assert config.calls_per_row() == 6


async def ask_in_turn(
    answer: Any, row: dict[str, Any], **fields: Any
) -> tuple[list[Row | Failed], list[Mapping[str, Any]], FakeContext]:
    """What becomes of a row whose column `todo` is asked line by line, what prompts were shown, and who was asked."""
    seen: list[Mapping[str, Any]] = []

    class Rendering(FakeContext):
        def render(self, prompt: str, row: Mapping[str, Any]) -> list[Message]:
            seen.append(row)
            return [{"role": "user", "content": f"{row['turn']} {len(row['earlier'])}"}]

    ctx = Rendering(answer)
    config = config_of("generate", {"model": "a", "prompt": "p", "turns": "lines(todo)", "as": "said", **fields})
    return await ask(config, ctx, rows(row)[0]), seen, ctx


async def test_items_of_a_list_are_asked_in_turn_each_with_the_replies_before_it_in_view() -> None:
    found, seen, _ = await ask_in_turn(
        lambda _, messages, __: f"to {messages[0]['content']}", {"todo": "one\ntwo\nsix"}
    )
    [row] = found
    assert row["said"] == ["to one 0", "to two 1", "to six 2"]
    assert [shown["turn"] for shown in seen] == ["one", "two", "six"]
    assert [shown["earlier"] for shown in seen][2] == [
        {"question": "one", "answer": "to one 0"},
        {"question": "two", "answer": "to two 1"},
    ]
    assert (row["usage"]["prompt_tokens"], row["usage"]["completion_tokens"], row["finish_reason"]) == (9, 6, "stop")
    assert row["cost_usd"] == pytest.approx(0.03)
    assert not {"turn", "earlier"} & row.keys(), "they are the prompt's alone"


async def test_each_sample_has_a_conversation_of_its_own_and_a_list_of_nothing_brings_no_reply() -> None:
    found, seen, _ = await ask_in_turn(lambda _, __, sample: f"said {sample}", {"todo": "one\ntwo"}, samples=2)
    assert sorted(row["said"] for row in found if isinstance(row, Row)) == [["said 0"] * 2, ["said 1"] * 2]
    assert all({pair["answer"] for pair in shown["earlier"]} <= {"said 0", "said 1"} for shown in seen)
    [row], _, ctx = await ask_in_turn(lambda *_: "never", {"todo": " \n"})
    assert (row["said"], row["finish_reason"], ctx.asked) == ([], "stop", [])  # type: ignore[index]


async def test_a_turn_that_brings_nothing_fails_the_row_and_later_ones_are_not_asked() -> None:
    def answer(model: str, messages: list[Message], sample: int) -> str:
        if "two" in messages[0]["content"]:
            raise ReplyFault("cut off at 5 tokens", kind="truncated")
        return "fine"

    [failed], _, ctx = await ask_in_turn(answer, {"todo": "one\ntwo\nsix"})
    assert isinstance(failed, Failed)
    assert (failed.kind, len(ctx.asked)) == ("truncated", 2)


async def test_each_reply_in_turn_has_the_form_and_holds_what_it_is_asked_to_hold() -> None:
    form = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    replies = iter(['{"n": 1}', '{"n": 2}', "no JSON", '{"n": 3}'])
    found, _, ctx = await ask_in_turn(
        lambda *_: next(replies),
        {"todo": "one\ntwo"},
        schema=form,
        parsed="told",
        retry_until="turn == 'one' or told['n'] > 2",
    )
    [row] = found
    assert isinstance(row, Row)
    assert (row["told"], len(ctx.asked)) == ([{"n": 1}, {"n": 3}], 4)


async def test_what_is_no_list_cannot_be_asked_in_turn_nor_what_never_ends() -> None:
    with pytest.raises(DataError, match=r"gives 'one'.*no list"):
        await ask_in_turn(lambda *_: "x", {"todo": "one"}, turns="strip(todo)")
    with pytest.raises(DataError, match="1,001 items are more than 1,000"):
        await ask_in_turn(lambda *_: "x", {"todo": "go\n" * 1001})


def test_turns_are_counted_as_a_few_calls_each_and_as_one_row() -> None:
    config = config_of("generate", {"models": ["a", "b"], "prompt": "p", "turns": "lines(todo)", "samples": 2})
    assert config.calls_by_model() == {"a": 2 * generate.GUESSED_TURNS, "b": 2 * generate.GUESSED_TURNS}
    assert config.rows_per_row() == 4
    assert config_of("generate", {"models": ["a", "b"], "prompt": "p", "choose": "one"}).rows_per_row() == 1


def test_tools_are_not_called_between_turns() -> None:
    tool = {"type": "function", "function": {"name": "look_up"}}
    values = {"model": "a", "prompt": "p", "turns": "lines(todo)", "tools": [tool]}
    assert "take one of turns: and tools: out" in messages_of("generate", values)[0]
