"""Models that are deployed in Azure: its v1 API, and the one before it, by the types of OpenAI's package.

In a test:              async with FakeAzure(["prompt_filtered", "ok"]) as server: ... server.url (of the resource) ...
As a process:           python -m tests.support.teachers.azure --port 8001

Words of a plan, beside those of `chat` and of `responses`:

    prompt_filtered     400 content_filter, with what the prompt was filtered for in `innererror`
    filtered            a choice with `content_filter_results`
    no_deployment       404 DeploymentNotFound
    busy                429 as Azure words it
"""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from tests.support.fake_batches import FakeBatches
from tests.support.teachers import chat, responses
from tests.support.teachers.base import FakeTeacher, run_as_process
from tests.support.teachers.openai_errors import error_for

KEY, TOKEN = "azure-key-0123456789abcdef", "entra-token-0123456789abcdef"
VERSIONS = ("2024-10-21", "2025-04-01-preview")
FILTER = {
    "hate": {"filtered": False, "severity": "safe"},
    "violence": {"filtered": True, "severity": "medium"},
    "jailbreak": {"filtered": True, "detected": True},
}


def planned(action: str, request: web.Request, body: Mapping[str, Any]) -> web.Response | None:
    """Answers in Azure's own words."""
    if action == "prompt_filtered":
        inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": FILTER}
        said = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
        error = {"message": said, "type": None, "param": "prompt", "code": "content_filter", "status": 400}
        return web.json_response({"error": error | {"innererror": inner}}, status=400)
    if action == "no_deployment":
        error = {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}
        return web.json_response({"error": error}, status=404)
    if action == "busy":
        error = {"code": "429", "message": "Requests have exceeded the call rate limit. Please retry after 3 seconds."}
        return web.json_response({"error": error}, status=429, headers={"Retry-After": "3"})
    return error_for(action, request, body)


class FakeAzure(FakeTeacher):
    """The server; it runs while its context is open."""

    is_open = False
    """Whether nobody needs a key."""

    def routes(self) -> list[web.AbstractRouteDef]:
        """See `FakeTeacher.routes`; what is asked of a batch is seen at its first line."""
        self.files = FakeBatches(self.batches, looks=self.looks, reply=lambda body: chat.answer_line(self, body))
        self.created = self.files.created
        self.batch_keys: set[str | None] = set()
        v1 = "/openai/v1"
        return [
            web.post(f"{v1}/chat/completions", self._complete),
            web.post(f"{v1}/responses", self._respond),
            web.post("/openai/deployments/{deployment}/chat/completions", self._complete_before_v1),
            *(web.route(route.method, route.path, self._note_key(route.handler)) for route in self.files.routes(v1)),
        ]

    def sizes(self) -> list[int]:
        """Lines of the batches, in the order of their creation."""
        return self.files.sizes()

    def _note_key(self, handler: Any) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.batch_keys.add(request.headers.get("api-key"))
            return await handler(request)  # type: ignore[no-any-return]

        return handle

    def _refuse(self, request: web.Request) -> web.Response | None:
        """The key in its own header, or a token as a bearer's; one of them, and not as the other."""
        self.seen_headers.append(dict(request.headers))
        is_key = request.headers.get("api-key") == KEY and "Authorization" not in request.headers
        is_token = request.headers.get("Authorization") == f"Bearer {TOKEN}" and "api-key" not in request.headers
        if is_key or is_token or self.is_open:
            return None
        said = "Access denied due to invalid subscription key or wrong API endpoint."
        return web.json_response({"error": {"code": "401", "message": said}}, status=401)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        return self._refuse(request) or await self._answer(request)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        """A choice that was filtered says what for."""
        response = await chat.answer(self, request, planned)
        assert isinstance(response, web.Response)
        assert isinstance(response.body, bytes)
        body = json.loads(response.body)
        if response.status == 200 and body["choices"][0]["finish_reason"] == "content_filter":
            body["choices"][0]["content_filter_results"] = FILTER
            return web.json_response(body)
        return response

    async def _complete_before_v1(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("api-version") not in VERSIONS:
            return web.json_response({"error": {"code": "404", "message": "Resource not found"}}, status=404)
        return await self._complete(request)

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        return self._refuse(request) or await responses.answer(self, request)


if __name__ == "__main__":
    run_as_process(FakeAzure)
