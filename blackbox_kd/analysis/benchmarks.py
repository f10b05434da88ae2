"""What models reach in standard benchmarks, by how much they differ, and which questions stood among training rows."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from blackbox_kd.analysis import accuracy, contamination, repeated
from blackbox_kd.analysis.metrics import Graded, Metric, Tally
from blackbox_kd.analysis.metrics import compare as compare_metric
from blackbox_kd.schema import Memory, Row, Table

Scores = Mapping[str, float]
"""Of a metric, by question."""


class Value(BaseModel):
    """What lm_eval tells of a metric; the standard error is None where it knows none."""

    value: float
    stderr: float | None
    higher_is_better: bool | None


class TaskResult(BaseModel):
    """What a model has reached in a task, as `training.benchmark` leaves it.

    Args:
        task: its name.
        n: questions.
        few_shot: examples before each of them.
        versions: of the task, or of those of a group.
        metrics: by name, behind which stands in parentheses how answers were filtered.
        scores: of metrics that are means over the questions, what each question has brought.
        questions: each as it stands in the data (`doc`), and as it was asked (`asked`).
    """

    model_config = ConfigDict(frozen=True)

    task: str
    n: int
    few_shot: int
    versions: list[str]
    metrics: dict[str, Value]
    scores: dict[str, dict[str, float]]
    questions: list[dict[str, Any]]


def describe(result: TaskResult) -> dict[str, Any]:
    """What the report holds of a result; the intervals are of means of shares, which is what most metrics are."""
    means = repeated.measure({name: each for name, each in result.scores.items() if _are_shares(each)})
    metrics = {
        name: {**found.model_dump(), "ci95": means[name]["ci95"] if name in means else None}
        for name, found in result.metrics.items()
    }
    told = result.model_dump(include={"task", "n", "few_shot", "versions"})
    return {**told, "metrics": metrics}


def compare(results: Mapping[str, TaskResult], untrained: Collection[str], seed: int) -> Iterator[dict[str, Any]]:
    """What each model is better by in a task than those that it is compared with: see `accuracy.find_pairs`.

    Only metrics are compared that are means of shares over the questions, the higher the better.

    Args:
        results: by model.
        untrained: models that the recipe never trains.
        seed: seeds the draws where questions bring more than right or wrong.
    """
    asked = {model: dict.fromkeys(map(str, range(result.n)), Row({"id": ""})) for model, result in results.items()}
    for model, against, _ in accuracy.find_pairs(asked, untrained):
        before, after = (_choose_scores(results[name]) for name in (against, model))
        gains = repeated.compare(before, after)
        for name in [name for name in after if name in before]:
            gain = gains.get(name) or _draw(name, before[name], after[name], seed)
            if gain is not None:
                yield {"table": results[model].task, "model": model, "against": against, "metric": name, **gain}


def _choose_scores(result: TaskResult) -> dict[str, dict[str, float]]:
    return {k: v for k, v in result.scores.items() if _are_shares(v) and result.metrics[k].higher_is_better}


def _are_shares(scores: Scores) -> bool:
    return bool(scores) and all(0 <= value <= 1 for value in scores.values())


def _draw(name: str, before: Scores, after: Scores, seed: int) -> dict[str, Any] | None:
    """The gain in a metric of which a question can bring a part."""

    def tally(rows: Sequence[Graded]) -> Tally:
        import numpy as np

        kinds, of = np.unique([float(row.response) for row in rows], return_inverse=True)
        return Tally(np.column_stack([kinds, np.ones(len(kinds))]), of, lambda sums: sums[..., 0] / sums[..., 1])

    common = [key for key in after if key in before]
    if not common:
        return None
    first, second = ([Graded(key, repr(each[key]), "") for key in common] for each in (before, after))
    found = compare_metric(Metric(name, tally, None, Path(__file__)), first, second, seed)
    return found and {"n": len(common), **found}


def find_overlap(result: TaskResult, training: Iterable[Table]) -> dict[str, Any]:
    """How many questions of a task stand among training rows, by the rules of `contamination`."""
    found = contamination.compare(Memory(result.task, list(_read_questions(result.questions))), training)
    return {key: found[key] for key in ("rows", "exact", "near", "examples")}


def _read_questions(questions: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """The questions without what a task writes around them: the longest text of the data that stands in each."""
    for number, each in enumerate(questions):
        asked = str(each["asked"])
        own = max(
            (text for text in each["doc"].values() if text.strip() and text.strip() in asked), key=len, default=""
        )
        yield Row({"id": str(number), "question": own or asked})
