"""The balance of every step: rows in + added = rows out + dropped + failed."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blackbox_kd.errors import BlackboxError, StepError, TooManyFailed
from blackbox_kd.runs.examples import describe_example
from blackbox_kd.schema import Dropped, Failed, Outcome, Row

FIRST_LOOK = 200
"""Rows of a step that must have begun before its failures end a run in the middle of it."""
FORMS = 100
COMMONEST = 3
_DIGITS = re.compile(r"\d+")
_ROW = re.compile(r""", row (?:'[^']*'|"[^"]*")""")


@dataclass(slots=True)
class Errors:
    """The errors of failed rows, counted by form: alike but for numbers and the row's id."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    fixes: dict[str, str] = field(default_factory=dict)

    def add(self, failed: Failed) -> None:
        """Counts an error; of a form that is one too many, nothing is kept."""
        text = _ROW.sub("", failed.error.split("\n")[0])
        form = _DIGITS.sub("0", text)
        if form in self.examples or len(self.examples) < FORMS:
            self.examples.setdefault(form, text)
            self.fixes.setdefault(form, failed.fix)
            self.counts[form] += 1

    def list_commonest(self) -> list[str]:
        """The commonest ones, each with its count."""
        return [f"{count:,} times: {self.examples[form]}" for form, count in self.counts.most_common(COMMONEST)]

    def list_fixes(self) -> list[str]:
        """What mends the commonest ones, as far as that is known."""
        return [fix for form, _ in self.counts.most_common(COMMONEST) if (fix := self.fixes[form])]


@dataclass(slots=True)
class Account:
    """Rows of one step.

    Args:
        step: how messages name the step.
        rows_in: rows that it was given.
        added: rows that it made beyond one for each it was given.
        out: rows that left it.
        dropped: rows that it took out, by reason.
        failed: rows that it could not work on, by class of error.
        counts: what the step itself counted.
        round: round of the loop that it was in, from 1; 0 outside of a loop.
        marks: arm and seed of the step, where the recipe has some.
        errors: of `failed`, in this process.
        examples: of `dropped`, by reason, in this process.
    """

    step: str
    rows_in: int = 0
    added: int = 0
    out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    round: int = 0
    marks: dict[str, Any] = field(default_factory=dict, compare=False)
    errors: Errors = field(default_factory=Errors, compare=False)
    examples: dict[str, Row] = field(default_factory=dict, compare=False)

    def count(self, outcome: Outcome) -> None:
        """Books what became of a row.

        Raises:
            StepError: the step gave something else.
        """
        if isinstance(outcome, Row):
            if "id" not in outcome:
                raise self._refuse(
                    "a row without an id", "make a row of another one: row | {...}, row.child(tag, {...})"
                )
            self.out += 1
        elif isinstance(outcome, Dropped):
            self.dropped[outcome.reason] += 1
            self.examples.setdefault(outcome.reason, outcome.row)
        elif isinstance(outcome, Failed):
            self.failed[outcome.kind] += 1
            self.errors.add(outcome)
        else:
            raise self._refuse(type(outcome).__name__, "end `run` with a row: return row | {...}")

    def _refuse(self, given: str, fix: str) -> StepError:
        return StepError(f"{self.step}: gave {given}", exists="a step gives Row, Dropped or Failed", fix=fix)

    @property
    def ended(self) -> int:
        """Rows that something became of."""
        return self.out + self.dropped.total() + self.failed.total()

    def check(self) -> None:
        """Raises BlackboxError when the sums are wrong: a bug of this program or of a plugin, not of the data."""
        if self.rows_in + self.added != self.ended:
            raise BlackboxError(
                f"{self.step}: the rows do not balance: {self.rows_in} in + {self.added} added, but {self.out} out "
                f"+ {self.dropped.total()} dropped + {self.failed.total()} failed. This is a bug; please report it."
            )

    def measure_failed(self) -> float:
        """Share of the rows that failed."""
        return self.failed.total() / self.ended if self.ended else 0.0

    def has_failed(self, limit: float) -> bool:
        """Whether, in the middle of the step, a larger share than `limit` has failed of the rows that have begun."""
        begun = max(self.rows_in, self.ended)
        return begun >= FIRST_LOOK and self.failed.total() > limit * begun

    def describe_counts(self) -> list[str]:
        """What of the step's own counts a user should know, in lines."""
        lines = []
        if unread := self.counts["unread"]:
            share = unread / self.out if self.out else 0
            lines.append(f"no answer could be read in {unread:,} of {self.out:,} ({100 * share:.1f} %)")
        if more := self.counts["goes_on"]:
            lines.append(f"{more:,} went on with a question of their own after their answer: the first answer counts")
        redacted = {name: count for name, count in self.counts.items() if name.startswith("redacted ")}
        if redacted:
            told = ", ".join(f"{name.removeprefix('redacted ')} {count:,}" for name, count in sorted(redacted.items()))
            lines.append(f"personal data replaced: {told}")
        if other_numbers := self.counts["other_numbers"]:
            lines.append(
                f"{other_numbers:,} of the rows dropped as too similar differ from the nearest one in numbers alone: "
                "a higher max: keeps them"
            )
        return lines

    def entry(self) -> dict[str, Any]:
        """The account as `report.json` and the manifest hold it."""
        return {
            "step": self.step,
            "in": self.rows_in,
            "added": self.added,
            "out": self.out,
            "dropped": dict(sorted(self.dropped.items())),
            "failed": dict(sorted(self.failed.items())),
            **({"counts": dict(sorted(self.counts.items()))} if self.counts else {}),
            **({"round": self.round} if self.round else {}),
            **self.marks,
        }

    @staticmethod
    def of(entry: dict[str, Any]) -> "Account":
        """The account of an entry."""
        dropped, failed = Counter(entry["dropped"]), Counter(entry["failed"])
        counts = Counter(entry.get("counts", {}))
        rows = (entry["in"], entry["added"], entry["out"])
        return Account(entry["step"], *rows, dropped, failed, counts, entry.get("round", 0))


