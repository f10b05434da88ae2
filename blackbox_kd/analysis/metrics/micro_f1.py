"""F1 of all classes together: accuracy, but that an answer which could not be read is no false alarm."""

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
    right = 2 * hits.sum(axis=-1)
    return divide(right, right + false_alarms.sum(axis=-1) + misses.sum(axis=-1))
