"""Endpoints that speak chat completions each in a way of its own, by their documentation and the words users report.

In a test:      async with FakeDeepSeek(["busy", "ok"]) as server: ... base_url: server.base_url, http_proxy: server.url

Hosts decide what is said to them, so a server stands in as the proxy of the host that it plays. Each class has the
words of its plan in `errors` and `reply`; `ok` is a reply that ends well. Replies are made by OpenAI's types, with what
the endpoint puts beside them.

Sources     api-docs.deepseek.com (thinking mode, error codes, rate limits), openrouter.ai/docs (routing, reasoning,
            errors, usage), docs.together.ai (reasoning, errors), ollama's openai/openai.go, llama.cpp's server, vLLM's
            chat_completion/protocol.py, docs.aws.amazon.com/bedrock
"""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from aiohttp import web
from openai.types.chat import ChatCompletion

from tests.support.teachers.base import FakeTeacher

COMMON = frozenset(
    {*("model", "messages", "temperature", "top_p", "max_tokens", "stop", "response_format", "tools", "tool_choice")}
)
"""What all of them take."""
THOUGHT = "3 and 4 are 7."
TOO_LONG = "request (4476 tokens) exceeds the available context size (4096 tokens)"
Answer = tuple[int, Any]


def said(message: str, **more: Any) -> dict[str, Any]:
    """An error in OpenAI's form."""
    return {"error": {"message": message, **more}}


class FakeCompatible(FakeTeacher):
    """A server; see `FakeTeacher`."""

    host: ClassVar[str]
    path: ClassVar[str] = "/v1"
    takes: ClassVar[frozenset[str]] = COMMON
    """Fields that it knows; of others it says nothing, unless `refuse` does."""
    model: ClassVar[str] = "m"
    errors: ClassVar[Mapping[str, Answer]] = {}
    before: ClassVar[str] = ""
    """What comes before the JSON of a reply."""
    retry_after: ClassVar[str] = ""

    @property
    def base_url(self) -> str:
        return f"http://{self.host}{self.path}"

    def routes(self) -> list[web.AbstractRouteDef]:
        return [web.post(f"{self.path}/chat/completions", self._chat)]

    def refuse(self, body: dict[str, Any]) -> Answer | None:
        """The error that a request is answered with, whatever the plan says."""
        return None

    def reply(self, action: str, body: dict[str, Any], made: dict[str, Any]) -> Any:
        """The reply, of a completion that is made already."""
        raise NotImplementedError

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if request.host.partition(":")[0] != self.host.partition(":")[0]:
            return web.Response(status=400, text=f"{request.host} is not {self.host}")
        self.seen.append(body)
        self.seen_headers.append(request.headers.copy())
        action = self.next_action()
        answer = self.refuse(body) or self.errors.get(action)
        if answer is not None:
            status, value = answer
            headers = {"Retry-After": self.retry_after} if self.retry_after and status == 402 else {}
            return web.json_response(value, status=status, headers=headers)
        self.answered[json.dumps(body["messages"])] += 1
        made = ChatCompletion.model_validate({"created": 1, **self.completion(body["messages"], body["model"])})
        value = self.reply(action, body, made.model_dump(mode="json", exclude_none=True))
        return web.Response(text=self.before + json.dumps(value), content_type="application/json")


def _say(made: dict[str, Any], **message: Any) -> None:
    made["choices"][0]["message"] |= message