def sum_accounts(accounts: Iterable[Account]) -> Account:
    """The account of a step whose rows were worked on in parts."""
    first, *others = accounts
    total = Account.of(first.entry())
    for account in others:
        total.rows_in += account.rows_in
        total.added += account.added
        total.out += account.out
        total.dropped += account.dropped
        total.failed += account.failed
        total.counts.update(account.counts)
    return total


STANDS = (
    "refusals stand: take another model, leave such rows out of the data, or let them fail: a larger max_failed_share"
)


def refuse_failures(accounts: Iterable[Account], limit: float, folder: Path) -> None:
    """Raises TooManyFailed if a larger share than `limit` of a step's rows failed.

    Args:
        accounts: of the steps.
        limit: the recipe's `max_failed_share`.
        folder: the run's, for the message.
    """
    bad = [book for book in accounts if book.measure_failed() > limit]
    if bad:
        again = any(_may_vary(kind) for book in bad for kind in book.failed)
        ask_anew = ", or run the same command with --retry-failed to ask anew" if again else ""
        lines = [line for book in bad for line in _describe_failures(book)]
        fixes = dict.fromkeys(fix for book in bad for fix in book.errors.list_fixes())
        stands = all(kind.startswith("refused: ") for book in bad for kind in book.failed)
        raise TooManyFailed(
            "\n".join(lines),
            exists=f"more than max_failed_share: {limit} of the rows; see {folder}/failed.jsonl",
            fix=f"{'; '.join(fixes) or (STANDS if stands else 'mend what the errors say')}{ask_anew}",
        )


def refuse_loss(accounts: Sequence[Account], limit: float, rows: int, folder: Path) -> str:
    """Ends a run of whose rows none is left; returns that, and where they went, if the recipe lets all of them fail.

    Args:
        accounts: of the steps.
        limit: the recipe's `max_failed_share`.
        rows: that the run began with.
        folder: the run's, for the message.

    Raises:
        StepError, TooManyFailed: no row is left.
    """
    refuse_failures(accounts, limit, folder)
    gone = [
        f"{counts.total():,} {what} at {book.step} ({', '.join(f'{count:,} {reason}' for reason, count in shown)})"
        for book in accounts
        for what, counts in (("dropped", book.dropped), ("failed", book.failed))
        if (shown := counts.most_common(COMMONEST))
    ]
    text = f"no row is left of {rows:,}: {'; '.join(gone) or 'no step made any'}"
    if limit >= 1 and not any(book.dropped for book in accounts):
        return text
    lost = [(reason, row) for book in accounts for reason, row in book.examples.items()]
    exists = "".join(f"such as {describe_example(row)} ({reason})" for reason, row in lost[:1])
    fix = f"see {folder}/dropped.jsonl and failed.jsonl, and mend what took them out"
    raise StepError(text, exists=exists, fix=fix)


def _may_vary(kind: str) -> bool:
    """Whether another reply may be better: not of bad rows, nor where a vendor gave a reason to refuse.

    What a step raised has the name of Python's class.
    """
    return kind not in ("data", "rejected") and not kind.startswith("refused: ") and kind.islower()


def _describe_failures(book: Account) -> list[str]:
    """How many rows of a step failed, and of what."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in book.failed.most_common())
    head = f"{book.step}: {book.failed.total():,} of {book.ended:,} rows failed: {kinds}"
    return [head, *(f"    {line}" for line in book.errors.list_commonest())]
