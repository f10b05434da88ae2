"""A real server on a real socket that speaks files and batches, well or badly, as its plan says.

In a test:              async with FakeBatches(["expire:10"]) as server: ... server.url ...
What it has done:       server.created (batches), server.uploads, server.answered (custom ids, with counts)

A plan names how the first batch ends, the second, and so on; all later ones are complete:

    complete            every line has a reply
    expire:N            N lines have a reply, then the day is over: the others are in the error file
    cancel:N            likewise, cancelled from outside
    missing:N           complete, but only N lines are in any file
    lines:429,400,...   complete, but the first lines come back with these statuses
    inside:429,400,...  likewise, but as errors with status 200
    later:50ms          complete, but the first line comes back with 429 and this time to come back, at first
    small:N             complete, but lines whose `max_tokens` is above N come back with status 400, which names it
    refuse:FIELD        complete, but lines with this field come back with status 400, which names it
    fail_for:FIELD      not begun, for this field of its requests
    garbled             complete, with lines that are no JSON, of strangers, and twice the same
    fail:CODE           not begun, for this reason
    never               in progress until `release` is set

`faults` names what is done with the first requests of a kind (`upload`, `create`, `look`, `content`, `list`, `chat`):

    500 429:1 401 ...   a status, with Retry-After
    html                200 with a page
    lost                it is done, and the connection cut before the answer
    hang                nothing happens, and no answer comes
    lost_hang           it is done, and no answer comes
    cut                 the body breaks off in the middle
    wait                it is done when `release` is set

Chat completions are answered, too, with the same replies.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from tests.support.fake_answers import completion_of

ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass
class FakeBatch:
    """One batch."""

    id: str
    input_file_id: str
    metadata: dict[str, str]
    ending: str
    lines: list[dict[str, Any]]
    endpoint: str
    status: str = "validating"
    looks: int = 0
    files: dict[str, str | None] = field(default_factory=lambda: {"output_file_id": None, "error_file_id": None})
    errors: list[dict[str, Any]] = field(default_factory=list)
    done: int = 0
    created_at: int = field(default_factory=lambda: int(time.time()))

    def described(self) -> dict[str, Any]:
        """As the endpoint shows it."""
        counts = {"total": len(self.lines), "completed": self.done, "failed": len(self.lines) - self.done}
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "completion_window": "24h",
            "created_at": self.created_at,
            "input_file_id": self.input_file_id,
            "status": self.status,
            "metadata": self.metadata,
            "request_counts": counts,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            **self.files,
        }


class FakeBatches:
    """The server; it runs while its context is open.

    Args:
        plan: how the first batches end.
        faults: what is done with the first requests of a kind.
        looks: how often a batch is looked at before it ends.
        rule: text of a reply, see `fake_answers`.
        most_lines: of the batches in progress together; a batch beyond it fails with `token_limit_exceeded`.
        endpoint: what the lines are asked of.
        reply: the status and the body that a line's body is answered with.
    """

    def __init__(
        self,
        plan: Sequence[str] = (),
        *,
        faults: Mapping[str, Sequence[str]] | None = None,
        looks: int = 1,
        rule: str = "The answer is {n}.",
        most_lines: int | None = None,
        endpoint: str = "/v1/chat/completions",
        reply: Callable[[Mapping[str, Any]], tuple[int, Any]] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.reply = reply or (lambda body: (200, completion_of("ok", dict(body), self.rule)))
        self.plan = list(plan)
        self.faults = {kind: list(actions) for kind, actions in (faults or {}).items()}
        self.looks = looks
        self.rule = rule
        self.most_lines = most_lines
        self.files: dict[str, bytes] = {}
        self.created: list[FakeBatch] = []
        self.uploads: list[str] = []
        self.answered: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.keys: set[str | None] = set()
        self.release = asyncio.Event()
        self.closing = asyncio.Event()
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**30)
        app.add_routes([*self.routes(), web.post("/v1/chat/completions", self._chat)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closing.set()
        await self._runner.cleanup()

    def routes(self, prefix: str = "/v1") -> list[web.AbstractRouteDef]:
        """Files and batches, for other servers, too."""
        return [
            web.post(f"{prefix}/files", self._upload),
            web.get(f"{prefix}/files/{{id}}/content", self._content),
            web.post(f"{prefix}/batches", self._create),
            web.get(f"{prefix}/batches", self._list),
            web.get(f"{prefix}/batches/{{id}}", self._look),
            web.post(f"{prefix}/batches/{{id}}/cancel", self._cancel),
        ]

    async def until(self, kind: str, number: int = 1) -> None:
        """Waits until so many requests of a kind have been worked on."""
        async with self._news:
            await self._news.wait_for(lambda: self.requests[kind] >= number)

    def sizes(self) -> list[int]:
        """Lines of the batches, in the order of their creation."""
        return [len(batch.lines) for batch in self.created]

    async def _faulty(self, kind: str, request: web.Request) -> tuple[str, web.StreamResponse | None]:
        """What is to be done, and the answer if it is no proper one."""
        self.keys.add(request.headers.get("Authorization"))
        actions = self.faults.get(kind) or [""]
        action = actions.pop(0)
        name, _, argument = action.partition(":")
        if name == "wait":
            await self.release.wait()
        if name == "hang":
            await self._happened(kind)
            await self.closing.wait()
        if name == "html":
            return name, web.Response(text="<html>", content_type="text/html")
        if name.isdigit():
            await self._happened(kind)
            error = {"error": {"message": f"a {name} for {request.headers.get('Authorization')}", "code": argument}}
            headers = {"Retry-After": argument} if name == "429" else {}
            return name, web.json_response(error, status=int(name), headers=headers)
        return name, None

    async def _happened(self, kind: str) -> None:
        async with self._news:
            self.requests[kind] += 1
            self._news.notify_all()

    async def _answer(self, kind: str, action: str, request: web.Request, value: Any) -> web.StreamResponse:
        await self._happened(kind)
        if action == "lost_hang":
            await self.closing.wait()
        if action in ("lost", "lost_hang"):
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(value)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        action, answer = await self._faulty("upload", request)
        if answer is not None:
            return answer
        form = await request.post()
        assert form["purpose"] == "batch"
        file = form["file"]
        assert isinstance(file, web.FileField)
        name = f"file-{len(self.files)}"
        self.files[name] = file.file.read()
        self.uploads.append(name)
        made = {"id": name, "object": "file", "bytes": len(self.files[name]), "created_at": int(time.time())}
        made |= {"filename": file.filename, "purpose": "batch", "status": "processed"}
        return await self._answer("upload", action, request, made)

    async def _create(self, request: web.Request) -> web.StreamResponse:
        action, answer = await self._faulty("create", request)
        if answer is not None:
            return answer
        asked = await request.json()
        assert asked["endpoint"] == self.endpoint
        assert asked["completion_window"] == "24h"
        lines = [json.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
        assert len({line["custom_id"] for line in lines}) == len(lines)
        assert {line["url"] for line in lines} == {self.endpoint}
        ending = self.plan.pop(0) if self.plan else "complete"
        batch = FakeBatch(
            f"batch_{len(self.created)}", asked["input_file_id"], asked["metadata"], ending, lines, self.endpoint
        )
        waiting = sum(len(other.lines) for other in self.created if other.status not in ENDED)
        if self.most_lines is not None and waiting + len(lines) > self.most_lines:
            batch.ending = "fail:token_limit_exceeded"
        self.created.append(batch)
        return await self._answer("create", action, request, batch.described())

    async def _look(self, request: web.Request) -> web.StreamResponse:
        action, answer = await self._faulty("look", request)
        if answer is not None:
            return answer
        batch = self._batch(request)
        batch.looks += 1
        if batch.status not in ENDED and self._is_over(batch):
            self._end(batch)
        elif batch.status == "validating":
            batch.status = "in_progress"
        return await self._answer("look", action, request, batch.described())

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        batch = self._batch(request)
        batch.ending = "cancel:0"
        batch.status = "cancelling"
        return await self._answer("cancel", "", request, batch.described())

    async def _list(self, request: web.Request) -> web.StreamResponse:
        action, answer = await self._faulty("list", request)
        if answer is not None:
            return answer
        newest = [batch.described() for batch in reversed(self.created)]
        after, limit = request.query.get("after"), int(request.query.get("limit", "20"))
        start = next((at + 1 for at, batch in enumerate(newest) if batch["id"] == after), 0)
        page = {"object": "list", "data": newest[start : start + limit], "has_more": len(newest) > start + limit}
        return await self._answer("list", action, request, page)

    async def _content(self, request: web.Request) -> web.StreamResponse:
        action, answer = await self._faulty("content", request)
        if answer is not None:
            return answer
        data = self.files[request.match_info["id"]]
        await self._happened("content")
        if action != "cut":
            return web.Response(body=data)
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        assert request.transport is not None
        request.transport.close()
        return response

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        await self._faulty("chat", request)
        await self._happened("chat")
        return web.json_response(completion_of("ok", await request.json(), self.rule))

    def _batch(self, request: web.Request) -> FakeBatch:
        found = [batch for batch in self.created if batch.id == request.match_info["id"]]
        if not found:
            raise web.HTTPNotFound(text='{"error": {"message": "no such batch"}}', content_type="application/json")
        return found[0]

    def _is_over(self, batch: FakeBatch) -> bool:
        return self.release.is_set() if batch.ending == "never" else batch.looks > self.looks

    def _end(self, batch: FakeBatch) -> None:
        name, _, argument = batch.ending.partition(":")
        if name == "fail":
            batch.status = "failed"
            code, _, lines = argument.partition(":")
            numbers = [int(number) for number in lines.split(",")] if lines else [None]
            batch.errors = [{"code": code, "message": f"it is {code}", "line": at, "param": None} for at in numbers]
            return
        if name == "fail_for":
            batch.status = "failed"
            code = "unsupported_parameter"
            batch.errors = [{"code": code, "message": "not supported", "line": 1, "param": argument}]
            return
        batch.status = {"expire": "expired", "cancel": "cancelled"}.get(name, "completed")
        statuses = [int(status) for status in argument.split(",")] if name in ("lines", "inside") else []
        most = int(argument) if name in ("expire", "cancel", "missing") else len(batch.lines)
        output: list[Any] = []
        errors: list[Any] = []
        for number, line in enumerate(batch.lines):
            status = statuses[number] if number < len(statuses) else 200
            if number >= most:
                if name != "missing":
                    errors.append(_unanswered(line, f"batch_{batch.status}"))
            elif name == "refuse" and argument in line["body"]:
                error = {"message": "not supported", "code": "unsupported_parameter", "param": argument}
                errors.append(_answered(line, {"error": error}, 400))
            elif name == "small" and line["body"].get("max_tokens", 0) > int(argument):
                said = f"max_tokens is too large: this model supports at most {argument} completion tokens"
                errors.append(_answered(line, {"error": {"message": said, "code": "invalid_value"}}, 400))
            elif name == "later" and number == 0 and not any(self.answered.values()):
                errors.append(_answered(line, {"error": {"message": f"try again in {argument}"}}, 429))
            elif status == 200:
                said, reply = self.reply(line["body"])
                (output if said == 200 else errors).append(_answered(line, reply, said))
                self.answered[line["custom_id"]] += said == 200
            elif name == "inside":
                output.append(_answered(line, {"error": {"message": f"this is a {status}", "code": status}}))
            else:
                message = {"message": f"this is a {status}", "code": "fake"}
                errors.append(_answered(line, {"error": message}, status))
        batch.done = len(output)
        if name == "garbled":
            stranger = _answered({"custom_id": "stranger"}, {})
            output = ["{", stranger, output[0], "[]", *output]
        batch.files = {"output_file_id": self._file(output), "error_file_id": self._file(errors)}

    def _file(self, lines: list[Any]) -> str | None:
        if not lines:
            return None
        name = f"file-{len(self.files)}"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        self.files[name] = "\n".join(texts).encode()
        return name


def _answered(line: Mapping[str, Any], body: Any, status: int = 200) -> dict[str, Any]:
    response = {"status_code": status, "request_id": "r", "body": body}
    return {
        "id": f"batch_req_{line['custom_id'][:8]}",
        "custom_id": line["custom_id"],
        "response": response,
        "error": None,
    }


def _unanswered(line: Mapping[str, Any], code: str) -> dict[str, Any]:
    error = {"code": code, "message": f"{code} before this request was worked on"}
    return {"id": "batch_req", "custom_id": line["custom_id"], "response": None, "error": error}
