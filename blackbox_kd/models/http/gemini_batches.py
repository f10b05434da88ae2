"""Gemini's Batch API: requests are uploaded as a file and answered within a day, at half the price.

Source   google-genai 3.6 (`files.py`, `batches.py`, `_api_client.py`); https://ai.google.dev/gemini-api/docs/batch-api
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode, urlsplit

from blackbox_kd import json_text
from blackbox_kd.errors import CallError, EndpointRefused, QuotaSpent, RequestRejected, ServerFault
from blackbox_kd.models.http import error_body
from blackbox_kd.models.http.batches import Batch
from blackbox_kd.models.http.client import HttpClient
from blackbox_kd.models.http.keys import hide_secret
from blackbox_kd.models.http.status import find_fault, make_fault, quote

VERSION = "v1beta"
BATCH_LINES = 50_000
"""Requests that a file may hold; the vendor names no number."""
BATCH_BYTES = 1_000_000_000
"""Half of what the vendor lets through: as Gemini takes a request, it may be longer than it is written for us."""
FILE_TYPE = "jsonl"
"""As the vendor's examples have it; it is no MIME type."""
CHUNK_BYTES = 8 * 2**20
PAGE = 100
_PREFIXES = ("BATCH_STATE_", "JOB_STATE_")
_STATUS = {"SUCCEEDED": "completed", "PARTIALLY_SUCCEEDED": "completed"}
"""Of a state; all others are the same in lower case."""
_RPC = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
"""Names of the codes of google.rpc.Code, which stand in results instead of a status."""


