"""A real server on a real socket that speaks chat completions, well or badly, as its plan says.

In a test:              async with FakeServer(["429:1", "cut"]) as server: ... server.url ...
As a process:           python -m tests.support.fake_server --latency lognormal:1,0.8 --rate 50
What it has answered:   server.stats(), or GET /stats

A plan names what is done with the first request, the second, and so on; then `always` is done:

    ok                          a reply that follows from the messages alone, by `rule`
    429 429:1 429:date 429:ms   rate limits: without Retry-After, with it in seconds, as a date, in milliseconds,
    429:soon                    with nonsense in it
    insufficient_quota          429 as OpenAI sends it when the account is empty
    400 401 402 500 ...         any other status, with an error in OpenAI's form
    echo long                   401 that repeats the Authorization header, 400 with a very long message
    redirect                    302 to another host
    echo:WAY redirect:WAY       the same with the Authorization header in it, each character as an escape of `json`,
    repeat:WAY                  `url` or `html`, or as it is (`plain`); likewise 200 with a reply that repeats it
    reset cut hang drip         the connection is reset, cut within the body, silent, or a byte at a time
    html text huge deep         200 with a page, with text, with 40 MB, with JSON that nests without end
    null none no_message        200 with `choices: null`, without choices, with a choice without a message
    empty refusal filtered cut_off error    replies that cannot be used
    reasoning_extraction frontier_llm bio   refusals with that category
    attack attack400            200 and 400 with words in them that a terminal and a page would obey
    other_model uncounted gzip  replies by another model, without usage, compressed
    prompt_logprobs             one token, and what vLLM tells about the prompt when it is asked to
"""

import argparse
import asyncio
import gzip
import hashlib
import json
import random
import socket
import ssl
import struct
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from math import exp
from typing import Any, Self

from aiohttp import web

from tests.support.fake_answers import completion_of, escaped, refusal

JSON = "application/json"
HTML = "<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"
MB = 2**20


class Rate:
    """A token bucket: `per_s` requests a second, and `burst` at once."""

    def __init__(self, per_s: float, burst: float | None = None) -> None:
        self.per_s = per_s
        self.burst = per_s if burst is None else burst
        self._level = self.burst
        self._at = asyncio.get_running_loop().time()

    def admits(self) -> bool:
        """Takes a token, if there is one."""
        now = asyncio.get_running_loop().time()
        self._level = min(self.burst, self._level + (now - self._at) * self.per_s)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True


