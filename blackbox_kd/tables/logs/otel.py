"""Spans of OpenTelemetry's conventions for generative AI, as the OTLP file exporter and SDKs write them.

The messages stand in attributes of the span (`gen_ai.input.messages`, or numbered ones of older instrumentations), in
events of the span, or in log records that name the span. A span whose log records come later waits for them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.json_text import write_text
from blackbox_kd.tables.logs.records import Message, join_parts, make_row, parse, read_messages, read_tools, write_time

_ASKING = {"chat", "generate_content", "text_completion", "completion"}
"""Operations that ask a model; those of agents and tools hold the same messages once more."""
_NUMBERED = re.compile(r"gen_ai\.(prompt|completion)\.(\d+)\.(.+)")
_CALL_KEY = re.compile(r"tool_calls\.(\d+)\.(\w+)")
_SCORE = "gen_ai.evaluation.result"
_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true"


class OTel:
    """Reads spans, and the log records that belong to them."""

    def __init__(self) -> None:
        self._events: dict[str, list[Mapping[str, Any]]] = {}
        self._waiting: dict[str, Mapping[str, Any]] = {}
        self._asked = 0

    def unwrap(self, record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Spans and log records, each for itself, out of the resources and scopes that they stand in."""
        inner = ("resourceSpans", "scopeSpans", "spans", "resourceLogs", "scopeLogs", "logRecords")
        lists = [record[name] for name in inner if isinstance(record.get(name), list)]
        if not lists:
            yield record
        for item in (item for items in lists for item in items if isinstance(item, Mapping)):
            yield from self.unwrap(item)

    def recognise(self, record: Mapping[str, Any]) -> str | None:
        """See `logs.Reader`."""
        if self.is_beside(record):
            return "a log record of OpenTelemetry"
        is_span = "attributes" in record and {"spanId", "span_id", "context", "startTimeUnixNano"} & record.keys()
        return "a span of OpenTelemetry" if is_span else None

    def is_beside(self, record: Mapping[str, Any]) -> bool:
        """Log records."""
        return "body" in record and bool({"timeUnixNano", "observedTimeUnixNano", "severityNumber"} & record.keys())

    def read(self, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The rows of a span that asked a model; none of others, and of log records."""
        if self.is_beside(record):
            self._events.setdefault(_find_id(record), []).append(record)
            return
        attributes = _read_attributes(record.get("attributes"))
        operation = attributes.get("gen_ai.operation.name")
        is_asking = operation in _ASKING if operation else any(name.startswith("gen_ai.") for name in attributes)
        if not is_asking:
            return
        self._asked += 1
        rows = list(_read_span(record, attributes, self._events.pop(_find_id(record), [])))
        if not rows:
            self._waiting[_find_id(record)] = record
        yield from rows

    def end(self) -> Iterator[dict[str, Any]]:
        """The rows of spans that have waited for log records.

        Raises:
            DataError: no span holds messages.
        """
        for name, record in self._waiting.items():
            found = _read_span(record, _read_attributes(record.get("attributes")), self._events.pop(name, []))
            self._asked -= 1
            for row in found:
                self._asked += 1
                yield row
        if not self._asked and self._waiting:
            what = f"none of {len(self._waiting):,} spans that asked a model holds messages"
            raise DataError(what, fix=f"let the application record them: {_CAPTURE}")


def _find_id(record: Mapping[str, Any]) -> str:
    context = record.get("context")
    inner = context if isinstance(context, Mapping) else {}
    return str(record.get("spanId") or record.get("span_id") or inner.get("span_id"))


def _read_attributes(value: Any) -> dict[str, Any]:
    """Attributes by name: OTLP has a list of them, each with its value in a field for its type."""
    if isinstance(value, Mapping):
        return dict(value)
    entries = [entry for entry in value or () if isinstance(entry, Mapping)]
    return {str(entry.get("key")): _read_value(entry.get("value")) for entry in entries}


def _read_value(value: Any) -> Any:
    if not isinstance(value, Mapping) or len(value) != 1:
        return value
    kind, inner = next(iter(value.items()))
    if kind == "arrayValue":
        return [_read_value(item) for item in (inner or {}).get("values", [])]
    if kind == "kvlistValue":
        return _read_attributes((inner or {}).get("values"))
    if kind == "intValue":
        return int(inner)
    return inner if kind in ("stringValue", "boolValue", "doubleValue", "bytesValue") else value


def _read_span(
    span: Mapping[str, Any], attributes: dict[str, Any], logged: Iterable[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """A row for each reply of a span; none if the span holds no messages."""
    feedback: dict[str, Any] = {}
    asked: list[Message] = []
    replies: list[tuple[Message, Any]] = []
    events = [*(span.get("events") or ()), *logged]
    for name, told in map(_read_event, events):
        if name == _SCORE:
            score = told.get("gen_ai.evaluation.score.value", told.get("gen_ai.evaluation.score.label"))
            feedback[str(told.get("gen_ai.evaluation.name"))] = score
        elif name == "gen_ai.choice":
            said = parse(told.get("message", told.get("content")))
            calls = {"tool_calls": told["tool_calls"]} if "tool_calls" in told else {}
            said = {**said, **calls} if isinstance(said, Mapping) else said
            replies += [(_mend_calls(m), told.get("finish_reason")) for m in read_messages(said, "assistant")]
        elif name.startswith("gen_ai.") and name.endswith(".message"):
            asked += _read_said(told, name.split(".")[1])
        else:
            attributes = attributes | {key: value for key, value in told.items() if key.startswith("gen_ai.")}
    asked = [*_list_system(attributes), *(asked or _list_asked(attributes))]
    replies = replies or _list_replies(attributes)
    reasons = attributes.get("gen_ai.response.finish_reasons")
    reason = reasons[0] if isinstance(reasons, list) and reasons else None
    known = {
        "tools": read_tools(attributes.get("gen_ai.tool.definitions")),
        "model": attributes.get("gen_ai.response.model") or attributes.get("gen_ai.request.model"),
        "time": _read_time(span),
        "feedback": feedback,
        "metadata": {key: attributes[key] for key in ("gen_ai.conversation.id", "user.id") if key in attributes},
    }
    for reply, finish in replies if asked else ():
        yield make_row(asked, reply, finish_reason=finish or reason, **known)
    if asked and not replies:
        yield make_row(asked, None, finish_reason=reason, **known)


def _read_event(event: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name of an event or a log record, and what it says."""
    attributes = _read_attributes(event.get("attributes"))
    body = parse(_read_value(event.get("body")))
    name = event.get("name") or event.get("eventName") or event.get("event_name") or attributes.get("event.name")
    return str(name or ""), attributes | (dict(body) if isinstance(body, Mapping) else {})


def _read_said(told: Mapping[str, Any], role: str) -> list[Message]:
    said = {key: parse(value) for key, value in told.items() if key in ("role", "tool_calls", "name")}
    named = {"tool_call_id": told["id"]} if role == "tool" and "id" in told else {}
    message = {"role": role, "content": _read_content(told.get("content"))} | said | named
    return [_mend_calls(each) for each in read_messages(message)]


def _read_content(value: Any) -> Any:
    """What a message says: parts, if the text is a list of them."""
    return found if isinstance(found := parse(value), list) else value


def _mend_calls(message: Message) -> Message:
    """A message whose calls have their arguments as text, as OpenAI has them."""
    calls = parse(message.get("tool_calls"))
    if not isinstance(calls, list):
        return message
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and "arguments" in function:
            function["arguments"] = write_text(function["arguments"])
    return message | {"tool_calls": calls}


def _list_system(attributes: Mapping[str, Any]) -> list[Message]:
    parts = parse(attributes.get("gen_ai.system_instructions"))
    return list(join_parts({"role": "system"}, parts if isinstance(parts, list) else [parts] if parts else []))


def _list_asked(attributes: Mapping[str, Any]) -> list[Message]:
    return read_messages(attributes.get("gen_ai.input.messages")) or _gather_numbered(attributes, "prompt", "user")


def _list_replies(attributes: Mapping[str, Any]) -> list[tuple[Message, Any]]:
    said = parse(attributes.get("gen_ai.output.messages"))
    if isinstance(said, list):
        found = [(read_messages([item], "assistant"), item.get("finish_reason")) for item in said if item]
        return [(messages[-1], finish) for messages, finish in found if messages]
    return [(message, None) for message in _gather_numbered(attributes, "completion", "assistant")]


def _gather_numbered(attributes: Mapping[str, Any], side: str, role: str) -> list[Message]:
    """Messages whose fields are attributes of their own: `gen_ai.prompt.0.content`."""
    found: dict[int, Message] = {}
    for name, value in attributes.items():
        match = _NUMBERED.fullmatch(name)
        if match is None or match[1] != side:
            continue
        message = found.setdefault(int(match[2]), {"role": role})
        if call := _CALL_KEY.fullmatch(match[3]):
            calls = message.setdefault("tool_calls", [])
            calls += [{"id": None, "type": "function", "function": {}} for _ in range(int(call[1]) + 1 - len(calls))]
            (calls[int(call[1])] if call[2] == "id" else calls[int(call[1])]["function"])[call[2]] = value
        elif match[3] != "finish_reason":
            message[match[3]] = _read_content(value)
    return read_messages([found[number] for number in sorted(found)])


def _read_time(span: Mapping[str, Any]) -> str | None:
    nanoseconds = span.get("startTimeUnixNano")
    if isinstance(nanoseconds, int) or (isinstance(nanoseconds, str) and nanoseconds.isdecimal()):
        return write_time(int(nanoseconds) / 1e9)
    return write_time(nanoseconds or span.get("start_time"))
