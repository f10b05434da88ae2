"""The mean of ROUGE-L F1 of each reply and its reference: how much of their words they have in common, in order.

Source   Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries"
"""

from collections.abc import Sequence

from blackbox_kd.analysis import similarity
from blackbox_kd.analysis.metrics._metric import Graded, Tally, average, metric


@metric(needs="reference")
def run(rows: Sequence[Graded]) -> Tally:
    """See the module."""
    return average([similarity.rouge_l(row.response, row.reference) for row in rows])
