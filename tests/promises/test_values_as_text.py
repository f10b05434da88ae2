"""A value that is no text is JSON wherever text is wanted of it: in every step, in prompts, in expressions, in rows."""

import pkgutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd import steps
from blackbox_kd.analysis import leakage
from blackbox_kd.analysis.accuracy import accuracy
from blackbox_kd.runs.dataset import count_left_out, write_dataset
from blackbox_kd.sandbox import expressions
from blackbox_kd.sandbox.prompt import Prompt
from blackbox_kd.schema import Dropped, Message, Row
from blackbox_kd.sdk import few_shot
from blackbox_kd.steps import (
    benchmark,
    check,
    converse,
    evaluate,
    filter,
    generate,
    judge,
    mix,
    pair,
    score,
    select,
    split,
    train,
)
from blackbox_kd.steps import format as format_step
from blackbox_kd.steps import map as map_step
from blackbox_kd.tables.sources import TableSource, read
from tests.support.fakes import FakeContext, outcomes, rows
from tests.support.runs import rows_of
from tests.support.steps import config_of

OBJECT = {"total": 3, "paid": True, "note": None, "who": "Zoë's"}
AS_JSON = '{"total": 3, "paid": true, "note": null, "who": "Zoë\'s"}'
VALUES = [
    pytest.param(OBJECT, AS_JSON, id="object"),
    pytest.param([1, "a", None], '[1, "a", null]', id="list"),
    pytest.param(3, "3", id="number"),
    pytest.param(0.5, "0.5", id="fraction"),
    pytest.param(False, "false", id="boolean"),
    pytest.param([{"id": True}], '[{"id": true}]', id="own_objects_in_a_list"),
    pytest.param({"deep": {"none": [None]}}, '{"deep": {"none": [null]}}', id="own_null_deep_inside"),
]
valued = pytest.mark.parametrize(("value", "text"), VALUES)
BENCHMARK = benchmark.Config(step="benchmark", models=["student"], tasks=["arc_easy"])
SENT: set[str] = set()
"""Steps that a value of each kind is sent through below."""


