"""What the fake servers of all vendors share.

In a test:      async with FakeVendor(["overloaded", "ok"]) as server: ... server.url ...
As a process:   python -m tests.support.teachers.VENDOR --port 8001 --plan overloaded,ok

A reply's text follows from the messages alone, whatever the wire format: the same recipe makes the same rows anywhere.
"""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from aiohttp import web

from tests.support.fake_answers import completion_of


class FakeTeacher:
    """A server; it runs while its context is open. Each vendor's class has its routes, and its words for a plan.

    Args:
        plan: what is done with the first requests for a reply; `ok`, or a word of the vendor's class.
        always: what is done with all later ones.
        rule: text of a reply; `{n}` is a number that follows from the messages.
        batches: how the first batches end; all later ones are complete.
        looks: how often a batch is looked at before it ends.
        port: 0 for a free one.
    """

    prefix: ClassVar[str] = ""
    """Of a path, that a base URL ends in."""
    is_strict: ClassVar[bool] = True
    """Whether fields that the vendor does not know are refused."""

    def __init__(
        self,
        plan: Sequence[str] = (),
        *,
        always: str = "ok",
        rule: str = "The answer is {n}.",
        batches: Sequence[str] = (),
        looks: int = 1,
        port: int = 0,
    ) -> None:
        self.plan = list(plan)
        self.always = always
        self.rule = rule
        self.batches = list(batches)
        self.looks = looks
        self.seen: list[dict[str, Any]] = []
        """Bodies of requests for a reply."""
        self.seen_headers: list[Mapping[str, str]] = []
        self.answered: Counter[str] = Counter()
        """What was answered, and how often: bodies of requests, custom ids of batches."""
        self.created: list[Any] = []
        """Batches."""
        self.closing = asyncio.Event()
        self._port = port
        self._number = 0

    def routes(self) -> list[web.AbstractRouteDef]:
        """What the server answers to."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**30)
        app.add_routes(self.routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=1024).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}{self.prefix}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closing.set()
        await self._runner.cleanup()

    def revise(self, reply: dict[str, Any]) -> dict[str, Any]:
        """A reply as it is sent: a server that does not speak as its vendor does says something else."""
        return reply

    def next_action(self) -> str:
        """What is done with the next request for a reply."""
        number, self._number = self._number, self._number + 1
        return self.plan[number] if number < len(self.plan) else self.always

    def completion(self, messages: Sequence[Mapping[str, str]], model: str) -> dict[str, Any]:
        """The reply to chat messages (system first) as a chat completion, for a vendor's class to say in its words."""
        return completion_of("ok", {"messages": list(messages), "model": model}, self.rule)


def run_as_process(kind: type[FakeTeacher]) -> None:
    """Runs a server until the process is ended; its URL is the first line that it prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    for name in ("--plan", "--batches"):
        parser.add_argument(name, default="", help="words, with commas between them")
    parser.add_argument("--looks", type=int, default=1)
    parser.add_argument("--rule", default="The answer is {n}.", help="text of a reply")
    given = parser.parse_args()
    plans = {name: list(filter(None, getattr(given, name).split(","))) for name in ("plan", "batches")}

    async def serve() -> None:
        async with kind(**plans, looks=given.looks, rule=given.rule, port=given.port) as server:
            sys.stdout.write(f"{server.url}\n")
            sys.stdout.flush()
            await server.closing.wait()

    asyncio.run(serve())
