"""The mean of what a judge gives each reply by criteria, from 0 (worst) to 1; those without a verdict are left out.

Source   Liu et al. 2023, arXiv:2303.16634 (criteria with their meanings)
"""

from collections.abc import Sequence

from blackbox_kd.analysis.metrics._metric import Graded, Tally, average, metric


@metric(needs="score")
def run(rows: Sequence[Graded]) -> Tally:
    """See the module."""
    return average([row.score or 0.0 for row in rows])
