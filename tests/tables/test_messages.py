"""Messages that hold more than text: from every way in to TRL's columns, to the data set on disk, and back."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blackbox_kd import messages
from blackbox_kd.errors import DataError
from blackbox_kd.runs.dataset import write_dataset
from blackbox_kd.schema import Row
from blackbox_kd.tables.conversion import convert
from blackbox_kd.tables.formats import ASKED, SHAPES, THOUGHT, UNUSABLE, recognise
from blackbox_kd.tables.sources import TableSource, make_rows, read
from tests.support import mask_table
from tests.support.runs import rows_of


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def call(name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(name: str, *parameters: str) -> dict[str, Any]:
    properties = {each: {"type": "string"} for each in parameters}
    schema = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": schema}}


CALL = {**assistant(""), "reasoning_content": "I look.", "tool_calls": [call("weather", '{"city": "Oslo"}')]}
RESULT = {"role": "tool", "content": '{"degrees": -3}', "tool_call_id": "call_weather", "name": "weather"}
ANSWER = {**assistant("It is -3 °C."), "reasoning_content": "So say it."}
TOOLS = [tool("weather", "city"), tool("time", "zone")]
CONVERSATION = [{"role": "system", "content": "Be brief."}, user("How cold is Oslo?"), CALL, RESULT, ANSWER]
TAUGHT = {"prompt": CONVERSATION[:4], "completion": [ANSWER], "tools": json.dumps(TOOLS)}
PLAIN = [user("1 + 1?"), assistant("2")]


def opened(message: dict[str, Any]) -> dict[str, Any]:
    """A message as data sets of Hugging Face have it: arguments as objects, the text of a call null."""
    found = messages.open_arguments(message)
    return {**found, "content": message["content"] or None}


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path = path.with_suffix(".jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path.name


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> str:
    pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet").name


def write_csv(path: Path, rows: list[dict[str, Any]]) -> str:
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({name: json.dumps(value) for name, value in row.items()} for row in rows)
    return path.with_suffix(".csv").name


def load(folder: Path, name: str) -> list[Row]:
    return list(make_rows(read(TableSource(path=name), folder), {}))


WAYS = {"jsonl": write_jsonl, "parquet": write_parquet, "csv": write_csv}
FORMS = {
    "text of arguments": ("messages", CONVERSATION, TOOLS),
    "objects of arguments": ("messages", [opened(message) for message in CONVERSATION], TOOLS),
    "own_bare functions": ("messages", CONVERSATION, [each["function"] for each in TOOLS]),
    "own_ShareGPT": (
        "conversations",
        [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "How cold is Oslo?"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Oslo"}}'},
            {"from": "observation", "value": '{"degrees": -3}'},
            {"from": "gpt", "value": "It is -3 °C."},
        ],
        TOOLS,
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", FORMS)
def test_a_conversation_with_tools_comes_from_every_file_to_trls_columns_and_back(
    tmp_path: Path, form: str, way: str
) -> None:
    column, turns, tools = FORMS[form]
    plain = [{"from": "human", "value": "1 + 1?"}, {"from": "gpt", "value": "2"}] if form == "own_ShareGPT" else PLAIN
    name = WAYS[way](tmp_path / "in", [{column: turns, "tools": tools}, {column: plain, "tools": []}])
    [rich, bare] = load(tmp_path, name)
    wanted = TAUGHT
    if form == "own_ShareGPT":
        lacking = ("id", "reasoning_content", "tool_call_id", "name")
        without = [{key: value for key, value in each.items() if key not in lacking} for each in CONVERSATION]
        bare_call = {name: value for name, value in CALL["tool_calls"][0].items() if name != "id"}
        without[2]["tool_calls"] = [bare_call]
        wanted = {**TAUGHT, "prompt": without[:4], "completion": without[4:]}
    assert convert(rich, recognise(rich)) == wanted
    assert convert(bare, recognise(bare)) == {"prompt": PLAIN[:1], "completion": PLAIN[1:]}
    lines = rows_of(write_dataset(tmp_path / "dataset", [rich, bare]))
    assert [{key: line[key] for key in wanted} for line in lines[:1]] == [wanted]
    for file in ("train.jsonl", "train.parquet"):
        again = load(tmp_path / "dataset", file)
        assert [convert(row, "completion") for row in again] == [
            wanted,
            {"prompt": PLAIN[:1], "completion": PLAIN[1:]},
        ]


def test_rows_in_memory_have_no_keys_that_parquet_made_up_and_their_ids_stay(tmp_path: Path) -> None:
    name = write_parquet(tmp_path / "in", [{"messages": CONVERSATION, "tools": TOOLS}])
    [row] = load(tmp_path, name)
    assert row["messages"] == CONVERSATION
    assert row["tools"] == TOOLS
    [raw] = read(TableSource(path=name), tmp_path)
    assert set(raw["messages"][0]) > {"role", "content"}
    assert {"id": row.id, **raw} == {"id": next(make_rows([raw], {})).id, **raw}


def test_an_object_that_is_no_message_and_no_tool_keeps_its_nulls(tmp_path: Path) -> None:
    people = [{"name": "Ann", "age": None}]
    [row] = make_rows([{"people": people, "invoice": {"note": None}}], {})
    assert (row["people"], row["invoice"]) == (people, {"note": None})


def test_messages_of_text_alone_are_a_role_and_a_content_and_nothing_else(tmp_path: Path) -> None:
    noise = {"name": None, "tool_calls": [], "weight": None, "reasoning_content": "", "tool_call_id": None}
    row = Row({"id": "a", "messages": [{**each, **noise} for each in PLAIN]})
    assert convert(row, "messages") == {"prompt": PLAIN[:1], "completion": PLAIN[1:]}
    write_dataset(tmp_path / "dataset", [row])
    schema = pq.read_schema(tmp_path / "dataset/train.parquet")
    assert str(schema.field("prompt").type) == "list<element: struct<role: string, content: string>>"


def test_parquet_has_the_keys_that_messages_have_and_no_others(tmp_path: Path) -> None:
    turns = [user("3 + 4?"), {**assistant("7"), "reasoning_content": "Count on."}]
    write_dataset(tmp_path / "dataset", [Row({"id": "a", "messages": turns}), Row({"id": "b", "messages": PLAIN})])
    table = pq.read_table(tmp_path / "dataset/train.parquet")
    assert [field.name for field in table.schema.field("completion").type.value_type] == [
        "role",
        "content",
        "reasoning_content",
    ]
    assert [row["completion"][0]["reasoning_content"] for row in table.to_pylist()] == ["Count on.", None]


@pytest.mark.parametrize("row_weight", [None, 1, 0.5])
def test_a_message_of_weight_0_is_not_learnt_whatever_the_row_weighs(row_weight: float | None) -> None:
    off = {**assistant("b"), "weight": 0}
    beside = {} if row_weight is None else {"weight": row_weight}
    found = convert({"messages": [user("a"), assistant("x"), user("c"), off], **beside}, "messages")
    assert (found["prompt"], found["completion"]) == ([user("a")], [assistant("x")])
    assert found.get("weight") == row_weight
    found = convert({"prompt": "a", "completion": [off, user("c"), assistant("d")], **beside}, "completion")
    table = mask_table.show("SmolLM2", found).splitlines()
    assert [line for line in table if line.startswith("x")] == ["x | d<|im_end|>⏎"]


def test_of_a_completion_with_calls_and_results_all_messages_stay() -> None:
    found = convert({"prompt": "How cold is Oslo?", "completion": [CALL, RESULT, ANSWER], "tools": TOOLS}, "completion")
    assert (found["prompt"], found["completion"]) == ([user("How cold is Oslo?")], [CALL, RESULT, ANSWER])


def test_a_preference_between_a_call_and_an_answer_has_its_tools() -> None:
    given = {"messages": [user("How cold is Oslo?")], "tools": TOOLS, "parallel_tool_calls": True}
    row = {"input": given, "preferred_output": [CALL], "non_preferred_output": [assistant("Warm.")]}
    assert convert(row, recognise(row)) == {
        "prompt": [user("How cold is Oslo?")],
        "chosen": [CALL],
        "rejected": [assistant("Warm.")],
        "tools": json.dumps(TOOLS),
    }
    same = {**row, "non_preferred_output": [{**CALL, "tool_calls": [call("weather", '{"city": "Rome"}')]}]}
    assert convert(same, recognise(same))["rejected"][0]["tool_calls"][0]["function"]["arguments"] == '{"city": "Rome"}'


SHAPED: dict[str, dict[str, Any]] = {
    "preference": {"prompt": "q", "chosen": "a", "rejected": "b"},
    "preferred": {
        "input": {"messages": [user("q")]},
        "preferred_output": [assistant("a")],
        "non_preferred_output": [assistant("b")],
    },
    "completion": {"prompt": "q", "completion": "a"},
    "messages": {"messages": [user("q"), assistant("a")]},
    "sharegpt": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    "own": {"instruction": "q", "response": "a"},
    "alpaca": {"instruction": "q", "output": "a"},
    "text": {"text": "USER: q ASSISTANT: a"},
}
MEANT = dict.fromkeys((*ASKED, *THOUGHT, *UNUSABLE), "meaning") | {
    "history": [["meaning", "so"]],
    "tools": [tool("meaning")],
    "functions": [tool("meaning")["function"]],
    "weight": 0.25,
}


def tell_outcome(row: dict[str, Any], shape: str) -> str:
    """What a row becomes, or why it is refused."""
    try:
        return json.dumps(convert(row, shape))
    except DataError as error:
        return f"refused: {error.what}".replace("meaning", "...")


@pytest.mark.parametrize("column", MEANT)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_column_that_carries_meaning_is_used_or_refused_in_every_shape(shape: str, column: str) -> None:
    if column in SHAPED[shape]:
        return
    row = {**SHAPED[shape], column: MEANT[column]}
    assert recognise(row) == shape
    found = tell_outcome(row, shape)
    assert ("0.25" if column == "weight" else "meaning") in found or f"refused: column {column!r}" in found
