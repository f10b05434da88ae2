from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_kd.errors import DataError
from blackbox_kd.schema import Dropped, Failed, Row
from blackbox_kd.steps import filter as filter_step
from tests.analysis.test_similarity import texts_with
from tests.support.fakes import FakeContext, FakeTable, rows
from tests.support.steps import config_of, messages_of
from tests.support.tiny import tiny_model


def config(**fields: Any) -> Any:
    return config_of("filter", fields)


async def alone(row: Row, **fields: Any) -> Row | Dropped:
    return await filter_step.run(row, config(**fields), FakeContext())


async def of_table(table: list[Row], ctx: FakeContext | None = None, **fields: Any) -> list[Any]:
    found = filter_step.run_table(FakeTable("t", table), config(**fields), ctx or FakeContext())
    return [outcome async for outcome in found]


def ids(found: list[Any]) -> list[str]:
    return [outcome.id for outcome in found if isinstance(outcome, Row)]


def reasons(found: list[Any]) -> Counter[str]:
    return Counter(outcome.reason for outcome in found if isinstance(outcome, Dropped))


async def test_rows_for_which_the_expression_holds_stay_and_others_are_dropped_with_it_as_reason() -> None:
    good, bad = rows({"correct": True, "score": 4}, {"correct": True, "score": 2})
    assert await alone(good, keep="correct and score >= 3") == good
    assert await alone(bad, keep="correct and score >= 3") == Dropped(bad, "not (correct and score >= 3)")


async def test_a_row_without_the_column_is_an_error_not_a_silent_no() -> None:
    with pytest.raises(DataError):
        await alone(rows({"a": 1})[0], keep="score > 3")


# Novelty.


@pytest.mark.parametrize(
    ("common", "of", "is_kept"), [(7, 10, True), (70, 100, True), (71, 100, False), (8, 10, False)]
)
async def test_seven_tenths_of_rouge_l_are_new_enough_and_anything_above_is_not(
    common: int, of: int, is_kept: bool
) -> None:
    old, new = texts_with(common, of)
    ctx = FakeContext(tables={"pool": [Row(id="old", instruction=old)]})
    [found] = await of_table(rows({"instruction": new}), ctx, novelty={"against": ["pool"]})
    assert isinstance(found, Row) is is_kept
    row = found if isinstance(found, Row) else found.row
    assert (row["similarity"], row["nearest"], row["nearest_id"]) == (common / of, old, "old")
    assert is_kept or found.reason == "too similar"


async def test_rows_are_compared_with_those_kept_before_them_but_not_with_those_dropped() -> None:
    table = rows(
        {"instruction": "name ten red fruits"},
        {"instruction": "name ten red fruits please"},
        {"instruction": "name ten red fruits please and thank you"},
        {"instruction": "list some capitals"},
    )
    found = await of_table(table, novelty={"max": 0.75})
    assert ids(found) == ["r0", "r2", "r3"]
    assert reasons(found) == {"too similar": 1}
    assert found[2]["similarity"] == 8 / 12
    assert (found[3]["similarity"], found[3]["nearest"], found[3]["nearest_id"]) == (0.0, None, None)


@pytest.mark.parametrize("metric", ["rouge_l", "minhash"])
async def test_replies_to_other_questions_may_say_the_same(metric: str) -> None:
    said = "She buys as many as she has, and that is all."
    asked = [("one", said), ("two", said), ("one", said.upper()), ("one", "Count on from what is there, twice over.")]
    table = rows(*({"instruction": question, "response": text} for question, text in asked))
    novelty = {"column": "response", "per": "instruction", "metric": metric}
    found = await of_table(table, novelty=novelty)
    assert [isinstance(outcome, Row) for outcome in found] == [True, True, False, True]
    assert found[2].row["nearest_id"] == table[0].id
    ctx = FakeContext(tables={"pool": rows({"instruction": "two", "response": said})})
    found = await of_table(table, ctx, novelty={**novelty, "against": ["pool"]})
    assert [isinstance(outcome, Row) for outcome in found] == [True, False, False, True]


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=5).map(" ".join), max_size=12))
async def test_no_two_rows_that_stay_are_more_alike_than_allowed_and_none_is_lost(texts: list[str]) -> None:
    from blackbox_kd.analysis.similarity import rouge_l

    found = await of_table(rows(*({"instruction": text} for text in texts)), novelty={"max": 0.5})
    kept = [row["instruction"] for row in found if isinstance(row, Row)]
    assert len(found) == len(texts)
    assert all(rouge_l(a, b) <= 0.5 for at, a in enumerate(kept) for b in kept[:at])


