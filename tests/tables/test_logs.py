"""What applications have logged: OpenAI's files, OpenTelemetry's spans, Langfuse's exports -> rows."""

import csv
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blackbox_kd.errors import DataError
from blackbox_kd.tables.sources import TableSource, read

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
ARGUMENTS = '{"city": "Paris"}'
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}
ASKED = {"role": "user", "content": "Weather?"}


def write_lines(path: Path, *records: Any) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def rows_of(folder: Path, path: str = "log.jsonl", form: str = "auto", **fields: Any) -> list[dict[str, Any]]:
    return list(read(TableSource(path=path, format=form, **fields), folder))  # type: ignore[arg-type]


def known(row: dict[str, Any]) -> dict[str, Any]:
    """What a row holds."""
    return {name: value for name, value in row.items() if value is not None}


def completion(number: int, message: dict[str, Any], **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    found = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-x-1"}
    return {**found, "choices": [choice], **more}


# OpenAI


def test_examples_of_fine_tuning_keep_messages_tools_weights_and_what_else_a_line_says(tmp_path: Path) -> None:
    wrong = {"role": "assistant", "content": "Sun.", "weight": 0}
    write_lines(
        tmp_path / "log.jsonl",
        {"messages": [ASKED, wrong, ASKED, {"role": "assistant", "content": "Rain.", "weight": 1}]},
        {
            "messages": [ASKED, {"role": "assistant", "tool_calls": [CALL]}],
            "tools": [WEATHER],
            "parallel_tool_calls": False,
        },
        {"messages": [ASKED], "functions": [WEATHER["function"]], "reference_answer": "Rain."},
        {"prompt": "Ask", "completion": "Told"},
    )
    first, second, third, fourth = map(known, rows_of(tmp_path))
    assert first["messages"][1] == wrong
    assert first["response"] == "Rain."
    assert second["messages"][1] == {"role": "assistant", "content": None, "tool_calls": [CALL]}
    assert (second["tools"], second["parallel_tool_calls"]) == ([WEATHER], False)
    assert "response" not in second, "a reply that only calls tools has no text"
    assert third == {"messages": [ASKED], "tools": [WEATHER], "reference_answer": "Rain."}
    assert fourth["messages"] == [{"role": "user", "content": "Ask"}, {"role": "assistant", "content": "Told"}]


def test_preferences_have_a_better_and_a_worse_answer(tmp_path: Path) -> None:
    good, bad = ({"role": "assistant", "content": text} for text in ("Rain.", "Dunno."))
    asked = {"messages": [ASKED], "tools": [WEATHER], "parallel_tool_calls": True}
    write_lines(tmp_path / "log.jsonl", {"input": asked, "preferred_output": [good], "non_preferred_output": [bad]})
    (row,) = rows_of(tmp_path)
    assert known(row) == {"messages": [ASKED], "tools": [WEATHER], "chosen": [good], "rejected": [bad]}
    assert "response" not in row


def test_a_batch_is_its_requests_with_the_replies_whatever_their_order(tmp_path: Path) -> None:
    bodies = [{"model": "gpt-x", "messages": [{"role": "user", "content": f"q{n}"}]} for n in range(3)]
    requests = [{"custom_id": f"r{n}", "method": "POST", "url": "/v1/chat", "body": b} for n, b in enumerate(bodies)]
    write_lines(tmp_path / "b_input.jsonl", *requests)
    done = [(n, completion(n, {"role": "assistant", "content": f"a{n}", "refusal": None})) for n in (2, 0)]
    replies = [{"custom_id": f"r{n}", "response": {"status_code": 200, "body": body}} for n, body in done]
    failed = {"custom_id": "r1", "response": {"status_code": 400, "body": {"error": {"message": "too long"}}}}
    write_lines(tmp_path / "a_output.jsonl", *replies)
    rows = rows_of(tmp_path, "*put.jsonl")
    assert [(row["messages"][-1]["content"], row["response"]) for row in rows] == [
        ("a0", "a0"),
        ("q1", None),
        ("a2", "a2"),
    ]
    assert (rows[0]["model"], rows[0]["time"]) == ("gpt-x-1", "2023-11-14T22:13:20+00:00")
    assert rows[0]["metadata"] == {"custom_id": "r0"}
    write_lines(tmp_path / "a_output.jsonl", *replies, failed)
    with pytest.raises(DataError, match=r"line 2: the request 'r1' failed: .*too long.*\n  fix: ask for it anew"):
        rows_of(tmp_path, "*put.jsonl")
    assert [row["response"] for row in rows_of(tmp_path, "*put.jsonl", bad_lines="drop")] == ["a0", "a2"]
    with pytest.raises(DataError, match=r"without the request.*: 3 \(such as 'r2'\)\n  fix: let path: fit both"):
        rows_of(tmp_path, "a_output.jsonl")


def test_stored_completions_find_their_messages_beside_them_or_in_a_file_of_their_own(tmp_path: Path) -> None:
    reply = {"role": "assistant", "content": "Rain.", "tool_calls": None, "function_call": None}
    with_tools = {"tools": [WEATHER], "metadata": {"rating": "5"}}
    page = {"object": "list", "data": [completion(1, reply, **with_tools), completion(2, reply)], "has_more": False}
    (tmp_path / "stored.json").write_text(json.dumps(page))
    said = [
        {"id": "chatcmpl-2-0", "role": "user", "content": "Two?", "name": None, "content_parts": None},
        {"id": "chatcmpl-1-1", "role": "user", "content": "One?"},
        {"id": "chatcmpl-1-0", "role": "system", "content": "Be brief."},
    ]
    write_lines(tmp_path / "stored_messages.jsonl", *said)
    first, second = rows_of(tmp_path, "stored*")
    assert first["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Rain."},
    ]
    assert (first["tools"], first["metadata"], first["finish_reason"]) == ([WEATHER], {"rating": "5"}, "stop")
    assert second["messages"][0] == {"role": "user", "content": "Two?"}
    with pytest.raises(DataError, match="'chatcmpl-1' is without its messages"):
        rows_of(tmp_path, "stored.json")


