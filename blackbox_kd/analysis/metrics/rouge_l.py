"""The mean of ROUGE-L F1 of each reply and its reference: how much of their words they have in common, in order.

Source   Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries"
"""

from collections.abc import Sequence

from blackbox_kd.analysis import similarity
from blackbox_kd.analysis.metrics._metric import Graded, Tally, metric


@metric(needs="reference")
def run(rows: Sequence[Graded]) -> Tally:
    """See the module."""
    import numpy as np

    scores = np.array([similarity.rouge_l(row.response, row.reference) for row in rows])
    kinds, of = np.unique(scores, return_inverse=True)
    cells = np.column_stack([kinds, np.ones(len(kinds))])
    return Tally(cells, of, lambda sums: sums[..., 0] / sums[..., 1])