@pytest.mark.parametrize("metric", ["minhash", "embedding"])
async def test_other_metrics_drop_the_same_text_and_keep_another(metric: str) -> None:
    model = {"model": str(tiny_model())} if metric == "embedding" else {}
    table = rows({"question": "How many apples are left?"}, {"question": "how many apples are left"}, {"question": "x"})
    ctx = FakeContext(tables={"pool": [Row(id="p", question="How many apples are left?")]})
    novelty = {"column": "question", "against": ["pool"], "metric": metric, "max": 0.99, **model}
    found = await of_table(table, ctx, novelty=novelty)
    assert isinstance(found[0], Dropped)
    assert found[0].row["similarity"] == 1.0
    assert ids(found)[-1] == "r2"


async def test_a_row_without_text_fails_and_a_table_without_the_column_is_an_error() -> None:
    found = await of_table(rows({"instruction": None}, {"instruction": "four words are here"}), novelty={})
    assert isinstance(found[0], Failed)
    assert (found[0].kind, ids(found)) == ("data", ["r1"])
    found = await of_table(rows({"instruction": "x"}, {}), novelty={})
    assert (ids(found), found[1].kind) == (["r0"], "data")
    assert found[1].error == "column 'instruction' is missing: there is nothing to compare"
    ctx = FakeContext(tables={"pool": [Row(id="p", question="x")]})
    with pytest.raises(DataError, match=r"no row of table 'pool' has the column 'instruction'.*\n  fix: take pool out"):
        await of_table(rows({"instruction": "x"}), ctx, novelty={"against": ["pool"]})
    ragged = FakeContext(tables={"pool": [Row(id="p", question="x"), Row(id="q", instruction="x")]})
    [dropped] = await of_table(rows({"instruction": "x"}), ragged, novelty={"against": ["pool"]})
    assert dropped.row["nearest_id"] == "q"


@pytest.mark.parametrize("metric", ["rouge_l", "minhash"])
async def test_the_same_text_without_a_letter_or_digit_is_not_new(metric: str) -> None:
    table = rows({"instruction": "🙂🙂"}, {"instruction": "🙂🙂"}, {"instruction": "+"})
    found = await of_table(table, novelty={"metric": metric})
    assert ids(found) == ["r0", "r2"]
    assert found[1].row["similarity"] == 1.0


async def test_a_table_that_is_empty_in_the_first_round_drops_nothing() -> None:
    found = await of_table(rows({"instruction": "x"}), FakeContext(tables={"pool": []}), novelty={"against": ["pool"]})
    assert ids(found) == ["r0"]


# Instructions that a model wrote.


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Write a poem about the sea.", None),
        ("Give the Instruction a title, please", "says instruction"),
        ("Obstruct the construction of it", None),
        ("Write a poem", "too short"),
        ("What's 2+2?", "too short"),
        ("Don't say it", "too short"),
        ("Don't say it twice", None),
        ("写诗", "too short"),
        ("写诗吧。", "too short"),
        ("写一首诗", None),
        ("翻訳してください", None),
        ("Translate 猫 please", "too short"),
        ("ﾊﾟﾝを焼く", None),
        ("เขียนบทกวี", None),
        ("- Write a poem about spring", "begins with punctuation"),
        ("= Write a poem about spring", "begins with punctuation"),
        ("— list four fruits please", "begins with punctuation"),
        ("“Quote” this for me now", "begins with punctuation"),
        ("„Zitat“ auf Deutsch, bitte sehr", "begins with punctuation"),
        ("« Cite » cette phrase pour moi", "begins with punctuation"),
        ("¡Escribe un poema ahora mismo!", None),
        ("¿Cuál es la capital de Francia?", None),
        ("東京の天気は?", None),
        ("Écris un poème court", None),
        ("", "too short"),
    ],
)
async def test_generated_instructions_must_be_well_formed(text: str, reason: str | None) -> None:
    [row] = rows({"instruction": text})
    assert await alone(row, well_formed="instruction") == (row if reason is None else Dropped(row, reason))


async def test_the_papers_own_rule_leaves_nothing_that_begins_beyond_ascii() -> None:
    [row, plain] = rows({"instruction": "Écris un poème court"}, {"instruction": "Write a short poem"})
    found = await alone(row, well_formed="instruction", paper_faithful=True)
    assert found == Dropped(row, "begins with another script")
    assert await alone(plain, well_formed="instruction", paper_faithful=True) == plain


