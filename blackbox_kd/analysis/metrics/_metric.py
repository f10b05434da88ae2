"""What a metric is: a function of the graded replies of one model."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, Literal, overload

from blackbox_kd.errors import BlackboxError, StepMistake

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Need = Literal["answer", "fields", "reference", "score"]
"""What a metric cannot do without: a kind of answer, one that tells fields apart, the right answer as a text, or a
judge's score."""


@dataclass(frozen=True, slots=True)
class Graded:
    """A reply of a model to a held-out question, as a metric sees it.

    Args:
        question: id of the question.
        response: what the model said.
        reference: the right answer as the data has it.
        answer: what was read in the reply; None if nothing could be read, or nobody reads answers here.
        wanted: the right answer as the kind of answer writes it, which is the class that it is of.
        correct: whether the answer is right; None where nobody reads answers.
        fields: of an answer with fields, by the path of each: how many values were found rightly, how many were
            found and are wrong, and how many were missed.
        cluster: what the question belongs to whose questions are alike; None if each stands for itself.
        score: what a judge said of it by criteria, from 0 (worst) to 1; None if nobody did.
    """

    question: str
    response: str
    reference: str
    answer: str | None = None
    wanted: str | None = None
    correct: bool | None = None
    fields: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    cluster: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """A metric that sums over the rows decide, so that draws of them need not be worked out row by row.

    Args:
        cells: M x K: what each kind of row adds to K sums; sparse where most of it is 0.
        of: of each of N rows, its kind.
        combine: the metric of sums, (..., K) -> (...).
        interval: the interval, where there is a better one than that of the bootstrap.
    """

    cells: Any
    of: "Array"
    combine: "Callable[[Array], Array]"
    interval: tuple[float, float] | None = None


def average(values: Sequence[float]) -> Tally:
    """The tally of a metric that is a mean over the rows."""
    import numpy as np

    kinds, of = np.unique(np.array(values), return_inverse=True)
    return Tally(np.column_stack([kinds, np.ones(len(kinds))]), of, lambda sums: sums[..., 0] / sums[..., 1])


Run = Callable[[Sequence[Graded]], "Tally | float | None"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric by its name.

    Args:
        name: its name in a recipe: that of its file.
        run: works it out for the replies of one model; None where it is not defined.
        needs: what it cannot do without.
        file: where it is written.
    """

    name: str
    run: Run
    needs: Need | None
    file: Path

    @property
    def code(self) -> str:
        """What a metric of somebody's own is written in; empty for those of the package."""
        is_ours = self.file.parent == Path(__file__).parent
        return "" if is_ours else self.file.read_text(encoding="utf-8")

    def tells_of(self, row: Graded) -> bool:
        """Whether a reply can be measured: not where a judge's verdict is needed that could not be read."""
        return self.needs != "score" or row.score is not None

    def work_out(self, rows: Sequence[Graded]) -> "Tally | float | None":
        """What `run` gives.

        Raises:
            StepMistake: it raises what is no error of ours, or gives what is no share.
        """
        try:
            found = self.run(rows)
            if isinstance(found, Tally | None):
                return found
            if 0 <= found <= 1:
                return float(found)
        except BlackboxError:
            raise
        except Exception as error:
            lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(self.file)]
            raise self._explain(f"{type(error).__name__}: {error}", lines[-1:]) from error
        raise self._explain(f"gave {found}; a metric is a number from 0 to 1, the higher the better, or None")

    def _explain(self, what: str, lines: Sequence[int | None] = ()) -> StepMistake:
        return StepMistake(
            f"metric {self.name!r}: {what}",
            exists=":".join(["at " + str(self.file), *map(str, lines)]),
            fix=f"mend {self.file}, then run the same command: what is paid for is kept",
        )


@overload
def metric(run: Run) -> Run: ...


@overload
def metric(*, needs: Need) -> Callable[[Run], Run]: ...


def metric(run: Run | None = None, *, needs: Need | None = None) -> Run | Callable[[Run], Run]:
    """Declares `def run(rows)`: the metric of the replies of one model to N questions, from 0 to 1, or None.

    Args:
        run: the function.
        needs: what it cannot do without.
    """

    def decorate(function: Run) -> Run:
        file = Path(inspect.getfile(function))
        function.__dict__["metric"] = Metric(file.stem, function, needs, file)
        return function

    return decorate if run is None else decorate(run)
