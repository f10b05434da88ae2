"""The config of a step in which a judge may compare or grade what models answer."""

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from blackbox_kd.analysis import pairwise, verdicts
from blackbox_kd.schema import Row, Sampling
from blackbox_kd.sdk.fields import Column, ModelName, PromptName
from blackbox_kd.sdk.sampling import SamplingConfig

_JUDGING = ("mode", "criteria", "hint", "judge_prompt", "against_model", "judge_temperature", "judge_max_tokens")


class JudgingConfig(SamplingConfig):
    """Fields of a step that asks models, whose answers a judge may grade, or compare with those of one of them."""

    judge: ModelName | None = None
    """Model that judges answers, for tasks without a right one; see `mode`."""
    mode: Literal["pairwise", "scale"] = "pairwise"
    """`pairwise`: the judge compares each answer with that of `against_model`, in both orders, and writes `score`,
    `against_score` and `verdict`: there is a win rate. `scale`: it gives each answer of every model a number from 1 to
    10 by `criteria`, and writes their mean as `score`, `scores` by criterion, and its words as `verdict`: there is the
    metric `score`, from 0 to 1."""
    criteria: dict[str, str] = Field(default_factory=dict)
    """What counts: meanings by name. With `mode: scale` each gets a number, and it is `quality` if left out."""
    hint: Column | None = None
    """Column that the judge is shown besides: the right answer, or a rule that answers have to follow."""
    judge_prompt: PromptName | None = None
    """Template of what the judge is asked; `judge/pairwise` or `judge/scale`, by the `mode`, if left out."""
    against_model: ModelName | None = None
    """Which of `models` the judge compares the others with; the first one if left out."""
    judge_temperature: float | None = Field(default=0.2, ge=0, le=2)
    """Sampling temperature of the judge; at 0 a verdict that cannot be read stays so."""
    judge_max_tokens: int | None = Field(default=512, ge=1)
    """The most tokens of a verdict; one that is cut off is not read."""

    @model_validator(mode="after")
    def _how_it_judges(self) -> Self:
        if self.judge is not None:
            self.judge_prompt = self.judge_prompt or f"judge/{self.mode}"
        if self.is_graded:
            self.criteria = self.criteria or verdicts.QUALITY
        return self

    @property
    def is_graded(self) -> bool:
        """Whether a judge gives each answer a number of its own."""
        return self.judge is not None and self.mode == "scale"

    @property
    def written_by_judge(self) -> tuple[str, ...]:
        """Columns for what the judge says."""
        if self.judge is None:
            return ()
        return ("score", "scores" if self.is_graded else "against_score", "verdict")

    def judge_variables(self) -> set[str]:
        """What the judge's prompt is shown besides the row's columns."""
        texts = {"candidate", *verdicts.SHOWN} if self.is_graded else pairwise.SHOWN
        return set() if self.judge_prompt is None else texts | ({"hint"} if self.hint is not None else set())

    def add_hint(self, row: Row) -> Row:
        """What the judge is shown of a row."""
        return row if self.hint is None else row | {"hint": row[self.hint]}

    def set_for(self, field: str) -> dict[str, tuple[str, Any]]:
        """The sampling fields for the models that answer, and those of the judge."""
        if field == "judge":
            fields = {
                "temperature": ("judge_temperature", self.judge_temperature),
                "max_tokens": ("judge_max_tokens", self.judge_max_tokens),
            }
            return {name: entry for name, entry in fields.items() if entry[0] in self.model_fields_set}
        return super().set_for(field) if field.startswith("models") else {}

    def judging(self) -> Sampling:
        """How verdicts are drawn."""
        defaults = {"judge_temperature", "judge_max_tokens"} - self.model_fields_set
        return Sampling(
            temperature=self.judge_temperature,
            max_tokens=self.judge_max_tokens,
            defaults=frozenset(name.removeprefix("judge_") for name in defaults),
        )

    def find_unjudged(self, models: Sequence[str]) -> list[tuple[str, str, str]]:
        """Fields that nothing would read as nobody judges, and what a judge has not to compare.

        Args:
            models: that answer.
        """
        if self.judge is None:
            given = [name for name in _JUDGING if name in self.model_fields_set]
            what = "means nothing without judge:."
            return [(name, f"{name}: {what}", f"add judge: MODEL, or take {name}: out") for name in given]
        found = []
        if not verdicts.are_told_apart(self.criteria):
            what = f"criteria: {', '.join(map(repr, self.criteria))} cannot be told apart in a verdict."
            found.append(("criteria", what, "give each a name of its own, of letters and digits"))
        if self.is_graded:
            what = "means nothing with mode: scale: every answer is graded by itself."
            stray = [name for name in ("against_model",) if name in self.model_fields_set]
            return found + [(name, f"{name}: {what}", "take it out") for name in stray]
        if len(set(models)) < 2:
            what = f"judge: {self.judge!r} has nothing to compare: models: names one model."
            return [*found, ("judge", what, "name a second model, or mode: scale")]
        if self.against_model not in models:
            what = f"against_model: {self.against_model!r} is not one of the models that answer."
            return [*found, ("against_model", what, f"name one of them: {', '.join(models)}")]
        return found
