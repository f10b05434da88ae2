"""A server that speaks as Mistral does, by the types of its SDK: requests are parsed with them, replies made of them.

In a test:      async with FakeMistral(["thinks", "capacity"]) as server: ... server.url ...
As a process:   python -m tests.support.teachers.mistral --port 8000

A plan's words, for requests of a reply:

    ok              a text
    thinks          a list of chunks, the first of which is thinking
    length model_length error tool_calls ...        half a reply with this finish_reason
    capacity limit money key gone prompt down       429 (of the tier, of the account), 402, 401, 400 (model), 400, 503

How batches end:

    complete        every line has a result; the last one comes first
    late:N cancel:N only N have, as the job took too long, or was cancelled from outside
    statuses:429,.. the first lines come back with these statuses, in the file of errors
    fail:WORDS      not begun, for this reason
    never           running until `release` is set

`faults` names what is done with the first requests to create a job: `lost` and `lost_hang` as in `fake_batches`.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiohttp import web
from mistralai.client import models
from pydantic import BaseModel, ValidationError

from tests.support.teachers.base import FakeTeacher

HALF = "First we look at the parts and then we"
TOO_LONG = "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length"
ERRORS: Mapping[str, tuple[int, Any]] = {
    "capacity": (429, {"object": "error", "message": "Service tier capacity exceeded for this model.", "code": "3505"}),
    "limit": (429, {"message": "Requests rate limit exceeded"}),
    "money": (402, {"detail": "Payment required: check your billing"}),
    "key": (401, {"message": "Unauthorized", "request_id": "r"}),
    "gone": (400, {"object": "error", "message": "Invalid model: m", "type": "invalid_model", "code": "1500"}),
    "prompt": (400, {"object": "error", "message": TOO_LONG, "type": "invalid_request_error", "code": "3051"}),
    "down": (503, {"object": "error", "message": "Service unavailable.", "code": "1000"}),
}  # fmt: skip
ENDED = ("SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED")


class Refused(Exception):
    """A request that is none of Mistral's; `detail` is what the endpoint says of it."""

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        super().__init__(detail)
        self.detail = detail