@pytest.mark.parametrize(
    ("reference", "text", "leaks"),
    [
        ("18", "What is 9 times 2? (It is 18.)", True),
        ("18", "What is 18.5 minus 118?", False),
        (18, "Add 9 and 9 to get 18", True),
        ("New York", "Where is new  york's harbour?", True),
        (None, "What is None of this?", False),
        ("", "What?", False),
    ],
)
async def test_a_row_whose_text_holds_its_answer_is_dropped(reference: Any, text: str, leaks: bool) -> None:
    [row] = rows({"instruction": text, "reference": reference})
    found = await alone(row, leaks={"answer": "reference", "in": "instruction"})
    assert found == (Dropped(row, "answer leaked") if leaks else row)


# A seed's share.


async def test_a_row_without_a_seed_fails_alone() -> None:
    found = await of_table(rows({"seed_id": "a"}, {}, {"seed_id": "b"}), share={"max": 0.5})
    assert ids(found) == ["r0", "r2"]
    assert (found[1].kind, found[1].error) == ("data", "column 'seed_id' is missing, which names the seed")


async def test_no_seed_has_more_than_its_share_of_the_rows_that_stay() -> None:
    table = rows(*({"seed_id": seed} for seed in "aaaaaabbccdd"))
    found = await of_table(table, share={"of": "seed_id", "max": 0.25})
    assert Counter(row["seed_id"] for row in found if isinstance(row, Row)) == {"a": 2, "b": 2, "c": 2, "d": 2}
    assert ids(found)[:2] == ["r0", "r1"]
    assert reasons(found) == {"too many of a seed": 4}


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdef"), max_size=40), st.floats(0.01, 1))
async def test_shares_hold_or_one_row_of_each_seed_is_left(seeds: list[str], most: float) -> None:
    found = await of_table(rows(*({"seed_id": seed} for seed in seeds)), share={"max": most})
    kept = Counter(row["seed_id"] for row in found if isinstance(row, Row))
    assert len(found) == len(seeds)
    assert set(kept) == set(seeds)
    assert all(count == 1 or count <= most * kept.total() + 1e-6 for count in kept.values())


