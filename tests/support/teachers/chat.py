"""OpenAI's chat completions, by the types of its own package.

In a test:              async with FakeChat(["cut", "ok"]) as server: ... server.url ...
As a process:           python -m tests.support.teachers.chat --port 8001

Words of a plan, beside those of `openai_errors`:

    ok                  a reply that ends well
    cut filtered calls  ended by its limit, by a content filter, with a call of a function
    refusal             a message with a refusal
    cached reasoned     half of the prompt was in the cache, a part was put there; tokens of hidden reasoning
    other_model         answered by another model than the one that was asked
"""

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from openai.types.chat import ChatCompletion
from pydantic import ValidationError

from tests.support.fake_batches import FakeBatches
from tests.support.teachers.base import FakeTeacher, run_as_process
from tests.support.teachers.openai_errors import error_for
from tests.support.teachers.openai_types import COMPLETIONS, explain, parse

ENDS = {"cut": "length", "filtered": "content_filter", "calls": "tool_calls"}
Planned = Callable[[str, web.Request, Mapping[str, Any]], web.Response | None]


def build_reply(action: str, asked: Mapping[str, Any], completion: Mapping[str, Any]) -> dict[str, Any]:
    """A reply, made by the package's type; see `responses.build_reply`."""
    text, usage = completion["choices"][0]["message"]["content"], completion["usage"]
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if action == "cut":
        message["content"] = text[: len(text) // 2]
    elif action in ("filtered", "refusal"):
        message |= {"content": None, "refusal": "I cannot help with that." if action == "refusal" else None}
    elif action == "calls":
        call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
        message |= {"content": None, "tool_calls": [call]}
    prompt, said = usage["prompt_tokens"], usage["completion_tokens"] + (20 if action == "reasoned" else 0)
    cached = {"cached_tokens": prompt // 2, "cache_write_tokens": 3} if action == "cached" else {"cached_tokens": 0}
    values = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "another-model" if action == "other_model" else asked["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": ENDS.get(action, "stop"), "logprobs": None}],
        "usage": {
            "prompt_tokens": prompt,
            "prompt_tokens_details": cached,
            "completion_tokens": said,
            "completion_tokens_details": {"reasoning_tokens": 20 if action == "reasoned" else 0},
            "total_tokens": prompt + said,
        },
    }
    return ChatCompletion.model_validate(values).model_dump(mode="json", exclude_unset=True)


def chat_messages(asked: Mapping[str, Any]) -> list[dict[str, str]]:
    """What is asked, without what else a message may have."""
    return [{"role": message["role"], "content": message["content"]} for message in asked["messages"]]


async def answer(server: FakeTeacher, request: web.Request, planned: Planned = error_for) -> web.StreamResponse:
    """Reads a request strictly, and does what is planned.

    Args:
        server: who is asked.
        request: see aiohttp.
        planned: answers for words that stand for no reply.
    """
    body = await request.json()
    server.seen.append(body)
    server.seen_headers.append(dict(request.headers))
    action = server.next_action()
    try:
        asked = parse(COMPLETIONS, body) if server.is_strict else body
    except ValidationError as error:
        return web.json_response(explain(error), status=400)
    if (refusal := planned(action, request, asked)) is not None:
        return refusal
    server.answered[str(body["messages"])] += 1
    reply = build_reply(action, asked, server.completion(chat_messages(asked), asked["model"]))
    return web.json_response(server.revise(reply))


def answer_line(server: FakeTeacher, body: Mapping[str, Any]) -> tuple[int, Any]:
    """The status and the body that a line of a batch is answered with."""
    try:
        asked = parse(COMPLETIONS, body) if server.is_strict else body
    except ValidationError as error:
        return 400, explain(error)
    return 200, build_reply("ok", asked, server.completion(chat_messages(asked), asked["model"]))


class FakeChat(FakeTeacher):
    """The server; it runs while its context is open."""

    prefix = "/v1"

    def routes(self) -> list[web.AbstractRouteDef]:
        """See `FakeTeacher.routes`."""
        self.files = FakeBatches(self.batches, looks=self.looks, reply=lambda body: answer_line(self, body))
        self.created = self.files.created

        async def complete(request: web.Request) -> web.StreamResponse:
            return await answer(self, request)

        return [web.post("/v1/chat/completions", complete), *self.files.routes()]


if __name__ == "__main__":
    run_as_process(FakeChat)