class FakeMistral(FakeTeacher):
    """The server; see `FakeTeacher`."""

    prefix = "/v1"

    def __init__(
        self, plan: Sequence[str] = (), *, faults: Sequence[str] = (), forbids_extra: bool = True, **options: Any
    ) -> None:
        super().__init__(plan, **options)
        self.faults = list(faults)
        self.forbids_extra = forbids_extra
        self.files: dict[str, bytes] = {}
        self.uploads: list[str] = []
        self.requests: Counter[str] = Counter()
        self.release = asyncio.Event()
        self._news = asyncio.Condition()

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.post("/v1/chat/completions", self._chat),
            web.post("/v1/files", self._upload),
            web.get("/v1/files/{id}/content", self._content),
            web.post("/v1/batch/jobs", self._create),
            web.get("/v1/batch/jobs", self._list),
            web.get("/v1/batch/jobs/{id}", self._look),
        ]

    async def until(self, kind: str, number: int = 1) -> None:
        """Waits until so many requests of a kind have been worked on."""
        async with self._news:
            await self._news.wait_for(lambda: self.requests[kind] >= number)

    def sizes(self) -> list[int]:
        """Lines of the jobs, in the order of their creation."""
        return [len(self._lines(job)) for job in self.created]

    def parse(self, kind: type[BaseModel], body: Any) -> Any:
        """A request by its type.

        Raises:
            Refused: it is none, or has a field that the type does not know.
        """
        try:
            parsed = kind.model_validate(body)
        except ValidationError as error:
            raise Refused([{"type": each["type"], "loc": ["body", *each["loc"]], "msg": each["msg"]}
                           for each in error.errors()]) from error  # fmt: skip
        extra = list(_find_extra(body, parsed.model_dump(mode="json", by_alias=True)))
        if extra and self.forbids_extra:
            said = "Extra inputs are not permitted"
            raise Refused([{"type": "extra_forbidden", "loc": ["body", *at], "msg": said} for at in extra])
        return parsed

    def reply(self, action: str, body: dict[str, Any], model: str) -> dict[str, Any]:
        """The reply to a request that was parsed."""
        made = self.completion(body["messages"], model)
        text = made["choices"][0]["message"]["content"]
        content: Any = text
        finish = "stop"
        if action == "thinks":
            thought = models.ThinkChunk(thinking=[models.TextChunk(text="So it is.")], closed=True)
            content = [thought, models.TextChunk(text=text)]
        elif action != "ok":
            finish, content = action, HALF
        message = models.AssistantMessage(content=content)
        choice = models.ChatCompletionChoice(index=0, finish_reason="stop", message=message)
        usage = models.UsageInfo(**made["usage"])
        response = models.ChatCompletionResponse(
            id="c", object="chat.completion", model=model, usage=usage, created=1, choices=[choice]
        )
        whole: dict[str, Any] = response.model_dump(mode="json", by_alias=True)
        whole["choices"][0]["finish_reason"] = finish
        return whole

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append(body)
        self.seen_headers.append(request.headers.copy())
        action = self.next_action()
        await self._count("chat")
        if action in ERRORS:
            status, said = ERRORS[action]
            return web.json_response(said, status=status)
        try:
            asked = self.parse(models.ChatCompletionRequest, body)
        except Refused as refused:
            return _refuse(refused)
        self.answered[json.dumps(body["messages"])] += 1
        return web.json_response(self.reply(action, body, asked.model))

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        assert set(form) == {"file", "purpose"}
        assert form["purpose"] == "batch"
        file = form["file"]
        assert isinstance(file, web.FileField)
        name = self._store(file.file.read())
        self.uploads.append(name)
        await self._count("upload")
        made = models.CreateFileResponse(
            id=name, object="file", bytes=len(self.files[name]), created_at=int(time.time()), filename=file.filename,
            purpose="batch", sample_type="batch_request", source="upload",
        )  # fmt: skip
        return web.json_response(made.model_dump(mode="json", by_alias=True))

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        try:
            asked = self.parse(models.CreateBatchJobRequest, body)
            for line in self.files[asked.input_files[0]].splitlines():
                of_line = self.parse(models.BatchRequest, json.loads(line))
                self.parse(models.ChatCompletionRequest, {**of_line.body, "model": asked.model})
                if "model" in of_line.body:
                    raise Refused([{"type": "extra_forbidden", "loc": ["body", "model"], "msg": "is on the job"}])
        except Refused as refused:
            return _refuse(refused)
        job = models.BatchJob(
            id=f"job-{len(self.created)}", input_files=asked.input_files, endpoint=asked.endpoint, errors=[],
            status="QUEUED", created_at=int(time.time()), total_requests=0, completed_requests=0,
            succeeded_requests=0, failed_requests=0, metadata=asked.metadata, model=asked.model,
        )  # fmt: skip
        self.created.append(job)
        await self._count("create")
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "lost_hang":
            await self.closing.wait()
        if fault:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(job.model_dump(mode="json", by_alias=True))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        assert request.query["order_by"] == "-created"
        page, size = int(request.query.get("page", "0")), int(request.query.get("page_size", "100"))
        newest = list(reversed(self.created))
        listed = models.ListBatchJobsResponse(total=len(newest), data=newest[page * size : (page + 1) * size])
        await self._count("list")
        return web.json_response(listed.model_dump(mode="json", by_alias=True))

    async def _look(self, request: web.Request) -> web.StreamResponse:
        job = next(job for job in self.created if job.id == request.match_info["id"])
        self.requests[job.id] += 1
        ending = self.batches[number] if (number := self.created.index(job)) < len(self.batches) else "complete"
        over = self.release.is_set() if ending == "never" else self.requests[job.id] > self.looks
        if job.status not in ENDED:
            job.status = "RUNNING"
            if over:
                self._end(job, "complete" if ending == "never" else ending)
        await self._count("look")
        return web.json_response(job.model_dump(mode="json", by_alias=True))

    async def _content(self, request: web.Request) -> web.StreamResponse:
        await self._count("content")
        return web.Response(body=self.files[request.match_info["id"]])

    def _end(self, job: models.BatchJob, ending: str) -> None:
        name, _, argument = ending.partition(":")
        lines = self._lines(job)
        if name == "fail":
            job.status, job.errors = "FAILED", [models.BatchError(message=argument, count=len(lines))]
            return
        job.status = {"late": "TIMEOUT_EXCEEDED", "cancel": "CANCELLED"}.get(name, "SUCCESS")
        statuses = [int(each) for each in argument.split(",")] if name == "statuses" else []
        most = int(argument) if name in ("late", "cancel") else len(lines)
        results, errors = [], []
        for number, line in enumerate(lines[:most]):
            if number < len(statuses):
                body: Any = {"object": "error", "message": f"this is a {statuses[number]}"}
                errors.append({"id": "e", "custom_id": line["custom_id"], "error": None,
                               "response": {"status_code": statuses[number], "body": body}})  # fmt: skip
                continue
            reply = self.reply("ok", line["body"], str(job.model))
            results.append({"id": "b", "custom_id": line["custom_id"], "error": None,
                            "response": {"status_code": 200, "body": reply}})  # fmt: skip
            self.answered[line["custom_id"]] += 1
        job.succeeded_requests, job.failed_requests = len(results), len(errors)
        job.total_requests, job.completed_requests = len(lines), len(results) + len(errors)
        if results:
            job.output_file = self._store(_write(reversed(results)))
        if errors:
            job.error_file = self._store(_write(errors))

    def _lines(self, job: models.BatchJob) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files[job.input_files[0]].splitlines()]

    def _store(self, data: bytes) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = data
        return name

    async def _count(self, kind: str) -> None:
        async with self._news:
            self.requests[kind] += 1
            self._news.notify_all()


def _find_extra(sent: Any, known: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Places of what was sent and is not in what was parsed of it."""
    if isinstance(sent, dict) and isinstance(known, dict):
        for name, value in sent.items():
            if name in known:
                yield from _find_extra(value, known[name], (*at, name))
            else:
                yield (*at, name)
    elif isinstance(sent, list) and isinstance(known, list):
        for number, pair in enumerate(zip(sent, known, strict=True)):
            yield from _find_extra(*pair, (*at, number))


def _refuse(refused: Refused) -> web.Response:
    said = {"object": "error", "detail": refused.detail, "message": refused.detail, "type": "invalid_request_error"}
    return web.json_response(said | {"code": 3001}, status=422)


def _write(lines: Any) -> bytes:
    return "\n".join(json.dumps(line) for line in lines).encode()


async def _serve(port: int) -> None:
    async with FakeMistral(port=port) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(_serve(parser.parse_args().port))
