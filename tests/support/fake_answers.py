"""What `fake_server` answers: errors in OpenAI's form, and chat completions, whole or not."""

import hashlib
import json
from email.utils import formatdate
from time import time
from typing import Any

from aiohttp import web


def refusal(name: str, argument: str, request: web.BaseRequest) -> web.Response:
    """An answer that is no reply."""
    headers = {
        "date": {"Retry-After": formatdate(time() + 30, usegmt=True)},
        "ms": {"retry-after-ms": "20"},
        "soon": {"Retry-After": "soon"},
        "": {},
    }.get(argument, {"Retry-After": argument})
    sent = escaped(argument, request.headers.get("Authorization", ""))
    if name == "redirect":
        query = f"?auth={sent}" if argument else ""
        return web.Response(status=302, headers={"Location": f"https://elsewhere.invalid/v1{query}"})
    if name == "insufficient_quota":
        error = {"message": "You exceeded your current quota.", "type": name, "code": name}
        return web.json_response({"error": error}, status=429)
    if name == "attack400":
        return web.json_response({"error": {"message": ATTACK, "type": ATTACK}}, status=400)
    status = {"echo": 401, "long": 400}.get(name) or int(name)
    said = {"echo": sent, "long": "too long " * 1000}.get(name, f"this is a {status}")
    error = {"message": said, "type": "fake", "code": "fake"}
    return web.json_response({"error": error}, status=status, headers=headers)


ATTACK = (
    "\x1b]0;title\x07\x9b2J\u202e|![](https://evil.example/pixel.png)<script>alert(1)</script>"
    "[click](https://evil.example)\r# heading"
)
"""What a terminal or a page would obey."""


def escaped(way: str, text: str) -> str:
    """A text as servers and proxies write it on: as it is, or each character as an escape of JSON, a URL or HTML."""
    ways = {"json": "\\u{:04X}", "url": "%{:02x}", "html": "&#{};"}
    return "".join(ways[way].format(ord(char)) for char in text) if way in ways else text


POLICIES = ("reasoning_extraction", "frontier_llm", "bio")
"""Refusals with a category, as a provider makes them of its vendor's."""


def completion_of(name: str, body: dict[str, Any], rule: str) -> dict[str, Any]:
    """A chat completion; what it says follows from the messages."""
    messages = json.dumps(body.get("messages"), sort_keys=True)
    text = rule.format(n=int(hashlib.sha256(messages.encode()).hexdigest()[:6], 16) % 1000)
    words = sum(len(str(message.get("content")).split()) for message in body.get("messages", []))
    usage = {"prompt_tokens": words, "completion_tokens": len(text.split())}
    usage["total_tokens"] = sum(usage.values())
    message: dict[str, Any] = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    completion = {"id": "fake", "object": "chat.completion", "model": body.get("model"), "choices": [choice]}
    completion["usage"] = usage
    if name == "null":
        completion["choices"] = None
    elif name == "none":
        completion["choices"] = []
    elif name == "no_message":
        del choice["message"]
    elif name == "empty":
        message["content"] = "" if len(text) % 2 else None
    elif name == "refusal":
        message |= {"content": None, "refusal": "I cannot help with that."}
    elif name in POLICIES:
        message |= {"content": None, "refusal": {"category": name, "explanation": "A policy forbids it."}}
        choice["finish_reason"] = "refusal"
    elif name in ("filtered", "cut_off", "error"):
        choice["finish_reason"] = {"filtered": "content_filter", "cut_off": "length", "error": "error"}[name]
    elif name == "other_model":
        completion["model"] = "another-model"
    elif name == "attack":
        completion["model"] = f"model {ATTACK}"
        message["content"] = f"{text}\n{ATTACK}\n{text}"
    elif name == "uncounted":
        del completion["usage"]
    elif name == "prompt_logprobs":
        choice["finish_reason"] = "length"
        completion |= about_prompt(body)
    return completion


def about_prompt(body: dict[str, Any]) -> dict[str, Any]:
    """What a vLLM server tells about its prompt when it is asked to: words are tokens, each has half a nat."""
    words = [word for message in body["messages"] for word in str(message["content"]).split()]
    tokens = [int(hashlib.sha256(word.encode()).hexdigest()[:6], 16) for word in words]
    told = [
        {str(token): {"logprob": -0.5, "rank": 1, "decoded_token": word}}
        for token, word in zip(tokens, words, strict=True)
    ]
    return {
        "prompt_token_ids": tokens if body.get("return_token_ids") else None,
        "prompt_logprobs": [None, *told[1:]] if body.get("prompt_logprobs") is not None else None,
    }
