"""What several models have answered to the same questions, by all metrics that a recipe names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blackbox_kd.analysis import accuracy, repeated
from blackbox_kd.analysis.metrics._classes import tabulate_classes, tabulate_fields
from blackbox_kd.analysis.metrics._measure import compare, measure
from blackbox_kd.analysis.metrics._metric import Graded, Metric
from blackbox_kd.schema import Row


@dataclass(frozen=True, slots=True)
class How:
    """How models were asked, and what is told of their answers.

    Args:
        asked: questions that each model was asked.
        samples: replies of each model to each of them.
        by: columns by whose values everything is also told.
        cluster: column with what rows belong to that are alike.
        labels: the label set of the answers, where there is one.
        alike: says whether two answers are the same; None where nobody reads answers.
        seed: seeds the draws.
    """

    asked: int
    samples: int = 1
    by: Sequence[str] = ()
    cluster: str | None = None
    labels: Sequence[str] | None = None
    alike: accuracy.Same | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Answers:
    """The graded answers of models, and the metrics that they are measured by.

    Args:
        metrics: the metrics, in the order of the recipe.
        graded: by model and by reply.
        how: how the models were asked.
    """

    metrics: Sequence[Metric]
    graded: Mapping[str, Mapping[str, Graded]]
    how: How
    repeated: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """By model: what its several replies to each question come to; known once it is evaluated."""

    def evaluate(self, model: str, rows: Sequence[Row]) -> dict[str, Any]:
        """What the report holds of the rows of a model: accuracy, all metrics, and the tables that belong to them."""

        def measure_all(part: Sequence[Row]) -> dict[str, Any]:
            graded = [self.graded[model][accuracy.name_reply(row)] for row in part] if self.metrics else []
            found = {e.name: measure(e, list(filter(e.tells_of, graded)), self.how.seed) for e in self.metrics}
            return {"metrics": found} if found else {}

        told = accuracy.accuracy(rows, self.how.by, measure_all, self.how.cluster)
        if self.how.samples > 1 and self.how.alike is not None:
            self.repeated[model] = repeated.score_questions(rows, self.how.samples, self.how.alike)
            told["metrics"] = {**told.get("metrics", {}), **repeated.measure(self.repeated[model])}
        if lost := self.how.asked * self.how.samples - len(rows):
            told["failed"] = lost
        return {"model": model, **told, **self._tabulate(list(self.graded[model].values()))}

    def _tabulate(self, rows: Sequence[Graded]) -> dict[str, Any]:
        """The table of classes with any F1 of them, that of fields with theirs."""
        names = {metric.name for metric in self.metrics}
        found = tabulate_classes(rows, self.how.labels) if names & {"macro_f1", "micro_f1"} else {}
        return found | ({"fields": tabulate_fields(rows)} if "field_f1" in names else {})

    def gains(self, compared: Iterable[tuple[str, str, Sequence[str]]]) -> Iterator[dict[str, Any]]:
        """What each model of pairs is better by in each metric but accuracy, of which more is told elsewhere.

        Args:
            compared: a model, the one that it is compared with, and the questions that both have answered.
        """
        for model, against, both in compared if self.metrics or self.repeated else ():
            pairs = [(self.graded[against][key], self.graded[model][key]) for key in both if self.metrics]
            for each in self.metrics:
                told = [pair for pair in pairs if all(map(each.tells_of, pair))]
                if each.name == "accuracy" or not told:
                    continue
                found = compare(each, [one for one, _ in told], [other for _, other in told], self.how.seed)
                if found is not None:
                    yield {"model": model, "against": against, "metric": each.name, "n": len(told), **found}
            if self.repeated:
                several = repeated.compare(self.repeated[against], self.repeated[model])
                for name, found in several.items():
                    yield {"model": model, "against": against, "metric": name, **found}
