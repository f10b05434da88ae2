"""A server that speaks Gemini's API, by the types of google-genai: it takes what they take, and says what they can say.

In a test:      async with FakeGemini(["SAFETY", "ok"]) as server: ... server.url ...
As a process:   python -m tests.support.teachers.gemini --port 8080

A plan names what is done with the first requests for a reply:

    ok                  a reply that follows from the messages
    MAX_TOKENS SAFETY   any finishReason; half a reply, or none of it where it is withheld
    block:REASON        no candidate, and a promptFeedback
    none                no candidate, and no reason
    call                a call of a function, with a signature of the thought before it
    drop:FIELD          `ok` without a field of the reply, or of its first candidate
    cached              `ok`, all but one token of the prompt was kept from before
    end:WORD            `ok`, with a finishReason that the SDK does not know
    as:MODEL            `ok`, answered by another model
    429:46s 429:day     a limit by the minute with RetryInfo, a daily one
    limit0 402 key 403 404 500 503 504 long     errors as Gemini sends them
    slow                `ok`, after 0.4 s
    refuse:FIELD        400 for requests with this field of generationConfig; `ok` for the others

Replies have thoughts where the request asks for them.
"""

import asyncio
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web
from google.genai import _common, types
from pydantic import ValidationError

from tests.support.teachers.base import FakeTeacher, run_as_process
from tests.support.teachers.gemini_batches import BatchDesk