def test_requests_with_their_responses_are_read_of_chat_and_of_responses(tmp_path: Path) -> None:
    choices = [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"} for text in "ab"]
    chat = {"request": {"model": "m", "messages": [ASKED]}, "response": {"choices": choices, "model": "m-1"}}
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": ARGUMENTS},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Wait."}]},
    ]
    flat = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
    asked = {"instructions": "Be brief.", "input": "Weather?", "tools": [flat]}
    write_lines(tmp_path / "log.jsonl", chat, {"request": asked, "response": {"output": output, "status": "completed"}})
    one, two, three = rows_of(tmp_path)
    assert [one["response"], two["response"]] == ["a", "b"], "a row for each choice"
    assert three["messages"] == [
        {"role": "system", "content": "Be brief."},
        ASKED,
        {"role": "assistant", "content": "Wait.", "reasoning_content": "Hm.", "tool_calls": [CALL]},
    ]
    assert three["tools"] == [WEATHER]


def test_pictures_stay_where_they_are(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "http://x"}}]
    write_lines(tmp_path / "log.jsonl", {"messages": [{"role": "user", "content": parts}]})
    assert rows_of(tmp_path)[0]["messages"][0]["content"] == parts


# OpenTelemetry


def attribute(name: str, value: Any) -> dict[str, Any]:
    kind = "stringValue" if isinstance(value, str) else "intValue"
    return {"key": name, "value": {kind: str(value)}}


def span(name: str, attributes: dict[str, Any], *events: dict[str, Any]) -> dict[str, Any]:
    listed = [attribute(key, value) for key, value in {"gen_ai.operation.name": "chat", **attributes}.items()]
    when = {"startTimeUnixNano": "1700000000000000000"}
    return {"traceId": "t", "spanId": name, "name": "chat m", "attributes": listed, "events": list(events), **when}


def exported(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "x"}, "spans": list(spans)}]}]}


TOLD = [
    {"role": "user", "parts": [{"type": "text", "content": "Weather?"}]},
    {
        "role": "assistant",
        "parts": [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Paris"}}],
    },
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "result": {"sky": "grey"}}]},
]
ANSWERED = [{"role": "assistant", "parts": [{"type": "text", "content": "Rain."}], "finish_reason": "stop"}]
CONVERSATION = [
    ASKED,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": '{"sky": "grey"}'},
    {"role": "assistant", "content": "Rain."},
]


def test_spans_with_messages_in_attributes_are_read(tmp_path: Path) -> None:
    attributes = {
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m-1",
        "gen_ai.input.messages": json.dumps(TOLD),
        "gen_ai.output.messages": json.dumps(ANSWERED),
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
        "gen_ai.tool.definitions": json.dumps(
            [{"type": "function", "name": "weather", "parameters": {"type": "object"}}]
        ),
        "gen_ai.conversation.id": "s1",
    }
    scores = {"gen_ai.evaluation.name": "helpful", "gen_ai.evaluation.score.value": 1}
    judged = {"name": "gen_ai.evaluation.result", "attributes": [attribute(k, v) for k, v in scores.items()]}
    http = {"traceId": "t", "spanId": "h", "attributes": [attribute("http.method", "GET")], "startTimeUnixNano": "1"}
    tool = span("x", {"gen_ai.operation.name": "execute_tool"})
    write_lines(tmp_path / "log.jsonl", exported(http, tool, span("s", attributes, judged)))
    (row,) = rows_of(tmp_path)
    assert row == {
        "messages": [{"role": "system", "content": "Be brief."}, *CONVERSATION],
        "response": "Rain.",
        "tools": [WEATHER],
        "model": "m-1",
        "time": "2023-11-14T22:13:20+00:00",
        "finish_reason": "stop",
        "feedback": {"helpful": 1},
        "metadata": {"gen_ai.conversation.id": "s1"},
    }