class GeminiBatches:
    """Files and batches of one model, see `batches.BatchApi`. For one event loop.

    Args:
        http: the connections, which whoever opened them closes.
        base_url: up to `/v1beta`.
        model: as the endpoint calls it.
        key: never shown.
        translate: makes Gemini's request of a body of chat completions.
    """

    most_lines, most_bytes = BATCH_LINES, BATCH_BYTES

    def __init__(
        self,
        http: HttpClient,
        base_url: str,
        model: str,
        key: str | None,
        translate: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        self.base_url = base_url
        self._http = http
        self._url = f"{base_url}/{VERSION}"
        self._create_url = f"{self._url}/models/{model}:batchGenerateContent"
        self._key = key
        self._translate = translate

    async def upload(self, path: Path) -> str:
        """Uploads a file of requests; returns its name. A file that is not used goes after two days."""
        with tempfile.TemporaryFile() as file:
            size = await asyncio.to_thread(self._write_requests, path, file)
            _, headers = await self._http.request(
                "POST",
                f"{self.base_url}/upload/{VERSION}/files",
                json_text.encode({"file": {"displayName": path.name, "mimeType": FILE_TYPE, "sizeBytes": str(size)}}),
                {
                    "X-Goog-Upload-Protocol": "resumable",
                    "X-Goog-Upload-Command": "start",
                    "X-Goog-Upload-Header-Content-Length": str(size),
                    "X-Goog-Upload-Header-Content-Type": FILE_TYPE,
                },
            )
            text = await self._send_file(file, size, headers.get("x-goog-upload-url", ""))
        return self._read_name(_read_object(self._decode(text).get("file")))

    async def _send_file(self, file: IO[bytes], size: int, url: str) -> str:
        """Sends a file in parts to where its upload was begun, whatever host that is said to be; the last answer."""
        place, own, text = urlsplit(url), urlsplit(self.base_url), ""
        url = place._replace(scheme=own.scheme, netloc=own.netloc).geturl()
        for offset in range(0, max(size, 1), CHUNK_BYTES):
            is_last = offset + CHUNK_BYTES >= size
            how = {
                "X-Goog-Upload-Command": "upload, finalize" if is_last else "upload",
                "X-Goog-Upload-Offset": str(offset),
            }
            text, answered = await self._http.request("POST", url, file.read(CHUNK_BYTES), how)
            if answered.get("x-goog-upload-status") != ("final" if is_last else "active"):
                what = f"an upload of {size:,} bytes was not gone on with at byte {offset:,}"
                raise ServerFault(f"{self.base_url}/upload: {what}", kind="upload")
        return text

    async def create(self, file_id: str, mark: str) -> str:
        """Hands an uploaded file in as a batch that is called `mark`; returns the batch's name."""
        batch = {"displayName": mark, "inputConfig": {"fileName": file_id}}
        text, _ = await self._http.request("POST", self._create_url, json_text.encode({"batch": batch}))
        return self._read_name(self._decode(text))

    async def find(self, file_id: str, mark: str, since: float) -> str | None:
        """The name of the batch that is called `mark`, or was made of the file, or None: in which order they are
        listed is not said, so all are looked at.
        """
        page = ""
        while True:
            query = urlencode({"pageSize": PAGE} | ({"pageToken": page} if page else {}))
            listed = await self._get(f"batches?{query}")
            for batch in _list_objects(listed.get("operations")):
                about = _read_object(batch.get("metadata"))
                is_ours = about.get("displayName") == mark
                if is_ours or _read_object(about.get("inputConfig")).get("fileName") == file_id:
                    return self._read_name(batch)
            page = str(listed.get("nextPageToken") or "")
            if not page:
                return None

    async def look(self, batch_id: str) -> Batch:
        """How a batch stands."""
        found = await self._get_operation(batch_id)
        about, error = _read_object(found.get("metadata")), found.get("error")
        state = str(about.get("state") or "")
        for prefix in _PREFIXES:
            state = state.removeprefix(prefix)
        if found.get("done") is True and (not state or state in ("PENDING", "RUNNING")):
            state = "FAILED" if error else "SUCCEEDED"  # what is done changes no more, whatever its copy still says
        output = _find_output(found)
        file = output.get("responsesFile")
        inlined = (batch_id,) if output.get("inlinedResponses") else ()
        done = str(_read_object(about.get("batchStats")).get("successfulRequestCount"))
        return Batch(
            id=batch_id,
            status=_STATUS.get(state, state.lower()),
            files=(file,) if isinstance(file, str) else inlined,
            done=int(done) if done.isdecimal() else 0,
            errors=(error,) if isinstance(error, dict) else (),
        )

    async def lines(self, file_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """The lines of a file of results, or what stands in the batch itself; those that are no JSON objects are left
        out.
        """
        if file_id.startswith("batches/"):
            inlined = _read_object(_find_output(await self._get_operation(file_id)).get("inlinedResponses"))
            for line in _list_objects(inlined.get("inlinedResponses")):
                yield {"custom_id": _read_object(line.get("metadata")).get("key"), **line}
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.jsonl"
            await self._http.download(f"{self._url}/{file_id}:download?alt=media", path)
            with path.open("rb") as file:
                for line in _read_lines(file):
                    yield {"custom_id": line.get("key"), **line}

    async def close(self) -> None:
        """Does nothing: the connections are those of the model."""

    def outcome(self, line: Mapping[str, Any]) -> str | CallError:
        """What a line of results says: the raw body of a reply, or the error of its request."""
        reply, error = line.get("response"), line.get("error") or line.get("status")
        if isinstance(reply, dict):
            text = json.dumps(reply, ensure_ascii=False)
            fault = find_fault(self._create_url, {}, text, self._key)
            return hide_secret(text, self._key) if fault is None else fault
        if isinstance(error, dict):
            return self._explain(error)
        return ServerFault(f"{self._create_url}: {quote(json_text.write_json(line))}", kind="unreadable")

    def explain_unanswered(self, batch: Batch) -> CallError:
        """Why requests of a batch that has ended have no line among its results."""
        url = self._create_url
        if batch.status != "failed":
            kind = "left_out" if batch.status == "completed" else f"batch_{batch.status}"
            return ServerFault(f"{url}: {batch.id} {batch.status} without an answer", kind=kind)
        if not batch.errors:
            return ServerFault(f"{url}: {batch.id} failed, and does not say why", kind="batch_failed")
        error = self._explain({**batch.errors[0], "message": f"{batch.id} failed: {batch.errors[0].get('message')}"})
        if isinstance(error, (EndpointRefused, QuotaSpent)) or error.field:
            return error
        if isinstance(error, ServerFault):
            return ServerFault(error.what, kind="batch_failed")
        fix = "mend what it says, then run the same command; or take out batch: true"
        return RequestRejected(error.what, fix=fix, kind="batch_rejected")

    def explain_line(self, batch: Batch, number: int) -> CallError | None:
        """Nothing: the vendor names no lines."""
        return None

    def _explain(self, error: Mapping[str, Any]) -> CallError:
        """What an error in a result would be as the body of a response."""
        code = error.get("code")
        name = _RPC[code] if isinstance(code, int) and 0 <= code < len(_RPC) else ""
        said = {**error, "status": error.get("status") or name}
        status = error_body.read(said).status or 500
        return make_fault(self._create_url, status, {}, json.dumps({"error": said}), self._key)

    def _write_requests(self, path: Path, file: IO[bytes]) -> int:
        """Writes the requests of a file as Gemini takes them into another one; returns its size."""
        with path.open("rb") as written:
            for line in map(json.loads, written):
                request = self._translate(line["body"])
                file.write(json_text.encode({"key": line["custom_id"], "request": request}, halves="replaced") + b"\n")
        size = file.tell()
        file.seek(0)
        return size

    async def _get(self, path: str) -> dict[str, Any]:
        text, _ = await self._http.request("GET", f"{self._url}/{path}")
        return self._decode(text)

    async def _get_operation(self, name: str) -> dict[str, Any]:
        """A batch, which may have an error that is none of this request."""
        url = f"{self._url}/{name}"
        text, _ = await self._http.request("GET", url, tells_errors=True)
        found = self._decode(text)
        if "metadata" not in found:
            fault = find_fault(url, {}, text, self._key)
            raise fault or ServerFault(f"{url}: what came is no batch: {quote(text)}", kind="unreadable")
        return found

    def _decode(self, text: str) -> dict[str, Any]:
        with suppress(ValueError, RecursionError):
            value = json_text.decode(text)
            if isinstance(value, dict):
                return value
        raise ServerFault(f"{self._url}: what came is no JSON object: {quote(text)}", kind="unreadable")

    def _read_name(self, found: Mapping[str, Any]) -> str:
        if not isinstance(found.get("name"), str):
            raise ServerFault(f"{self._url}: what came has no name", kind="unreadable")
        return str(found["name"])


def _read_object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list_objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _find_output(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where the results are: in the response, in its output, or in the output of the batch that the metadata is."""
    response = _read_object(operation.get("response"))
    found = [response, response.get("output"), _read_object(operation.get("metadata")).get("output")]
    return next((each for each in found if isinstance(each, dict) and not each.keys().isdisjoint(_OUTPUTS)), {})


_OUTPUTS = ("responsesFile", "inlinedResponses")


def _read_lines(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    for line in file:
        with suppress(ValueError, RecursionError):
            value = json.loads(line)
            if isinstance(value, dict):
                yield value
