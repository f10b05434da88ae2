"""Anthropic's Message Batches: requests are handed in together and answered within a day, at half the price.

A batch carries no mark of ours. Where it is not known whether one was created, it is found by what it holds: its size,
and, once it has ended, the names of its requests, which are their keys in the ledger.

Source   anthropic 2.14 (`MessageBatch`, `MessageBatchIndividualResponse`)
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote as quote_url

from blackbox_kd import json_text
from blackbox_kd.errors import CallError, EndpointRefused, ServerFault
from blackbox_kd.models.http import error_body
from blackbox_kd.models.http.batches import Batch
from blackbox_kd.models.http.client import HttpClient
from blackbox_kd.models.http.keys import hide_secret
from blackbox_kd.models.http.status import find_fault, make_fault

logger = logging.getLogger(__name__)

BATCH_LINES = 100_000
"""Requests that a batch may hold."""
BATCH_BYTES = 240_000_000
"""Of a file of ours: the API takes 256 MB, in which each request is somewhat longer than in our file or shorter."""
CLOCKS_DIFFER_S = 3600
"""By how much the endpoint's clock may be behind ours."""
FIRST_PAUSE_S, LONGEST_PAUSE_S, GROWTH = 0.2, 60.0, 1.5
"""Between two looks at batches that have not ended, of which one may be the one that is looked for."""
_UNANSWERED = {"expired": "batch_expired", "canceled": "batch_cancelled"}


