"""Metrics of what models answer: one module for each, with `run` under `@metric`; its name is the file's.

All are from 0 to 1, the higher the better. A module whose name starts with `_` is shared by metrics and is none itself.
"""

import importlib

from blackbox_kd.analysis.metrics._classes import tabulate_classes, tabulate_fields
from blackbox_kd.analysis.metrics._exam import Answers, How
from blackbox_kd.analysis.metrics._measure import Measure, compare, measure
from blackbox_kd.analysis.metrics._metric import Graded, Metric, Tally, metric
from blackbox_kd.paths import list_modules

__all__ = [
    "ACCURACY",
    "Answers",
    "Graded",
    "How",
    "Measure",
    "Metric",
    "Tally",
    "compare",
    "find",
    "measure",
    "metric",
    "names",
    "tabulate_classes",
    "tabulate_fields",
]
ACCURACY = "accuracy"


def names() -> list[str]:
    """Names of the metrics of the package."""
    return sorted(list_modules(__path__[0]))


def find(name: str) -> Metric:
    """A metric of the package.

    Raises:
        KeyError: there is none of that name.
    """
    if name not in names():
        raise KeyError(name)
    found = importlib.import_module(f"{__name__}.{name}").run.metric
    assert isinstance(found, Metric)
    return found