def test_spans_with_messages_in_events_are_read(tmp_path: Path) -> None:
    said = [
        ("gen_ai.user.message", {"content": "Weather?"}),
        ("gen_ai.assistant.message", {"tool_calls": json.dumps([CALL])}),
        ("gen_ai.tool.message", {"id": "c1", "content": '{"sky": "grey"}'}),
        (
            "gen_ai.choice",
            {"message": '{"role": "assistant", "content": "Rain."}', "finish_reason": "stop", "index": 0},
        ),
    ]
    events = [{"name": name, "attributes": [attribute(k, v) for k, v in told.items()]} for name, told in said]
    (tmp_path / "log.json").write_text(json.dumps(exported(span("s", {"gen_ai.request.model": "m"}, *events))))
    (row,) = rows_of(tmp_path, "log.json")
    assert (row["messages"], row["model"], row["finish_reason"]) == (CONVERSATION, "m", "stop")


@pytest.mark.parametrize("names", [("logs.jsonl", "traces.jsonl"), ("a_traces.jsonl", "b_logs.jsonl")])
def test_log_records_find_their_span_in_another_file(tmp_path: Path, names: tuple[str, str]) -> None:
    def record(name: str, body: dict[str, Any]) -> dict[str, Any]:
        fields = [{"key": key, "value": {"stringValue": value}} for key, value in body.items()]
        return {"spanId": "s", "timeUnixNano": "1", "eventName": name, "body": {"kvlistValue": {"values": fields}}}

    said = [record("gen_ai.user.message", {"content": "Weather?"}), record("gen_ai.choice", {"message": "Rain."})]
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": said}]}]}
    for name in names:
        write_lines(tmp_path / name, logs if "logs" in name else exported(span("s", {})))
    (row,) = rows_of(tmp_path, "*.jsonl")
    assert row["messages"] == [ASKED, {"role": "assistant", "content": "Rain."}]


