"""Requests of models with `batch: true`: gathered into files, handed in together, answered at half the price.

    transport       of a run: sends some calls one by one, and others through here
    queue           gathers requests, and hands in again what came to nothing
    submission      one batch, from its requests to results in the ledger
    store           what is noted of it on disk, for the next process
    jobs            requests, results, limits
    patience        asks again after faults
    models/http/batches      the endpoint's side

A batch outlives its process: the next one takes it up before it asks anything.
"""

import asyncio
import copy
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import replace

from blackbox_kd.calls import tariff
from blackbox_kd.calls.batch.jobs import BatchItem, Limits, Result
from blackbox_kd.calls.batch.store import Record, Store
from blackbox_kd.calls.batch.submission import BatchWork
from blackbox_kd.errors import BudgetReached, CallError, ServerFault, Stopped
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.models import Model
from blackbox_kd.models.http.batches import BatchApi

REFUSED_AS_A_WHOLE = ("queue_full", "batch_failed")


class Batches:
    """The batches of a run. For one event loop.

    Args:
        ledger: where results go.
        store: where batches are noted.
        limits: of files and patience.
        say: is told how batches stand.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        *,
        limits: Limits | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._limits = limits or Limits()
        self._say = say
        self._collectors: dict[str, _Collector] = {}
        self._taking: list[asyncio.Future[None]] = []
        self._stopped: BudgetReached | Stopped | None = None
        self.is_busy: Callable[[], bool] = lambda: False
        """Whether other calls are under way, that may bring more requests: a file then waits longer."""

    async def ask(self, model: Model, name: str, job: BatchItem) -> Result:
        """What comes of a request; it is in the ledger when this returns.

        Raises:
            CallError: no reply could be had, and nothing was charged.
            StepError, LedgerError: see `BatchWork.run`.
        """
        collector = self._collectors.get(name)
        if collector is None:
            api: BatchApi = model.batch_api
            lines, size = min(self._limits.lines, api.most_lines), min(self._limits.size, api.most_bytes)
            limits = replace(self._limits, lines=lines, size=size)
            collector = self._collectors[name] = _Collector(self._work(model, name), limits, self._is_busy)
        collector.add(job)
        return await job.result

    async def take_up(self, model_of: Callable[[str], Model | None]) -> bool:
        """Waits for the batches that earlier processes of this run handed in, and stores their results.

        To be called before anything is asked, and before the run's spending is counted.

        Args:
            model_of: the open model of a name in the recipe, or None if there is none.

        Returns:
            Whether there were any.

        Raises:
            StepError, LedgerError: a batch's end could not be found out; it stays noted.
            BudgetReached, Stopped: `stop` was called, for this reason.
        """
        records = await asyncio.to_thread(self._store.records)
        taking = self._taking = [
            asyncio.ensure_future(self._take_up(record, model_of(record.model))) for record in records
        ]
        try:
            await asyncio.gather(*taking)
        except asyncio.CancelledError:
            if self._stopped is None:
                raise
            raise copy.copy(self._stopped) from None
        finally:
            for task in taking:
                task.cancel()
            await asyncio.gather(*taking, return_exceptions=True)
        return bool(records)

    def stop(self, why: BudgetReached | Stopped) -> None:
        """Lets nobody wait for a batch any more; what has gathered is not handed in."""
        self._stopped = why
        for task in self._taking:
            task.cancel()
        for collector in self._collectors.values():
            collector.stop(why)

    async def close(self) -> None:
        """Stops waiting for batches; they go on at the endpoint, and the next process takes them up."""
        for collector in self._collectors.values():
            await collector.close()

    def _is_busy(self) -> bool:
        return self.is_busy()

    def _work(self, model: Model, name: str) -> BatchWork:
        costs = tariff.find(model.config, model.endpoint, in_batch=True)
        return BatchWork(model, name, costs, ledger=self._ledger, store=self._store, limits=self._limits, say=self._say)

    async def _take_up(self, record: Record, model: Model | None) -> None:
        api: BatchApi | None = None if model is None else model.batch_api
        if model is None or api is None or api.base_url != record.base_url:
            self._say(
                f"{record.model}: a batch that was handed in at {record.base_url} is left alone, because no model of "
                f"that name is there now; it stays noted in {self._store.path(record)}"
            )
            return
        await self._work(model, record.model).take_up(record)


class _Collector:
    """Gathers the requests of one model into files.

    A file is handed in when it is full, or when nothing new has come for a while: then all rows that could bring
    a request wait for a batch themselves.
    """

    def __init__(self, work: BatchWork, limits: Limits, is_busy: Callable[[], bool]) -> None:
        self._work = work
        self._limits = limits
        self._is_busy = is_busy
        self._most_lines = limits.lines
        self._refusals = 0
        self._jobs: list[BatchItem] = []
        self._size = 0
        self._latest = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._running: dict[asyncio.Task[None], list[BatchItem]] = {}
        self._turn = asyncio.Lock()

    def add(self, job: BatchItem) -> None:
        """Takes a request."""
        size = len(job.write())
        if self._size + size > self._limits.size:
            self._hand_over()
        self._jobs.append(job)
        self._size += size
        loop = asyncio.get_running_loop()
        self._latest = loop.time()
        if len(self._jobs) >= self._most_lines:
            self._hand_over()
        elif self._timer is None:
            self._timer = loop.call_later(self._limits.quiet_s, self._look)

    def stop(self, why: BudgetReached | Stopped) -> None:
        """Tells all who wait why they do so no more."""
        for jobs in (self._jobs, *self._running.values()):
            for job in jobs:
                job.break_off(copy.copy(why))
        self._jobs = []
        for task in self._running:
            task.cancel()

    async def close(self) -> None:
        """Stops waiting; a batch whose requests have all ended is brought to its own end."""
        self._jobs = []
        if self._timer is not None:
            self._timer.cancel()
        for task, jobs in self._running.items():
            if not all(job.has_ended for job in jobs):
                task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _look(self) -> None:
        """Hands over what has gathered, once it has been quiet for long enough."""
        loop = asyncio.get_running_loop()
        self._timer = None
        quiet_s = loop.time() - self._latest
        if not self._jobs or quiet_s >= (self._limits.busy_s if self._is_busy() else self._limits.quiet_s):
            self._hand_over()
        else:
            self._timer = loop.call_later(max(self._limits.quiet_s - quiet_s, self._limits.quiet_s / 4), self._look)

    def _hand_over(self) -> None:
        if not self._jobs:
            return
        task = asyncio.ensure_future(self._run(self._jobs))
        self._running[task] = self._jobs
        task.add_done_callback(self._running.pop)
        self._jobs, self._size = [], 0

    async def _run(self, jobs: list[BatchItem]) -> None:
        """Hands in a file, waits for its results, and hands in again what came to nothing."""
        mine = jobs
        is_narrowed = self._most_lines < self._limits.lines  # one at a time then: the queue is full
        try:
            async with self._turn if is_narrowed else nullcontext():
                wanted = [job for job in jobs if not job.result.done()]  # nobody waits for the others any more
                mine = wanted[: self._most_lines]
                for job in wanted[self._most_lines :]:  # the queue was found to be full in the meantime
                    self.add(job)
                left = await self._work.run(mine) if mine else {}
                again = self._sort_out(left, len(mine))
                if again:
                    await asyncio.sleep(self._find_pause(left.values()))
            for job in again:
                self.add(job)
        except CallError as error:
            for job in mine:
                job.faults.append(error.kind)
                job.fail(error)
        except Exception as error:  # whatever it is, rows wait for it
            for job in mine:
                job.break_off(copy.copy(error))

    def _find_pause(self, errors: Collection[CallError]) -> float:
        """Seconds before requests are handed in again: as many as the endpoint wants, more for each refused file."""
        wanted_s = max((error.retry_after_s or 0.0 for error in errors), default=0.0)
        if not any(error.kind in REFUSED_AS_A_WHOLE for error in errors):
            return wanted_s
        return max(wanted_s, min(self._limits.longest_pause_s, self._limits.pause_s * 2.0 ** (self._refusals - 1)))

    def _sort_out(self, left: dict[BatchItem, CallError], handed_in: int) -> list[BatchItem]:
        """Those requests that are worth another try; the others are told why."""
        kinds = {error.kind for error in left.values()}
        if kinds.intersection(REFUSED_AS_A_WHOLE):
            self._refusals += 1
        else:
            self._refusals = 0
            self._most_lines = min(self._limits.lines, 2 * self._most_lines)
        if "queue_full" in kinds:
            self._most_lines = max(1, handed_in // 2)
        again = []
        for job, error in left.items():
            if error.kind != "queue_full" or handed_in == 1:  # a smaller file is another try
                job.faults.append(error.kind)
            if isinstance(error, ServerFault) and len(job.faults) < self._limits.submissions:
                again.append(job)
            else:
                job.fail(error)
        return again
