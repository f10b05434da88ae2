"""Every exception that this package raises. Each keeps what is wrong, what exists and the fix apart.

BlackboxError
├── UserError               the recipe, the command or the input is wrong      exit status 2
│   ├── RecipeError         all problems of one recipe, each with file:line
│   ├── DataError           rows that cannot be read (also a ValueError)
│   │   ├── MissingColumn   a row has no such column (also a KeyError)
│   │   ├── NoRows          there is nothing to train on
│   │   └── WrongRename     columns cannot be renamed as a recipe says
│   ├── FieldError          fields of a recipe that are wrong together (also a ValueError)
│   └── SetupError          a missing key, package or file of weights
├── CallError               one call brought no usable reply
│   ├── RequestRejected     the request is wrong (400, 403, 413, 422); never retried
│   ├── EndpointRefused     the key or the model's name is wrong (401, 404); stops a run that has no reply yet
│   ├── QuotaSpent          402 or insufficient_quota: the account is empty; ends the run
│   ├── ServerFault         429, 408, 409, 5xx, time-outs, broken connections; retried with patience
│   └── ReplyFault          cut off, refused, empty or unreadable; retried where a new sample can differ
├── BudgetReached           the next call could break the budget                exit status 3
│   └── HoursOver           a run has taken as long as it may
├── StepError               a step cannot go on                                 exit status 1
│   └── StepMistake         a step's code is wrong, whatever the row
├── TooManyFailed           more failed rows than max_failed_share              exit status 1
├── LedgerError             the ledger cannot be read or written                exit status 1
├── AskedElsewhere          another process has the same call in flight: its reply is waited for
└── Stopped                 Ctrl-C or SIGTERM, after a clean stop               exit status 130
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from blackbox_kd.printable import escape_line

E = TypeVar("E", bound="CallError")

RAISE_LIMIT = "raise the limit (ulimit -n 1024) and run the same command: it goes on"
"""What is done where a process can open no more files."""
FOLD_SYSTEM = (
    "fold the system text into the user's turn: begin the turn with it, in a prompt without {% system %} or in the rows"
)
"""What is done where a model knows no system text."""


def write_message(what: str, exists: str = "", fix: str = "") -> str:
    """What is wrong, what exists or was expected, and the fix, as the lines that a user reads."""
    return "\n  ".join([what, *exists.splitlines(), *(f"fix: {line}" for line in fix.splitlines())])


def quote_cause(error: BaseException) -> str:
    """What another library says of an error, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class BlackboxError(Exception):
    """Base of all errors of this package; `exit_status` is what the command line ends with.

    Args:
        what: what is wrong, with the offending value.
        exists: what exists or was expected, such as `columns: a, b`; in several lines if it must be.
        fix: the edit or the command that mends it; of several commands each on a line.
    """

    exit_status = 1

    def __init__(self, what: str = "", *, exists: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.exists = exists
        self.fix = fix

    def __str__(self) -> str:
        return write_message(self.what, self.exists, self.fix)

    def within(self, where: str) -> Self:
        """The same error, said of a step, a table or a model."""
        found = type(self).__new__(type(self))
        found.__dict__.update(self.__dict__, what=f"{where}: {self.what}")
        return found


class UserError(BlackboxError):
    """What the user gave is wrong; the message says what to do."""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a recipe.

    Args:
        line: 1-based line of the recipe file.
        path: where in the recipe, such as `steps[0] (judge)`.
        message: what is wrong, with the offending value.
        expected: what exists or was expected; empty if there is nothing to list.
        fix: the edit or the command that mends it.
    """

    line: int
    path: str
    message: str
    expected: str
    fix: str

    def text(self, file: str) -> str:
        """The problem as the three lines a user reads."""
        where = f"{file}:{self.line}: {self.path}: " if self.path else f"{file}:{self.line}: "
        return write_message(*map(escape_line, (f"{where}{self.message}", self.expected, self.fix)))


class RecipeError(UserError):
    """All problems of one recipe at once, in file order."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = sorted(problems, key=lambda problem: problem.line)
        super().__init__("\n\n".join(problem.text(file) for problem in self.problems))


class DataError(UserError, ValueError):
    """Rows that cannot be read or are not what they should be."""


class MissingColumn(DataError, KeyError):
    """A row was asked for a column that it does not have."""

    def __init__(self, column: str) -> None:
        super().__init__(f"column {column!r} is missing")
        self.column = column


class NoRows(DataError):
    """There is nothing to train on: no step before has kept a row."""


class WrongRename(DataError):
    """Columns cannot be renamed as a recipe says."""


class FieldError(UserError, ValueError):
    """What a validator finds wrong with a field, or between fields.

    Fields that the words name with a colon (`best:`) tell the line. With a fix alone, what is wrong is worked out from
    the fields that it names: `give either model: NAME or models: [NAMES]`.
    """


class SetupError(UserError):
    """A key, a package or a file of weights is missing."""


class CallError(BlackboxError):
    """One call brought no usable reply.

    Args:
        what: what is wrong.
        kind: the class under which the row is counted.
        retry_after_s: seconds until the endpoint wants to be asked again; None if it does not say.
        fix: what mends it.
        said: the endpoint's own words.
        field: the field of the request that the endpoint does not take, where it names one; `system` for that role.
    """

    def __init__(
        self,
        what: str,
        *,
        kind: str,
        retry_after_s: float | None = None,
        fix: str = "",
        said: str = "",
        field: str = "",
    ) -> None:
        super().__init__(what, fix=fix)
        self.kind = kind
        self.retry_after_s = retry_after_s
        self.said = said
        self.field = field

    def __copy__(self) -> Self:
        return self.recast(type(self))

    def recast(self, to: type[E]) -> E:
        """The same error as one of another class: what it means for the run depends on what else is known."""
        found = to(self.what, kind=self.kind, retry_after_s=self.retry_after_s, fix=self.fix, said=self.said)
        found.field = self.field
        return found


class RequestRejected(CallError):
    """The endpoint says that the request is wrong; sending it again would not help."""


class EndpointRefused(CallError):
    """The key is not accepted or the model does not exist (401, 404)."""


class QuotaSpent(CallError):
    """The account has no money left (402, insufficient_quota), or the endpoint wants no requests for a long time."""


class ServerFault(CallError):
    """Not the row's fault: rate limit, overload, time-out, broken connection, a page that is not JSON."""


class ReplyFault(CallError):
    """A paid reply that cannot be used: `truncated`, `refused`, `refused: bio`, `empty`, `markup`, `unreadable`."""


class Refusal(ReplyFault):
    """A reply that the vendor withheld, with a category in `kind` where it names one: it is not asked again."""


class UnusableText(ReplyFault):
    """A reply in whose text the step that asked did not find what it asked for."""


class BudgetReached(BlackboxError):
    """The most that the next call can cost does not fit into what is left of the budget."""

    exit_status = 3


class HoursOver(BudgetReached):
    """The hours that one invocation of a run may take are over."""


class StepError(BlackboxError):
    """A step cannot go on; the message names the step and what was kept."""


class StepMistake(StepError):
    """A step's code raised what no row is to blame for; the message has the line."""


class TooManyFailed(BlackboxError):
    """The share of failed rows is above `max_failed_share`."""


class LedgerError(BlackboxError):
    """The ledger cannot be opened, read or written."""


class AskedElsewhere(BlackboxError):
    """Another process has sent the same call, and may yet get its reply; never reaches a user."""


class Stopped(BlackboxError):
    """The user stopped the run; everything paid for is kept."""

    exit_status = 130

    def __init__(self, message: str = "stopped; everything paid for is kept. Run the same command to go on") -> None:
        super().__init__(message)


SLIP = 0.65
"""How alike two words are of which one is a slip of the hand for the other: letters changed, swapped, lacking."""
STEM = 4
MOST_NAMES = 30


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """`did you mean 'x'?` for the one of `names` that differs by a slip of the hand or by its ending, or nothing."""
    from rapidfuzz import process
    from rapidfuzz.distance import OSA

    close = process.extractOne(name, names, scorer=OSA.normalized_similarity, processor=str.lower, score_cutoff=SLIP)
    found = close[0] if close else next((each for each in names if _is_ending(name, each)), None)
    return "" if found is None else f"did you mean {found!r}?"


def _is_ending(one: str, other: str) -> bool:
    shorter = min(len(one), len(other))
    return shorter >= STEM and one[:shorter] == other[:shorter]


def list_names(names: Iterable[str]) -> str:
    """Names as a message lists them; of very many, the first ones."""
    listed = list(names)
    rest = f" and {len(listed) - MOST_NAMES:,} more" if len(listed) > MOST_NAMES else ""
    return (", ".join(listed[:MOST_NAMES]) or "none") + rest
