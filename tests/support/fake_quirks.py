"""An endpoint with the manners of many: the model's name says which, so that one server is enough for a whole table.

In a test:              async with QuirkyServer() as server: ... server.url ... server.asked["err200-429"] ...

    good                        a reply that ends well, 40 prompt and 30 completion tokens
    fin-WORD                    half a reply with the finish_reason WORD; fin-null: null, fin-none: without the field
    choice-error                half a reply, with an error inside the choice
    err200-429 err200-CODE      every second request, or each, gets an error with status 200
    body-NAME                   each gets what BODIES says, with status 200
    burst429 burst200           everything is refused for a while after the first 60 requests
    notemp needmct nosystem     requests with a temperature, max_tokens, a system message are rejected
    emptylen nullreason         all tokens went into reasoning; all text is reasoning
    harmony leak-im leak-inst   markup of chat templates in the text
    azurefilter gemlist ctx     errors as Azure, Gemini and vLLM send them
    nousage usage-NAME          a reply without a usage, or with what USAGES says
    cutprompt                   counts 10 tokens in every prompt
    toolcall sse emptychoices   a call of a tool, a stream, nothing but a reason
    daily date-far              429 with a Retry-After of a day; one beyond the calendar, first
    bom keepalive               a reply behind a byte order mark, or behind comments
    overbill:N                  bills N completion tokens, whatever max_tokens says
    caches writes               counts bytes of the prompt, and has all of it in its cache once it has answered one that
                                began with the same message; or always writes it there, for an hour
    bills:USD                   says that it bills USD
    small:N                     rejects requests whose max_tokens is above N
    refuses:FIELDS:FORM         rejects requests with one of these fields (joined by +) in the words of FORMS, the first
                                one with 429 if FORM begins with `later_`
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Self

from aiohttp import web

GOOD = "We add the parts.\nThe answer is 7."
HALF = "First we look at the parts and then we"
USAGE = {"prompt_tokens": 40, "completion_tokens": 30, "total_tokens": 70}
LIMITED = {"message": "Provider returned error: rate limited upstream", "code": 429}
BODIES: Mapping[str, Any] = {
    "list": [{"error": LIMITED}],
    "text": {"error": "it did not work"},
    "detail": {"detail": "Insufficient balance"},
    "message": {"message": "Unauthorized", "code": 401},
    "event": f"data: {json.dumps({'error': LIMITED | {'code': 402}})}\n\ndata: [DONE]\n\n",
    "errors": {"errors": [{"message": "Payment required", "code": 402}], "success": False},
}
USAGES: Mapping[str, Any] = {
    "huge": {"prompt_tokens": 40, "completion_tokens": 10**400},
    "overflow": {"prompt_tokens": 1e308, "completion_tokens": 1e308},
    "negative": {"prompt_tokens": -40, "completion_tokens": 30},
    "nan": {"prompt_tokens": float("nan"), "completion_tokens": 30},
    "true": {"prompt_tokens": True, "completion_tokens": True},
    "half": {"prompt_tokens": 40.5, "completion_tokens": 30},
}
BURST, BURST_S = 60, 1.0

Answer = tuple[int, Any, dict[str, str]]


def replied(content: str | None, finish: Any = "stop", usage: Any = USAGE, **message: Any) -> Answer:
    """A chat completion."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    return 200, {"object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}, {}


def refused(status: int, message: str, /, **more: Any) -> Answer:
    """An error in OpenAI's form."""
    return status, {"error": {"message": message, **more}}, {}


