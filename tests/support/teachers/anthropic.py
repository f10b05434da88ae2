"""A server that speaks Anthropic's Messages API, by the types of anthropic: it takes what they take, and says no more.

In a test:      async with FakeAnthropic(["refusal:bio", "ok"]) as server: ... server.url ...
As a process:   python -m tests.support.teachers.anthropic --port 8080

A plan names what is done with the first requests for a reply:

    ok                      a reply that follows from the messages
    end:REASON              the same with another stop_reason; `end:null` with none
    refusal refusal:CATEGORY    withheld, with no content; `half:CATEGORY` with the beginning of it
    call                    a call of a tool
    redacted empty          a block of thinking that cannot be read before the text; no content
    as:MODEL                answered by another model
    drop:FIELD              without a field of the reply, or of its usage
    rename:WORD             with a stop_reason that the package does not know
    401 402 403 404 413 500 504 529     errors as the API sends them; 429:SECONDS with Retry-After
    spend limit credit ramp:SECONDS long    429 without one and a spend limit of the vendor's; a limit of one's own, an
                            empty account and a prompt that is too long, with 400; 429 for usage that grows too fast
    refuse:FIELD            400 for requests with this field, by its name; `ok` for the others

Replies think where the request or the model has it so. What is marked is kept from the first reply on.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from aiohttp import web
from anthropic.pagination import SyncPage
from anthropic.types import ModelInfo

from tests.support.teachers.anthropic_batches import BatchDesk
from tests.support.teachers.anthropic_types import Refused, parse_request, write_message
from tests.support.teachers.base import FakeTeacher

UNSAMPLED = (
    "claude-opus-4-7",
    "claude-opus-4-8",
    "claude-opus-5",
    "claude-sonnet-5",
    "claude-haiku-5",
    "claude-fable-5",
)
ALWAYS_THINKS = ("claude-opus-5-5", "claude-fable-5", "claude-mythos-5")
THINKS = (*ALWAYS_THINKS, "claude-opus-5", "claude-sonnet-5", "claude-haiku-5")
ADAPTS = (*THINKS, *UNSAMPLED, "claude-opus-4-6", "claude-sonnet-4-6")
LEAST_KEPT = 100
"""Words of a beginning that is kept."""
ERRORS = {
    "401": (401, "authentication_error", "invalid x-api-key"),
    "402": (402, "billing_error", "Your organization has no means of payment."),
    "403": (403, "permission_error", "Your key does not have permission to use the model."),
    "404": (404, "not_found_error", "model: claude-nobody"),
    "413": (413, "invalid_request_error", "Request exceeds the maximum size"),
    "429": (429, "rate_limit_error", "This request would exceed your rate limit of 50 requests per minute."),
    "500": (500, "api_error", "Internal server error"),
    "504": (504, "timeout_error", "The request timed out while it was worked on."),
    "529": (529, "overloaded_error", "Overloaded"),
    "long": (400, "invalid_request_error", "prompt is too long: 250000 tokens > 200000 maximum"),
    "limit": (
        400,
        "invalid_request_error",
        "You have reached your specified API usage limits. You will regain access on",
    ),
    "credit": (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
}
SPENT = "This organization has reached the monthly API usage threshold of its tier."


class FakeAnthropic(FakeTeacher):
    """The server; see `FakeTeacher`. Batches: see `anthropic_batches.BatchDesk`."""

    def __init__(
        self,
        plan: Sequence[str] = (),
        *,
        key: str | None = None,
        faults: Mapping[str, Sequence[str]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(plan, **options)
        self.key = key
        self.desk = BatchDesk(self, faults or {})
        self._kept: set[str] = set()

    def routes(self) -> list[web.AbstractRouteDef]:
        own = [web.post("/v1/messages", self._create), web.get("/v1/models", self._list_models)]
        return [*own, web.get("/stats", self._stats), *self.desk.routes()]

    def sizes(self) -> list[int]:
        """Requests of the batches, in the order of their creation."""
        return self.desk.sizes()

    async def until(self, kind: str, number: int = 1) -> None:
        """See `BatchDesk.until`."""
        await self.desk.until(kind, number)

    async def _list_models(self, request: web.Request) -> web.StreamResponse:
        try:
            self.check_headers(request)
        except Refused as refused:
            return web.json_response(refused.body, status=refused.status, headers=refused.headers)
        known = {"display_name": "Claude", "type": "model", "created_at": "2026-09-01T00:00:00Z"}
        told = {
            "claude-haiku-5-5-20260901": {"lifecycle": "active"},
            "claude-opus-4-5-20251101": {"lifecycle": "deprecated", "retires_at": "2027-01-22T00:00:00Z"},
            "claude-3-opus-20240229": {"lifecycle": "retired", "retires_at": "2026-01-05T00:00:00Z"},
        }
        models = [ModelInfo.model_validate({"id": id, **known, **told[id]}) for id in told]
        listed = models[: int(request.query.get("limit", 20))]
        page = SyncPage[ModelInfo](data=listed, has_more=len(listed) < len(models), first_id=None, last_id=None)
        return web.json_response(page.model_dump(mode="json"))

    async def _stats(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"answered": sum(self.answered.values()), "batches": self.desk.sizes()})

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append(body)
        self.seen_headers.append(request.headers)
        try:
            self.check_headers(request)
            answer = self.answer(body, self.next_action())
        except Refused as refused:
            return web.json_response(refused.body, status=refused.status, headers=refused.headers)
        self.answered[json.dumps(body, sort_keys=True)] += 1
        return web.json_response(answer)

    def check_headers(self, request: web.Request) -> None:
        """Raises Refused for what the API asks for in every request."""
        if request.headers.get("anthropic-version") != "2023-06-01":
            raise Refused(400, "invalid_request_error", "anthropic-version: header is required")
        if self.key is not None and request.headers.get("x-api-key") != self.key:
            raise Refused(*ERRORS["401"])

    def answer(self, body: dict[str, Any], action: str) -> dict[str, Any]:
        """The body of a reply."""
        asked = parse_request(body)
        _check_limits(asked)
        name, _, argument = action.partition(":")
        if name in ("429", "529", "ramp"):
            details = {"error_code": "ramp_limit_exceeded"} if name == "ramp" else None
            raise Refused(*ERRORS["429" if name == "ramp" else name], {"retry-after": argument or "1"}, details)
        if name == "spend":
            raise Refused(429, "rate_limit_error", SPENT, details={"error_code": "enforced_spend_limit_reached"})
        if name in ERRORS:
            raise Refused(*ERRORS[name])
        if name == "refuse" and argument in body:
            raise Refused(400, "invalid_request_error", f"`{argument}` is deprecated for this model.")
        shown = write_message(self._write(asked, name, argument))
        if name == "drop":
            shown.pop(argument, None)
            shown.get("usage", {}).pop(argument, None)
        return shown | ({"stop_reason": argument} if name == "rename" else {})

    def _write(self, asked: dict[str, Any], name: str, argument: str) -> dict[str, Any]:
        completion = self.completion(_rebuild(asked), asked["model"])
        text: str = completion["choices"][0]["message"]["content"]
        blocks: list[dict[str, Any]] = [{"type": "text", "text": text, "citations": None}]
        usage = self._count(asked, completion["usage"])
        if _is_thinking(asked):
            shown = asked.get("thinking", {}).get("display") != "omitted" and "thinking" in asked
            said = "It is a sum. I add." if shown else ""
            blocks.insert(0, {"type": "thinking", "thinking": said, "signature": "c2ln"})
            usage["output_tokens"] += 7
            usage["output_tokens_details"] = {"thinking_tokens": 7}
        reason, details = "end_turn", None
        if name == "end":
            reason = None if argument == "null" else argument  # type: ignore[assignment]
        elif name in ("refusal", "half"):
            reason, blocks = "refusal", blocks if name == "half" else []
            said = f"This is about {argument}." if argument else None  # type: ignore[assignment]
            details = {"type": "refusal", "category": argument or None, "explanation": said}
        elif name == "call":
            called = {
                "type": "tool_use",
                "id": "toolu_1",
                "name": "add",
                "input": {"a": 1, "b": "Größe"},
                "caller": None,
            }
            reason, blocks = "tool_use", [*blocks, called]
        elif name == "redacted":
            blocks.insert(0, {"type": "redacted_thinking", "data": "ZGF0YQ=="})
        elif name == "empty":
            blocks = []
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": argument if name == "as" else asked["model"],
            "content": blocks,
            "stop_reason": reason,
            "stop_sequence": None,
            "stop_details": details,
            "usage": usage,
        }

    def _count(self, asked: dict[str, Any], counted: Mapping[str, int]) -> dict[str, Any]:
        """Tokens: words, apart for what was kept, what is kept now, and the rest."""
        read = written = 0
        for beginning, words in _find_marked(asked):
            if words < LEAST_KEPT:
                continue
            if beginning in self._kept:
                read, written = words, 0
            else:
                written = words - read
                self._kept.add(beginning)
        return {
            "input_tokens": counted["prompt_tokens"] - read - written,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": written,
            "output_tokens": counted["completion_tokens"],
            "service_tier": "standard",
        }


def _is(asked: Mapping[str, Any], names: Sequence[str]) -> bool:
    return str(asked["model"]).startswith(tuple(names))


def _is_thinking(asked: Mapping[str, Any]) -> bool:
    kind = asked.get("thinking", {}).get("type")
    return kind in ("adaptive", "enabled") or (kind is None and _is(asked, THINKS))


def _check_limits(asked: Mapping[str, Any]) -> None:
    """Raises Refused for what the types let through and the models do not."""

    def refuse(message: str) -> None:
        raise Refused(400, "invalid_request_error", message)

    thinking = asked.get("thinking", {})
    for name in ("temperature", "top_p", "top_k"):
        if name in asked and _is(asked, UNSAMPLED):
            refuse(f"`{name}` is deprecated for this model.")
        if name in asked and _is_thinking(asked):
            refuse(f"`{name}` may only be set to 1 when thinking is enabled.")
    if thinking.get("type") == "enabled":
        if _is(asked, UNSAMPLED):
            refuse('"thinking.type.enabled" is not supported for this model.')
        if not 1024 <= thinking["budget_tokens"] < asked["max_tokens"]:
            refuse("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if thinking.get("type") == "adaptive" and not _is(asked, ADAPTS):
        refuse("adaptive thinking is not supported on this model")
    sonnet_5_5 = _is(asked, ["claude-sonnet-5-5"])
    if thinking.get("type") == "disabled" and (_is(asked, ALWAYS_THINKS) or sonnet_5_5):
        refuse('"thinking.type.disabled" is not supported for this model.')
    if thinking.get("type") == "between_tools" and not sonnet_5_5:
        refuse('"thinking.type.between_tools" is not supported for this model.')
    if "effort" in asked.get("output_config", {}) and not _is(asked, ADAPTS):
        refuse("This model does not support the effort parameter.")
    if asked["messages"][-1]["role"] == "assistant" and _is(asked, UNSAMPLED):
        refuse("This model does not support assistant message prefill.")
    roles = [message["role"] for message in asked["messages"]]
    if roles[0] != "user" or any(one == other for one, other in pairwise(roles)):
        refuse("messages: roles must alternate, and begin with user")
    if any(not text.strip() for text, _ in _list_texts(asked)):
        refuse("messages: text content blocks must be non-empty")


def _list_blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _list_texts(asked: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """All texts in the order in which they are read, and whether each is marked."""
    contents = [asked.get("system") or [], *(message["content"] for message in asked["messages"])]
    blocks = [block for content in contents for block in _list_blocks(content)]
    return [(block["text"], block.get("cache_control") == {"type": "ephemeral"}) for block in blocks]


def _find_marked(asked: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Beginnings that end in a mark, and the number of their words."""
    texts = _list_texts(asked)
    found = [[text for text, _ in texts[: at + 1]] for at, (_, is_marked) in enumerate(texts) if is_marked]
    if len(found) > 4:
        raise Refused(400, "invalid_request_error", "A maximum of 4 blocks with cache_control may be provided.")
    return [(json.dumps([asked["model"], *beginning]), len(" ".join(beginning).split())) for beginning in found]


def _rebuild(asked: Mapping[str, Any]) -> list[dict[str, str]]:
    """The messages as chat completions say them."""
    turns = [("system", asked["system"])] if asked.get("system") else []
    turns += [(message["role"], message["content"]) for message in asked["messages"]]
    return [
        {"role": role, "content": "".join(block["text"] for block in _list_blocks(content))} for role, content in turns
    ]


async def _serve(port: int, **options: Any) -> None:
    async with FakeAnthropic(port=port, **options) as server:
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Serves until it is killed; the URL is the first line of its output, and GET /stats says what was answered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--plan", default="", help="names, with commas between them")
    parser.add_argument("--rule", default="The answer is {n}.")
    arguments = parser.parse_args()
    plan = [name for name in arguments.plan.split(",") if name]
    asyncio.run(_serve(arguments.port, plan=plan, rule=arguments.rule))


if __name__ == "__main__":
    main()
