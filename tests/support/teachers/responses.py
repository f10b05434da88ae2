"""OpenAI's Responses, by the types of its own package.

In a test:              async with FakeResponses(["cut", "ok"]) as server: ... server.url ...
As a process:           python -m tests.support.teachers.responses --port 8001

Words of a plan, beside those of `openai_errors`:

    ok                  a message, completed
    reasoning           likewise, after a reasoning item with a summary
    open_reasoning      likewise, with the reasoning itself, as models with open weights have it
    phases              a commentary, then the final answer
    calls               a function call in place of a message
    refusal             a message with a refusal
    cached              half of the prompt was in the cache, a part was put there
    cut filtered steered many       incomplete for its limit, a content filter, from outside, too many messages
    failed:CODE         failed, with an error inside of 200
    cancelled in_progress empty     not brought to an end, or without a message
    other_model         answered by another model than the one that was asked
"""

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from openai.types.responses import Response
from pydantic import ValidationError

from tests.support.fake_batches import FakeBatches
from tests.support.teachers.base import FakeTeacher, run_as_process
from tests.support.teachers.openai_errors import error_for
from tests.support.teachers.openai_types import RESPONSES, explain, parse

INCOMPLETE = {
    "cut": "max_output_tokens",
    "filtered": "content_filter",
    "steered": "steered",
    "many": "max_messages",
}
THOUGHT = "I add the parts."


def chat_messages(asked: Mapping[str, Any]) -> list[dict[str, str]]:
    """What is asked, as chat messages."""
    system = [{"role": "system", "content": asked["instructions"]}] if asked.get("instructions") else []
    items = asked["input"]
    items = [{"role": "user", "content": items}] if isinstance(items, str) else items
    return system + [{"role": item["role"], "content": item["content"]} for item in items if "role" in item]


def build_reply(action: str, asked: Mapping[str, Any], completion: Mapping[str, Any]) -> dict[str, Any]:
    """A reply, made by the package's type.

    Args:
        action: see the words of a plan.
        asked: the request, parsed.
        completion: what it says, as a chat completion.
    """
    name, _, argument = action.partition(":")
    text, usage = completion["choices"][0]["message"]["content"], completion["usage"]
    status, error, incomplete = "completed", None, None
    output = [_message(text)]
    if name in ("reasoning", "open_reasoning"):
        output.insert(0, _reasoning(is_open=name == "open_reasoning"))
    elif name == "phases":
        output = [_message("I am looking.", phase="commentary"), _message(text, phase="final_answer")]
    elif name == "calls":
        call = {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": '{"a": 1}', "id": "fc_1"}
        output = [call]
    elif name == "refusal":
        output = [_message(None)]
    elif name in INCOMPLETE:
        status, incomplete = "incomplete", {"reason": INCOMPLETE[name]}
        output = [] if name == "filtered" else [_message(text[: len(text) // 2], status="incomplete")]
    elif name == "failed":
        status, error, output = "failed", {"code": argument, "message": f"it is {argument}"}, []
    elif name in ("cancelled", "in_progress", "empty"):
        status, output = "completed" if name == "empty" else name, []
    is_cached, has_thought = name == "cached", name in ("reasoning", "open_reasoning")
    prompt, said = usage["prompt_tokens"], usage["completion_tokens"] + (20 if has_thought else 0)
    values = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1.0,
        "model": "another-model" if name == "other_model" else asked["model"],
        "status": status,
        "error": error,
        "incomplete_details": incomplete,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {
                "cached_tokens": prompt // 2 if is_cached else 0,
                "cache_write_tokens": 3 if is_cached else 0,
            },
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": 20 if has_thought else 0},
            "total_tokens": prompt + said,
        },
    }
    return Response.model_validate(values).model_dump(mode="json", exclude_unset=True)


def _message(text: str | None, status: str = "completed", phase: str | None = None) -> dict[str, Any]:
    refusal = {"type": "refusal", "refusal": "I cannot help with that."}
    part = refusal if text is None else {"type": "output_text", "text": text, "annotations": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": [part]}
    return message if phase is None else {**message, "phase": phase}


def _reasoning(*, is_open: bool) -> dict[str, Any]:
    summary = [] if is_open else [{"type": "summary_text", "text": THOUGHT}]
    item: dict[str, Any] = {"id": "rs_1", "type": "reasoning", "summary": summary}
    return {**item, "content": [{"type": "reasoning_text", "text": THOUGHT}]} if is_open else item


async def answer(server: FakeTeacher, request: web.Request) -> web.StreamResponse:
    """Reads a request strictly, and does what is planned."""
    body = await request.json()
    server.seen.append(body)
    server.seen_headers.append(dict(request.headers))
    action = server.next_action()
    try:
        asked = parse(RESPONSES, body) if server.is_strict else body
    except ValidationError as error:
        return web.json_response(explain(error), status=400)
    if (refusal := error_for(action, request, asked)) is not None:
        return refusal
    server.answered[str(body["input"])] += 1
    reply = build_reply(action, asked, server.completion(chat_messages(asked), asked["model"]))
    return web.json_response(server.revise(reply))


def answer_line(server: FakeTeacher, body: Mapping[str, Any]) -> tuple[int, Any]:
    """The status and the body that a line of a batch is answered with."""
    try:
        asked = parse(RESPONSES, body) if server.is_strict else body
    except ValidationError as error:
        return 400, explain(error)
    return 200, build_reply("ok", asked, server.completion(chat_messages(asked), asked["model"]))


class FakeResponses(FakeTeacher):
    """The server; it runs while its context is open."""

    prefix = "/v1"

    def routes(self) -> list[web.AbstractRouteDef]:
        """See `FakeTeacher.routes`."""
        self.files = FakeBatches(
            self.batches,
            looks=self.looks,
            endpoint="/v1/responses",
            reply=lambda body: answer_line(self, body),
        )
        self.created, self.answered_lines = self.files.created, self.files.answered

        async def respond(request: web.Request) -> web.StreamResponse:
            return await answer(self, request)

        return [web.post("/v1/responses", respond), *self.files.routes()]


if __name__ == "__main__":
    run_as_process(FakeResponses)