# What cannot be meant.


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "a field is missing.; give one of keep:, well_formed:, leaks:, novelty:, share:"),
        ({"keep": "x", "share": {"max": 0.1}}, "keep: and share: stand in one filter.; write a step for each"),
        (
            {"keep": "x", "paper_faithful": True},
            "paper_faithful: means nothing with keep:.; take paper_faithful: out, or write well_formed: in place of",
        ),
        ({"novelty": {"metric": "embedding"}}, "metric: embedding needs an encoder"),
        ({"novelty": {"model": "m"}}, "metric: rouge_l reads no model"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(fields: dict[str, Any], message: str) -> None:
    [found] = messages_of("filter", fields)
    assert message in found


def test_a_table_compared_with_itself_is_a_problem() -> None:
    found = config(input="pool", novelty={"against": ["other", "pool"]}).problems()
    assert [problem[:2] for problem in found] == [
        ("novelty.against[1]", "every row of 'pool' would be compared with itself, and dropped.")
    ]
    assert config(input="pool", novelty={"against": ["other"]}).problems() == []


EQUATIONS = [
    "x + 2 = 5",
    "x - 2 = 5",
    "x * 2 = 5",
    "x / 2 = 5",
    "7 > 5",
    "7 < 5",
    "C++",
    "C#",
    "C",
    "5!",
    "5",
    "2^3",
    "23",
]


@pytest.mark.parametrize("metric", ["rouge_l", "minhash"])
async def test_distinct_questions_with_digits_or_code_are_all_kept(metric: str) -> None:
    table = rows(*({"instruction": f"Solve or explain: {text}"} for text in EQUATIONS))
    found = await of_table(table, novelty={"max": 0.99, "metric": metric})
    assert len(ids(found)) == len(EQUATIONS)


@pytest.mark.parametrize("metric", ["rouge_l", "minhash", "embedding"])
@pytest.mark.parametrize(
    ("text", "other"), [("Ask US about it", "ask us about it"), ("Let's eat, Tom", "Lets eat Tom")]
)
async def test_texts_that_are_not_equal_are_never_wholly_alike(metric: str, text: str, other: str) -> None:
    model = {"model": str(tiny_model())} if metric == "embedding" else {}
    table = rows({"instruction": text}, {"instruction": other}, {"instruction": f" {text} "})
    found = await of_table(table, novelty={"max": 1.0, "metric": metric, **model})
    assert found[1]["similarity"] < 1.0
    assert found[2]["similarity"] == pytest.approx(1.0, abs=1e-6)


async def test_rows_that_are_dropped_for_other_numbers_alone_are_counted() -> None:
    ctx = FakeContext()
    table = rows(
        {"instruction": "Tom has 5 apples and buys 3 more; how many has he got?"},
        {"instruction": "Tom has 7 apples and buys 9 more; how many has he got?"},
        {"instruction": "Tom has 5 apples and sells 3 more; how many has he got?"},
        {"instruction": "Tom has 5 apples and buys 3 more; how many has he got now?"},
    )
    found = await of_table(table, ctx, novelty={"max": 0.7})
    assert reasons(found) == {"too similar": 3}
    assert ctx.counted == {"other_numbers": 1}


async def test_of_a_held_out_table_only_how_alike_a_row_is_to_it_is_written() -> None:
    pool = rows({"instruction": "What is the capital of France?"})
    ctx = FakeContext(tables={"exam": pool}, held_out=["exam"])
    table = rows({"instruction": "What is the capital of France then?"}, {"instruction": "Sing me a song."})
    dropped, kept = await of_table(table, ctx, novelty={"against": ["exam"]})
    assert isinstance(dropped, Dropped)
    assert dropped.row["similarity"] > 0.7
    assert dropped.row["nearest"] is None
    assert "nearest" in kept
    assert "France" not in str(kept)


# Conversations.


def said(answer: str, **more: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": answer, **more}]


@pytest.mark.parametrize(
    "turns",
    [
        said("So:\nOslo."),
        said("There.", reasoning_content="It is\nOslo."),
        said("", tool_calls=[{"type": "function", "function": {"name": "f", "arguments": '{"c": "a\\nOslo"}'}}]),
    ],
    ids=["content", "reasoning", "arguments"],
)
async def test_an_answer_is_found_wherever_a_conversation_says_it(turns: list[dict[str, Any]]) -> None:
    leaky = config_of("filter", {"leaks": {"answer": "reference", "in": "messages"}})
    [row, other] = rows({"messages": turns, "reference": "Oslo"}, {"messages": turns, "reference": "assistant"})
    assert await filter_step.run(row, leaky, FakeContext()) == Dropped(row, "answer leaked")
    assert await filter_step.run(other, leaky, FakeContext()) == other


async def test_conversations_are_compared_by_what_they_say_and_not_by_how_they_are_written() -> None:
    new = config_of("filter", {"novelty": {"column": "messages", "max": 0.7}})
    table = rows({"messages": said("In the north of the land.")}, {"messages": said("Nobody knows.")})
    found = [outcome async for outcome in filter_step.run_table(table, new, FakeContext())]
    assert [type(outcome) for outcome in found] == [Row, Row]
    thought = [{"messages": said("A.", reasoning_content=text)} for text in ("we count the red cars", "as he said no")]
    again = [outcome async for outcome in filter_step.run_table(rows(*thought, thought[0]), new, FakeContext())]
    assert [type(outcome) for outcome in again] == [Row, Row, Dropped]


SOLVED = rows({"instruction": "a"}, {"instruction": {"ask": 2}}, {"other": "c"})


async def left(**absent_from: str) -> list[str]:
    ctx = FakeContext(tables={"solved": SOLVED}, held_out=["solved"])
    config = filter_step.Elsewhere.model_validate({"step": "filter", "absent_from": {"table": "solved", **absent_from}})
    asked = rows({"instruction": "a"}, {"instruction": "b"}, {"instruction": {"ask": 2}}, {"other": "c"})
    found = [outcome async for outcome in filter_step.run_table(FakeTable("t", asked), config, ctx)]
    return [each.id if isinstance(each, Row) else getattr(each, "reason", "failed") for each in found]


async def test_rows_stay_that_another_table_has_not_which_is_told_by_a_column_of_any_value() -> None:
    assert await left() == ["is there already", "r1", "is there already", "failed"]
    assert await left(by="other") == ["failed", "failed", "failed", "is there already"]


def test_a_row_is_not_looked_for_where_it_is() -> None:
    values = {"step": "filter", "input": "t", "absent_from": {"table": "t"}}
    assert [problem[0] for problem in filter_step.Elsewhere.model_validate(values).problems()] == ["absent_from.table"]
