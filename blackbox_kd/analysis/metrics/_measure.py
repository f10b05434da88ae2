"""A metric of the replies of one model with its interval, and by how much two models differ in it."""

from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from blackbox_kd.analysis.metrics._metric import Graded, Metric, Tally

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_DRAWS = 10_000
_SLOW_DRAWS = 1_000
"""Draws of a metric that has to be worked out anew for each."""
_AT_ONCE = 4_000_000
"""Numbers that are held at once."""


class Measure(TypedDict):
    """The value of a metric, and its 95 % interval; None without rows, and where it is not defined."""

    value: float | None
    ci95: list[float] | None


def measure(chosen: Metric, rows: Sequence[Graded], seed: int) -> Measure:
    """A metric of the replies of one model, with its interval: a bootstrap over the questions, if nothing is better.

    Args:
        chosen: the metric.
        rows: of N questions; those of a cluster are drawn together.
        seed: seeds the bootstrap.

    Source: Efron 1979, Ann. Stat. 7(1), 1-26.
    """
    found = chosen.work_out(rows) if rows else None
    if found is None:
        return {"value": None, "ci95": None}
    if not isinstance(found, Tally):
        return {"value": found, "ci95": _cut([_draw_slowly(chosen, rows, seed)])}
    value = float(_add_up(found))
    if found.interval is not None:
        return {"value": value, "ci95": list(found.interval)}
    return {"value": value, "ci95": _cut(v for [v] in _draw([_gather(found, rows)], seed))}


def compare(chosen: Metric, before: Sequence[Graded], after: Sequence[Graded], seed: int) -> dict[str, Any] | None:
    """By how much a second model is better than a first one, with the interval of a paired bootstrap and a test.

    The test asks how often the gain would be at least as large, either way, if of each question it were chance which
    reply is of which model.

    Args:
        chosen: the metric.
        before: replies of the first model to N questions; those of a cluster are drawn together.
        after: those of the second one to the same questions, in the same order.
        seed: seeds the draws.

    Source: Efron 1979, Ann. Stat. 7(1), 1-26; Edgington 1964, J. Psychol. 57(2), 445-449 (the test).
    """
    first, second = chosen.work_out(before), chosen.work_out(after)
    if first is None or second is None:
        return None
    if isinstance(first, Tally) and isinstance(second, Tally):
        gain = float(_add_up(second) - _add_up(first))
        both = [_gather(first, after), _gather(second, after)]
        p_value = _count_beyond(gain, _swap(both, seed))
        return {"gain": gain, "ci95": _cut(b - a for a, b in _draw(both, seed)), "p_value": p_value}
    assert not isinstance(first, Tally)
    assert not isinstance(second, Tally)
    drawn = [_draw_slowly(chosen, rows, seed) for rows in (before, after)]
    p_value = _count_beyond(second - first, _swap_slowly(chosen, before, after, seed))
    return {"gain": second - first, "ci95": _cut([drawn[1] - drawn[0]]), "p_value": p_value}


def _gather(tally: Tally, graded: Sequence[Graded]) -> Tally:
    """The tally of clusters, each with what its rows add up to."""
    if graded[0].cluster is None:
        return tally
    import numpy as np

    _, own = np.unique(np.array([row.cluster for row in graded]), return_inverse=True)
    cells = np.zeros((own.max() + 1, tally.cells.shape[1]))
    rows = tally.cells[tally.of]
    np.add.at(cells, own, rows.toarray() if hasattr(rows, "toarray") else rows)
    return Tally(cells, np.arange(len(cells)), tally.combine)


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


def _swap(tallies: Sequence[Tally], seed: int) -> "Iterator[Array]":
    """The difference of two tallies where each row was drawn to stay or to swap; a part of the draws at a time."""
    import numpy as np

    kinds, times = np.unique(np.column_stack([tally.of for tally in tallies]), axis=0, return_counts=True)
    first, second = (tally.cells[kinds[:, place]] for place, tally in enumerate(tallies))
    rng, combine = np.random.default_rng(seed), tallies[0].combine
    at_once = max(1, _AT_ONCE // max(len(kinds), first.shape[1]))
    for begin in range(0, _DRAWS, at_once):
        swapped = rng.binomial(times, 0.5, size=(min(at_once, _DRAWS - begin), len(times)))
        stayed = times - swapped
        yield combine(stayed @ second + swapped @ first) - combine(stayed @ first + swapped @ second)


def _swap_slowly(chosen: Metric, before: Sequence[Graded], after: Sequence[Graded], seed: int) -> "Iterator[Array]":
    """The same for a metric that has to be worked out anew for each draw."""
    import numpy as np

    rng, groups = np.random.default_rng(seed), _group(after)
    for swapped in rng.integers(2, size=(_SLOW_DRAWS, len(groups))):
        moved = {place for group, is_swapped in zip(groups, swapped, strict=True) if is_swapped for place in group}
        pairs = [(b, a) if n in moved else (a, b) for n, (a, b) in enumerate(zip(before, after, strict=True))]
        first, second = (chosen.work_out(list(rows)) for rows in zip(*pairs, strict=True))
        yield np.array([np.nan if first is None or second is None else second - first], dtype=float)  # type: ignore[operator]


def _count_beyond(gain: float, drawn: "Iterator[Array]") -> float:
    """The share of drawn gains that are at least as large, either way; the one that was found is one of them."""
    import numpy as np

    values = np.concatenate([each[~np.isnan(each)] for each in drawn])
    return float((1 + (np.abs(values) >= abs(gain) - 1e-12).sum()) / (1 + len(values)))


def _group(rows: Sequence[Graded]) -> list[list[int]]:
    """The places of the rows of each cluster."""
    found: dict[Hashable, list[int]] = {}
    for place, row in enumerate(rows):
        found.setdefault(place if row.cluster is None else row.cluster, []).append(place)
    return list(found.values())


def _draw_slowly(chosen: Metric, rows: Sequence[Graded], seed: int) -> "Array":
    """The metric for draws of the rows; the same draws for as many rows with the same seed."""
    import numpy as np

    groups = _group(rows)
    drawn = np.random.default_rng(seed).integers(len(groups), size=(_SLOW_DRAWS, len(groups)))
    values = [chosen.work_out([rows[place] for at in each for place in groups[at]]) for each in drawn]
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _cut(parts: "Any") -> list[float] | None:
    """The 2.5 % and the 97.5 % point of drawn values."""
    import numpy as np

    values = np.concatenate(list(parts))
    known = values[~np.isnan(values)]
    return [float(each) for each in np.percentile(known, [2.5, 97.5])] if len(known) else None