def test_spans_of_older_instrumentations_and_of_a_console_are_read(tmp_path: Path) -> None:
    numbered = {
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": "Weather?",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.tool_calls.0.id": "c1",
        "gen_ai.completion.0.tool_calls.0.name": "weather",
        "gen_ai.completion.0.tool_calls.0.arguments": ARGUMENTS,
        "gen_ai.completion.0.finish_reason": "tool_calls",
    }
    console = {
        "name": "chat",
        "context": {"span_id": "0x1"},
        "start_time": "2023-11-14T22:13:20Z",
        "attributes": numbered,
    }
    write_lines(tmp_path / "log.jsonl", console)
    (row,) = rows_of(tmp_path)
    assert row["messages"] == [ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    assert row["time"] == "2023-11-14T22:13:20+00:00"


def test_spans_without_messages_are_told_of(tmp_path: Path) -> None:
    write_lines(tmp_path / "log.jsonl", exported(span("a", {}), span("b", {})))
    with pytest.raises(DataError, match=r"none of 2 spans that asked a model holds messages\n  fix: .*CAPTURE_MESSAGE"):
        rows_of(tmp_path)


# Langfuse


def test_generations_are_read_with_their_scores(tmp_path: Path) -> None:
    generation = {
        "id": "g1",
        "trace_id": "t1",
        "type": "GENERATION",
        "provided_model_name": "m",
        "start_time": "2024-05-29 13:46:19.963000",
        "input": json.dumps({"messages": [ASKED], "tools": [WEATHER]}),
        "output": json.dumps({"role": "assistant", "content": "Rain."}),
        "metadata": "{}",
    }
    scores = [
        {"id": "x1", "trace_id": "t1", "observation_id": None, "name": "thumbs", "value": 1, "string_value": None},
        {"id": "x2", "trace_id": "t1", "observation_id": "g1", "name": "kind", "value": 0, "string_value": "good"},
    ]
    write_lines(tmp_path / "observations.jsonl", {**generation, "id": "s", "type": "SPAN"}, generation)
    write_lines(tmp_path / "scores.jsonl", *scores)
    (row,) = rows_of(tmp_path, "*s.jsonl")
    assert known(row) == {
        "messages": [ASKED, {"role": "assistant", "content": "Rain."}],
        "response": "Rain.",
        "tools": [WEATHER],
        "model": "m",
        "time": "2024-05-29T13:46:19.963000+00:00",
        "feedback": {"thumbs": 1, "kind": "good"},
    }


def test_pages_of_the_api_and_whole_traces_are_read(tmp_path: Path) -> None:
    first = {"id": "g1", "traceId": "t1", "type": "GENERATION", "startTime": "2024-05-29T13:46:19Z", "model": "m"}
    first |= {"input": [ASKED], "output": "Rain."}
    (tmp_path / "page.json").write_text(json.dumps({"data": [first], "meta": {"cursor": None}}))
    (row,) = rows_of(tmp_path, "page.json")
    assert (row["response"], row["time"], row["model"]) == ("Rain.", "2024-05-29T13:46:19+00:00", "m")
    score = {"name": "thumbs", "value": 0, "traceId": "t1", "observationId": None}
    trace = {"trace": {"id": "t1", "input": "q", "output": "a"}, "observations": [first], "scores": [score]}
    (tmp_path / "trace.json").write_text(json.dumps(trace))
    (row,) = rows_of(tmp_path, "trace.json")
    assert row["feedback"] == {"thumbs": 0}


def test_a_table_of_the_pages_and_messages_of_anthropic_are_read(tmp_path: Path) -> None:
    asked = [
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Paris"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": '{"sky": "grey"}'}]},
    ]
    with (tmp_path / "log.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "traceId", "type", "input", "output"])
        writer.writerow(["g", "t", "GENERATION", json.dumps(asked), json.dumps("Rain.")])
        writer.writerow(["g", "t", "GENERATION", json.dumps(asked), "Rain."])
    rows = rows_of(tmp_path, "log.csv")
    assert rows[1]["messages"][1:] == CONVERSATION[1:]
    assert rows[1]["messages"][0]["content"] == [{"type": "text", "text": "Weather?"}]


# What is none of them


def test_a_line_of_another_form_is_told_with_its_number_and_what_it_looks_like(tmp_path: Path) -> None:
    generation = {"id": "g", "traceId": "t", "input": "q", "output": "a"}
    write_lines(tmp_path / "log.jsonl", {"messages": [ASKED]}, generation, {"a": 1, "b": 2})
    with pytest.raises(DataError) as error:
        rows_of(tmp_path, form="openai")
    assert error.value.exists.split("; line") == [
        "line 2: is not of the form openai; it looks like an observation of Langfuse's",
        " 3: is not of the form openai; it is an object with the keys a, b",
    ]
    write_lines(tmp_path / "log.jsonl", generation)
    with pytest.raises(
        DataError, match=r"line 1: .* looks like an observation of Langfuse's\n  fix: write format: lang"
    ):
        rows_of(tmp_path, form="otel")


def test_a_form_that_nobody_knows_is_told_with_what_can_be_done(tmp_path: Path) -> None:
    write_lines(tmp_path / "log.jsonl", {"q": 1, "a": 2})
    with pytest.raises(DataError) as error:
        rows_of(tmp_path)
    assert error.value.what == "log.jsonl: the form is not known; it holds an object with the keys q, a"
    assert error.value.fix.startswith("take format: out")


def test_bad_lines_of_a_log_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps({"messages": [ASKED]}) + '\n{"messages"\n{"messages": []}\n')
    with pytest.raises(DataError) as error:
        rows_of(tmp_path)
    assert error.value.what == "log.jsonl: bad lines: 2"
    assert error.value.exists.endswith("; line 3: has no messages")
    assert len(rows_of(tmp_path, bad_lines="drop")) == 1


WORDS = (
    "messages role content parts type text tool_calls function name arguments id custom_id body response choices "
    "message output input data object model created tools metadata error status_code request preferred_output "
    "prompt completion non_preferred_output resourceSpans scopeSpans spans attributes key value stringValue "
    "arrayValue values kvlistValue events spanId startTimeUnixNano gen_ai.input.messages gen_ai.output.messages "
    "gen_ai.operation.name gen_ai.choice gen_ai.prompt.0.role gen_ai.completion.0.tool_calls.1.id traceId trace_id "
    "observations scores observation_id meta"
)
KEYS = WORDS.split()
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 2**62)
    | st.sampled_from(["", "user", "chat", "[1]", '{"role": 1}', "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.parametrize("form", ["auto", "openai", "otel", "langfuse"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6), min_size=1, max_size=3))
def test_whatever_a_log_holds_it_is_read_or_told_of(form: str, records: list[Any], tmp_path: Path) -> None:
    write_lines(tmp_path / "log.jsonl", *records)
    for rule in ("error", "drop"):
        with suppress(DataError):
            rows = rows_of(tmp_path, form=form, bad_lines=rule)
            assert all(isinstance(row["messages"], list) and row["messages"] for row in rows)
            assert all(isinstance(message["role"], str) for row in rows for message in row["messages"])
