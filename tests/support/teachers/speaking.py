"""OpenAI's chat completions, whose replies are what a function says of each request: for whole jobs over a real wire.

In a test:      with speaking(lambda body: "Yes.") as server: ... server.url ...
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from aiohttp import web
from openai.types.chat import ChatCompletion

from tests.support.teachers.base import FakeTeacher
from tests.support.teachers.openai_types import COMPLETIONS, parse

Server = TypeVar("Server", bound=FakeTeacher)
Say = Callable[[Mapping[str, Any]], str | Mapping[str, Any]]
"""The text of a reply, or the fields of its message, of the body of a request."""


class FakeSpeaking(FakeTeacher):
    """The server; it refuses fields that OpenAI does not know.

    Args:
        say: what it replies.
    """

    prefix = "/v1"

    def __init__(self, say: Say) -> None:
        super().__init__()
        self._say = say

    def routes(self) -> list[web.AbstractRouteDef]:
        return [web.post("/v1/chat/completions", self._complete)]

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append(body)
        parse(COMPLETIONS, body)
        said = self._say(body)
        message = {"role": "assistant", "content": said} if isinstance(said, str) else {"role": "assistant", **said}
        ended = "tool_calls" if message.get("tool_calls") else "stop"
        reply = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": ended, "logprobs": None}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30},
        }
        return web.json_response(ChatCompletion.model_validate(reply).model_dump(mode="json", exclude_unset=True))


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Runs a server in a thread of its own, for callers that have no event loop, and processes that they start."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(server.__aexit__(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def speaking(say: Say) -> AbstractContextManager[FakeSpeaking]:
    """A server that says what a function returns."""
    return serving(FakeSpeaking(say))