class QuirkyServer:
    """The server; it runs while its context is open.

    Attributes:
        asked: requests by model.
        bodies: the requests, in the order in which they came.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self._burst_at = 0.0
        self._cached: set[str] = set()

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        body = json.loads(await request.read())
        self.bodies.append(body)
        self.asked[body["model"]] += 1
        status, value, headers = self._answer(body["model"], body, self.asked[body["model"]])
        await asyncio.sleep(0.2 if body["model"] == "caches" else 0.002)
        self._cached.add(body["messages"][0]["content"])
        text = value if isinstance(value, str) else json.dumps(value)
        return web.Response(status=status, text=text, content_type="application/json", headers=headers)

    def _answer(self, model: str, body: dict[str, Any], number: int) -> Answer:
        name, _, argument = model.partition("-")
        if name in ("caches", "writes"):
            size = sum(len(message["content"].encode()) for message in body["messages"])
            is_cached = name == "caches" and body["messages"][0]["content"] in self._cached
            written = {"cache_write_tokens": size, "cache_write_1h_tokens": size if name == "writes" else 0}
            details = {"cached_tokens": size} if is_cached else written
            return replied(GOOD, usage=USAGE | {"prompt_tokens": size, "prompt_tokens_details": details})
        if name == "fin":
            status, reply, headers = replied(HALF, {"null": None}.get(argument, argument))
            if argument == "none":
                del reply["choices"][0]["finish_reason"]
            return status, reply, headers
        if name == "err200":
            is_error = argument != "429" or number % 2
            return refused(200, f"this is a {argument}", code=int(argument)) if is_error else replied(GOOD)
        if name == "body":
            return 200, BODIES[argument], {}
        if name == "usage":
            return replied(GOOD, usage=USAGES[argument])
        if name in ("burst429", "burst200"):
            return self._burst(200 if name == "burst200" else 429, number)
        if model.startswith(("overbill:", "small:", "bills:")):
            return _billing(model, body)
        if model.startswith("refuses:"):
            return _refuse_field(model, body, number)
        return _text(model) or _rejection(model, body, number) or _oddity(model, number) or replied(GOOD)

    def _burst(self, status: int, number: int) -> Answer:
        now = asyncio.get_running_loop().time()
        if number <= BURST:
            self._burst_at = now
        return (status, {"error": LIMITED}, {}) if number > BURST and now < self._burst_at + BURST_S else replied(GOOD)


def _billing(model: str, body: dict[str, Any]) -> Answer:
    name, _, number = model.partition(":")
    if name == "bills":
        return replied(GOOD, usage=USAGE | {"cost": float(number), "is_byok": False})
    most = int(number)
    if name == "overbill":
        return replied(GOOD, usage={"prompt_tokens": 40, "completion_tokens": most})
    if body.get("max_tokens", 0) > most:
        said = f"max_tokens is too large: {body['max_tokens']}. This model supports at most {most} completion tokens."
        return refused(400, said, type="invalid_request_error", param="max_tokens", code="invalid_value")
    return replied(GOOD)


def _refuse_field(model: str, body: dict[str, Any], number: int) -> Answer:
    _, fields, form = model.split(":")
    if form.startswith("later_") and number == 1:
        return 429, {"error": LIMITED}, {}
    field = next((field for field in fields.split("+") if field in body), None)
    return replied(GOOD) if field is None else FORMS[form.removeprefix("later_")](field)


FORMS: Mapping[str, Callable[[str], Answer]] = {
    "value": lambda field: refused(
        400, f"Unsupported value: '{field}' does not support 0.2.", param=field, code="unsupported_value"
    ),
    "parameter": lambda field: refused(400, "This is not supported.", param=field, code="unsupported_parameter"),
    "words": lambda field: refused(400, f"Unsupported parameter: '{field}' is not supported.", code=400),
    "gateway": lambda field: refused(
        422, f"openai error: Unsupported value: '{field}' does not support 0.2", param=None
    ),
    "anthropic": lambda field: refused(400, f"`{field}` is deprecated for this model.", type="invalid_request_error"),
    "extra": lambda field: refused(400, f"{field}: Extra inputs are not permitted", type="invalid_request_error"),
    "mistral": lambda field: (
        422,
        {"detail": [{"loc": ["body", field], "msg": "Extra inputs are not permitted", "type": "extra_forbidden"}]},
        {},
    ),
    "nested": lambda field: (
        422,
        {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", field], "msg": "no"}]}},
        {},
    ),
    "routed": lambda field: refused(
        404, "No endpoints found that can handle the requested parameters. To learn more, visit: docs", code=404
    ),
    "inside": lambda field: refused(200, "Unsupported", param=field, code="unsupported_parameter", status=400),
}
"""How vendors and gateways say that a field is not taken."""


def _text(model: str) -> Answer | None:
    """Replies whose text is not all that it seems."""
    analysis = (
        "<|channel|>analysis<|message|>User wants a sum. 3+4=7.<|end|><|start|>assistant<|channel|>final<|message|>"
    )
    content = {
        "harmony": analysis + GOOD,
        "leak-im": f"{GOOD}<|im_end|>",
        "leak-inst": f"{GOOD}</s> [INST] And 3 + 5? [/INST] It is 8.",
        "think": f"[THINK]3+4=7[/THINK]{GOOD}",
    }.get(model)
    return None if content is None else replied(content)


def _rejection(model: str, body: dict[str, Any], number: int) -> Answer | None:
    """Requests that are refused for what stands in them."""
    if model == "notemp" and "temperature" in body:
        said = (
            "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) is supported."
        )
        return refused(400, said, type="invalid_request_error", param="temperature", code="unsupported_value")
    if model == "needmct" and "max_tokens" in body:
        said = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return refused(400, said, type="invalid_request_error", param="max_tokens", code="unsupported_parameter")
    if model == "nosystem" and any(message["role"] == "system" for message in body["messages"]):
        return refused(400, "Developer instruction is not enabled for this model", code=400, status="INVALID_ARGUMENT")
    if model == "azurefilter" and number % 2:
        inner = {"code": "ResponsibleAIPolicyViolation"}
        said = "The response was filtered due to the prompt triggering the content management policy."
        return refused(400, said, param="prompt", code="content_filter", status=400, innererror=inner)
    if model == "ctx":
        said = "This model's maximum context length is 2048 tokens. However, you requested 2100 tokens."
        return refused(400, said, type="BadRequestError", code=400)
    return None


def _oddity(model: str, number: int) -> Answer | None:
    """Answers in odd forms."""
    told = json.dumps(replied(GOOD)[1])
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.3s"}
    quota = {"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED", "details": [retry]}
    blocked = {"choices": [], "usage": USAGE, "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    reasoned = USAGE | {"completion_tokens": 1024, "completion_tokens_details": {"reasoning_tokens": 1024}}
    broken = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"content": HALF},
        "error": {"message": "gone", "code": 502},
    }
    answers: dict[str, Answer | None] = {
        "emptylen": replied("", "length", reasoned),
        "nullreason": replied(None, reasoning_content="So it is seven. The answer is 7."),
        "nousage": replied(GOOD, usage=None),
        "cutprompt": replied(GOOD, usage=USAGE | {"prompt_tokens": 10}),
        "toolcall": replied(None, "tool_calls", tool_calls=[call]),
        "choice-error": (200, {"choices": [broken], "usage": USAGE}, {}),
        "emptychoices": (200, blocked, {}),
        "sse": (200, f"data: {json.dumps({'choices': [{'delta': {'content': 'hi'}}]})}\n\ndata: [DONE]\n\n", {}),
        "bom": (200, f"\ufeff{told}", {}),
        "keepalive": (200, f": keep-alive\n\n: keep-alive\n\n{told}", {}),
        "gemlist": (429, [{"error": quota}], {}) if number == 1 else None,
        "daily": (429, {"error": {"message": "come back tomorrow"}}, {"Retry-After": "86400"}),
        "date-far": (429, {"error": LIMITED}, {"Retry-After": "Fri, 31 Dec 99999 23:59:59 GMT"})
        if number == 1
        else None,
    }
    return answers.get(model)
