"""Answers as classes: how often each was right, taken for another one, or missed.

The true class of a question is its right answer as the kind of answer writes it. An answer that could not be read is of
no class: it is missed in its true class, and speaks against no other one.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from blackbox_kd.analysis.metrics._metric import Graded, Tally

if TYPE_CHECKING:
    from blackbox_kd.analysis.metrics._metric import Array

Cell = tuple[str, str | None, bool]
"""The true class, that of the answer, and whether they are the same."""


def _find_cell(row: Graded) -> Cell:
    wanted = row.reference if row.wanted is None else row.wanted
    return (wanted, wanted, True) if row.correct else (wanted, row.answer, False)


def tally_classes(rows: Sequence[Graded], combine: "Callable[[Array, Array, Array], Array]") -> Tally:
    """Rows by their classes, for a metric of three numbers of each class: hits, false alarms and misses.

    Args:
        rows: of N questions.
        combine: the metric of those numbers, each of the shape (..., classes).
    """
    import numpy as np
    from scipy import sparse

    found = [_find_cell(row) for row in rows]
    cells = {cell: number for number, cell in enumerate(dict.fromkeys(found))}
    names = dict.fromkeys(name for wanted, answer, _ in cells for name in (wanted, answer) if name is not None)
    place = {name: number for number, name in enumerate(names)}
    table = sparse.lil_matrix((len(cells), 3 * len(place)), dtype=np.int64)
    for (wanted, answer, is_right), number in cells.items():
        if is_right:
            table[number, place[wanted]] = 1
            continue
        table[number, 2 * len(place) + place[wanted]] = 1
        if answer is not None:
            table[number, len(place) + place[answer]] = 1
    return Tally(
        sparse.csr_array(table),
        np.array([cells[cell] for cell in found]),
        lambda sums: combine(*np.split(np.asarray(sums), 3, axis=-1)),
    )


def divide(part: "Array", whole: "Array") -> "Array":
    """Shares; 0 where there is nothing to share, as scikit-learn has it with `zero_division=0`."""
    import numpy as np

    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.asarray(whole) > 0)


def tabulate_classes(rows: Sequence[Graded], labels: Sequence[str] | None) -> dict[str, Any]:
    """The table of the classes and the confusions, as `report.json` holds them.

    A class is one that is wanted or answered; those of a label set come first, in its order, whether they are met or
    not. A share of nothing is None.

    Args:
        rows: of N questions.
        labels: the label set, where there is one.
    """
    counts = Counter(_find_cell(row) for row in rows)
    met = {name for wanted, answer, _ in counts for name in (wanted, answer) if name is not None}
    names = list(dict.fromkeys([*(labels or ()), *sorted(met)]))
    hits, wanted, said = Counter[str](), Counter[str](), Counter[str]()
    for (name, answer, is_right), times in counts.items():
        hits[name] += times if is_right else 0
        wanted[name] += times
        if answer is not None:
            said[answer] += times
    classes = [
        {
            "name": name,
            "precision": hits[name] / said[name] if said[name] else None,
            "recall": hits[name] / wanted[name] if wanted[name] else None,
            "f1": 2 * hits[name] / (said[name] + wanted[name]) if said[name] + wanted[name] else None,
            "support": wanted[name],
        }
        for name in names
    ]
    together = Counter[tuple[str, str | None]]()
    for (name, answer, _), times in counts.items():
        together[name, answer] += times
    order = {name: number for number, name in enumerate(names)}
    found = sorted(together, key=lambda pair: (order[pair[0]], len(order) if pair[1] is None else order[pair[1]]))
    confusion = [{"wanted": name, "answer": answer, "n": together[name, answer]} for name, answer in found]
    return {"classes": classes, "confusion": confusion}


def tabulate_fields(rows: Sequence[Graded]) -> list[dict[str, Any]]:
    """The table of the fields of answers, as `report.json` holds it, in the order in which they are met."""
    sums: dict[str, list[int]] = {}
    for row in rows:
        for name, counts in row.fields.items():
            sums[name] = [a + b for a, b in zip(sums.get(name, (0, 0, 0)), counts, strict=True)]
    return [
        {
            "name": name,
            "precision": right / (right + wrong) if right + wrong else None,
            "recall": right / (right + missed) if right + missed else None,
            "f1": 2 * right / (2 * right + wrong + missed) if right + wrong + missed else None,
            "support": right + missed,
        }
        for name, (right, wrong, missed) in sums.items()
    ]
