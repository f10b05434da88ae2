"""OpenAI's Batch API: requests are handed in as a file and answered within a day, at half the price."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from blackbox_kd import json_text
from blackbox_kd.errors import CallError, EndpointRefused, ServerFault
from blackbox_kd.models.http.batches import (
    CLOCKS_DIFFER_S,
    Batch,
    BatchApi,
    explain_not_begun,
    list_objects,
    quote_id,
    suggest_none,
)
from blackbox_kd.models.http.client import Address
from blackbox_kd.models.http.status import make_fault, quote
from blackbox_kd.privacy import hide_key

ENDPOINT = "/v1/chat/completions"
"""That lines on our disk name, which are chat completions whatever is uploaded."""
BATCH_LINES = 50_000
"""Requests that a file may hold."""
BATCH_BYTES = 200_000_000
TRANSLATED_BYTES = 180_000_000
"""Of lines that grow a little when they are translated."""
MARK = "blackbox_kd"
"""Key of our mark in a batch's metadata."""
QUEUE_FULL = "token_limit_exceeded"
"""Code of a batch that does not fit into what the account may have waiting."""
OF_SERVER = ("server_error", "internal_error", "internal_server_error", "service_unavailable", "rate_limit_exceeded")
"""Codes of a batch that was not begun though nothing is wrong with it."""
STATUS_OF_CODE = {"model_not_found": 404}
"""What a code of a batch that was not begun would be as the status of a response; 400 for all others."""


class OpenAIBatches(BatchApi):
    """Files and batches of one endpoint, see `batches.BatchApi`.

    Args:
        address: of the endpoint.
        translate: None where it takes bodies as they stand in our file.
    """

    most_lines = BATCH_LINES

    def __init__(self, address: Address, translate: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> None:
        super().__init__(address, f"{address.base_url}/batches", translate or dict)
        self.most_bytes = TRANSLATED_BYTES if translate else BATCH_BYTES
        self._is_translated = translate is not None
        self._endpoint = f"/v1{address.path}"

    async def upload(self, path: Path) -> str:
        """See `BatchApi.upload`."""
        url = f"{self.base_url}/files"
        try:
            with await asyncio.to_thread(self._open_lines, path) as file:
                text = await self._http.upload(url, file, path.name, {"purpose": "batch"})
        except EndpointRefused as error:
            raise suggest_none(error, "Batch API") from error
        return self._read_text(self._read_object(url, text), "id")

    def _open_lines(self, path: Path) -> BinaryIO:
        """The requests as they are uploaded."""
        if not self._is_translated:
            return path.open("rb")
        with path.open("rb") as lines, ExitStack() as until_done:
            sent: BinaryIO = until_done.enter_context(TemporaryFile(dir=path.parent))
            for line in map(json.loads, lines):
                asked = self._make_line(line, self._translate(line["body"]))
                sent.write(json.dumps(asked, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
            sent.seek(0)
            until_done.pop_all()
        return sent

    def _make_line(self, line: Mapping[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        """A line as it is uploaded, of one on our disk and the body in the endpoint's words."""
        return {**line, "url": self._endpoint, "body": body}

    async def create(self, file_id: str, mark: str) -> str:
        """See `BatchApi.create`."""
        asked = {"input_file_id": file_id, "endpoint": self._endpoint, "completion_window": "24h"}
        made = await self._ask("POST", self._url, json_text.encode(asked | {"metadata": {MARK: mark}}))
        return self._read_text(made, "id")

    async def find(self, file_id: str, mark: str, since: float) -> str | None:
        """See `BatchApi.find`."""
        after = ""
        while True:
            page = await self._ask("GET", f"{self._url}?limit=100{after}")
            batches = list_objects(page.get("data"))
            for batch in batches:
                if (batch.get("metadata") or {}).get(MARK) == mark or batch.get("input_file_id") == file_id:
                    return self._read_text(batch, "id")
                if (batch.get("created_at") or 0) < since - CLOCKS_DIFFER_S:  # the newest come first
                    return None
            if not batches or page.get("has_more") is False:
                return None
            after = f"&after={quote_id(self._read_text(batches[-1], 'id'))}"

    async def look(self, batch_id: str) -> Batch:
        """See `BatchApi.look`."""
        found = await self._ask("GET", f"{self._url}/{quote_id(batch_id)}", tells_errors=True)
        return Batch(
            id=batch_id,
            status=self._read_text(found, "status").lower(),
            files=tuple(str(found[name]) for name in ("output_file_id", "error_file_id") if found.get(name)),
            done=(found.get("request_counts") or {}).get("completed", 0),
            errors=tuple(map(self._read_error, list_objects((found.get("errors") or {}).get("data")))),
        )

    def _read_error(self, error: Mapping[str, Any]) -> dict[str, Any]:
        told = {name: error.get(name) for name in ("code", "param", "line")}
        return told | {"message": hide_key(str(error.get("message") or ""), self._address.secret)}

    def _find_results(self, file_id: str) -> str:
        return f"{self.base_url}/files/{quote_id(file_id)}/content"

    def outcome(self, line: Mapping[str, Any]) -> str | CallError:
        """See `BatchApi.outcome`."""
        response, error = line.get("response"), line.get("error")
        if isinstance(response, dict) and isinstance(status := response.get("status_code"), int):
            body = response.get("body")
            if 200 <= status < 300:
                return self._read_reply(body)
            text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
            return make_fault(self._url, status, {}, text, self._address.secret)
        said = error if isinstance(error, dict) else {}
        message = quote(hide_key(str(said.get("message") or line), self._address.secret))
        return ServerFault(f"{self._url}: {message}", kind=_read_code(said.get("code")))

    def explain_unanswered(self, batch: Batch) -> CallError:
        """See `BatchApi.explain_unanswered`."""
        if batch.status != "failed":
            return super().explain_unanswered(batch)
        first = batch.errors[0] if batch.errors else {}
        code, error = str(first.get("code")), self._explain(batch, first)
        found = explain_not_begun(error, is_of_server=code in (QUEUE_FULL, *OF_SERVER) or not batch.errors)
        is_full = code == QUEUE_FULL and isinstance(found, ServerFault)
        return ServerFault(found.what, kind="queue_full") if is_full else found

    def explain_line(self, batch: Batch, number: int) -> CallError | None:
        """See `BatchApi.explain_line`."""
        error = next((error for error in batch.errors if error["line"] == number), None)
        found = None if batch.status != "failed" or error is None else self._explain(batch, error)
        return None if found is not None and found.field else found  # a field of one line is one of all

    def _explain(self, batch: Batch, error: Mapping[str, Any]) -> CallError:
        """What one of a batch's errors would be as the body of a response."""
        code, message = str(error.get("code")), error.get("message") or "it does not say why"
        said = {"message": f"batch {batch.id} failed: {message}", "code": code, "param": error.get("param")}
        return make_fault(self._url, STATUS_OF_CODE.get(code, 400), {}, json.dumps({"error": said}))


def _read_code(code: Any) -> str:
    """A code of the endpoint as the kind of a fault, where it is a word."""
    return code if isinstance(code, str) and re.fullmatch(r"\w{1,40}", code, re.ASCII) else "unreadable"