def through(step: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Marks the test that sends values through a step."""
    SENT.add(step)
    return valued


def test_every_step_has_a_test_here_that_sends_values_through_it() -> None:
    assert {module.name for module in pkgutil.iter_modules(steps.__path__)} == SENT
    assert set(NULLS) == SENT


class Shown(FakeContext):
    """Prompts show one column of the row, as templates do."""

    def __init__(self, folder: Path, template: str, **how: Any) -> None:
        super().__init__(**how)
        (folder / "ask.jinja").write_text(template)
        self._prompt = Prompt("ask", folder / "ask.jinja")

    def render(self, prompt: str, row: Any) -> list[Message]:
        return self._prompt.render(row)


def asked(ctx: FakeContext) -> list[str]:
    return [messages[-1]["content"] for _, messages, _, _ in ctx.asked]


def content(message: list[Message]) -> str:
    return message[0]["content"]


async def results(found: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in found]


@through("format")
async def test_format_teaches_it(value: Any, text: str) -> None:
    [row] = rows({"instruction": "x", "response": value})
    [found] = await results(format_step.run(row, format_step.Config(step="format"), FakeContext()))
    assert content(found["completion"]) == text
    tasks = format_step.Config.model_validate({"step": "format", "tasks": [{"name": "read"}]})
    [found] = await results(format_step.run(row, tasks, FakeContext()))
    assert content(found["completion"]) == text
    pairs = format_step.Config(step="format", preference=True)
    [found] = await results(format_step.run(row | {"better": value, "worse": [0]}, pairs, FakeContext()))
    assert (content(found["chosen"]), content(found["rejected"])) == (text, "[0]")


@through("generate")
async def test_generate_shows_it(tmp_path: Path, value: Any, text: str) -> None:
    [row] = rows({"given": value})
    ctx = Shown(tmp_path, "Read {{ given }}.", answer=lambda *_: "ok")
    await results(generate.run(row, generate.Config(step="generate", model="m", prompt="ask"), ctx))
    assert asked(ctx) == [f"Read {text}."]


TALK = {"step": "converse", "model": "m", "prompt": "ask", "with": "n", "with_prompt": "ask", "turns": 1}


@through("converse")
async def test_converse_shows_it_to_both(tmp_path: Path, value: Any, text: str) -> None:
    [row] = rows({"given": value})
    ctx = Shown(tmp_path, "Read {{ given }}.", answer=lambda *_: "ok")
    await results(converse.run(row, converse.Config.model_validate(TALK), ctx))
    assert asked(ctx) == [f"Read {text}."] * 2


@valued
async def test_worked_examples_show_it_and_are_found_by_it(tmp_path: Path, value: Any, text: str) -> None:
    [row, twin, other] = rows({"instruction": value}, {"instruction": value}, {"instruction": "y"})
    ctx = Shown(tmp_path, "{% for e in examples %}{{ e.instruction }}{% endfor %}", tables={"t": [twin, other]})
    for choose in ("first", "nearest"):
        wanted = few_shot.Examples.model_validate({"table": "t", "count": 1, "choose": choose})
        assert [each["instruction"] for each in few_shot.choose_examples(wanted, row, 0, ctx)] == ["y"]
    assert content(ctx.render("ask", {"examples": [twin]})) == text


@through("check")
async def test_check_reads_it_and_compares_with_it(value: Any, text: str) -> None:
    exact = check.Config(step="check", answer="exact")
    [row] = rows({"response": value, "reference": value})
    found = await check.run(row, exact, FakeContext())
    assert found["correct"] is True
    assert (await check.run(row | {"response": text}, exact, FakeContext()))["correct"] is True
    assert (await check.run(row | {"response": "nothing of it"}, exact, FakeContext()))["correct"] is False


@through("judge")
async def test_judge_shows_it(tmp_path: Path, value: Any, text: str) -> None:
    [row] = rows({"response": value, "other": "b"})
    ctx = Shown(tmp_path, "{{ candidate }}", answer=lambda *_: "quality: 7")
    await judge.run(row, config_of("judge", {"mode": "scale", "models": ["m"]}), ctx)
    assert asked(ctx) == [text]
    ctx = Shown(tmp_path, "{{ candidate_1 }}/{{ candidate_2 }}", answer=lambda *_: "Answer 1: 7\nAnswer 2: 6")
    pairwise = config_of("judge", {"mode": "pairwise", "models": ["m"], "a": "response", "b": "other"})
    await judge.run(row, pairwise, ctx)
    assert asked(ctx) == [f"{text}/b", f"b/{text}"]


@through("score")
async def test_score_scores_it(value: Any, text: str) -> None:
    [row] = rows({"instruction": "x", "response": value})
    ctx = FakeContext()
    with pytest.raises(Exception, match="cannot score"):
        await score.run(row, score.Config(step="score", model="m"), ctx)
    assert text in asked(ctx)


@through("pair")
async def test_pair_pairs_it(value: Any, text: str) -> None:
    [row] = rows({"instruction": "x", "good": value, "bad": "zzzz"})
    columns = pair.Config(step="pair", better="good", worse="bad")
    [found] = await outcomes(pair, [row], columns, FakeContext())
    assert (found["better"], found["worse"]) == (text, "zzzz")
    group = rows({"q": value, "response": "zzzz", "rate": 2}, {"q": value, "response": value, "rate": 1})
    ranked = pair.Config(step="pair", per="q", rank="rate")
    found, dropped = await outcomes(pair, group, ranked, FakeContext())
    assert (found["worse"], dropped.reason) == (text, "the worse side of a pair")


@through("select")
async def test_select_groups_and_measures_by_it(value: Any, text: str) -> None:
    table = rows({"q": value, "a": value}, {"q": value, "a": "x" * 99}, {"q": text, "a": "y"})
    first = config_of("select", {"per": "q", "best": 1})
    assert [row["id"] for row in await outcomes(select, table, first, FakeContext()) if isinstance(row, Row)] == ["r0"]
    longest = config_of("select", {"per": "q", "best": 1, "by": "longest", "column": "a"})
    kept = [row["id"] for row in await outcomes(select, table[:2], longest, FakeContext()) if isinstance(row, Row)]
    assert kept == ["r1"]
    ctx = FakeContext(tables={"t": [Row({"id": "n", "instruction": value})]})
    retrieve = config_of("select", {"by": "retrieve", "index": "t", "own": True})
    [found] = await outcomes(select, rows({"instruction": text}), retrieve, ctx)
    assert [each["id"] for each in found["retrieved"]] == ["n"]


@through("filter")
async def test_filter_compares_it(value: Any, text: str) -> None:
    [row] = rows({"instruction": f"Is it {text} or not, my dear friend?", "reference": value})
    leaky = config_of("filter", {"leaks": {"answer": "reference", "in": "instruction"}})
    assert await filter.run(row, leaky, FakeContext()) == Dropped(row, "answer leaked")
    novel = config_of("filter", {"novelty": {"column": "q", "max": 0.9}})
    first, second = [o async for o in filter.run_table(rows({"q": value}, {"q": text}), novel, FakeContext())]
    assert isinstance(first, Row)
    assert isinstance(second, Dropped)
    share = config_of("filter", {"share": {"of": "s", "max": 0.5}})
    one, two, _ = [o async for o in filter.run_table(rows({"s": value}, {"s": text}, {"s": "z"}), share, FakeContext())]
    assert isinstance(one, Row)
    assert isinstance(two, Dropped)


@through("mix")
async def test_mix_and_evaluate_name_a_domain_alike(value: Any, text: str) -> None:
    judged = rows({"kind": value, "correct": True, "answer": "1", "finish_reason": "stop"})
    found = accuracy(judged, ["kind"])
    assert list(found["slices"]["kind"]) == [text]
    ctx = FakeContext(tables={"t": rows({"kind": value})})
    ctx.recorded["evaluations"] = [{"model": m, "table": "dev", **found} for m in ("big", "small")]
    gap = {"by": "kind", "teacher": "big", "student": "small", "on": "dev"}
    config = mix.Config.model_validate({"step": "mix", "tables": {"t": 1}, "rows": 1, "gap": gap})
    assert [row["kind"] for row in await outcomes(mix, [], config, ctx)] == [value]


@through("evaluate")
async def test_evaluate_asks_with_it_and_compares_with_it(tmp_path: Path, value: Any, text: str) -> None:
    ctx = Shown(tmp_path, "Say {{ reference }}", answer=lambda model, messages, _: messages[0]["content"][4:])
    config = evaluate.Config(step="evaluate", models=["m"], answer="exact")
    [found] = await outcomes(evaluate, rows({"reference": value}), config, ctx)
    assert (found["response"], found["correct"]) == (text, True)


@through("split")
async def test_expressions_turn_it_into_text_and_split_by_it(value: Any, text: str) -> None:
    assert expressions.evaluate("text(x)", {"x": value}) == text
    config = split.Config(step="split", outputs={"same": "text(x) == y"})
    [(name, _)] = await outcomes(split, rows({"x": value, "y": text}), config, FakeContext())
    assert name == "same"


@through("map")
async def test_map_fills_it_in_groups_by_it_and_gathers_it(value: Any, text: str) -> None:
    written = {"told": "It is {{ x }}.", "same": {"expr": "text(x) == y"}}
    config = config_of("map", {"set": written})
    [found] = await results(map_step.run(rows({"x": value, "y": text})[0], config, FakeContext()))
    assert (found["told"], found["same"], found["x"]) == (f"It is {text}.", True, value)
    each = config_of("map", {"each": "[x, 'b']", "as": "item", "set": {"said": "<{{ item }}>"}})
    first, _ = await results(map_step.run(rows({"x": value})[0], each, FakeContext()))
    assert (first["item"], first["said"]) == (value, f"<{text}>")
    table = rows({"x": value, "y": 1}, {"x": text, "y": 2}, {"x": "other", "y": 3})
    grouped = config_of("map", {"per": "x", "gather": {"ys": "y"}})
    found = [outcome async for outcome in map_step.run_table(table, grouped, FakeContext())]
    kept = [row["ys"] for row in found if isinstance(row, Row)]
    assert kept == [[1, 2], [3]]


@through("train")
async def test_train_hands_over_the_row_and_the_student_is_taught_it(tmp_path: Path, value: Any, text: str) -> None:
    ctx, table = FakeContext(), rows({"instruction": value, "response": value, "beside": value})
    config = train.Config.model_validate({"step": "train", "model": "student"})
    assert await outcomes(train, table, config, ctx) == table
    [first] = rows_of(write_dataset(tmp_path, table, "sft"))
    assert (content(first["prompt"]), content(first["completion"])) == (text, text)
    assert first["beside"] == (value if isinstance(value, int | float) else text)
    as_parquet = list(read(TableSource(path="train.parquet"), tmp_path))
    assert as_parquet[0]["beside"] == first["beside"]


@through("benchmark")
async def test_benchmark_passes_it_on(value: Any, text: str) -> None:
    table = rows({"instruction": value})
    assert await outcomes(benchmark, table, BENCHMARK, FakeContext()) == table


@valued
def test_prompts_write_it(tmp_path: Path, value: Any, text: str) -> None:
    def said(template: str) -> str:
        (tmp_path / "p.jinja").write_text(template)
        return content(Prompt("p", tmp_path / "p.jinja").render({"x": value, "xs": [{"x": value}, {"x": "b"}]}))

    assert said("{{ x }}") == text
    assert said("{{ 'It is ' ~ x }}") == f"It is {text}"
    assert said("{{ x | string }}{{ x | trim }}") == text * 2
    assert said("{{ x | replace('q', 'z') }}") == text
    assert said("{{ 'It is %s' | format(x) }}") == f"It is {text}"
    assert said("{{ xs | join(', ', attribute='x') }}") == f"{text}, b"
    assert said("{{ xs | map(attribute='x') | join(', ') }}") == f"{text}, b"
    assert said("{{ x | tojson }}") == text
    assert said("{{ xs | map(attribute='x') }}") == f'[{text}, "b"]'
    assert said("{% set y = x %}{% macro m(v) %}<{{ v }}>{% endmacro %}{{ m(y) }}") == f"<{text}>"


@valued
def test_a_prompt_that_must_not_hold_it_is_found_to_hold_it(value: Any, text: str) -> None:
    assert all(leakage.holds(f"Read {text} now", part) for part in leakage.list_texts(value))


@valued
def test_rows_of_others_are_taught_it(tmp_path: Path, value: Any, text: str) -> None:
    table = rows({"instruction": "x", "response": value}, {"instruction": "y", "response": "z"})
    first, _ = rows_of(write_dataset(tmp_path, table, "sft"))
    assert content(first["completion"]) == text


def test_a_null_is_null_in_a_prompt_and_nothing_where_a_text_is_needed(tmp_path: Path) -> None:
    (tmp_path / "p.jinja").write_text("{{ x }}, {{ [x, 1] }}")
    assert content(Prompt("p", tmp_path / "p.jinja").render({"x": None})) == "null, [null, 1]"
    assert expressions.evaluate("text(x) if x is not None else '-'", {"x": None}) == "-"


async def null_in_check() -> Any:
    [row] = rows({"response": None, "reference": "none"})
    found = await check.run(row, check.Config(step="check", answer="exact"), FakeContext())
    return found["answer"], found["correct"]


async def null_in_evaluate() -> Any:
    ctx = FakeContext(answer=lambda *_: "null")
    config = evaluate.Config(step="evaluate", models=["m"], answer="exact", by=["kind"])
    [found] = await outcomes(evaluate, rows({"reference": "null", "kind": None}), config, ctx)
    [entry] = ctx.recorded["evaluations"]
    return found["response"], found["correct"], list(entry["slices"]["kind"])


async def null_in_filter() -> Any:
    leaky = config_of("filter", {"leaks": {"answer": "reference", "in": "instruction"}})
    [row] = rows({"instruction": "It is null.", "reference": None})
    novel = config_of("filter", {"novelty": {"column": "q"}})
    [failed] = [outcome async for outcome in filter.run_table(rows({"q": None}), novel, FakeContext())]
    return await filter.run(row, leaky, FakeContext()) == row, failed.kind


async def null_in_format() -> Any:
    [row] = rows({"response": None})
    [found] = await results(format_step.run(row, format_step.Config(step="format"), FakeContext()))
    return found.reason


async def null_in_generate() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        ctx = Shown(Path(folder), "Read {{ given }}.", answer=lambda *_: "ok")
        config = generate.Config(step="generate", model="m", prompt="ask")
        await results(generate.run(rows({"given": None})[0], config, ctx))
    return asked(ctx)


async def null_in_judge() -> Any:
    with pytest.raises(ValueError, match="nothing to judge") as caught:
        await judge.run(
            rows({"response": None})[0], config_of("judge", {"mode": "scale", "models": ["m"]}), FakeContext()
        )
    return "nothing to judge" in str(caught.value)


async def null_in_map() -> Any:
    config = config_of("map", {"set": {"told": "It is {{ x }}.", "none": {"expr": "x is None"}}})
    [found] = await results(map_step.run(rows({"x": None})[0], config, FakeContext()))
    return found["told"], found["none"]


async def null_in_mix() -> Any:
    ctx = FakeContext(tables={"t": rows({"kind": None})})
    config = mix.Config.model_validate({"step": "mix", "tables": {"t": 1}, "rows": 1})
    return [row["kind"] for row in await outcomes(mix, [], config, ctx)]


async def null_in_pair() -> Any:
    [found] = await outcomes(
        pair, rows({"a": None, "b": "b"}), pair.Config(step="pair", better="a", worse="b"), FakeContext()
    )
    return found.reason


async def null_in_score() -> Any:
    found = await score.run(rows({"response": None})[0], score.Config(step="score", model="m"), FakeContext())
    return found.kind  # type: ignore[union-attr]


async def null_in_select() -> Any:
    tables = {"t": rows({"instruction": "a"})}
    retrieve = config_of("select", {"by": "retrieve", "index": "t"})
    [found] = await outcomes(select, rows({"instruction": None}), retrieve, FakeContext(tables=tables))
    return found["retrieved"]


async def null_in_split() -> Any:
    config = split.Config(step="split", outputs={"none": "x is None", "some": "x is not None"})
    [(name, _)] = await outcomes(split, rows({"x": None}), config, FakeContext())
    return name


async def null_in_train() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        table = rows({"instruction": "a", "response": None}, {"instruction": "b", "response": "c", "beside": None})
        found = [row["beside"] for row in rows_of(write_dataset(Path(folder), table, "sft"))]
        return found, dict(count_left_out(Path(folder)))


async def null_in_benchmark() -> Any:
    return await outcomes(benchmark, rows({"instruction": None}), BENCHMARK, FakeContext())


async def null_in_converse() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        ctx = Shown(Path(folder), "Read {{ given }}.", answer=lambda *_: "ok")
        await results(converse.run(*rows({"given": None}), converse.Config.model_validate(TALK), ctx))
        return asked(ctx)


NULLS: dict[str, tuple[Callable[[], Awaitable[Any]], Any]] = {
    "benchmark": (null_in_benchmark, rows({"instruction": None})),
    "check": (null_in_check, (None, False)),
    "converse": (null_in_converse, ["Read null."] * 2),
    "evaluate": (null_in_evaluate, ("null", True, ["null"])),
    "filter": (null_in_filter, (True, "data")),
    "format": (null_in_format, "empty completion"),
    "generate": (null_in_generate, ["Read null."]),
    "judge": (null_in_judge, True),
    "map": (null_in_map, ("It is null.", True)),
    "mix": (null_in_mix, [None]),
    "pair": (null_in_pair, "empty text"),
    "score": (null_in_score, "empty"),
    "select": (null_in_select, []),
    "split": (null_in_split, "none"),
    "train": (null_in_train, ([None], {"column 'response' is empty": 1})),
}
"""What each step makes of a null: nothing where a text is needed, and `null` where it is shown."""


@pytest.mark.parametrize("step", NULLS)
async def test_a_null_is_null_where_it_is_shown_and_nothing_where_a_text_is_needed(step: str) -> None:
    send, wanted = NULLS[step]
    assert await send() == wanted


def test_what_json_has_no_form_for_is_null_or_text(tmp_path: Path) -> None:
    (tmp_path / "p.jinja").write_text("{{ [x, 1.5] }} {{ {'a': x} }}")
    values = {"x": float("nan")}
    assert content(Prompt("p", tmp_path / "p.jinja").render(values)) == '[null, 1.5] {"a": null}'
