"""Files and batches of `FakeGemini`.

`batches` of the server names how the first ones end; all later ones are complete:

    ok                  every line has a reply
    partial:N           N lines have a reply, the others an error: PARTIALLY_SUCCEEDED
    missing:N           only N lines are there
    lines:3,8,...       the first lines come back with these codes of google.rpc
    refuse:FIELD        lines with this field of generationConfig come back with INVALID_ARGUMENT, which names it
    expire cancel       it ends so, without a result
    expire:N            it ends so, with N results
    fail:CODE           FAILED, with this code
    shuffled            in another order, with lines that are no JSON, of strangers, and twice the same
    never               it runs until `release` is set

`faults` names what is done with the first requests of a kind (`upload`, `create`, `look`, `list`, `content`):

    500 429 ...         an error of this status
    lost lost_hang      it is done, and the connection cut before the answer; or no answer comes
    says:TEXT           200, with this body
    hang                nothing happens, and no answer comes
    snake               the state has the prefix JOB_STATE_, the results stand in the batch's output
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web
from google.genai import types

if TYPE_CHECKING:
    from tests.support.teachers.gemini import FakeGemini

ENDED = ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "EXPIRED", "CANCELLED")
KIND = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"


@dataclass
class FakeBatch:
    """One batch."""

    name: str
    model: str
    display_name: str
    file: str
    ending: str
    lines: list[dict[str, Any]]
    state: str = "PENDING"
    looks: int = 0
    output: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    done: int = 0
    made_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat().replace("+00:00", "Z"))

    def described(self, prefix: str = "BATCH_STATE_") -> dict[str, Any]:
        """The operation, as the endpoint shows it."""
        stats = {"requestCount": str(len(self.lines)), "successfulRequestCount": str(self.done)}
        about = {
            "@type": KIND,
            "model": f"models/{self.model}",
            "displayName": self.display_name,
            "inputConfig": {"fileName": self.file},
            "createTime": self.made_at,
            "batchStats": stats if self.done else {"requestCount": str(len(self.lines))},
            "state": f"{prefix}{self.state}",
            "name": self.name,
        }
        shown: dict[str, Any] = {"name": self.name, "metadata": about}
        if self.state in ENDED:
            shown["done"] = True
        if self.error is not None:
            shown["error"] = self.error
        elif self.output is not None and prefix == "JOB_STATE_":
            about["output"] = self.output
        elif self.output is not None:
            shown["response"] = {"@type": f"{KIND}Output", **self.output}
        return shown


class BatchDesk:
    """The routes of files and batches.

    Args:
        server: that they belong to.
        faults: what is done with the first requests of a kind.
        inline: whether results stand in the batch.
    """

    def __init__(
        self, server: "FakeGemini", *, faults: Mapping[str, Sequence[str]] | None = None, inline: bool = False
    ) -> None:
        self.server = server
        self.faults = {kind: list(actions) for kind, actions in (faults or {}).items()}
        self.inline = inline
        self.files: dict[str, bytes] = {}
        self.uploads: list[str] = []
        self.requests: Counter[str] = Counter()
        self.keys: set[str | None] = set()
        self.release = asyncio.Event()
        self._begun: dict[str, bytes] = {}
        self._sizes: dict[str, int] = {}
        self._news = asyncio.Condition()

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.post("/upload/v1beta/files", self._begin),
            web.post("/upload/v1beta/files/{id}", self._go_on),
            web.get("/v1beta/files/{id}:download", self._content),
            web.post("/v1beta/models/{name}:batchGenerateContent", self._create),
            web.get("/v1beta/batches", self._list),
            web.get("/v1beta/batches/{id}", self._look),
        ]

    async def until(self, kind: str, number: int = 1) -> None:
        """Waits until so many requests of a kind have been worked on."""
        async with self._news:
            await self._news.wait_for(lambda: self.requests[kind] >= number)

    async def _happened(self, kind: str) -> None:
        async with self._news:
            self.requests[kind] += 1
            self._news.notify_all()

    async def _faulty(self, kind: str) -> str:
        action = self.faults[kind].pop(0) if self.faults.get(kind) else ""
        if action == "hang":
            await self._happened(kind)
            await self.server.closing.wait()
        if action.startswith("says:"):
            await self._happened(kind)
            raise _error(200, action.removeprefix("says:"))
        if action.isdigit():
            await self._happened(kind)
            error = {"error": {"code": int(action), "message": f"this is a {action}", "status": "FAKE"}}
            raise _error(int(action), error)
        return action

    async def _answer(
        self, kind: str, action: str, request: web.Request, value: Any, headers: Mapping[str, str] | None = None
    ) -> web.StreamResponse:
        await self._happened(kind)
        if action == "lost_hang":
            await self.server.closing.wait()
        if action in ("lost", "lost_hang"):
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(value, headers=headers)

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        self.keys.add(request.headers.get("x-goog-api-key"))
        assert request.headers["X-Goog-Upload-Protocol"] == "resumable"
        assert request.headers["X-Goog-Upload-Command"] == "start"
        file = types.File.model_validate((await request.json())["file"])
        assert str(file.size_bytes) == request.headers["X-Goog-Upload-Header-Content-Length"]
        assert file.mime_type == request.headers["X-Goog-Upload-Header-Content-Type"]
        name = f"begun{len(self._begun)}"
        self._begun[name], self._sizes[name] = b"", file.size_bytes or 0
        url = f"https://elsewhere.invalid/upload/v1beta/files/{name}?upload_protocol=resumable"
        return web.json_response({}, headers={"X-Goog-Upload-URL": url, "X-Goog-Upload-Status": "active"})

    async def _go_on(self, request: web.Request) -> web.StreamResponse:
        action, name = await self._faulty("upload"), request.match_info["id"]
        assert int(request.headers["X-Goog-Upload-Offset"]) == len(self._begun[name])
        self._begun[name] += await request.read()
        if "finalize" not in request.headers["X-Goog-Upload-Command"]:
            return web.json_response({}, headers={"X-Goog-Upload-Status": "active"})
        assert len(self._begun[name]) == self._sizes[name]
        file = f"files/f{len(self.files)}"
        self.files[file] = self._begun[name]
        self.uploads.append(file)
        made = types.File(name=file, size_bytes=self._sizes[name], state=types.FileState.ACTIVE, uri=f"x/{file}")
        value = {"file": made.model_dump(mode="json", by_alias=True, exclude_none=True)}
        return await self._answer("upload", action, request, value, {"X-Goog-Upload-Status": "final"})

    async def _create(self, request: web.Request) -> web.StreamResponse:
        action = await self._faulty("create")
        self.keys.add(request.headers.get("x-goog-api-key"))
        batch = (await request.json())["batch"]
        assert batch.keys() == {"displayName", "inputConfig"}
        source = types.BatchJobSource.model_validate(batch["inputConfig"])
        lines = [json.loads(line) for line in self.files[source.file_name or ""].splitlines()]
        assert all(line.keys() == {"key", "request"} for line in lines)
        assert len({line["key"] for line in lines}) == len(lines)
        number, plan = len(self.server.created), self.server.batches
        ending = plan[number] if number < len(plan) else "ok"
        made = FakeBatch(
            f"batches/b{number}",
            request.match_info["name"],
            batch["displayName"],
            source.file_name or "",
            ending,
            lines,
        )
        self.server.created.append(made)
        return await self._answer("create", action, request, made.described())

    async def _list(self, request: web.Request) -> web.StreamResponse:
        action = await self._faulty("list")
        assert request.query.keys() <= {"pageSize", "pageToken"}
        start = int(request.query.get("pageToken", "0"))
        size = min(2, int(request.query["pageSize"]))  # a server may give fewer than are asked for
        found = [batch.described() for batch in self.server.created]
        page: dict[str, Any] = {"operations": found[start : start + size]} if found else {}
        if len(found) > start + size:
            page["nextPageToken"] = str(start + size)
        return await self._answer("list", action, request, page)

    async def _look(self, request: web.Request) -> web.StreamResponse:
        action = await self._faulty("look")
        batch = next(each for each in self.server.created if each.name == f"batches/{request.match_info['id']}")
        batch.looks += 1
        if batch.state not in ENDED and self._is_over(batch):
            self._end(batch)
        elif batch.state == "PENDING":
            batch.state = "RUNNING"
        prefix = "JOB_STATE_" if action == "snake" else "BATCH_STATE_"
        return await self._answer("look", action, request, batch.described(prefix))

    async def _content(self, request: web.Request) -> web.StreamResponse:
        await self._faulty("content")
        self.keys.add(request.headers.get("x-goog-api-key"))
        assert request.query["alt"] == "media"
        await self._happened("content")
        return web.Response(body=self.files[f"files/{request.match_info['id']}"])

    def _is_over(self, batch: FakeBatch) -> bool:
        return self.release.is_set() if batch.ending == "never" else batch.looks > self.server.looks

    def _end(self, batch: FakeBatch) -> None:
        name, _, argument = batch.ending.partition(":")
        batch.state = {
            "expire": "EXPIRED",
            "cancel": "CANCELLED",
            "partial": "PARTIALLY_SUCCEEDED",
            "fail": "FAILED",
        }.get(name, "SUCCEEDED")
        if name == "fail":
            batch.error = {"code": int(argument), "message": f"it failed with {argument}"}
            return
        if name in ("expire", "cancel") and not argument:
            return
        results = [self._result(batch, number, line) for number, line in enumerate(batch.lines)]
        written = [each for each in results if each is not None]
        batch.done = sum("response" in each for each in written)
        self.server.answered.update(each["key"] for each in written if "response" in each)
        if self.inline:
            inlined = [{"metadata": {"key": each.pop("key")}, **each} for each in written]
            batch.output = {"inlinedResponses": {"inlinedResponses": inlined}}
            return
        texts = [json.dumps(each) for each in written]
        if name == "shuffled":
            random.Random(0).shuffle(texts)
            texts += ["{", "[]", json.dumps({"key": "stranger", "response": {}}), texts[0]]
        file = f"files/r{len(self.files)}"
        self.files[file] = "\n".join(texts).encode()
        batch.output = {"responsesFile": file}

    def _result(self, batch: FakeBatch, number: int, line: dict[str, Any]) -> dict[str, Any] | None:
        """A line of the results; None if there is none."""
        from tests.support.teachers.gemini import Refused

        name, _, argument = batch.ending.partition(":")
        codes = [int(code) for code in argument.split(",")] if name == "lines" else []
        if name in ("partial", "missing", "expire", "cancel") and number >= int(argument):
            error = {"code": 13, "message": "not worked on"}
            return None if name != "partial" else {"key": line["key"], "error": error}
        if number < len(codes):
            return {"key": line["key"], "error": {"code": codes[number], "message": f"this is a {codes[number]}"}}
        try:
            action = batch.ending if name == "refuse" else "ok"
            return {"key": line["key"], "response": self.server.answer(batch.model, line["request"], action)}
        except Refused as refused:
            error = {"code": 3, "message": refused.body["error"]["message"]}
            return {"key": line["key"], "error": error}


def _error(status: int, value: Any) -> web.HTTPException:
    class Fault(web.HTTPException):
        status_code = status

    text = value if isinstance(value, str) else json.dumps(value)
    return Fault(text=text, content_type="application/json")
