import json
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from blackbox_kd.errors import DataError, RecipeError
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.notes import Notes
from blackbox_kd.sandbox.functions import Group
from blackbox_kd.schema import Dropped, Failed, Outcome, Row
from blackbox_kd.steps import map as map_step
from tests.support.fakes import FakeContext, FakeTable, rows
from tests.support.runs import execute, rows_of, write_rows
from tests.support.steps import config_of, messages_of


async def mapped(row: Mapping[str, Any], **fields: Any) -> list[Outcome]:
    return [each async for each in map_step.run(Row({"id": "r", **row}), config_of("map", fields), FakeContext())]


async def one(row: Mapping[str, Any], **fields: Any) -> Any:
    [found] = await mapped(row, **fields)
    return found


async def grouped(table: list[Row], **fields: Any) -> list[Outcome]:
    run = map_step.run_table(FakeTable("t", table), config_of("map", fields), FakeContext())
    return [each async for each in run]


async def test_a_text_with_braces_is_filled_in_and_one_without_is_a_constant() -> None:
    values = {"label": "{{ raw | lower | trim }}", "source": "tickets", "size": {"expr": "len(raw)"}, "open": True}
    assert await one({"raw": " YES "}, set=values) == {
        "id": "r", "raw": " YES ", "label": "yes", "source": "tickets", "size": 5, "open": True,
    }  # fmt: skip


async def test_a_template_keeps_its_blanks_and_lines() -> None:
    assert (await one({"a": "x"}, set={"b": " {{ a }}\n"}))["b"] == " x\n"


async def test_what_is_set_sees_what_was_set_before_it() -> None:
    assert (await one({"n": 2}, set={"twice": {"expr": "n * 2"}, "told": "{{ twice }} of {{ n }}"}))["told"] == "4 of 2"


async def test_columns_are_removed_in_the_end() -> None:
    assert await one({"raw": "a", "x": 1}, set={"b": "{{ raw }}"}, remove=["raw", "x"]) == {"id": "r", "b": "a"}


async def test_an_object_in_a_template_is_json() -> None:
    assert (await one({"made": {"total": None, "paid": True}}, set={"t": "{{ made }}"}))["t"] == (
        '{"total": null, "paid": true}'
    )


async def test_each_item_becomes_a_row_with_an_id_of_its_own() -> None:
    found = await mapped({"q": "one?\n\n two? "}, each="lines(q)", **{"as": "question", "number": "at"}, before="old")
    made = {"q": "one?\n\n two? ", "parent": "r", "seed_id": "r"}
    assert found == [
        made | {"id": "r.question1", "question": "one?", "at": 1, "old": []},
        made | {"id": "r.question2", "question": "two?", "at": 2, "old": ["one?"]},
    ]


async def test_the_seed_of_a_row_that_was_made_of_another_stays() -> None:
    assert (await one({"q": "a", "seed_id": "s"}, each="lines(q)", **{"as": "line"}))["seed_id"] == "s"


async def test_what_is_set_sees_the_item_and_each_item_fails_by_itself() -> None:
    found = await mapped(
        {"q": "1\nx\n3"}, each="lines(q)", **{"as": "line", "set": {"n": {"expr": "number(line) + 1"}}}
    )
    assert [each["n"] if isinstance(each, Row) else (each.row.id, each.kind) for each in found] == [
        2, ("r.line2", "data"), 4,
    ]  # fmt: skip
    assert isinstance(found[1], Failed)
    assert "'x' is no number" in found[1].error


async def test_a_row_without_items_is_dropped_and_says_so() -> None:
    assert await one({"q": " \n"}, each="lines(q)", **{"as": "line"}) == Dropped(
        Row({"id": "r", "q": " \n"}), "no items"
    )


@pytest.mark.parametrize("raw", ["{not json", '{"a": 1}', "7"])
async def test_what_is_no_list_or_no_json_fails_the_row(raw: str) -> None:
    with pytest.raises(DataError, match=r"takes JSON, got|which is no list"):
        await mapped({"raw": raw}, each="json(raw)", **{"as": "item"})


async def test_each_turn_of_the_assistant_has_its_history() -> None:
    says = [{"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"))]
    messages = [*says, {"role": "assistant", "content": "d"}]
    found = await mapped({"messages": messages}, each="turns(messages)", **{"as": "turn"}, remove=["messages"])
    assert [each["turn"] for each in found if isinstance(each, Row)] == [
        {"history": messages[:1], "answer": "b", "position": 1},
        {"history": messages[:3], "answer": "d", "position": 2},
    ]