class FakeDeepSeek(FakeCompatible):
    """Reasons unless it is told not to; keeps a busy connection open with blank lines."""

    host, path, model = "api.deepseek.com", "", "deepseek-flash"
    before = "\n\n: keep-alive\n\n\n"
    errors: ClassVar = {
        "poor": (402, said("Insufficient Balance", type="unknown_error", param=None, code="invalid_request_error")),
        "limit": (429, said("Rate limit reached")),
        "overloaded": (503, said("The server is overloaded")),
    }

    def refuse(self, body: dict[str, Any]) -> Answer | None:
        effort = body.get("reasoning_effort", "high")
        if effort not in ("minimal", "low", "medium", "high", "xhigh", "max", "ultra"):
            return 422, said(f"reasoning_effort: unknown variant `{effort}`, expected one of `low`, `high`, `max`")
        if body.get("response_format", {}).get("type") == "json_schema":
            return 400, said("This response_format type is unavailable now", type="invalid_request_error")
        return None

    def reply(self, action: str, body: dict[str, Any], made: dict[str, Any]) -> Any:
        if body.get("thinking", {}).get("type") != "disabled":
            _say(made, reasoning_content=THOUGHT)
            made["usage"]["completion_tokens"] += 5
            made["usage"]["total_tokens"] += 5
            made["usage"]["completion_tokens_details"] = {"reasoning_tokens": 5}
        hit = made["usage"]["prompt_tokens"] // 2
        made["usage"] |= {"prompt_cache_hit_tokens": hit}
        made["usage"] |= {"prompt_cache_miss_tokens": made["usage"]["prompt_tokens"] - hit}
        if action == "busy":
            made["choices"][0]["finish_reason"] = "insufficient_system_resource"
        return made


class FakeOpenRouter(FakeCompatible):
    """Drops in silence what no provider takes, unless it is told to refuse it; says errors inside of replies."""

    host, path, model = "openrouter.ai", "/api/v1", "some/model"
    takes = COMMON | {"provider", "reasoning", "reasoning_effort", "models", "usage", "route"}
    errors: ClassVar = {
        "inside": (200, {"error": {"code": 429, "message": "Provider returned error", "metadata": {"raw": "slow"}}}),
        "poor": (402, said("Insufficient credits", code=402)),
        "down": (502, said("Provider disconnected", code=502)),
        "gone": (400, said("some/model is not a valid model ID", code=400)),
        "flagged": (403, said("moderated", code=403, metadata={"reasons": ["violence"], "flagged_input": "a"})),
    }

    def __init__(
        self, *plan: Any, lacks: frozenset[str] = frozenset({"seed", "reasoning_effort"}), **options: Any
    ) -> None:
        super().__init__(*plan, **options)
        self.lacks = lacks
        self.dropped: list[str] = []

    def refuse(self, body: dict[str, Any]) -> Answer | None:
        unknown = sorted(self.lacks & body.keys())
        if unknown and body.get("provider", {}).get("require_parameters"):
            more = "To learn more about provider routing, visit: https://openrouter.ai/docs/guides/routing"
            return 404, said(f"No endpoints found that can handle the requested parameters. {more}", code=404)
        self.dropped += unknown
        return None

    def reply(self, action: str, body: dict[str, Any], made: dict[str, Any]) -> Any:
        choice = made["choices"][0]
        choice["native_finish_reason"] = "completed"
        if body.get("reasoning", {}).get("effort") != "none":
            _say(made, reasoning=THOUGHT, reasoning_details=[{"type": "reasoning.text", "text": THOUGHT}])
        made["provider"] = "Some"
        made["usage"] |= {"cost": 0.5, "is_byok": False, "cost_details": {"upstream_inference_cost": None}}
        if action == "broken":
            choice |= {"finish_reason": "error", "error": {"code": 502, "message": "Upstream error"}}
        if action == "refused":
            choice |= {"finish_reason": "stop", "native_finish_reason": "refusal"}
        return made


class FakeTogether(FakeCompatible):
    """Ends with `eos`; models that reason or do not are told by a field of its own."""

    host, model = "api.together.xyz", "deepseek-ai/DeepSeek-V4.1-Flash"
    takes = COMMON | {"seed", "reasoning", "reasoning_effort"}
    errors: ClassVar = {
        "limit": (429, said("You have reached the rate limit", type="model_rate_limit", param=None, code=None)),
        "poor": (402, said("Credit limit exceeded", type="credit_limit", param=None, code=None)),
        "gone": (404, said("Unable to access model m", type="invalid_request_error", code="model_not_available")),
    }

    def refuse(self, body: dict[str, Any]) -> Answer | None:
        if (effort := body.get("reasoning_effort", "low")) in ("low", "medium", "high"):
            return None
        said_so = f"Input validation error: reasoning_effort '{effort}' is not one of low, medium, high"
        return 400, said(said_so, type="invalid_request_error", param="reasoning_effort", code=None)

    def reply(self, action: str, body: dict[str, Any], made: dict[str, Any]) -> Any:
        made["choices"][0]["finish_reason"] = "eos"
        if body.get("reasoning", {}).get("enabled", True):
            _say(made, reasoning=THOUGHT)
        return made


