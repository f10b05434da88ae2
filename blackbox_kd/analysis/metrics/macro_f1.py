"""The mean of the F1 of each class, so that a rare class counts as much as a frequent one.

The classes are those that are wanted or answered among the rows, as scikit-learn takes them; a class of the label set
that is neither has no F1, and is not in the mean. The F1 of a class that is never met rightly is 0.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from blackbox_kd.analysis.metrics._classes import divide, tally_classes
from blackbox_kd.analysis.metrics._metric import Graded, Tally, metric

if TYPE_CHECKING:
    from blackbox_kd.analysis.metrics._metric import Array


@metric(needs="answer")
def run(rows: Sequence[Graded]) -> Tally:
    """See the module."""
    return tally_classes(rows, _combine)


def _combine(hits: "Array", false_alarms: "Array", misses: "Array") -> "Array":
    met = 2 * hits + false_alarms + misses
    return divide(divide(2 * hits, met).sum(axis=-1), (met > 0).sum(axis=-1))