# Groups.

GRADES = [
    {"task": "a", "score": 3, "correct": True, "answer": "x"},
    {"task": "b", "score": 9, "correct": False, "answer": "z"},
    {"task": "a", "score": 5, "correct": False, "answer": "y"},
    {"task": "a", "score": 1, "correct": True, "answer": "y"},
]


async def test_a_row_is_told_about_its_group() -> None:
    asked = (
        "mean(correct)",
        "rank(score)",
        "count()",
        "count(correct)",
        "total(score)",
        "most(answer)",
        "score - mean(score)",
    )
    values = {f"v{number}": {"expr": text} for number, text in enumerate(asked)}
    found = await grouped(rows(*GRADES), per="task", set=values)
    assert [[each[f"v{number}"] for number in range(7)] for each in found if isinstance(each, Row)] == [
        [2 / 3, 2, 3, 2, 9, "y", 0],
        [0.0, 1, 1, 0, 9, "z", 0],
        [2 / 3, 1, 3, 2, 9, "y", 2],
        [2 / 3, 3, 3, 2, 9, "y", -2],
    ]


async def test_the_first_of_each_group_stays_and_the_others_are_named() -> None:
    found = await grouped(rows(*GRADES), per="task", keep="first")
    assert [each.id for each in found if isinstance(each, Row)] == ["r0", "r1"]
    assert [each.row.id for each in found if isinstance(each, Dropped)] == ["r2", "r3"]


async def test_one_row_of_a_group_holds_what_its_rows_have() -> None:
    found = await grouped(rows(*GRADES), per="task", gather={"answers": "answer"})
    assert [each["answers"] for each in found if isinstance(each, Row)] == [["x", "y", "y"], ["z"]]


async def test_gathering_is_the_inverse_of_each() -> None:
    made = [each for each in await mapped({"q": "a\nb"}, each="lines(q)", **{"as": "line"}) if isinstance(each, Row)]
    found = await grouped(made, per="parent", gather={"lines": "line"})
    assert [each["lines"] for each in found if isinstance(each, Row)] == [["a", "b"]]


async def test_what_is_asked_of_a_group_can_be_asked_of_what_was_set_before_it() -> None:
    values = {"twice": {"expr": "score * 2"}, "rate": {"expr": "mean(twice)"}, "most": {"expr": "most(rate > 9)"}}
    found = await grouped(rows(*GRADES), per="task", set=values)
    assert [(each["rate"], each["most"]) for each in found if isinstance(each, Row)] == [
        (6.0, False), (18.0, True), (6.0, False), (6.0, False),
    ]  # fmt: skip


async def test_what_is_asked_within_what_is_asked_is_of_the_same_group() -> None:
    found = await grouped(rows(*GRADES), per="task", set={"off": {"expr": "total(abs(score - mean(score)))"}})
    assert [each["off"] for each in found if isinstance(each, Row)] == [4, 0, 4, 4]


async def test_a_row_that_fails_does_so_alone_and_is_no_longer_of_its_group() -> None:
    table = rows(*GRADES, {"task": "a", "score": "many", "correct": True, "answer": "y"})
    values = {"n": {"expr": "number(score)"}, "best": {"expr": "rank(n)"}}
    found = await grouped(table, per="task", set=values)
    assert [each["best"] if isinstance(each, Row) else type(each) for each in found] == [2, 1, 1, 3, Failed]


async def test_a_row_without_the_column_of_groups_fails_alone() -> None:
    found = await grouped(rows({"task": "a"}, {"other": 1}), per="task", set={"n": {"expr": "count()"}})
    assert [type(each) for each in found] == [Row, Failed]


def test_each_row_of_a_group_is_asked_once_whoever_asks_and_an_error_is_the_same_for_all() -> None:
    asked: list[int] = []

    def tell(row: Mapping[str, Any]) -> int:
        asked.append(row["n"])
        return 6 // int(row["n"])

    assert isinstance(tell, FunctionType)
    group = Group([{"n": 1}, {"n": 2}])
    assert [group.ask("total", tell), group.ask("total", tell), group.ask("rank", tell)] == [9, 9, [3, 6]]
    assert asked == [1, 2, 1, 2]
    broken = Group([{"n": 0}, {"n": 1}])
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            broken.ask("mean", tell)
    assert asked[4:] == [0]


