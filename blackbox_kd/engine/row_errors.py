"""Whose fault an error is: the row's, which fails, or the step's, which ends the run before more is bought for it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from traceback import FrameSummary, StackSummary, TracebackException, extract_tb

from blackbox_kd.errors import BlackboxError, CallError, DataError, StepMistake
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.schema import Failed, Row

PATIENCE = 3
"""Rows for which the same line of a step may raise the same: one may be odd, and two may be alike."""


class Mistakes:
    """Tells the errors of rows from the mistakes of steps, over a whole run.

    Args:
        patience: rows for which the same exception from the same line ends the run; None if none does.
        on_mistake: is called before it ends, so that nothing more is bought.

    Attributes:
        found: the mistake that has ended the run.
    """

    def __init__(self, patience: int | None = PATIENCE, on_mistake: Callable[[], object] = lambda: None) -> None:
        self.found: StepMistake | None = None
        self._patience, self._on_mistake = patience, on_mistake
        self._seen: Counter[tuple[type[Exception], str, int | None]] = Counter()

    def fail_row(self, planned: PlannedStep, row: Row, error: Exception) -> Failed:
        """The failed row of an error that a step has raised.

        A call's fault, bad data and a missing column are the row's. So is a ValueError, ArithmeticError or
        UnicodeError that the step itself raises: with it, steps say that a value is not what they can work on. All
        else is a mistake of the step, and would be made with every row.

        Raises:
            StepMistake: the step has made this mistake before.
            BlackboxError: the error, if it ends the run.
        """
        if isinstance(error, CallError):
            return Failed(row, error.kind, str(error), fix=error.fix)
        if isinstance(error, DataError):
            return Failed(row, "data", str(error), fix=error.fix)
        if isinstance(error, BlackboxError):
            raise error
        last = _find_innermost(error)
        failed = Failed(row, type(error).__name__, str(error), _format(error, planned.step.file))
        if isinstance(error, ValueError | ArithmeticError) and Path(last.filename) == planned.step.file:
            return failed
        place = type(error), last.filename, last.lineno
        self._seen[place] += 1
        if self._patience is not None and self._seen[place] >= self._patience:
            self.found = explain(planned, error, f"for {self._patience} rows, so no more is asked")
            self._on_mistake()
            raise self.found from error
        return failed


def explain(planned: PlannedStep, error: Exception, when: str) -> StepMistake:
    """What is told of a step's mistake.

    Args:
        planned: the step.
        error: what it raised.
        when: how often, or whether at all a row was looked at.
    """
    frames = extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename) == planned.step.file] or frames[-1:]
    lines = [f"at {frame.filename}:{frame.lineno}: {frame.line}" for frame in (own[-1], frames[-1])]
    mend = f"mend {planned.step.file}, then run the same command: what is paid for is kept"
    ours = "this step is one of blackbox-kd's: please report it with what --debug shows"
    return StepMistake(
        f"{planned.label}: {type(error).__name__}: {error}",
        exists="\n".join([*dict.fromkeys(lines), f"raised {when}"]),
        fix=mend if planned.step.code else ours,
    )


def _find_innermost(error: Exception) -> FrameSummary:
    return extract_tb(error.__traceback__)[-1]


def _format(error: Exception, file: Path) -> str:
    """The traceback from where the step's own file is first in it: what called the step is of no interest."""
    told = TracebackException.from_exception(error)
    own = next((at for at, frame in enumerate(told.stack) if Path(frame.filename) == file), 0)
    told.stack = StackSummary.from_list(told.stack[own:])
    return "".join(told.format())
