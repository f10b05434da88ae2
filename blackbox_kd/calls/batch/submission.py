"""One batch from its requests to its results: noted, handed in once, waited for, and put into the ledger.

In the order in which a kill may cut it off:

    noted           nothing was asked of the endpoint: the intents are taken back
    uploaded        likewise
    creating        the batch can be there: it is looked for by its mark and its file before anything else
    created         waited for
    ended           results go into the ledger one by one, under their keys; what is there already is left
    settled         the record goes
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial

from blackbox_kd.calls.batch.jobs import BatchItem, Limits, Result
from blackbox_kd.calls.batch.patience import ask_patiently
from blackbox_kd.calls.batch.store import Record, Store
from blackbox_kd.calls.completion import Completion
from blackbox_kd.calls.retries import end_for_pause
from blackbox_kd.calls.tariff import Tariff
from blackbox_kd.errors import AskedElsewhere, CallError, EndpointRefused, RequestRejected, ServerFault, StepError
from blackbox_kd.ledger.intent import Intent
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.ledger.met import Bought
from blackbox_kd.models import Model
from blackbox_kd.models.http.batches import ENDED, Batch, BatchApi
from blackbox_kd.schema import T, Usage

AT_ONCE = 1024
"""Calls that are committed to the ledger together."""
GROWTH = 1.5
"""By which the time between two looks at a batch grows."""


class BatchWork:
    """Hands in the requests of one model and takes their results. For one event loop.

    Args:
        model: the open model.
        name: its name in the recipe.
        tariff: what it costs in a batch; None when that is not known.
        ledger: where results go.
        store: where batches are noted.
        limits: see there.
        say: is told how batches stand.
    """

    def __init__(
        self,
        model: Model,
        name: str,
        tariff: Tariff | None,
        *,
        ledger: Ledger,
        store: Store,
        limits: Limits,
        say: Callable[[str], None],
    ) -> None:
        self._api: BatchApi = model.batch_api
        self._name = name
        self._tariff = tariff
        self._convert = model.convert
        self._ledger = ledger
        self._store = store
        self._limits = limits
        self._say = say

    async def run(self, jobs: list[BatchItem]) -> dict[BatchItem, CallError]:
        """Handing in, waiting, and storing what came; returns the requests without a reply, and why.

        Raises:
            CallError: nothing was handed in.
            StepError, LedgerError: it is not known how the batch ends; its record stays.
        """
        # The record is on disk before the first intent: intents that no record names count as calls that are lost.
        noted = {job.key: job.noted for job in jobs}
        wire_url = str(jobs[0].wire["url"])
        record = await asyncio.to_thread(self._store.note, self._name, self._api.base_url, wire_url, noted)
        waiting = await self._intend(jobs)
        left: dict[BatchItem, CallError] = {}
        if waiting:
            try:
                await self._hand_in(record, list(waiting.values()))
            except CallError as error:  # no StepError: it is certain that there is no batch
                await self._abandon(dict.fromkeys(waiting.values(), error))
                await asyncio.to_thread(self._store.remove, record)
                raise
            left = await self._take_results(record, await self._wait_for_end(record), waiting)
            await self._abandon(left)
        await asyncio.to_thread(self._store.remove, record)
        return left

    async def take_up(self, record: Record) -> None:
        """Puts the results of a batch that an ended process has handed in into the ledger; removes its record.

        Requests without a reply are not handed in again here: who needs them asks.
        """
        if record.batch_id is None and record.creating_at is not None:  # killed before the id was written down
            record.batch_id = await self._find(record)
        if record.batch_id is not None:
            self._say(f"{self._name}: batch {record.batch_id}, handed in by an earlier process, is taken up")
            batch = await self._wait_for_end(record)
            wires = await asyncio.to_thread(self._store.wires, record)
            # Each result is settled by an intent of this process; what the ended one has left of intents goes below.
            known = [key for key in wires if key in record.calls and self._ledger.get(key) is None]
            waiting = await self._intend([BatchItem(key, wires[key], record.calls[key]) for key in known])
            left = await self._take_results(record, batch, waiting)
            await self._abandon(left)
        await asyncio.to_thread(self._store.take_back, record, was_charged=record.batch_id is not None)
        await asyncio.to_thread(self._store.remove, record)

    async def _intend(self, jobs: Sequence[BatchItem]) -> dict[str, BatchItem]:
        """Intents for all in the ledger; returns, by key, those that nobody has bought or asks for in the meantime."""

        async def intend(job: BatchItem) -> Intent | Bought | AskedElsewhere:
            noted = job.noted
            try:
                return await self._ledger.intend(
                    job.key,
                    job.wire,
                    model=self._name,
                    row_id=noted.row_id,
                    reserved_usd=noted.reserved_usd,
                    reserved_tokens=noted.reserved_tokens,
                    yields=job.yields,
                )
            except AskedElsewhere as error:
                return error

        left: dict[str, BatchItem] = {}
        for start in range(0, len(jobs), AT_ONCE):
            some = jobs[start : start + AT_ONCE]
            for job, found in zip(some, await asyncio.gather(*map(intend, some)), strict=True):
                if isinstance(found, Intent):
                    job.intent = found
                    left[job.key] = job
                elif isinstance(found, AskedElsewhere):
                    job.break_off(found)
                else:
                    job.succeed(Result(Completion(found.body, self._convert), found.cost_usd, is_replayed=True))
        return left

    async def _abandon(self, errors: Mapping[BatchItem, CallError]) -> None:
        """Takes back the intents of requests that came to nothing."""
        await asyncio.gather(*(job.intent.abandon(error.kind) for job, error in errors.items()))

    async def _hand_in(self, record: Record, jobs: list[BatchItem]) -> None:
        path = await asyncio.to_thread(self._store.write_requests, record, map(BatchItem.write, jobs))
        for job in jobs:
            job.line = b""  # a hundred thousand of them wait for a day: what is on disk is not kept in memory
            job.handed_in += 1
        record.file_id = await ask_patiently(lambda: self._api.upload(path), self._limits)
        await asyncio.to_thread(self._store.save, record)
        record.batch_id = await self._create(record, record.file_id)
        await asyncio.to_thread(self._store.save, record)
        self._say(f"{self._name}: batch {record.batch_id} handed in, {len(jobs):,} requests")

    async def _create(self, record: Record, file_id: str) -> str:
        """Creates the batch; after a fault it can be there all the same, and is looked for first."""
        until = time.monotonic() + self._limits.patience_s
        while True:
            record.creating_at = time.time()
            await asyncio.to_thread(self._store.save, record)  # a kill from here on leaves a batch that is looked for
            try:
                return await self._api.create(file_id, record.mark)
            except ServerFault as fault:  # it may be there all the same: a blind repeat would buy all twice
                found = None if fault.kind == "rate_limit" else await self._find(record)
                if found is not None:
                    return found
                if (end := end_for_pause(fault, self._limits.patience_s)) is not None:
                    raise end from fault
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(fault.retry_after_s or self._limits.fault_s)

    async def _find(self, record: Record) -> str | None:
        """The id of a batch that may have been created; None if it was not."""
        assert record.file_id is not None
        assert record.creating_at is not None
        find = partial(self._api.find, record.file_id, record.mark, record.since)
        found = await self._ask_surely(find, record)
        # What was created a moment ago may not be listed yet; what is not after `doubt_s` was not created.
        doubt_s = min(self._limits.doubt_s, record.creating_at + self._limits.doubt_s - time.time())
        if found is None and doubt_s > 0:
            await asyncio.sleep(doubt_s)
            found = await self._ask_surely(find, record)
        return found

    async def _wait_for_end(self, record: Record) -> Batch:
        """Waits for the end of a batch, with longer and longer pauses."""
        assert record.batch_id is not None
        pause_s = self._limits.first_look_s
        while True:
            await asyncio.sleep(pause_s)
            batch = await self._ask_surely(partial(self._api.look, record.batch_id), record)
            if batch.status in ENDED:
                self._say(f"{self._name}: batch {batch.id} {batch.status}, {batch.done:,} requests done")
                return batch
            pause_s = min(self._limits.longest_look_s, GROWTH * pause_s)

    async def _take_results(
        self, record: Record, batch: Batch, waiting: dict[str, BatchItem]
    ) -> dict[BatchItem, CallError]:
        """Stores the results of requests that wait; returns those without one, and why."""
        asked = len(waiting)
        errors = {
            key: error for number, key in enumerate(waiting, 1) if (error := self._api.explain_line(batch, number))
        }
        await self._ask_surely(partial(self._read, batch, waiting, errors), record)
        why = self._api.explain_unanswered(batch)
        if batch.status == "failed":
            self._say(f"{self._name}: {why.what}")
            if errors and isinstance(why, RequestRejected):  # the lines without a fault are worth another file
                why = ServerFault(why.what, kind="batch_failed")
        left = {job: errors.get(key, why) for key, job in waiting.items()}
        if len(left) == asked:
            return left
        # where others have a reply, the key and the model are well: it is the request
        return {
            job: error.recast(RequestRejected) if isinstance(error, EndpointRefused) else error
            for job, error in left.items()
        }

    async def _read(self, batch: Batch, waiting: dict[str, BatchItem], errors: dict[str, CallError]) -> None:
        """Takes what the files of a batch hold out of `waiting`.

        Raises:
            ServerFault: they did not come whole; to be read again from the start, lest paid replies are given up.
        """
        seen: set[str] = set()
        for file_id in batch.files:
            await self._read_file(file_id, waiting, errors, seen)
        if len(seen) < batch.done:
            raise ServerFault(f"{len(seen):,} of its {batch.done:,} results could be read", kind="unreadable")

    async def _read_file(
        self, file_id: str, waiting: dict[str, BatchItem], errors: dict[str, CallError], seen: set[str]
    ) -> None:
        found: dict[str, str] = {}
        async with aclosing(self._api.lines(file_id)) as lines:
            async for line in lines:
                key = str(line.get("custom_id"))
                seen.add(key)
                outcome = self._api.outcome(line)
                if isinstance(outcome, str) and key in waiting:
                    found[key] = outcome
                elif not isinstance(outcome, str):
                    errors[key] = end_for_pause(outcome, self._limits.patience_s) or outcome
                if len(found) >= AT_ONCE:
                    await self._settle(found, waiting)
                    found = {}
        await self._settle(found, waiting)

    async def _settle(self, bodies: Mapping[str, str], waiting: dict[str, BatchItem]) -> None:
        async def settle(job: BatchItem, body: str) -> None:
            completion = Completion(body, self._convert)
            cost_usd = completion.compute_cost(self._tariff.now if self._tariff else None)
            await job.intent.settle(body, usage=completion.usage or Usage(), cost_usd=cost_usd)
            job.succeed(Result(completion, cost_usd))

        await asyncio.gather(*(settle(waiting[key], body) for key, body in bodies.items()))
        for key in bodies:
            del waiting[key]

    async def _ask_surely(self, ask: Callable[[], Awaitable[T]], record: Record) -> T:
        """An answer about a batch that is, or may be, there: without it nobody knows what was bought."""
        try:
            return await ask_patiently(ask, self._limits)
        except CallError as error:
            batch = f"batch {record.batch_id}" if record.batch_id else "a batch that may have been handed in"
            raise StepError(
                f"model {self._name!r}, {batch}: {error.what}",
                exists="what was handed in stays noted, and the same command goes on from there\n"
                f"to give the batch up, remove {self._store.path(record)}: its requests are then bought again",
                fix=error.fix,
            ) from error