ALWAYS_THINK = ("gemini-2.5-pro", "gemini-3-pro", "gemini-3.1-pro", "gemini-3.7", "gemini-3.8", "gemini-4")
SAID = ("STOP", "MAX_TOKENS", "CONTINUATION")
HTTP = {400: "INVALID_ARGUMENT", 402: "RESOURCE_EXHAUSTED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
HTTP |= {429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}
RPC = "type.googleapis.com/google.rpc."


class GenerateContentRequest(_common.BaseModel):
    """What `_GenerateContentConfig_to_mldev` of the SDK puts beside the contents; the SDK has no type of its own."""

    contents: list[types.Content]
    system_instruction: types.Content | None = None
    generation_config: types.GenerationConfig | None = None
    safety_settings: list[types.SafetySetting] | None = None
    tools: list[types.Tool] | None = None
    tool_config: types.ToolConfig | None = None
    cached_content: str | None = None
    labels: dict[str, str] | None = None
    service_tier: str | None = None
    store: bool | None = None


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, *details: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        error = {"code": status, "message": message, "status": HTTP[status], "details": list(details)}
        self.body = {"error": error}


class FakeGemini(FakeTeacher):
    """The server; see `FakeTeacher`. Batches: see `gemini_batches.BatchDesk`."""

    is_strict = True
    """Whether what the types do not know is refused."""

    def __init__(self, plan: Sequence[str] = (), *, key: str | None = None, **options: Any) -> None:
        batches = {name: options.pop(name) for name in ("faults", "inline") if name in options}
        super().__init__(plan, **options)
        self.key = key
        self.models: list[str] = []
        """Of the requests for a reply."""
        self.desk = BatchDesk(self, **batches)

    def sizes(self) -> list[int]:
        """Lines of the batches, in the order of their creation."""
        return [len(batch.lines) for batch in self.created]

    def routes(self) -> list[web.AbstractRouteDef]:
        own = [web.post("/v1beta/models/{name}:generateContent", self._generate)]
        return [*own, web.get("/v1beta/models", self._list_models), *self.desk.routes()]

    async def _list_models(self, request: web.Request) -> web.StreamResponse:
        try:
            self.check_key(request)
        except Refused as refused:
            return web.json_response(refused.body, status=refused.status)
        names = ("gemini-2.5-flash-lite", "gemini-3.8-flash")
        models = [types.Model(name=f"models/{name}", supported_actions=["generateContent"]) for name in names]
        listed = models[: int(request.query.get("pageSize", 1))]
        found: dict[str, Any] = {"models": [model.model_dump(mode="json", exclude_none=True) for model in listed]}
        return web.json_response(found if len(listed) == len(models) else found | {"nextPageToken": "more"})

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append(body)
        self.models.append(request.match_info["name"])
        self.seen_headers.append(request.headers)
        action = self.next_action()
        if action == "slow":
            await asyncio.sleep(0.4)
        try:
            self.check_key(request)
            answer = self.answer(request.match_info["name"], body, action)
        except Refused as refused:
            return web.json_response(refused.body, status=refused.status)
        self.answered[json.dumps(body, sort_keys=True)] += 1
        return web.json_response(answer)

    def check_key(self, request: web.Request) -> None:
        """Raises Refused for a wrong key, as Gemini does: with 400."""
        if self.key is not None and request.headers.get("x-goog-api-key") != self.key:
            raise _wrong_key()

    def answer(self, model: str, body: dict[str, Any], action: str) -> dict[str, Any]:
        """The body of a reply."""
        asked = parse_request(body if self.is_strict else {"contents": body["contents"]})
        _check_limits(model, asked)
        name, _, argument = action.partition(":")
        if name == "refuse" and argument in body.get("generationConfig", {}):
            raise Refused(400, f"{argument} is not supported for this model.")
        if name in ERRORS:
            raise ERRORS[name](argument)
        messages = _rebuild(asked)
        completion = self.completion(messages, model)
        reply = self._reply(asked, completion, model, name, argument)
        shown: dict[str, Any] = reply.model_dump(mode="json", by_alias=True, exclude_none=True)
        if name == "drop":
            shown["candidates"][0].pop(argument, None)
            shown.pop(argument, None)
        if name == "end":
            shown["candidates"][0]["finishReason"] = argument
        return self.revise(shown)

    def revise(self, reply: dict[str, Any]) -> dict[str, Any]:
        """For tests of servers that do not speak as the vendor does."""
        return reply

    def _reply(
        self, asked: GenerateContentRequest, completion: dict[str, Any], model: str, name: str, argument: str
    ) -> types.GenerateContentResponse:
        text = completion["choices"][0]["message"]["content"]
        counted = completion["usage"]
        usage = types.GenerateContentResponseUsageMetadata(
            prompt_token_count=counted["prompt_tokens"], candidates_token_count=counted["completion_tokens"]
        )
        config = asked.generation_config or types.GenerationConfig()
        parts = [types.Part(text=text)]
        if config.thinking_config is not None and config.thinking_config.include_thoughts:
            parts.insert(0, types.Part(text="The parts are added.", thought=True))
            usage.thoughts_token_count = 5
        if name == "cached":
            usage.cached_content_token_count = counted["prompt_tokens"] - 1
        usage.total_token_count = sum(
            filter(None, (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count))
        )
        reply = types.GenerateContentResponse(
            model_version=argument if name == "as" else model, usage_metadata=usage, response_id="r"
        )
        if name == "block":
            usage.candidates_token_count = None
            rating = types.SafetyRating(category="HARM_CATEGORY_DANGEROUS_CONTENT", probability="HIGH", blocked=True)
            reply.prompt_feedback = types.GenerateContentResponsePromptFeedback(
                block_reason=types.BlockedReason[argument], safety_ratings=[rating]
            )
        elif name != "none":
            reply.candidates = [_candidate(parts, name)]
        return reply


def _candidate(parts: list[types.Part], name: str) -> types.Candidate:
    reason = types.FinishReason[name] if name in types.FinishReason.__members__ else types.FinishReason.STOP
    candidate = types.Candidate(index=0, finish_reason=reason)
    if name == "call":
        call = types.FunctionCall(name="add", args={"a": 2, "b": 2})
        parts = [types.Part(function_call=call, thought_signature=b"signed")]
    if reason in SAID:
        candidate.content = types.Content(role="model", parts=parts)
    else:
        ratings = [("HARM_CATEGORY_HARASSMENT", "NEGLIGIBLE"), ("HARM_CATEGORY_DANGEROUS_CONTENT", "HIGH")]
        candidate.safety_ratings = [types.SafetyRating(category=of, probability=how) for of, how in ratings]
    return candidate


def parse_request(body: dict[str, Any]) -> GenerateContentRequest:
    """The request by the SDK's types; no field may be unknown, have another name, or lose anything."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a word that is none of an enum
            asked = GenerateContentRequest.model_validate(body)
    except (ValidationError, UserWarning) as error:
        raise Refused(400, f"Invalid JSON payload received. {error}") from error
    if (read := asked.model_dump(mode="json", by_alias=True, exclude_none=True)) != body:
        raise Refused(400, f"Invalid JSON payload received. It was read as {json.dumps(read)}")
    return asked


def _check_limits(model: str, asked: GenerateContentRequest) -> None:
    """What the API takes by its types, and refuses by its rules."""
    config = asked.generation_config or types.GenerationConfig()
    thinking = config.thinking_config or types.ThinkingConfig()
    if not asked.contents or any(each.role not in ("user", "model") for each in asked.contents):
        raise Refused(400, "Please use a valid role: user, model.")
    if asked.contents[-1].role != "user":
        raise Refused(400, "Please ensure that the last turn is one of the user.")
    if config.seed is not None and not -(2**31) <= config.seed < 2**31:
        raise Refused(400, f"Invalid value at 'generation_config.seed' (TYPE_INT32), {config.seed}")
    if thinking.thinking_level is not None and thinking.thinking_budget is not None:
        raise Refused(400, "You can only set only one of thinking budget and thinking level.")
    if thinking.thinking_level is not None and model.startswith("gemini-2.5"):
        raise Refused(400, "Thinking level is not supported for this model.")
    level = thinking.thinking_level and thinking.thinking_level.value
    if level == "MINIMAL" and model.startswith(ALWAYS_THINK):
        raise Refused(400, "Thinking level MINIMAL is not supported for this model.")
    if thinking.thinking_budget == 0 and model.startswith(ALWAYS_THINK):
        raise Refused(400, "Budget 0 is invalid. This model only works in thinking mode.")


def _rebuild(asked: GenerateContentRequest) -> list[dict[str, str]]:
    """The chat messages that a request was made of."""
    instruction = asked.system_instruction
    turns = [("system", instruction)] if instruction else []
    turns += [("assistant" if each.role == "model" else "user", each) for each in asked.contents]
    return [{"role": role, "content": "".join(part.text or "" for part in each.parts or ())} for role, each in turns]


def _wrong_key(_: str = "") -> Refused:
    info = {"@type": f"{RPC}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    return Refused(400, "API key not valid. Please pass a valid API key.", info)


def _limited(until: str) -> Refused:
    quota = "GenerateRequestsPerDayPerProjectPerModel" if until == "day" else "GenerateRequestsPerMinutePerProject"
    retry = {"@type": f"{RPC}RetryInfo", "retryDelay": "35640s" if until == "day" else until or "1s"}
    violation = {"@type": f"{RPC}QuotaFailure", "violations": [{"quotaId": quota, "quotaValue": "10"}]}
    return Refused(
        429, "You exceeded your current quota, please check your plan and billing details.", violation, retry
    )


def _no_quota(_: str) -> Refused:
    violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "0"}
    said = "You exceeded your current quota. * Quota exceeded for metric: generate_requests, limit: 0, model: m"
    return Refused(429, said, {"@type": f"{RPC}QuotaFailure", "violations": [violation]})


ERRORS = {
    "429": _limited,
    "limit0": _no_quota,
    "key": _wrong_key,
    "402": lambda _: Refused(402, "Your prepayment credits are depleted."),
    "403": lambda _: Refused(403, "Your API key was reported as leaked. Please use another API key."),
    "404": lambda _: Refused(404, "models/m is not found for API version v1beta."),
    "500": lambda _: Refused(500, "An internal error has occurred."),
    "503": lambda _: Refused(503, "The model is overloaded. Please try again later."),
    "504": lambda _: Refused(504, "Deadline expired before operation could complete."),
    "long": lambda _: Refused(400, "The input token count (9) exceeds the maximum number of tokens allowed (8)."),
}


if __name__ == "__main__":
    run_as_process(FakeGemini)
