"""F1 of the fields of answers, all fields of all rows together; of an answer that could not be read all are missed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from blackbox_kd.analysis.metrics._classes import divide
from blackbox_kd.analysis.metrics._metric import Graded, Tally, metric

if TYPE_CHECKING:
    from blackbox_kd.analysis.metrics._metric import Array


@metric(needs="fields")
def run(rows: Sequence[Graded]) -> Tally:
    """See the module."""
    import numpy as np

    sums = [np.sum(list(row.fields.values()), axis=0) if row.fields else (0, 0, 0) for row in rows]
    cells, of = np.unique(np.array(sums), axis=0, return_inverse=True)
    return Tally(cells, of, _combine)


def _combine(sums: "Array") -> "Array":
    right = 2 * sums[..., 0]
    return divide(right, right + sums[..., 1] + sums[..., 2])
