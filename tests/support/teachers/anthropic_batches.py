"""Batches of `FakeAnthropic`.

`batches` of the server names how the first ones end; all later ones are complete:

    ok                  every request has a reply
    expire:N cancel:N   N requests have a reply, the others none
    missing:N           only N lines are there
    lines:TYPE,...      the first requests come back with these types of errors
    refuse:FIELD        requests with this field come back with an error that names it
    garbled             with lines that are no JSON, of strangers, and twice the same
    never               it goes on until `release` is set

`faults` names what is done with the first requests of a kind (`create`, `look`, `list`, `results`):

    500 429 401 ...     an error of this status
    html                200 with a page
    lost lost_hang      it is done, and the connection cut before the answer; or no answer comes
    hang                nothing happens, and no answer comes
    cut                 the body breaks off in the middle

Results come in another order than requests.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.support.teachers.anthropic_types import Refused, parse_batch, write_batch, write_result

if TYPE_CHECKING:
    from tests.support.teachers.anthropic import FakeAnthropic


@dataclass
class FakeBatch:
    """One batch."""

    id: str
    requests: list[dict[str, Any]]
    ending: str
    looks: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    results: list[Any] = field(default_factory=list)
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    has_ended: bool = False

    def described(self, url: str) -> dict[str, Any]:
        """As the endpoint shows it: what came of the requests is told at the end alone."""
        names = ("succeeded", "errored", "canceled", "expired")
        processing = 0 if self.has_ended else len(self.requests)
        return write_batch(
            {
                "id": self.id,
                "type": "message_batch",
                "processing_status": "ended" if self.has_ended else "in_progress",
                "request_counts": {"processing": processing, **{name: self.counts[name] for name in names}},
                "created_at": self.made_at,
                "expires_at": self.made_at + timedelta(days=1),
                "ended_at": datetime.now(UTC) if self.has_ended else None,
                "results_url": f"{url}/{self.id}/results" if self.has_ended else None,
            }
        )


class BatchDesk:
    """The routes of batches.

    Args:
        server: that they belong to.
        faults: what is done with the first requests of a kind.
    """

    def __init__(self, server: "FakeAnthropic", faults: Mapping[str, Sequence[str]]) -> None:
        self.server = server
        self.faults = {kind: list(actions) for kind, actions in faults.items()}
        self.requests: Counter[str] = Counter()
        self.release = asyncio.Event()
        self._news = asyncio.Condition()

    @property
    def batches(self) -> list[FakeBatch]:
        return self.server.created

    def routes(self) -> list[web.AbstractRouteDef]:
        path = "/v1/messages/batches"
        return [
            web.post(path, self._create),
            web.get(path, self._list),
            web.get(f"{path}/{{id}}", self._look),
            web.get(f"{path}/{{id}}/results", self._results),
        ]

    def sizes(self) -> list[int]:
        """Requests of the batches, in the order of their creation."""
        return [len(batch.requests) for batch in self.batches]

    async def until(self, kind: str, number: int = 1) -> None:
        """Waits until so many requests of a kind have been worked on."""
        async with self._news:
            await self._news.wait_for(lambda: self.requests[kind] >= number)

    async def _begin(self, kind: str, request: web.Request) -> tuple[str, web.StreamResponse | None]:
        """What is to be done, and the answer if it is no proper one."""
        actions = self.faults.get(kind) or [""]
        action = actions.pop(0)
        try:
            self.server.check_headers(request)
        except Refused as refused:
            return action, web.json_response(refused.body, status=refused.status)
        if action == "hang":
            await self._note(kind)
            await self.server.closing.wait()
        if action == "html":
            return action, web.Response(text="<html>", content_type="text/html")
        if action.isdigit():
            await self._note(kind)
            error = {"type": "error", "error": {"type": "api_error", "message": f"this is a {action}"}}
            return action, web.json_response(error, status=int(action))
        return action, None

    async def _note(self, kind: str) -> None:
        async with self._news:
            self.requests[kind] += 1
            self._news.notify_all()

    async def _answer(self, kind: str, action: str, request: web.Request, value: Any) -> web.StreamResponse:
        await self._note(kind)
        if action == "lost_hang":
            await self.server.closing.wait()
        if action in ("lost", "lost_hang"):
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(value)

    def _url(self) -> str:
        return f"{self.server.url}/v1/messages/batches"

    async def _create(self, request: web.Request) -> web.StreamResponse:
        action, answer = await self._begin("create", request)
        if answer is not None:
            return answer
        requests = parse_batch(await request.json())
        names = [each["custom_id"] for each in requests]
        assert len(set(names)) == len(names)
        assert all(1 <= len(name) <= 64 for name in names)
        ending = self.server.batches.pop(0) if self.server.batches else "ok"
        batch = FakeBatch(f"msgbatch_{len(self.batches)}", requests, ending)
        self.batches.append(batch)
        return await self._answer("create", action, request, batch.described(self._url()))

    async def _look(self, request: web.Request) -> web.StreamResponse:
        action, answer = await self._begin("look", request)
        if answer is not None:
            return answer
        batch = self._find(request)
        batch.looks += 1
        self._end_if_over(batch)
        return await self._answer("look", action, request, batch.described(self._url()))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        action, answer = await self._begin("list", request)
        if answer is not None:
            return answer
        for batch in self.batches:
            batch.looks += 1
            self._end_if_over(batch)
        newest = [batch.described(self._url()) for batch in reversed(self.batches)]
        after, limit = request.query.get("after_id"), int(request.query.get("limit", "20"))
        start = next((at + 1 for at, batch in enumerate(newest) if batch["id"] == after), 0)
        shown = newest[start : start + limit]
        page = {"data": shown, "has_more": len(newest) > start + limit}
        page |= {"first_id": shown[0]["id"] if shown else None, "last_id": shown[-1]["id"] if shown else None}
        return await self._answer("list", action, request, page)

    async def _results(self, request: web.Request) -> web.StreamResponse:
        action, answer = await self._begin("results", request)
        if answer is not None:
            return answer
        lines = [line if isinstance(line, str) else json.dumps(line) for line in self._find(request).results]
        data = "".join(f"{line}\n" for line in lines).encode()
        await self._note("results")
        if action != "cut":
            return web.Response(body=data, content_type="application/x-jsonl")
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        assert request.transport is not None
        request.transport.close()
        return response

    def _find(self, request: web.Request) -> FakeBatch:
        return next(batch for batch in self.batches if batch.id == request.match_info["id"])

    def _end_if_over(self, batch: FakeBatch) -> None:
        is_over = self.release.is_set() if batch.ending == "never" else batch.looks > self.server.looks
        if not batch.has_ended and is_over:
            batch.has_ended = True
            self._end(batch)

    def _end(self, batch: FakeBatch) -> None:
        name, _, argument = batch.ending.partition(":")
        kinds = argument.split(",") if name == "lines" else []
        most = int(argument) if name in ("expire", "cancel", "missing") else len(batch.requests)
        for number, asked in enumerate(batch.requests):
            if number >= most:
                kind = {"expire": "expired", "cancel": "canceled"}.get(name, "succeeded")
                result: dict[str, Any] = {"type": kind}
            else:
                planned = kinds[number] if number < len(kinds) else ""
                result = self._work(asked, planned, batch.ending if name == "refuse" else "ok")
            batch.counts[result["type"]] += 1
            if number < most or name != "missing":
                batch.results.append(write_result({"custom_id": asked["custom_id"], "result": result}))
        batch.results.reverse()
        if name == "garbled":
            stranger = {**batch.results[0], "custom_id": "stranger"}
            batch.results[:0] = ["{", stranger, batch.results[-1], "[]"]

    def _work(self, asked: Mapping[str, Any], planned: str, action: str) -> dict[str, Any]:
        try:
            if planned and planned != "ok":
                raise Refused(400, planned, f"this is a {planned}")
            message = self.server.answer(asked["params"], action)
        except Refused as refused:
            return {"type": "errored", "error": refused.body}
        self.server.answered[asked["custom_id"]] += 1
        message["usage"]["service_tier"] = "batch"
        return {"type": "succeeded", "message": message}
