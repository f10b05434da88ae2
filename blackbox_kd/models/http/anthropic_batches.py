"""Anthropic's Message Batches: requests are handed in together and answered within a day, at half the price.

A batch carries no mark of ours. Where it is not known whether one was created, it is found by what it holds: its size,
and, once it has ended, the names of its requests, which are their keys in the ledger.

Source   anthropic 2.14 (`MessageBatch`, `MessageBatchIndividualResponse`)
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from blackbox_kd import json_text
from blackbox_kd.errors import CallError, EndpointRefused, ServerFault
from blackbox_kd.models.http import error_body
from blackbox_kd.models.http.batches import CLOCKS_DIFFER_S, Batch, BatchApi, list_objects, quote_id, suggest_none
from blackbox_kd.models.http.client import Address
from blackbox_kd.models.http.status import make_fault

logger = logging.getLogger(__name__)

BATCH_LINES = 100_000
"""Requests that a batch may hold."""
BATCH_BYTES = 240_000_000
"""Of a file of ours: the API takes 256 MB, in which each request is somewhat longer than in our file or shorter."""
FIRST_PAUSE_S, LONGEST_PAUSE_S, GROWTH = 0.2, 60.0, 1.5
"""Between two looks at batches that have not ended, of which one may be the one that is looked for."""
_UNANSWERED = {"expired": "batch_expired", "canceled": "batch_cancelled"}


class AnthropicBatches(BatchApi):
    """Batches of one endpoint, see `batches.BatchApi`.

    Args:
        address: of the endpoint, up to and without `/v1`.
        translate: makes a body of the Messages API of one of chat completions.
    """

    most_lines, most_bytes = BATCH_LINES, BATCH_BYTES

    def __init__(self, address: Address, translate: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        super().__init__(address, f"{address.base_url}/v1/messages/batches", translate)
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
            raise suggest_none(error, "Message Batches API") from error
        return self._note(self._read_text(made, "id"))

    async def find(self, file_id: str, mark: str, since: float) -> str | None:
        """See `BatchApi.find`: waits for the end of batches that may be it, as nothing else tells what they hold."""
        keys = await asyncio.to_thread(_read_keys, Path(file_id))
        others: set[str] = set()
        pause_s = FIRST_PAUSE_S
        while True:
            async for batch in self._list(since - CLOCKS_DIFFER_S):
                name = self._read_text(batch, "id")
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
        found = await self._ask("GET", self._place(self._note(batch_id)))
        status, counts = self._read_text(found, "processing_status"), _read_counts(found)
        if status != "ended":
            return Batch(batch_id, status, files=(), done=0, errors=())
        names = {"expired": "expired", "canceled": "cancelled"}
        ended = next((name for count_name, name in names.items() if counts.get(count_name)), "completed")
        done = sum(counts.get(name, 0) for name in ("succeeded", "errored"))
        return Batch(batch_id, ended, files=(self._place(batch_id, "/results"),), done=done, errors=())

    def _find_results(self, file_id: str) -> str:
        return file_id  # a URL of ours: what the endpoint calls that of its results may lie elsewhere

    def outcome(self, line: Mapping[str, Any]) -> str | CallError:
        """See `BatchApi.outcome`."""
        result = line.get("result")
        found: Mapping[str, Any] = result if isinstance(result, dict) else {}
        kind = str(found.get("type"))
        if kind == "succeeded":
            return self._read_reply(found.get("message"))
        if kind in _UNANSWERED:
            return ServerFault(f"{self._url}: {kind} before this request was worked on", kind=_UNANSWERED[kind])
        text = json.dumps(found.get("error", line), ensure_ascii=False)
        return make_fault(self._url, error_body.read(found.get("error")).status or 500, {}, text, self._address.secret)

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
            batches = list_objects(page.get("data"))
            for batch in batches:
                if self._read_time(batch) < since:
                    return
                yield batch
            if not page.get("has_more") or not batches:
                return
            after = f"&after_id={quote_id(self._read_text(batches[-1], 'id'))}"

    async def _holds(self, batch_id: str, keys: set[str]) -> bool:
        """Whether an ended batch is one of these requests."""
        return {str(line.get("custom_id")) async for line in self.lines(self._place(batch_id, "/results"))} == keys

    def _place(self, batch_id: str, part: str = "") -> str:
        return f"{self._url}/{quote_id(batch_id)}{part}"

    def _note(self, batch_id: str) -> str:
        """The batch, known to belong to requests that are not looked for."""
        self._known.add(batch_id)
        return batch_id

    def _read_time(self, batch: Mapping[str, Any]) -> float:
        """When a batch was created, as Unix time."""
        try:
            return datetime.fromisoformat(self._read_text(batch, "created_at")).timestamp()
        except ValueError:
            what = f"{self._url}: when batch {batch.get('id')} was created is not said"
            raise ServerFault(what, kind="unreadable") from None


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


def _read_counts(batch: Mapping[str, Any]) -> dict[str, int]:
    """Requests of a batch, by how they stand."""
    counts = batch.get("request_counts")
    counted = counts.items() if isinstance(counts, dict) else ()
    return {name: number for name, number in counted if type(number) is int}