class FakeServer:
    """The server; it runs while its context is open.

    Args:
        plan: what is done with the first requests.
        always: what is done with all later ones.
        rule: text of a reply; `{n}` is a number that follows from the messages.
        latency: seconds until a reply: `0.1`, `lognormal:MEAN,SIGMA`.
        rate: requests a second before 429 with `Retry-After: 1`.
        burst: requests at once; as many as `rate` allows in a second if left out.
        fault_share: share of requests that get a 500.
        drip_s: seconds between the bytes of `drip`.
        headers: of every reply.
        seed: of latencies and faults.
        port: 0 for a free one.
        tls: what makes it an https server.
    """

    def __init__(
        self,
        plan: Sequence[str] = (),
        *,
        always: str = "ok",
        rule: str = "The answer is {n}.",
        latency: str = "0",
        rate: float | None = None,
        burst: float | None = None,
        fault_share: float = 0.0,
        drip_s: float = 0.02,
        headers: dict[str, str] | None = None,
        seed: int = 0,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.plan = list(plan)
        self.always = always
        self.rule = rule
        self.latency = latency
        self.fault_share = fault_share
        self.drip_s = drip_s
        self.headers = headers or {}
        self.models: Any = {"object": "list", "data": [{"id": "m", "object": "model"}]}
        """Its list of models, or what is done in place of it."""
        self.listed: list[dict[str, str]] = []
        """Headers of requests for that list."""
        self.seen: list[dict[str, Any]] = []
        self.seen_headers: list[dict[str, str]] = []
        self._per_s, self._burst = rate, burst
        self._rate: Rate | None = None
        self._random = random.Random(seed)
        self._port = port
        self._tls = tls
        self._number = 0
        self._in_flight = 0
        self._most_in_flight = 0
        self._answered: Counter[str] = Counter()
        self._done: Counter[str] = Counter()
        self._paths: Counter[str] = Counter()
        self._peers: set[int] = set()

    async def __aenter__(self) -> Self:
        self._rate = Rate(self._per_s, self._burst) if self._per_s else None
        self.closing, self.asked = asyncio.Event(), asyncio.Event()
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=1024, ssl_context=self._tls)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closing.set()
        await self._runner.cleanup()

    def stats(self) -> dict[str, Any]:
        """Counts: requests, replies (`answered`), requests replied to (`distinct`), what was done how often."""
        return {
            "requests": self._number,
            "answered": sum(self._answered.values()),
            "distinct": len(self._answered),
            "done": dict(self._done),
            "most_in_flight": self._most_in_flight,
            "connections": len(self._peers),
            "paths": dict(self._paths),
        }

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/stats":
            return web.json_response(self.stats())
        if request.path.endswith("/models"):
            self.listed.append(dict(request.headers))
            return await self._list_models(request)
        raw = await request.read()
        self._paths[request.raw_path] += 1
        if request.transport is not None:
            self._peers.add(request.transport.get_extra_info("peername")[1])
        number, self._number = self._number, self._number + 1
        self.asked.set()
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)
        try:
            return await self._play(self._action(number), request, raw)
        finally:
            self._in_flight -= 1

    async def _list_models(self, request: web.BaseRequest) -> web.StreamResponse:
        if isinstance(self.models, str):
            return await self._play(self.models, request, b"")
        return web.json_response(self.models)

    def _action(self, number: int) -> str:
        if number < len(self.plan):
            return self.plan[number]
        if self._rate is not None and not self._rate.admits():
            return "429:1"
        return "500" if self._random.random() < self.fault_share else self.always

    async def _play(self, action: str, request: web.BaseRequest, raw: bytes) -> web.StreamResponse:
        self._done[action] += 1
        name, _, argument = action.partition(":")
        if name.isdigit() or name in ("insufficient_quota", "echo", "long", "redirect", "attack400"):
            return refusal(name, argument, request)
        if name in _BROKEN:
            return await _BROKEN[name](self, request)
        if name in _PAGES:
            return web.Response(body=_PAGES[name], content_type=JSON if name == "deep" else "text/html")
        return await self._reply(action, request, raw)

    async def _reply(self, action: str, request: web.BaseRequest, raw: bytes) -> web.StreamResponse:
        name, _, argument = action.partition(":")
        body = json.loads(raw)
        if len(self.seen) < 1000:
            self.seen.append(body)
            self.seen_headers.append(dict(request.headers))
        delay = self._delay()
        if delay:
            await asyncio.sleep(delay)
        completion = completion_of(name, body, self.rule)
        self._answered[hashlib.sha256(raw).hexdigest()] += 1
        data = json.dumps(completion).encode()
        if name == "repeat":
            sent = escaped(argument, request.headers["Authorization"])
            data = data.replace(b"The answer", f"You sent {sent}. The answer".encode())
        if name == "gzip":
            return web.Response(body=gzip.compress(data), content_type=JSON, headers={"Content-Encoding": "gzip"})
        return web.Response(body=data, content_type=JSON, headers=self.headers)

    def _delay(self) -> float:
        name, _, numbers = self.latency.partition(":")
        if name != "lognormal":
            return float(name)
        mean, sigma = map(float, numbers.split(","))
        return mean * exp(self._random.gauss(0, sigma) - sigma * sigma / 2)


async def _reset(server: FakeServer, request: web.BaseRequest) -> web.StreamResponse:
    transport = request.transport
    assert transport is not None
    linger = struct.pack("ii", 1, 0)  # closing then sends RST
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
    return web.Response()


async def _cut(server: FakeServer, request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": JSON})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    assert request.transport is not None
    request.transport.close()
    return response


async def _hang(server: FakeServer, request: web.BaseRequest) -> web.StreamResponse:
    await server.closing.wait()
    return web.Response()


async def _drip(server: FakeServer, request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": JSON})
    await response.prepare(request)
    with suppress(ConnectionResetError):
        while not server.closing.is_set():
            await response.write(b" ")
            await asyncio.sleep(server.drip_s)
    return response


_BROKEN = {"reset": _reset, "cut": _cut, "hang": _hang, "drip": _drip}
_PAGES = {
    "html": HTML.encode(),
    "text": b"upstream connect error",
    "huge": b" " * (40 * MB),
    "deep": b"[" * 100_000,
}


async def _serve(arguments: argparse.Namespace) -> None:
    options = vars(arguments)
    plan = [name for name in options.pop("plan").split(",") if name]
    async with FakeServer(plan, **options) as server:
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Serves until it is killed; the URL is the first line of its output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--plan", default="", help="names, with commas between them")
    parser.add_argument("--always", default="ok")
    parser.add_argument("--rule", default="The answer is {n}.")
    parser.add_argument("--latency", default="0")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--burst", type=float)
    parser.add_argument("--fault-share", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
