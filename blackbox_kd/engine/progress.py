"""What a person sees while a run goes on: a live table on a terminal, plain lines anywhere else. All on stderr."""

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from blackbox_kd.printable import escape_line, escape_text, write_to
from blackbox_kd.runs.accounts import Account

PLAIN_EVERY_S = 10.0
SHOWN_USD = 0.0001
"""The least that is shown as saved."""


class Totals(Protocol):
    """What the view needs of the caller."""

    def totals(self) -> Mapping[str, Any]:
        """Calls, replayed, tokens, cost_usd (None: unknown) and cache_saved_usd of the run so far."""
        ...


class View:
    """Shows nothing; the base of the views that do."""

    def __init__(self) -> None:
        self._accounts: list[Account] = []
        self._caller: Totals | None = None
        self._training: Mapping[str, Any] = {}
        self._current: list[Account] = []
        self._rows = 0
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Shows a line that stays."""

    def begin(self, accounts: list[Account], rows: int) -> None:
        """A stage begins: the accounts of its steps, and the rows that go in."""
        self._current = accounts
        self._rows = rows
        self._began = time.monotonic()
        self._training = {}

    def step_done(self, account: Account) -> None:
        """A step has ended."""
        self.say(write_account(account))

    def training(self, event: Mapping[str, Any]) -> None:
        """Training tells how it goes on; most events have no loss, and the last one stays in sight."""
        if "warning" in event:
            self.say(f"warning: {event['warning']}")
        self._training = {**self._training, **event}

    @contextmanager
    def showing(self, accounts: list[Account], caller: Totals) -> Iterator[None]:
        """Shows the run while it lasts."""
        self._accounts = accounts
        self._caller = caller
        yield

    def time_left(self) -> str:
        """Time left of the running stage, guessed from its pace; empty when nothing is known."""
        if self._training.get("steps"):
            left = self._training.get("seconds_left", 0.0)
        else:
            added = self._current[0].added if self._current else 0
            done, total = (self._current[0].ended if self._current else 0), self._rows + added
            left = (time.monotonic() - self._began) / done * (total - done) if done else 0.0
        if left <= 0:
            return ""
        return f"{left:.0f} s" if left < 120 else f"{left / 60:.0f} min"

    def money(self) -> str:
        """Tokens and cost so far."""
        if self._caller is None:
            return ""
        totals = self._caller.totals()
        tokens = totals["prompt_tokens"] + totals["completion_tokens"]
        cost = totals["cost_usd"]
        price = "cost unknown" if cost is None else f"${cost:.4f}"
        replayed = f" + {totals['replayed']:,} from the ledger" if totals["replayed"] else ""
        saved = totals["cache_saved_usd"]
        kept = f", ${saved:.4f} saved by caching" if saved >= SHOWN_USD else ""
        return f"{totals['calls']:,} calls{replayed}, {tokens:,} tokens, {price}{kept}"

    def now(self) -> str:
        """The running stage in one line."""
        if self._training.get("steps"):
            text = f"training: step {self._training.get('step')} of {self._training['steps']}"
            for key, name in (("loss", "loss"), ("eval_loss", "evaluation loss")):
                text += f", {name} {loss:.3f}" if isinstance(loss := self._training.get(key), float) else ""
        elif self._current:
            text = write_account(self._current[0])
            if len(self._current) > 1:
                text += f"; {self._current[-1].out:,} out of {self._current[-1].step}"
        else:
            return ""
        left = self.time_left()
        return f"{text}; {self.money()}" + (f"; {left} left" if left else "")


class PlainView(View):
    """A line now and then."""

    def say(self, text: str) -> None:
        """Shows a line."""
        write_to(sys.stderr, escape_text(text) + "\n")

    @contextmanager
    def showing(self, accounts: list[Account], caller: Totals) -> Iterator[None]:
        """Says every few seconds how far the run is."""
        ended = threading.Event()

        def tell() -> None:
            last = ""
            while not ended.wait(PLAIN_EVERY_S):
                line = self.now()
                if line and line != last:
                    self.say(f"  {line}")
                last = line

        with super().showing(accounts, caller):
            thread = threading.Thread(target=tell, daemon=True)
            thread.start()
            try:
                yield
            finally:
                ended.set()
                thread.join()


class LiveView(View):
    """A table that is drawn anew four times a second."""

    def __init__(self, *, no_color: bool = False) -> None:
        super().__init__()
        from rich.console import Console

        self._console = Console(stderr=True, no_color=no_color, highlight=False)

    def say(self, text: str) -> None:
        """Shows a line above the table."""
        self._console.print(escape_text(text), markup=False)

    def step_done(self, account: Account) -> None:
        """The table shows it already, but for what it has no column for."""
        for line in account.describe_counts():
            self.say(f"{account.step}: {line}")

    @contextmanager
    def showing(self, accounts: list[Account], caller: Totals) -> Iterator[None]:
        """Draws the table while the run lasts, and leaves its last state on the screen."""
        from rich.live import Live

        with (
            super().showing(accounts, caller),
            Live(console=self._console, get_renderable=self._draw_table, refresh_per_second=4),
        ):
            yield

    def _draw_table(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table("step", "in", "out", "dropped", "failed", box=None, pad_edge=False)
        for account in list(self._accounts):
            dropped = ", ".join(f"{count:,} {reason}" for reason, count in account.dropped.items())
            failed = ", ".join(f"{count:,} {kind}" for kind, count in account.failed.items())
            rows = [f"{account.rows_in:,}", f"{account.out:,}", dropped or "0", failed or "0"]
            table.add_row(*(Text(escape_line(cell)) for cell in [account.step, *rows]))
        return Group(table, Text(self.now() if self._training.get("steps") else self._write_summary()))

    def _write_summary(self) -> str:
        left = self.time_left()
        return self.money() + (f", {left} left in this step" if left else "")


def write_account(account: Account) -> str:
    """A step's balance in one line."""
    parts = [f"{account.rows_in:,} in"]
    if account.added:
        parts.append(f"{account.added:,} added")
    parts.append(f"{account.out:,} out")
    parts += [f"{count:,} dropped: {reason}" for reason, count in account.dropped.items()]
    parts += [f"{count:,} failed: {kind}" for kind, count in account.failed.items()]
    return "; ".join([f"{account.step}: {', '.join(parts)}", *account.describe_counts()])


def view_for(stream_is_terminal: bool, env: Mapping[str, str]) -> View:
    """The view that suits the stream: without colours where NO_COLOR is set, plain lines where no terminal reads."""
    if stream_is_terminal and env.get("TERM") != "dumb":
        return LiveView(no_color=bool(env.get("NO_COLOR")))
    return PlainView()