async def test_a_text_is_not_counted_as_true() -> None:
    [found] = await grouped(rows({"task": "a", "flag": "false"}), per="task", set={"n": {"expr": "count(flag)"}})
    assert isinstance(found, Failed)
    assert "count() takes what is true or false, got 'false'" in found.error
    [found] = await grouped(rows({"task": "a", "flag": "no"}), per="task", set={"n": {"expr": "count(flag == 'yes')"}})
    assert isinstance(found, Row)
    assert found["n"] == 0


async def test_lists_of_what_came_before_have_a_limit() -> None:
    with pytest.raises(DataError, match="before: 2,000 items would be more than 1,000,000"):
        await mapped({"q": "a\n" * 2000}, each="lines(q)", **{"as": "line"}, before="old")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"remove": ["id"]}, "takes away 'id', which names the row"),
        ({}, "give set:, each:, redact: or remove:"),
        ({"per": "a"}, "give set:, keep: first or gather:"),
        ({"each": "lines(a)"}, "add as: COLUMN"),
        ({"as": "a", "set": {"b": "x"}}, "as: means nothing without each:"),
        ({"number": "a", "remove": ["b"]}, "number: means nothing without each:"),
        ({"set": {"b": "x"}, "remove": ["b"]}, "takes away 'b', which set: writes"),
        ({"per": "a", "keep": "last"}, "keep"),
        ({"set": {"b": {"expression": "x"}}}, "expression"),
        ({"set": {"b": "x"}, "gather": {"c": "d"}}, "gather: means nothing with set:"),
    ],
)
def test_fields_that_do_not_go_together_are_told(fields: dict[str, Any], said: str) -> None:
    assert any(said in message for message in messages_of("map", fields))


# In a recipe.


