"""The config of a step in which a judge may compare what models answer."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from blackbox_kd.schema import Sampling
from blackbox_kd.sdk.fields import ModelName, PromptName
from blackbox_kd.sdk.sampling import SamplingConfig

_JUDGING = ("judge_prompt", "against_model", "judge_temperature", "judge_max_tokens")


class JudgingConfig(SamplingConfig):
    """Fields of a step that asks models, whose answers a judge may compare with those of one of them."""

    judge: ModelName | None = None
    """Model that compares answers, for tasks without a right one; writes `score`, `against_score` and `verdict`."""
    judge_prompt: PromptName | None = None
    """Template of the comparison; `judge/pairwise` if left out."""
    against_model: ModelName | None = None
    """Which of `models` the judge compares the others with; the first one if left out."""
    judge_temperature: float | None = Field(default=0.2, ge=0, le=2)
    """Sampling temperature of the judge; at 0 a verdict that cannot be read stays so."""
    judge_max_tokens: int | None = Field(default=512, ge=1)
    """The most tokens of a verdict; one that is cut off is not read."""

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
        if len(set(models)) < 2:
            what = f"judge: {self.judge!r} has nothing to compare: models: names one model."
            return [("judge", what, "name a second model")]
        if self.against_model not in models:
            what = f"against_model: {self.against_model!r} is not one of the models that answer."
            return [("against_model", what, f"name one of them: {', '.join(models)}")]
        return []
