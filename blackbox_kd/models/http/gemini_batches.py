"""Gemini's Batch API: requests are uploaded as a file and answered within a day, at half the price.

Source   google-genai 3.6 (`files.py`, `batches.py`, `_api_client.py`); https://ai.google.dev/gemini-api/docs/batch-api
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode, urlsplit

from blackbox_kd import json_text
from blackbox_kd.errors import CallError, ServerFault
from blackbox_kd.models.http import error_body
from blackbox_kd.models.http.batches import Batch, BatchApi, explain_not_begun, list_objects
from blackbox_kd.models.http.client import Address
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


class GeminiBatches(BatchApi):
    """Files and batches of one model, see `batches.BatchApi`.

    Args:
        address: of the endpoint, up to `/v1beta`.
        model: as the endpoint calls it.
        translate: makes Gemini's request of a body of chat completions.
    """

    most_lines, most_bytes = BATCH_LINES, BATCH_BYTES

    def __init__(self, address: Address, model: str, translate: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._root = f"{address.base_url}/{VERSION}"
        super().__init__(address, f"{self._root}/models/{model}:batchGenerateContent", translate)

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
        file_url = f"{self.base_url}/upload"
        return self._read_text(_find_object(self._read_object(file_url, text), "file"), "name")

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
        return self._read_text(await self._ask("POST", self._url, json_text.encode({"batch": batch})), "name")

    async def find(self, file_id: str, mark: str, since: float) -> str | None:
        """The name of the batch that is called `mark`, or was made of the file, or None: in which order they are
        listed is not said, so all are looked at.
        """
        page = ""
        while True:
            query = urlencode({"pageSize": PAGE} | ({"pageToken": page} if page else {}))
            listed = await self._ask("GET", f"{self._root}/batches?{query}")
            for batch in list_objects(listed.get("operations")):
                about = _find_object(batch, "metadata")
                if about.get("displayName") == mark or _find_object(about, "inputConfig").get("fileName") == file_id:
                    return self._read_text(batch, "name")
            page = str(listed.get("nextPageToken") or "")
            if not page:
                return None

    async def look(self, batch_id: str) -> Batch:
        """How a batch stands."""
        found = await self._get_operation(batch_id)
        about, error = _find_object(found, "metadata"), found.get("error")
        state = str(about.get("state") or "")
        for prefix in _PREFIXES:
            state = state.removeprefix(prefix)
        if found.get("done") is True and (not state or state in ("PENDING", "RUNNING")):
            state = "FAILED" if error else "SUCCEEDED"  # what is done changes no more, whatever its copy still says
        output = _find_output(found)
        file = output.get("responsesFile")
        inlined = (batch_id,) if output.get("inlinedResponses") else ()
        done = str(_find_object(about, "batchStats").get("successfulRequestCount"))
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
            inlined = _find_object(_find_output(await self._get_operation(file_id)), "inlinedResponses")
            for line in list_objects(inlined.get("inlinedResponses")):
                yield {"custom_id": _find_object(line, "metadata").get("key"), **line}
            return
        async for line in super().lines(file_id):
            yield {"custom_id": line.get("key"), **line}

    def _find_results(self, file_id: str) -> str:
        return f"{self._root}/{file_id}:download?alt=media"

    def outcome(self, line: Mapping[str, Any]) -> str | CallError:
        """What a line of results says: the raw body of a reply, or the error of its request."""
        reply, error = line.get("response"), line.get("error") or line.get("status")
        if isinstance(reply, dict):
            return self._read_reply(reply)
        if isinstance(error, dict):
            return self._explain(error)
        return ServerFault(f"{self._url}: {quote(json_text.write_json(line))}", kind="unreadable")

    def explain_unanswered(self, batch: Batch) -> CallError:
        """Why requests of a batch that has ended have no line among its results."""
        if batch.status != "failed":
            return super().explain_unanswered(batch)
        if not batch.errors:
            return ServerFault(f"{self._url}: {batch.id} failed, and does not say why", kind="batch_failed")
        error = {**batch.errors[0], "message": f"{batch.id} failed: {batch.errors[0].get('message')}"}
        return explain_not_begun(self._explain(error))

    def _explain(self, error: Mapping[str, Any]) -> CallError:
        """What an error in a result would be as the body of a response."""
        code = error.get("code")
        name = _RPC[code] if isinstance(code, int) and 0 <= code < len(_RPC) else ""
        said = {**error, "status": error.get("status") or name}
        status = error_body.read(said).status or 500
        return make_fault(self._url, status, {}, json.dumps({"error": said}), self._address.secret)

    def _write_requests(self, path: Path, file: IO[bytes]) -> int:
        """Writes the requests of a file as Gemini takes them into another one; returns its size."""
        with path.open("rb") as written:
            for line in map(json.loads, written):
                request = self._translate(line["body"])
                file.write(json_text.encode({"key": line["custom_id"], "request": request}, halves="replaced") + b"\n")
        size = file.tell()
        file.seek(0)
        return size

    async def _get_operation(self, name: str) -> dict[str, Any]:
        """A batch, which may have an error that is none of this request."""
        url = f"{self._root}/{name}"
        found = await self._ask("GET", url, tells_errors=True)
        if "metadata" not in found:
            text = json_text.write_json(found)
            fault = find_fault(url, {}, text, self._address.secret)
            raise fault or ServerFault(f"{url}: what came is no batch: {quote(text)}", kind="unreadable")
        return found


def _find_object(within: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = within.get(name)
    return value if isinstance(value, dict) else {}


def _find_output(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where the results are: in the response, in its output, or in the output of the batch that the metadata is."""
    response = _find_object(operation, "response")
    found = [response, response.get("output"), _find_object(operation, "metadata").get("output")]
    return next((each for each in found if isinstance(each, dict) and not each.keys().isdisjoint(_OUTPUTS)), {})


_OUTPUTS = ("responsesFile", "inlinedResponses")