def problems(folder: Path, *steps: Mapping[str, Any], prompts: Mapping[str, str] | None = None) -> str:
    for name in ("train", "test"):
        table = [{"instruction": f"{name} {n}?", "reference": str(n), "raw": "A"} for n in range(3)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    (folder / "prompts").mkdir(exist_ok=True)
    for name, text in (prompts or {}).items():
        (folder / f"prompts/{name}.jinja").write_text(text)
    values = {
        "name": "m",
        "data": {"train": {"path": "train.jsonl"}, "test": {"path": "test.jsonl", "held_out": True}},
        "models": {"teacher": {"provider": "scripted"}, "student": {"provider": "transformers", "model": "a/b"}},
        "steps": steps,
    }
    (folder / "recipe.yaml").write_text(json.dumps(values))
    try:
        load_recipe(folder / "recipe.yaml")
    except RecipeError as error:
        return "\n".join(f"{each.message} {each.fix}" for each in error.problems if "by no step" not in each.message)
    return ""


MAP = {"step": "map"}
TRAINED = [{"step": "generate", "model": "teacher", "prompt": "student/plain"}, {"step": "format", "prompt": "seen"}]


@pytest.mark.parametrize(
    "made",
    [
        {"set": {"q": "{{ instruction }} ({{ reference }})"}},
        {"set": {"q": {"expr": "text(reference)"}}},
        {"set": {"other": "{{ reference }}", "q": "{{ other }}!"}},
        {"each": "lines(reference)", "as": "q"},
        {"each": "lines(reference)", "as": "line", "set": {"q": "{{ line }}"}},
        {"per": "instruction", "gather": {"q": "reference"}},
        {"per": "instruction", "set": {"q": {"expr": "most(reference)"}}},
        {"set": {"q": "{{ reference | default('') }}"}},
        {"set": {"q": "{% if reference == '1' %}a{% endif %}"}},
        {"set": {"q": "{% if raw == 'z' %}{% set reference = 1 %}{% endif %}{{ reference }}"}},
        {"set": {"q": "{% macro m() %}{{ reference }}{% endmacro %}{{ m() }}"}},
        {"set": {"range": "{{ reference }}", "q": "{{ range }}"}},
        {"set": {"q": {"expr": "column('reference')"}}},
        {"each": "lines(reference)", "as": "line", "before": "q"},
    ],
)
def test_what_is_made_of_the_right_answer_is_as_secret_as_the_answer(tmp_path: Path, made: dict[str, Any]) -> None:
    train = [{**MAP, **made}, *TRAINED, {"step": "train", "model": "student"}]
    said = problems(tmp_path, *train, prompts={"seen": "{{ q }}"})
    assert "shows the student 'q', which holds the right answer: steps[0] (map) makes it of" in said


@pytest.mark.parametrize("name", ["q", "range", "dict"])
@pytest.mark.parametrize(
    "shown", ["{{ %s }}", "{{ raw }}{{ %s | default('') }}", "{%% if %s is defined %%}a{%% endif %%}"]
)
def test_a_prompt_shows_what_it_only_may_read_and_what_is_named_as_a_function(
    tmp_path: Path, name: str, shown: str
) -> None:
    train = [{**MAP, "set": {name: "{{ reference }}"}}, *TRAINED, {"step": "train", "model": "student"}]
    said = problems(tmp_path, *train, prompts={"seen": shown % name})
    assert f"shows the student {name!r}, which holds the right answer" in said


@pytest.mark.parametrize(
    "text",
    ["{% include 'seen.jinja' %}", "{% extends raw %}", "{% from 'seen.jinja' import x with context %}{{ x() }}"],
)
def test_a_template_that_takes_in_another_is_told(tmp_path: Path, text: str) -> None:
    assert "takes in another template" in problems(tmp_path, {**MAP, "set": {"q": text}}, prompts={"seen": "a"})


@pytest.mark.parametrize("each", ["raw", "len(raw)", "lower(instruction)"])
def test_what_is_no_list_in_any_row_is_told(tmp_path: Path, each: str) -> None:
    said = problems(tmp_path, {**MAP, "each": each, "as": "item"})
    assert "must be a list" in said
    assert "lines(...)" in said


def test_a_list_that_is_the_same_for_every_row_is_told_with_what_is_written_in_its_place(tmp_path: Path) -> None:
    assert "each: lines(COLUMN)" in problems(tmp_path, {**MAP, "each": "['a', 'b']", "as": "item"})


@pytest.mark.parametrize("each", ["lines(raw)", "json(raw)", "split(raw, ',')", "[raw, instruction]", "turns(raw)"])
def test_what_may_be_a_list_is_not_told(tmp_path: Path, each: str) -> None:
    assert problems(tmp_path, {**MAP, "each": each, "as": "item"}) == ""


def test_what_is_made_on_the_way_may_be_taken_away(tmp_path: Path) -> None:
    made = {**MAP, "each": "turns(raw)", "as": "turn", "number": "n", "set": {"old": {"expr": "turn['history']"}}}
    away = {**made, "remove": ["turn", "n", "raw", "parent"]}
    assert problems(tmp_path, away, {**MAP, "set": {"b": {"expr": "len(old)"}}}) == ""
    assert "uses 'turn', which no earlier step writes" in problems(tmp_path, away, {**MAP, "set": {"b": "{{ turn }}"}})


@pytest.mark.parametrize(("rounds", "is_shown"), [(2, False), (3, True)])
def test_what_a_round_makes_of_what_the_round_before_made_is_as_secret(
    tmp_path: Path, rounds: int, is_shown: bool
) -> None:
    asked = {"step": "generate", "input": "pool", "model": "student", "prompt": "seen", "as": "said"}
    made = [{**MAP, "set": {"q": "{{ w }}"}}, {**MAP, "set": {"w": "{{ reference }}"}, "output": "pool"}]
    said = problems(
        tmp_path,
        {**MAP, "set": {"q": "{{ raw }}", "w": "{{ raw }}"}, "output": "pool"},
        {"loop": {"rounds": rounds, "steps": [asked, *made]}},
        {"step": "format", "input": "pool", "completion": "said"},
        {"step": "train", "model": "student"},
        prompts={"seen": "{{ q }}"},
    )
    assert ("shows the student 'q'" in said) == is_shown


def test_a_column_of_a_name_that_items_have_may_be_set(tmp_path: Path) -> None:
    assert problems(tmp_path, {**MAP, "set": {"parent": "{{ raw }}"}}, {**MAP, "set": {"a": "{{ parent }}"}}) == ""


@pytest.mark.parametrize(
    "made",
    [
        {"set": {"a": "{{ later }}", "later": "x"}},
        {"set": {"a": {"expr": "len(later)"}, "later": "x"}},
        {"set": {"later": "{{ later }}"}},
        {"each": "lines(later)", "as": "later"},
        {"each": "lines(later)", "as": "x", "set": {"later": "x"}},
        {"per": "raw", "set": {"a": {"expr": "mean(later)"}, "later": {"expr": "count()"}}},
    ],
)
def test_what_is_set_later_cannot_be_used(tmp_path: Path, made: dict[str, Any]) -> None:
    assert "uses 'later', which no earlier step writes" in problems(tmp_path, {**MAP, **made})


def test_a_template_may_ask_for_a_column_that_is_not_there(tmp_path: Path) -> None:
    assert problems(tmp_path, {**MAP, "set": {"a": "{{ hint | default('none') }}"}}) == ""


def test_what_is_made_of_other_columns_may_be_shown(tmp_path: Path) -> None:
    train = [{**MAP, "set": {"q": "{{ raw }}"}}, *TRAINED, {"step": "train", "model": "student"}]
    assert problems(tmp_path, *train, prompts={"seen": "{{ q }}"}) == ""


def test_what_is_made_of_held_out_rows_is_held_out(tmp_path: Path) -> None:
    exam = {**MAP, "input": "test", "set": {"instruction": "{{ instruction | upper }}"}, "output": "exam"}
    asked = {"step": "evaluate", "input": "exam", "models": ["teacher"], "answer": "number"}
    assert problems(tmp_path, exam, asked) == ""
    assert "table 'exam' is held out" in problems(tmp_path, exam, {"step": "format", "input": "exam"})


def test_columns_that_nobody_writes_are_told_with_the_nearest(tmp_path: Path) -> None:
    assert "uses 'rawx', which no earlier step writes. did you mean 'raw'?" in problems(
        tmp_path, {**MAP, "set": {"a": "{{ rawx }}"}}
    )
    assert "reads column 'rwa'" in problems(tmp_path, {**MAP, "remove": ["rwa"]})
    assert "uses 'raw', which no earlier step writes" in problems(
        tmp_path, {**MAP, "remove": ["raw"]}, {**MAP, "set": {"a": {"expr": "len(raw)"}}}
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{{ raw ", "template '{{ raw ' cannot be used"),
        ({"expr": "mean(raw)"}, "asks for something of a group of rows"),
        ({"expr": "nothing(raw)"}, "is not one of the functions"),
    ],
)
def test_templates_and_expressions_that_cannot_be_used_are_told(tmp_path: Path, value: Any, said: str) -> None:
    assert said in problems(tmp_path, {**MAP, "set": {"a": value}})


def test_a_run_with_items_and_groups_makes_the_rows_that_it_says(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"instruction": "a", "qs": "x\ny"}, {"instruction": "b", "qs": ""}])
    steps = [
        {**MAP, "each": "lines(qs)", "as": "q"},
        {**MAP, "per": "parent", "set": {"n": {"expr": "count()"}}},
    ]
    execute(tmp_path, {"name": "m", "data": {"train": {"path": "train.jsonl"}}, "steps": steps})
    assert [(row["q"], row["n"]) for row in rows_of(tmp_path / "run/tables/02_map.jsonl")] == [("x", 2), ("y", 2)]


