"""A chat-completions server that costs as little as it can.

    python -m benchmarks.stub LATENCY RATE FAULT_SHARE STRETCH

LATENCY is seconds, or `lognormal:MEAN,SIGMA`; RATE is requests a second before 429 with `Retry-After: 1` (0: none).
STRETCH is `SECONDS:SAYS`: after 60 requests everything gets a 429 for so long, without Retry-After (`nothing`), or with
the seconds that are left (`rest`). Prints its URL; GET /stats tells what it answered.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from math import ceil, exp

from aiohttp import web

STRETCH_AFTER = 60

BODY = json.dumps(
    {
        "id": "chatcmpl-stub",
        "object": "chat.completion",
        "model": "stub",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Two and two are four. " * 12 + "The answer is 4."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 80, "completion_tokens": 90, "total_tokens": 170},
    }
).encode()


class Stub:
    def __init__(self, latency: str, rate: float, fault_share: float, stretch: str) -> None:
        seconds, _, self.says = stretch.partition(":")
        self.stretch_s, self.ends_at = float(seconds), 0.0
        self.latency, self.rate, self.fault_share = latency, rate, fault_share
        self.level, self.at = rate, 0.0
        self.random = random.Random(0)
        self.counts: Counter[str] = Counter()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        if request.method == "GET":
            return web.json_response(self.counts)
        await request.read()
        if self.stretch_s and (left_s := self.left_s()) > 0:
            self.counts["429"] += 1
            after = {"Retry-After": str(ceil(left_s))} if self.says == "rest" else {}
            return web.Response(status=429, headers=after, text="{}", content_type="application/json")
        if self.rate and not self.admits():
            self.counts["429"] += 1
            return web.Response(status=429, headers={"Retry-After": "1"}, text="{}", content_type="application/json")
        if self.random.random() < self.fault_share:
            self.counts["500"] += 1
            return web.Response(status=500, text="{}", content_type="application/json")
        if self.latency != "0":
            await asyncio.sleep(self.delay())
        self.counts["200"] += 1
        return web.Response(body=BODY, content_type="application/json")

    def left_s(self) -> float:
        """Seconds that are left of the stretch."""
        now = asyncio.get_running_loop().time()
        if not self.ends_at and self.counts["200"] >= STRETCH_AFTER:
            self.ends_at = now + self.stretch_s
        return self.ends_at - now

    def admits(self) -> bool:
        now = asyncio.get_running_loop().time()
        self.level = min(self.rate, self.level + (now - (self.at or now)) * self.rate)
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True

    def delay(self) -> float:
        kind, _, numbers = self.latency.partition(":")
        if kind != "lognormal":
            return float(self.latency)
        mean, sigma = map(float, numbers.split(","))
        return mean * exp(self.random.gauss(-sigma * sigma / 2, sigma))


async def main(latency: str = "0", rate: str = "0", fault_share: str = "0", stretch: str = "0") -> None:
    runner = web.ServerRunner(web.Server(Stub(latency, float(rate), float(fault_share), stretch).handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
