"""OpenAI's files: fine-tuning, preferences, stored completions, batches, and requests with their responses."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.json_text import quote_value
from blackbox_kd.tables.logs.records import (
    Message,
    describe,
    join_parts,
    make_row,
    parse,
    read_messages,
    read_tools,
    write_content,
    write_time,
)

_HOW_TO_GET_MESSAGES = (
    "add the file of its messages (GET /v1/chat/completions/ID/messages) to path:, or of a batch that of its requests"
)
_OF_TUNING = ("messages", "prompt", "completion", "tools", "functions")


class OpenAI:
    """Reads OpenAI's files. Replies of a batch, and messages of stored completions, are kept for those they belong to.

    Fine-tuning lines keep what else they hold, such as `parallel_tool_calls`, as columns of that name.
    """

    def __init__(self) -> None:
        self._replies: dict[str, Mapping[str, Any]] = {}
        self._messages: dict[str, list[tuple[int, Message]]] = {}

    def unwrap(self, record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The items of a page of the API's lists; a record alone."""
        data = record.get("data")
        is_page = record.get("object") == "list" and isinstance(data, list)
        yield from (item for item in data or () if isinstance(item, Mapping)) if is_page else [record]

    def recognise(self, record: Mapping[str, Any]) -> str | None:
        """See `logs.Reader`."""
        keys, own = record.keys(), record.get("object")
        if {"preferred_output", "non_preferred_output"} <= keys:
            return "a preference of OpenAI's"
        if "custom_id" in keys and keys & {"body", "response"}:
            return "a line of an OpenAI batch"
        if own == "chat.completion" or (isinstance(record.get("choices"), list) and "model" in keys):
            return "a stored completion of OpenAI's"
        if own == "response" and isinstance(record.get("output"), list):
            return "a response of OpenAI's"
        if isinstance(record.get("request"), Mapping) and isinstance(record.get("response"), Mapping):
            return "a request to OpenAI and its response" if _is_body(record["request"]) else None
        if self.is_beside(record):
            return "a message of a stored completion of OpenAI's"
        if isinstance(record.get("messages"), list) or ({"prompt", "completion"} <= keys):
            return "an example of OpenAI's fine-tuning"
        return None

    def is_beside(self, record: Mapping[str, Any]) -> bool:
        """Replies of a batch, and messages that lie apart from their completion."""
        if "custom_id" in record:
            return "response" in record
        return {"id", "role", "content"} <= record.keys() and not {"messages", "choices"} & record.keys()

    def read(self, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """See `logs.Reader`."""
        if "preferred_output" in record:
            yield self._read_preference(record)
        elif self.is_beside(record):
            self._keep(record)
        elif "custom_id" in record:
            yield from self._read_batched(record)
        elif isinstance(record.get("request"), Mapping) and isinstance(record.get("response"), Mapping):
            yield from _pair(record["request"], record["response"], record.get("metadata"))
        elif isinstance(record.get("choices"), list) or record.get("object") == "response":
            yield from self._read_stored(record)
        else:
            yield _read_example(record)

    def end(self) -> Iterator[dict[str, Any]]:
        """Nothing has waited, but there may be parts whose whole is not there.

        Raises:
            DataError: there are.
        """
        for kept, what in ((self._replies, "replies of a batch"), (self._messages, "messages of stored completions")):
            if kept:
                lacking = f"{what} without the request or completion that they belong to: {len(kept):,}"
                raise DataError(
                    f"{lacking} (such as {next(iter(kept))!r})", fix="let path: fit both files: batch_*.jsonl"
                )
        yield from ()

    def _keep(self, record: Mapping[str, Any]) -> None:
        if "custom_id" in record:
            self._replies[str(record["custom_id"])] = record
            return
        completion, _, number = str(record["id"]).rpartition("-")
        found = read_messages(dict(record))
        self._messages.setdefault(completion, []).extend((int(number) if number.isdecimal() else 0, m) for m in found)

    def _read_preference(self, record: Mapping[str, Any]) -> dict[str, Any]:
        asked = parse(record.get("input"))
        asked = asked if isinstance(asked, Mapping) else {"messages": asked}
        row = make_row(read_messages(asked), None, tools=read_tools(asked.get("tools")))
        sides = {"chosen": record["preferred_output"], "rejected": record["non_preferred_output"]}
        return {k: v for k, v in row.items() if k != "response"} | {
            name: read_messages(value, "assistant") for name, value in sides.items()
        }

    def _read_batched(self, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        reply = self._replies.pop(str(record["custom_id"]), None)
        body, metadata = record.get("body") or {}, {"custom_id": record["custom_id"]}
        if reply is None:
            yield _ask(body, metadata)
            return
        response = reply.get("response") or {}
        answer = response.get("body")
        if reply.get("error") or response.get("status_code") != 200 or not isinstance(answer, Mapping):
            why = reply.get("error") or (answer or {}).get("error") or response
            raise DataError(f"the request {record['custom_id']!r} failed: {quote_value(why)}", fix="ask for it anew")
        yield from _pair(body, answer, metadata)

    def _read_stored(self, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        apart = sorted(self._messages.pop(str(record.get("id")), []), key=lambda entry: entry[0])
        messages = [message for _, message in apart] or record.get("messages") or record.get("input")
        if not messages:
            raise DataError(f"the completion {record.get('id')!r} is without its messages", fix=_HOW_TO_GET_MESSAGES)
        yield from _pair({**record, "messages": messages}, record, record.get("metadata"))


def _is_body(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("messages"), list) or "input" in value


def _ask(body: Mapping[str, Any], metadata: Any = None) -> dict[str, Any]:
    return make_row(_list_asked(body), None, tools=_find_tools(body), model=body.get("model"), metadata=metadata)


def _find_tools(body: Mapping[str, Any]) -> list[Any] | None:
    return read_tools(body.get("tools") or body.get("functions"))


def _list_asked(body: Mapping[str, Any]) -> list[Message]:
    """The messages of a body: of chat completions, or of Responses."""
    said = body.get("instructions")
    system = [{"role": "system", "content": said}] if isinstance(said, str) and said else []
    found = read_messages(body.get("messages") or body.get("input") or body.get("prompt"))
    if not found:
        raise DataError(f"has no messages; it is {describe(body)}", fix=_HOW_TO_GET_MESSAGES)
    return system + found


def _pair(asked: Mapping[str, Any], answer: Mapping[str, Any], metadata: Any) -> Iterator[dict[str, Any]]:
    """A row for each reply."""
    messages, when = _list_asked(asked), answer.get("created") or answer.get("created_at")
    known = {
        "tools": _find_tools(asked) or _find_tools(answer),
        "model": answer.get("model") or asked.get("model"),
        "time": write_time(when),
        "metadata": metadata or asked.get("metadata"),
    }
    replies = list(_list_replies(answer))
    if not replies:
        raise DataError(f"has no reply; it is {describe(answer)}", fix="take the line out")
    for reply, finish in replies:
        yield make_row(messages, reply, finish_reason=finish, **known)


def _list_replies(answer: Mapping[str, Any]) -> Iterator[tuple[Message, str | None]]:
    for choice in answer.get("choices") or ():
        if isinstance(choice, Mapping) and isinstance(choice.get("message"), Mapping):
            yield read_messages(dict(choice["message"]), "assistant")[0], choice.get("finish_reason")
    items = [item for item in answer.get("output") or () if isinstance(item, Mapping)]
    parts = chain.from_iterable(i.get("content") or () if i.get("type") == "message" else [i] for i in items)
    for message in join_parts({"role": "assistant"}, parts):
        yield message, answer.get("status")


def _read_example(record: Mapping[str, Any]) -> dict[str, Any]:
    """A line of fine-tuning: its last message is the reply if the assistant says it."""
    if not isinstance(record.get("messages"), list):
        pair = [("user", record.get("prompt")), ("assistant", record.get("completion"))]
        messages = [message for role, value in pair for message in read_messages(value, role)]
    else:
        messages = read_messages(record["messages"])
    if not messages:
        raise DataError("has no messages", fix="take the line out")
    is_answered = messages[-1]["role"] == "assistant"
    row = make_row(messages[:-1] if is_answered else messages, messages[-1] if is_answered else None)
    others = {name: value for name, value in record.items() if name not in (*_OF_TUNING, "id")}
    row["response"] = write_content(messages[-1]) if is_answered else None
    return row | {"tools": _find_tools(record)} | others