async def test_personal_data_is_taken_out_of_all_columns_but_the_id_and_counted_by_kind() -> None:
    ctx = FakeContext()
    row = Row({"id": "a@b.de", "text": "a@b.de, c@d.de", "deep": {"x": ["192.168.0.1"]}, "gone": "e@f.de"})
    fields = {"set": {"copy": "of {{ text }}"}, "redact": ["email", "ip"], "remove": ["gone"]}
    [found] = [each async for each in map_step.run(row, config_of("map", fields), ctx)]
    assert found == {
        "id": "a@b.de", "text": "[email], [email]", "deep": {"x": ["[ip]"]}, "copy": "of [email], [email]",
    }  # fmt: skip
    assert ctx.counted == {"redacted email": 4, "redacted ip": 1}


@pytest.mark.parametrize(
    ("redact", "told"),
    [
        (["name"], "'name' is no kind of personal data that is known"),
        ([{"phone": ["Germany"]}], "two letters for each country"),
        ([{"email": "x"}], "'email' takes nothing"),
        ([{"order": "("}], "no regular expression of RE2's"),
    ],
)
def test_what_is_redacted_has_to_be_known(redact: list[Any], told: str) -> None:
    assert any(told in message for message in messages_of("map", {"redact": redact}))


SHOWS = {"step": "generate", "model": "teacher", "prompt": "student/plain"}
REDACTS = {"step": "map", "redact": ["email"], "output": "clean"}


