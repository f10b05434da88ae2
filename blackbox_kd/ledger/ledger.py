"""What a run does with the store of replies: an intent before each request, its reply, and what all of them cost."""

import asyncio
import hashlib
import itertools
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Self

from blackbox_kd import json_text
from blackbox_kd.errors import LedgerError
from blackbox_kd.ledger.intent import Intent
from blackbox_kd.ledger.met import Bought
from blackbox_kd.ledger.sqlite_file import LedgerFile
from blackbox_kd.ledger.writer import Write, Writer


def compute_key(wire: Mapping[str, Any], *, row_id: str, sample: int, attempt: int, round: int) -> str:
    """The name of a call in the ledger: the same for the same question, whichever run or recipe asks it.

    Args:
        wire: the canonical request: all that decides the reply.
        row_id: the row that it is asked for.
        sample: index among the samples of the row.
        attempt: how many replies to the same question could not be used before.
        round: round of the loop, from 0.
    """
    call = {"wire": wire, "row": row_id, "sample": sample, "attempt": attempt, "round": round}
    return hashlib.sha256(json_text.encode(call, ordered=True)).hexdigest()


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has paid so far, over all its invocations.

    Args:
        requests: replies.
        tokens: prompt and completion tokens of the replies.
        usd: cost of the replies whose cost is known.
        usd_unknown: replies whose cost is not known; `usd` does not contain them.
        doubtful: requests of other processes that have no reply: it may have been lost, and charged for.
        doubtful_tokens: the most that `doubtful`, and replies without a token count, can have used.
        doubtful_usd: the most that `doubtful` and `usd_unknown` can have cost, where that was known.
    """

    requests: int = 0
    tokens: int = 0
    usd: float = 0.0
    usd_unknown: int = 0
    doubtful: int = 0
    doubtful_tokens: int = 0
    doubtful_usd: float = 0.0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(*(mine + others for mine, others in zip(astuple(self), astuple(other), strict=True)))

    def sum_by_limit(self) -> dict[str, float]:
        """What it takes of each limit of a budget, with the most that doubtful calls can have used."""
        return {
            "usd": self.usd + self.doubtful_usd,
            "requests": self.requests,
            "tokens": self.tokens + self.doubtful_tokens,
        }


class Ledger:
    """A ledger, open for one run. Use it from one event loop at a time; `get` is for any thread."""

    def __init__(self, file: LedgerFile, run: str) -> None:
        self._file = file
        self.run = run
        self._serials = itertools.count()
        self._writer = Writer(file)
        self._wanted: list[tuple[str, asyncio.Future[Bought | None]]] = []

    @classmethod
    def open(cls, path: Path, run: str) -> Self:
        """Opens a ledger, and makes one (readable for its owner alone) where there is none.

        Raises:
            LedgerError: the file cannot be used; the message says why and what to do.
        """
        return cls(LedgerFile(path, run), run)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, key: str) -> str | None:
        """The raw body of the reply to a call, or None if there is none yet."""
        found = self._file.reply(key)
        return found and found.body

    def fetch(self, key: str) -> "asyncio.Future[Bought | None]":
        """The reply to a call, or None if there is none yet, for many calls at once.

        The file is read once for all that are asked for in the same moment.

        Raises:
            LedgerError: the awaited reply cannot be read.
        """
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Bought | None] = loop.create_future()
        if not self._wanted or self._wanted[0][1].get_loop() is not loop:  # one that has ended: nobody waits there
            self._wanted = []
            loop.call_soon(self._look_up)
        self._wanted.append((key, found))
        return found

    async def intend(
        self,
        key: str,
        wire: Mapping[str, Any],
        *,
        model: str,
        row_id: str,
        reserved_usd: float | None,
        reserved_tokens: int = 0,
        yields: bool = False,
    ) -> Intent | Bought:
        """Notes that a request is about to be sent; on disk when this returns.

        Args:
            key: of the call, see `compute_key`.
            wire: the canonical request.
            model: name of the model in the recipe.
            row_id: the row that the call is for.
            reserved_usd: the most that the call can cost; None when no price is known.
            reserved_tokens: the most tokens that it can use.
            yields: whether the call can wait where another process has just sent the same one.

        Returns:
            What its reply is settled with, once the request was sent; or a reply that another process has
            bought in the meantime: nothing is to be sent.

        Raises:
            AskedElsewhere: it yields, and another process has the call in flight; nothing may be sent.
            LedgerError: it could not be stored; nothing may be sent.
        """
        text = json_text.encode(wire).decode()
        serial = next(self._serials)
        columns = (serial, key, model, row_id, reserved_usd, reserved_tokens)
        try:
            bought = await self._writer.submit(Write(intent=columns, yields=yields))
        except asyncio.CancelledError:  # it is committed all the same, but never sent
            with suppress(LedgerError):
                self._writer.submit(Write(ended=serial))
            raise
        if bought is not None:
            return bought
        return Intent(self._writer, self.run, serial, key, model, row_id, text, reserved_usd, reserved_tokens)

    def find_refused(self, endpoint: str, model: str) -> list[str]:
        """Fields of a request that a model was found not to take, by this run or by others."""
        return self._file.find_refused(endpoint, model)

    async def note_refused(self, endpoint: str, model: str, field: str) -> None:
        """Notes that a model does not take a field; on disk when this returns."""
        await self._writer.submit(Write(refused=(endpoint, model, field)))

    def in_flight_elsewhere(self, key: str) -> bool:
        """Whether another process has sent a call and may yet get its reply."""
        return self._file.in_flight_elsewhere(key)

    def count_spent(self, run: str | None = None, *, lost: bool = False) -> Spent:
        """A run's totals; reads an index over all its replies, so call it once, not for each call.

        Args:
            run: its name; this run if left out.
            lost: count also this process's own requests without a reply as doubtful: none is in flight any more.
        """
        return Spent(*self._file.count_spent(run, lost))

    def runs(self) -> list[str]:
        """The runs that have opened the ledger, by their names."""
        return self._file.runs()

    def count_repeated(self) -> int:
        """Calls that this run has sent again because an earlier process ended with them in flight."""
        return self._file.count_repeated()

    def close(self) -> None:
        """Commits what waits and closes the file; calls still in flight count as in flight at a crash."""
        self._writer.close()
        self._file.close()

    def _look_up(self) -> None:
        """Reads what is wanted."""
        wanted, self._wanted = self._wanted, []
        with suppress(LedgerError):  # on a damaged page: others are read one by one
            replies = self._file.replies([key for key, _ in wanted])
            for key, found in wanted:
                if not found.done():
                    found.set_result(replies.get(key))
        for key, found in wanted:
            if not found.done():
                try:
                    found.set_result(self._file.reply(key))
                except LedgerError as error:
                    found.set_exception(error)
