"""What a metric is: a function of the graded replies of one model, its interval, and how two models differ in it."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, Literal, TypedDict, overload

from blackbox_kd.errors import BlackboxError, StepMistake

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Need = Literal["answer", "fields", "reference"]
"""What a metric cannot do without: a kind of answer, one that tells fields apart, or the right answer as a text."""
_DRAWS = 10_000
_SLOW_DRAWS = 1_000
"""Draws of a metric that has to be worked out anew for each."""
_AT_ONCE = 4_000_000
"""Numbers that are held at once."""


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
    """

    question: str
    response: str
    reference: str
    answer: str | None = None
    wanted: str | None = None
    correct: bool | None = None
    fields: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)


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


class Measure(TypedDict):
    """The value of a metric, and its 95 % interval; None without rows, and where it is not defined."""

    value: float | None
    ci95: list[float] | None


def measure(chosen: Metric, rows: Sequence[Graded], seed: int) -> Measure:
    """A metric of the replies of one model, with its interval: a bootstrap over the questions, if nothing is better.

    Args:
        chosen: the metric.
        rows: of N questions.
        seed: seeds the bootstrap.

    Source: Efron 1979, Ann. Stat. 7(1), 1-26.
    """
    found = chosen.work_out(rows) if rows else None
    if found is None:
        return {"value": None, "ci95": None}
    if not isinstance(found, Tally):
        return {"value": found, "ci95": _cut([_draw_slowly(chosen, rows, seed)])}
    value = float(_add_up(found))
    ci95 = list(found.interval) if found.interval is not None else _cut(v for [v] in _draw([found], seed))
    return {"value": value, "ci95": ci95}


def compare(chosen: Metric, before: Sequence[Graded], after: Sequence[Graded], seed: int) -> dict[str, Any] | None:
    """By how much a second model is better than a first one, with the interval of a paired bootstrap.

    Args:
        chosen: the metric.
        before: replies of the first model to N questions.
        after: those of the second one to the same questions, in the same order.
        seed: seeds the bootstrap.
    """
    first, second = chosen.work_out(before), chosen.work_out(after)
    if first is None or second is None:
        return None
    if isinstance(first, Tally) and isinstance(second, Tally):
        gain = float(_add_up(second) - _add_up(first))
        return {"gain": gain, "ci95": _cut(b - a for a, b in _draw([first, second], seed))}
    assert not isinstance(first, Tally)
    assert not isinstance(second, Tally)
    drawn = [_draw_slowly(chosen, rows, seed) for rows in (before, after)]
    return {"gain": second - first, "ci95": _cut([drawn[1] - drawn[0]])}


def _add_up(tally: Tally) -> "Array":
    import numpy as np

    return tally.combine(np.bincount(tally.of, minlength=tally.cells.shape[0]) @ tally.cells)


def _draw(tallies: Sequence[Tally], seed: int) -> "Iterator[list[Array]]":
    """The metric of each tally for draws of the rows, the same rows for all of them; a part of the draws at a time.

    Rows that add the same to all sums are drawn together, by one draw from a multinomial distribution: it is exact.
    """
    import numpy as np

    kinds, times = np.unique(np.column_stack([tally.of for tally in tallies]), axis=0, return_counts=True)
    cells = [tally.cells[kinds[:, place]] for place, tally in enumerate(tallies)]
    rng, rows = np.random.default_rng(seed), int(times.sum())
    at_once = max(1, _AT_ONCE // max(len(kinds), *(each.shape[1] for each in cells)))
    for begin in range(0, _DRAWS, at_once):
        drawn = rng.multinomial(rows, times / rows, size=min(at_once, _DRAWS - begin))
        yield [tally.combine(drawn @ each) for tally, each in zip(tallies, cells, strict=True)]


def _draw_slowly(chosen: Metric, rows: Sequence[Graded], seed: int) -> "Array":
    """The metric for draws of the rows; the same draws for as many rows with the same seed."""
    import numpy as np

    drawn = np.random.default_rng(seed).integers(len(rows), size=(_SLOW_DRAWS, len(rows)))
    values = [chosen.work_out([rows[at] for at in each]) for each in drawn]
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _cut(parts: "Any") -> list[float] | None:
    """The 2.5 % and the 97.5 % point of drawn values."""
    import numpy as np

    values = np.concatenate(list(parts))
    known = values[~np.isnan(values)]
    return [float(each) for each in np.percentile(known, [2.5, 97.5])] if len(known) else None
