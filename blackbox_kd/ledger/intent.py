"""A request that may be in flight: what the ledger knows of it until it is known how it ended."""

import asyncio
from dataclasses import dataclass

from blackbox_kd.errors import LedgerError
from blackbox_kd.ledger.met import Bought
from blackbox_kd.ledger.writer import Write, Writer
from blackbox_kd.schema import Usage


@dataclass(slots=True, eq=False)
class Intent:
    """A request that is on disk before it is sent. It ends once, by `settle`, `abandon` or `lose`.

    What these return is awaited until it is on disk; a LedgerError says that it could not be stored. The intent then
    stays, so that the call counts as one in flight, and can be ended again.

    Args:
        writer: of the ledger.
        run: the run that sends it.
        serial: its number in this process.
        key: of the call.
        model: name of the model in the recipe.
        row_id: the row that the call is for.
        wire: the canonical request, as JSON.
        reserved_usd: the most that the call can cost; None when no price is known.
        reserved_tokens: the most tokens that it can use.
        is_open: whether it has not ended yet.
    """

    writer: Writer
    run: str
    serial: int
    key: str
    model: str
    row_id: str
    wire: str
    reserved_usd: float | None
    reserved_tokens: int
    is_open: bool = True

    def settle(self, body: str, *, usage: Usage, cost_usd: float | None) -> "asyncio.Future[Bought | None]":
        """Stores the reply in place of the intent.

        Args:
            body: the raw reply, as it came.
            usage: its tokens.
            cost_usd: what it cost; None when that is not known.
        """
        tokens = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens)
        reserved = (self.reserved_usd, self.reserved_tokens)
        text = body if _has_utf8(body) else body.encode(errors="replace").decode()
        reply = (self.key, self.run, self.model, self.row_id, *tokens, cost_usd, *reserved, text, self.wire)
        return self._end(Write(reply=reply, ended=self.serial))

    def abandon(self, kind: str) -> "asyncio.Future[Bought | None]":
        """Takes the intent back: the server has answered, without a reply and so without a charge.

        Not for a time-out or a broken connection, after which the server may charge: see `lose`.

        Args:
            kind: class of the answer, for the counts that `blackbox-kd ledger` shows.
        """
        return self._end(Write(abandoned=(self.model, kind), ended=self.serial))

    def lose(self) -> "asyncio.Future[Bought | None]":
        """Notes that no reply will come, for which the server may charge all the same.

        The intent stays in the file, with the most that it can cost. To send the call again, intend it again.
        """
        return self._end(Write(lost=self.serial))

    def _end(self, write: Write) -> "asyncio.Future[Bought | None]":
        if not self.is_open:
            raise LedgerError(f"call {self.key!r} has been settled, abandoned or lost already")
        self.is_open = False
        write.undo = self._reopen
        try:
            return self.writer.submit(write)
        except LedgerError:
            self._reopen()
            raise

    def _reopen(self) -> None:
        self.is_open = True


def _has_utf8(text: str) -> bool:
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        return False
    return True
