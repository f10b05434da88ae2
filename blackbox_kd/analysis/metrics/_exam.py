"""What several models have answered to the same questions, by all metrics that a recipe names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blackbox_kd.analysis import accuracy
from blackbox_kd.analysis.metrics._classes import tabulate_classes, tabulate_fields
from blackbox_kd.analysis.metrics._metric import Graded, Metric, compare, measure
from blackbox_kd.schema import Row


@dataclass(frozen=True, slots=True)
class Answers:
    """The graded answers of models, and the metrics that they are measured by.

    Args:
        metrics: the metrics, in the order of the recipe.
        graded: by model and by question.
        labels: the label set of the answers, where there is one.
        by: columns by whose values everything is also told.
        seed: seeds the bootstrap.
    """

    metrics: Sequence[Metric]
    graded: Mapping[str, Mapping[str, Graded]]
    labels: Sequence[str] | None
    by: Sequence[str]
    seed: int

    def evaluate(self, model: str, rows: Sequence[Row]) -> dict[str, Any]:
        """What the report holds of the rows of a model: accuracy, all metrics, and the tables that belong to them."""

        def measure_all(part: Sequence[Row]) -> dict[str, Any]:
            graded = [self.graded[model][row["question"]] for row in part] if self.metrics else []
            found = {each.name: measure(each, graded, self.seed) for each in self.metrics}
            return {"metrics": found} if found else {}

        told = accuracy.accuracy(rows, self.by, measure_all)
        return {"model": model, **told, **self._tabulate(list(self.graded[model].values()))}

    def _tabulate(self, rows: Sequence[Graded]) -> dict[str, Any]:
        """The table of classes with any F1 of them, that of fields with theirs."""
        names = {metric.name for metric in self.metrics}
        found = tabulate_classes(rows, self.labels) if names & {"macro_f1", "micro_f1"} else {}
        return found | ({"fields": tabulate_fields(rows)} if "field_f1" in names else {})

    def gains(self, pairs: Iterable[tuple[str, str, Sequence[str]]]) -> Iterator[dict[str, Any]]:
        """What each model of pairs is better by in each metric but accuracy, of which more is told elsewhere.

        Args:
            pairs: a model, the one that it is compared with, and the questions that both have answered.
        """
        for model, against, both in pairs if self.metrics else ():
            before, after = ([self.graded[name][key] for key in both] for name in (against, model))
            for each in self.metrics:
                found = None if each.name == "accuracy" else compare(each, before, after, self.seed)
                if found is not None:
                    yield {"model": model, "against": against, "metric": each.name, "n": len(both), **found}
