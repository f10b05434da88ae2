"""Langfuse's exports: observations, traces and scores, of its API, its pages and its storage."""

from collections.abc import Iterator, Mapping
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.tables.logs.records import describe, make_row, parse, read_messages, read_tools, write_time

_OWN = {"traceId", "trace_id", "sessionId", "session_id", "observations", "usageDetails", "usage_details", "htmlPath"}
"""Keys that observations and traces have, under the names of the API and of the storage."""
_HELD = ("input", "output")


class Langfuse:
    """Reads generations, and traces where there are no observations; scores are kept for what they belong to."""

    def __init__(self) -> None:
        self._scores: dict[str, dict[str, Any]] = {}

    def unwrap(self, record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The items of a page of the API; the observations of a trace, each with what is known of the trace."""
        if isinstance(record.get("data"), list) and "meta" in record:
            yield from (each for item in record["data"] if isinstance(item, Mapping) for each in self.unwrap(item))
            return
        inner = record.get("observations")
        whole = record["trace"] if isinstance(record.get("trace"), Mapping) else record
        observations = [item for item in inner if isinstance(item, Mapping)] if isinstance(inner, list) else []
        scores = [item for item in _list(record.get("scores")) if isinstance(item, Mapping)]
        for item in observations:
            own = [each for each in scores if _name(each, "observation_id") in (None, item.get("id"))]
            yield {**item, "scores": own, "traceId": _name(item, "trace_id") or whole.get("id")}
        if not observations:
            yield record

    def recognise(self, record: Mapping[str, Any]) -> str | None:
        """See `logs.Reader`."""
        if self.is_beside(record):
            return "a score of Langfuse's"
        is_known = bool(record.keys() & _OWN) and set(_HELD) <= record.keys()
        return "an observation of Langfuse's" if is_known else None

    def is_beside(self, record: Mapping[str, Any]) -> bool:
        """Scores."""
        named = {"traceId", "trace_id"} & record.keys()
        return bool(named) and {"name", "value"} <= record.keys() and not set(_HELD) & record.keys()

    def read(self, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The row of a generation; none of other observations."""
        if self.is_beside(record):
            of = _name(record, "observation_id") or _name(record, "trace_id")
            self._scores.setdefault(str(of), {}).update(_read_score(record))
            return
        if str(record.get("type") or "GENERATION").upper() != "GENERATION":
            return
        asked, said = parse(record.get("input")), parse(record.get("output"))
        messages = read_messages(asked)
        if not messages:
            raise DataError(f"has no messages in its input; it is {describe(record)}", fix="take the line out")
        replies = read_messages(said, "assistant")
        scores = [each for each in _list(record.get("scores")) if isinstance(each, Mapping)]
        feedback = {
            **self._scores.get(str(_name(record, "trace_id")), {}),
            **self._scores.get(str(record.get("id")), {}),
            **{name: value for each in scores for name, value in _read_score(each).items()},
        }
        definitions = _name(record, "tool_definitions")
        tools = asked.get("tools") if isinstance(asked, Mapping) else None
        yield make_row(
            [*messages, *replies[:-1]],
            replies[-1] if replies else None,
            tools=read_tools(tools or _list(definitions)),
            model=_name(record, "model") or _name(record, "provided_model_name"),
            time=write_time(_name(record, "start_time") or record.get("timestamp")),
            feedback=feedback,
            metadata=parse(record.get("metadata")),
        )

    def end(self) -> Iterator[dict[str, Any]]:
        """Nothing has waited; scores of what is not there are nobody's."""
        yield from ()


def _name(record: Mapping[str, Any], name: str) -> Any:
    """A field, whose name is written `trace_id` in the storage and `traceId` in the API."""
    first, *others = name.split("_")
    value = record.get(first + "".join(map(str.capitalize, others)))
    return record.get(name) if value is None else value


def _list(value: Any) -> list[Any]:
    value = parse(value)
    if isinstance(value, Mapping):
        return [{"name": name, **entry} if isinstance(entry, Mapping) else entry for name, entry in value.items()]
    return value if isinstance(value, list) else []


def _read_score(score: Mapping[str, Any]) -> dict[str, Any]:
    text = _name(score, "string_value")
    return {str(score.get("name")): score.get("value") if text in (None, "") else text}
