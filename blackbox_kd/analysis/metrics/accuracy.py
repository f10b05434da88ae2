"""The share of the answers that are right, with Wilson's interval; an answer that could not be read is wrong."""

from collections.abc import Sequence

from blackbox_kd.analysis import statistics
from blackbox_kd.analysis.metrics._metric import Graded, Tally, metric


@metric(needs="answer")
def run(rows: Sequence[Graded]) -> Tally:
    """See the module."""
    import numpy as np

    right = np.array([int(bool(row.correct)) for row in rows])
    cells = np.array([[0, 1], [1, 1]])
    clusters = None if rows[0].cluster is None else [row.cluster for row in rows]
    interval = statistics.bound_share(right.tolist(), clusters)
    return Tally(cells, right, lambda sums: sums[..., 0] / sums[..., 1], interval)