class AnthropicBatches:
    """Batches of one endpoint, see `batches.BatchApi`.

    Args:
        http: the connections to it, which are closed by whoever has opened them.
        base_url: up to and without `/v1`.
        key: never shown.
        translate: makes a body of the Messages API of one of chat completions.
    """

    most_lines, most_bytes = BATCH_LINES, BATCH_BYTES

    def __init__(
        self,
        http: HttpClient,
        base_url: str,
        key: str | None,
        translate: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        self.base_url = base_url
        self._http = http
        self._key = key
        self._translate = translate
        self._url = f"{base_url}/v1/messages/batches"
        self._known: set[str] = set()

    async def upload(self, path: Path) -> str:
        """See `BatchApi.upload`: the requests go along where the batch is created."""
        return str(path.resolve())

    async def create(self, file_id: str, mark: str) -> str:
        """See `BatchApi.create`."""
        data = await asyncio.to_thread(self._write, Path(file_id))
        try:
            made = await self._ask("POST", self._url, data)
        except EndpointRefused as error:
            fix = f"{error.fix}; or take out batch: true, if the endpoint has no Message Batches API"
            raise EndpointRefused(error.what, fix=fix, kind=error.kind) from error
        return self._note(_read_text(self._url, made, "id"))

    async def find(self, file_id: str, mark: str, since: float) -> str | None:
        """See `BatchApi.find`: waits for the end of batches that may be it, as nothing else tells what they hold."""
        keys = await asyncio.to_thread(_read_keys, Path(file_id))
        others: set[str] = set()
        pause_s = FIRST_PAUSE_S
        while True:
            async for batch in self._list(since - CLOCKS_DIFFER_S):
                name = _read_text(self._url, batch, "id")
                if name in self._known | others or sum(_read_counts(batch).values()) != len(keys):
                    continue
                if batch.get("processing_status") != "ended":
                    break  # an older one may hold the same requests, handed in before
                if batch.get("results_url") and await self._holds(name, keys):
                    return self._note(name)
                others.add(name)
            else:
                return None
            if pause_s == FIRST_PAUSE_S:
                logger.warning("batch %s may be the one that was handed in: its end is waited for, to know", name)
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, GROWTH * pause_s)

    async def look(self, batch_id: str) -> Batch:
        """See `BatchApi.look`."""
        url = self._place(self._note(batch_id))
        found = await self._ask("GET", url)
        status, counts = _read_text(url, found, "processing_status"), _read_counts(found)
        if status != "ended":
            return Batch(batch_id, status, files=(), done=0, errors=())
        names = {"expired": "expired", "canceled": "cancelled"}
        ended = next((name for count_name, name in names.items() if counts.get(count_name)), "completed")
        done = sum(counts.get(name, 0) for name in ("succeeded", "errored"))
        return Batch(batch_id, ended, files=(self._place(batch_id, "/results"),), done=done, errors=())

    async def lines(self, file_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """See `BatchApi.lines`; what the endpoint calls the URL of its results may lie elsewhere, and is not asked."""
        with TemporaryDirectory(prefix="blackbox-kd-") as folder:
            path = Path(folder) / "results.jsonl"
            await self._http.download(file_id, path)
            with path.open("rb") as file:
                for line in file:
                    with suppress(ValueError, RecursionError):
                        value = json_text.decode(line.decode(errors="replace"))
                        if isinstance(value, dict):
                            yield value

    def outcome(self, line: Mapping[str, Any]) -> str | CallError:
        """See `BatchApi.outcome`."""
        result = line.get("result")
        found: Mapping[str, Any] = result if isinstance(result, dict) else {}
        kind = str(found.get("type"))
        if kind == "succeeded":
            text = json.dumps(found.get("message"), ensure_ascii=False)
            return find_fault(self._url, {}, text, self._key) or hide_secret(text, self._key)
        if kind in _UNANSWERED:
            return ServerFault(f"{self._url}: {kind} before this request was worked on", kind=_UNANSWERED[kind])
        text = json.dumps(found.get("error", line), ensure_ascii=False)
        return make_fault(self._url, error_body.read(found.get("error")).status or 500, {}, text, self._key)

    def explain_unanswered(self, batch: Batch) -> CallError:
        """See `BatchApi.explain_unanswered`."""
        kind = "left_out" if batch.status == "completed" else f"batch_{batch.status}"
        return ServerFault(f"{self._url}: batch {batch.id} {batch.status} without an answer", kind=kind)

    def explain_line(self, batch: Batch, number: int) -> CallError | None:
        """See `BatchApi.explain_line`: what is wrong with a request stands among the results."""
        return None

    async def close(self) -> None:
        """See `BatchApi.close`."""

    def _write(self, path: Path) -> bytearray:
        data = bytearray(b'{"requests":[')
        for line in _read_lines(path):
            request = {"custom_id": line["custom_id"], "params": self._translate(line["body"])}
            data += json_text.encode(request, halves="replaced") + b","
        data[-1:] = b"]}"
        return data

    async def _list(self, since: float) -> AsyncIterator[Mapping[str, Any]]:
        """Batches that were created after a Unix time, the newest first."""
        after = ""
        while True:
            page = await self._ask("GET", f"{self._url}?limit=100{after}")
            listed = page.get("data")
            batches = [batch for batch in listed if isinstance(batch, dict)] if isinstance(listed, list) else []
            for batch in batches:
                if _read_time(self._url, batch) < since:
                    return
                yield batch
            if not page.get("has_more") or not batches:
                return
            after = f"&after_id={quote_url(_read_text(self._url, batches[-1], 'id'), safe='')}"

    async def _holds(self, batch_id: str, keys: set[str]) -> bool:
        """Whether an ended batch is one of these requests."""
        return {str(line.get("custom_id")) async for line in self.lines(self._place(batch_id, "/results"))} == keys

    def _place(self, batch_id: str, part: str = "") -> str:
        return f"{self._url}/{quote_url(batch_id, safe='')}{part}"

    def _note(self, batch_id: str) -> str:
        """The batch, known to belong to requests that are not looked for."""
        self._known.add(batch_id)
        return batch_id

    async def _ask(self, method: str, url: str, data: bytearray | None = None) -> dict[str, Any]:
        text, _ = await self._http.request(method, url, data)
        try:
            value = error_body.decode(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise ServerFault(f"{url}: what came is no JSON object", kind="unreadable")
        return value


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file that `calls.batch.store` has written."""
    try:
        with path.open("rb") as file:
            yield from map(json.loads, file)
    except OSError as error:
        what = f"{path}: the requests of the batch cannot be read: {error.strerror}"
        fix = "put the run's folder back to where it was when they were handed in"
        raise EndpointRefused(what, fix=fix, kind="endpoint_refused") from error


def _read_keys(path: Path) -> set[str]:
    return {line["custom_id"] for line in _read_lines(path)}


def _read_text(url: str, found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str):
        raise ServerFault(f"{url}: what came has no {name!r}", kind="unreadable")
    return value


def _read_counts(batch: Mapping[str, Any]) -> dict[str, int]:
    """Requests of a batch, by how they stand."""
    counts = batch.get("request_counts")
    counted = counts.items() if isinstance(counts, dict) else ()
    return {name: number for name, number in counted if type(number) is int}


def _read_time(url: str, batch: Mapping[str, Any]) -> float:
    """When a batch was created, as Unix time."""
    try:
        return datetime.fromisoformat(_read_text(url, batch, "created_at")).timestamp()
    except ValueError:
        raise ServerFault(f"{url}: when batch {batch.get('id')} was created is not said", kind="unreadable") from None