def traffic(folder: Path, *steps: dict[str, Any]) -> dict[str, Any]:
    write_rows(folder / "train.jsonl", [{"instruction": "I am a@b.de."}, {"instruction": "I am c@d.de."}])
    models = {
        "teacher": {"provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"},
        "local": {"provider": "scripted", "replies": ["Hello {{ instruction }}"]},
    }
    used = {name: models[name] for name in models if any(step.get("model") == name for step in steps)}
    return {"name": "demo", "data": {"train": {"path": "train.jsonl"}}, "models": used, "steps": list(steps)}


@pytest.mark.parametrize(
    ("steps", "is_told"),
    [
        ([SHOWS, REDACTS], True),
        ([REDACTS, SHOWS], False),
        ([REDACTS, {**SHOWS, "input": "train"}], True),
        ([{"step": "filter", "keep": "len(instruction) > 3"}, SHOWS, REDACTS], True),
        ([REDACTS, {"step": "filter", "keep": "len(instruction) > 3"}, SHOWS], False),
        ([{**SHOWS, "model": "local"}, REDACTS], False),
        ([SHOWS], False),
    ],
)
def test_check_warns_of_a_prompt_that_shows_what_is_redacted_elsewhere(
    tmp_path: Path, steps: list[dict[str, Any]], is_told: bool
) -> None:
    notes = Notes()
    (tmp_path / "demo.yaml").write_text(json.dumps(traffic(tmp_path, *steps)))
    load_recipe(tmp_path / "demo.yaml", notes=notes, env={"OPENAI_API_KEY": "k"})
    told = [note.what for note in notes.list_warnings() if "personal data" in note.what]
    assert len(told) == is_told
    if told:
        assert told[0].startswith("column 'instruction' would be shown to 'teacher' with the personal data that steps[")


def test_what_is_redacted_is_in_no_request_and_in_nothing_that_is_published(tmp_path: Path) -> None:
    run = execute(tmp_path, traffic(tmp_path, REDACTS, {**SHOWS, "model": "local"}, {"step": "format"}))
    published = b"".join(file.read_bytes() for file in (tmp_path / "run/dataset").rglob("*") if file.is_file())
    assert b"a@b.de" not in published
    assert b"Hello I am [email]." in published
    assert b"--set data.train.path=FILE" in published
    assert run.report["funnel"][0]["counts"] == {"redacted email": 2}
    assert "personal data replaced: email 2" in (tmp_path / "run/report.md").read_text()


def test_the_text_of_a_file_is_a_constant_that_stays_with_the_recipe(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"q": 1}, {"q": 2}])
    (tmp_path / "rule.md").write_text("Say {{ yes }} or no.\n")
    values = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "steps": [{"step": "map", "per": "q", "set": {"rule": {"file": "rule.md"}, "n": 1}}],
    }
    execute(tmp_path, json.loads(json.dumps(values)))
    [table] = (tmp_path / "run/tables").glob("*map*.jsonl")
    assert [row["rule"] for row in rows_of(table)] == ["Say {{ yes }} or no.\n"] * 2
    assert "Say {{ yes }} or no." in (tmp_path / "run/recipe.yaml").read_text()
    (tmp_path / "rule.md").write_text("Say maybe.\n")
    execute(tmp_path, json.loads(json.dumps(values)))
    assert [row["rule"] for row in rows_of(table)] == ["Say maybe.\n"] * 2, "another text is another step"


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("nowhere.md", "there is no file 'nowhere.md' beside the recipe"),
        ("../x.md", "lies outside of the recipe's folder"),
    ],
)
def test_a_file_that_is_not_beside_the_recipe_is_told(tmp_path: Path, file: str, told: str) -> None:
    steps = [{"step": "map", "set": {"rule": {"file": file}}}]
    with pytest.raises(RecipeError, match="steps\\[0\\] \\(map\\): set: ") as error:
        execute(tmp_path, {"name": "demo", "data": {"train": {"path": "train.jsonl"}}, "steps": steps})
    assert told in str(error.value)
