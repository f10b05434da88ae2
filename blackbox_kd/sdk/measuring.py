"""How a step measures the answers of models."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

from blackbox_kd.sdk.fields import Answer, Column, FromEarlier, MetricName
from blackbox_kd.sdk.judging import JudgingConfig
from blackbox_kd.sdk.step_config import Required

ACCURACY, SCORE = "accuracy", "score"
_EXAM = FromEarlier(("check",), ("evaluate",), unless="judge")


class MeasuringConfig(JudgingConfig):
    """Fields of a step that measures answers by a reference, by a judge, or by both."""

    metrics: list[MetricName] = Field(default=[ACCURACY], min_length=1)
    """What is measured: `accuracy`, and `macro_f1`, `micro_f1`, `field_f1`, `rouge_l` or a plugin's, each with an
    interval. Accuracy is told wherever answers are read, `score` where a judge grades them; any F1 comes with a table
    of its classes or fields."""
    require: Required | None = None
    """What each of `models` must reach on at least 20 rows: the run ends here where one does not."""
    answer: Annotated[Answer | None, _EXAM] = Field(default=None, validate_default=True)
    """Kind of answer; that of the nearest `check`, else `evaluate`, if left out; not needed where a judge compares."""
    against: Annotated[Column | None, _EXAM] = None
    """Column with the right answer; that of the nearest `check`, or else `evaluate`, or `reference`, if left out."""
    by: list[Column] = Field(default_factory=list)
    """Columns by whose values the accuracy is also told."""
    cluster: Column | None = None
    """Column with what rows belong to whose answers rise and fall together, such as `seed_id`: intervals and tests
    count such rows as less than as many that have nothing to do with each other."""
    samples: int = Field(default=1, ge=1, le=256)
    """Replies of each model to each question: with several, accuracy is that of them all (avg@k), and `pass@k` and
    `maj@k` are told besides."""

    @field_validator("answer")
    @classmethod
    def _something_to_measure_by(cls, answer: Answer | None, info: ValidationInfo) -> Answer | None:
        if answer is None and info.data.get("judge") is None and ACCURACY in info.data.get("metrics", ()):
            raise PydanticKnownError("missing")
        return answer

    @property
    def measures(self) -> tuple[str, ...]:
        """The metrics; none where a judge alone compares."""
        given = self.metrics if self.answer is not None or "metrics" in self.model_fields_set else []
        always = [ACCURACY] * (self.answer is not None) + [SCORE] * self.is_graded
        return tuple(dict.fromkeys([*given, *always]))

    @property
    def counted_by(self) -> str | None:
        """Column with what rows belong to that are alike: several replies to a question are."""
        return self.cluster or ("question" if self.samples > 1 else None)

    def find_unmeasured(self) -> list[tuple[str, str, str]]:
        """Fields that nothing would read as nothing is measured by them, and replies that would all be the same."""
        found = []
        if self.samples > 1 and self.temperature == 0:
            what = f"samples: {self.samples} at temperature: 0 would be {self.samples} times the same reply."
            found.append(("samples", what, "add temperature: 0.7, or take samples: out"))
        if not self.measures and self.against is not None:
            what = f"against: {self.against!r} means nothing without answer:, which says how an answer is read."
            found.append(("against", what, "add answer: number, or take against: out"))
        if self.require is not None and self.require.metric not in self.measures:
            what = f"require: {self.require.metric!r} is not measured here."
            found.append(("require.metric", what, f"add it to metrics:, or require one of {', '.join(self.measures)}"))
        return found

    def answer_kind(self) -> Answer | None:
        """How answers are read, where they are."""
        return self.answer

    def answer_columns(self) -> set[str]:
        """The right answer, where there is one."""
        return {self.against} if self.against is not None else set()

    def requires(self) -> Required | None:
        """See `require`."""
        return self.require
