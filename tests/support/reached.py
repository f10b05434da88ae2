"""What models might have reached in a benchmark, without one being asked."""

from collections.abc import Sequence
from typing import Any

from blackbox_kd.analysis.benchmarks import TaskResult

QUESTIONS = [
    f"Which of the {n} rivers of this valley is the longest, and which of them is the shortest one?" for n in range(40)
]


def reach(right: Sequence[float], metric: str = "acc", *, task: str = "rivers", **fields: Any) -> TaskResult:
    """A result in a task of as many questions as `right` has scores, by one metric."""
    scores = {metric: {f"{task} {n}": float(value) for n, value in enumerate(right)}}
    value = {"value": sum(right) / len(right), "stderr": 0.05, "higher_is_better": True}
    questions = [
        {"doc": {"q": text, "id": str(n)}, "asked": f"Question: {text}\nAnswer:"} for n, text in enumerate(QUESTIONS)
    ]
    told = {"few_shot": 0, "versions": ["1.0"], "metrics": {metric: value}, "scores": scores}
    return TaskResult.model_validate(
        {"task": task, "n": len(right), "questions": questions[: len(right)], **told, **fields}
    )