class FakeBedrock(FakeCompatible):
    """gpt-oss there begins its text with what it reasons, between tags, in any number of pieces."""

    host, path, model = "bedrock-runtime.us-east-1.amazonaws.com", "/openai/v1", "openai.gpt-oss-20b-1:0"
    errors: ClassVar = {
        "key": (403, {"message": "Authentication failed: Please make sure your API Key is valid."}),
        "limit": (429, {"message": "Too many tokens, please wait before trying again."}),
    }

    def reply(self, action: str, body: dict[str, Any], made: dict[str, Any]) -> Any:
        text = made["choices"][0]["message"]["content"]
        _say(made, content=f"<reasoning>3 and 4</reasoning><reasoning> are 7.</reasoning>{text}")
        return made


class FakeOllama(FakeCompatible):
    """Keeps as much of a prompt as fits into its context, without a word; knows neither `n` nor other caps."""

    host, model = "ollama.test:11434", "qwen3:4b"
    num_ctx: ClassVar[int] = 4096
    errors: ClassVar = {
        "gone": (404, said("model 'm' not found", type="not_found_error", param=None, code=None)),
        "busy": (503, said("server busy, please try again.  maximum pending requests exceeded", type="api_error")),
    }

    def refuse(self, body: dict[str, Any]) -> Answer | None:
        effort = body.get("reasoning_effort", "high")
        if effort in ("high", "medium", "low", "max", "none"):
            return None
        return 400, said(f"invalid reasoning value: '{effort}'", type="invalid_request_error", param=None, code=None)

    def reply(self, action: str, body: dict[str, Any], made: dict[str, Any]) -> Any:
        characters = sum(len(message["content"]) for message in body["messages"])
        prompt = min(self.num_ctx, max(1, characters // 4))
        made["usage"] |= {"prompt_tokens": prompt, "total_tokens": prompt + made["usage"]["completion_tokens"]}
        made |= {"system_fingerprint": "fp_ollama"}
        if body.get("reasoning_effort") != "none":
            _say(made, reasoning=THOUGHT)
        return made


class FakeLlamaCpp(FakeCompatible):
    """Is there before its model is; says how long a prompt may be."""

    host, model = "llama.test:8080", "gpt-oss-20b"
    errors: ClassVar = {
        "loading": (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
        "long": (
            400,
            {"error": {"code": 400, "message": TOO_LONG, "type": "exceed_context_size_error", "n_ctx": 4096}},
        ),
    }

    def reply(self, action: str, body: dict[str, Any], made: dict[str, Any]) -> Any:
        _say(made, reasoning_content=THOUGHT)
        return made | {"timings": {"prompt_n": 7, "predicted_per_second": 41.5}}


class FakeVllm(FakeCompatible):
    """Tells reasoning in `reasoning`, and earlier versions in `reasoning_content`; says `abort` of what it gave up."""

    host, model = "vllm.test:8000", "Qwen/Qwen3-8B"
    errors: ClassVar = {
        "long": (400, said("This model's maximum context length is 2048 tokens. However, your request has 2100 input "
                 "tokens.", type="BadRequestError", param="input_tokens", code=400)),
        "gone": (404, said("The model `m` does not exist.", type="NotFoundError", param="model", code=404)),
    }  # fmt: skip

    def reply(self, action: str, body: dict[str, Any], made: dict[str, Any]) -> Any:
        _say(made, **{"reasoning_content" if action == "old" else "reasoning": THOUGHT, "tool_calls": []})
        choice = made["choices"][0]
        choice |= {"stop_reason": None, "token_ids": None}
        if action == "abort":
            choice["finish_reason"] = "abort"
        return made | {"prompt_logprobs": None, "kv_transfer_params": None}
