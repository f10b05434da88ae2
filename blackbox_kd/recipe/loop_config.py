"""What a recipe says of a loop."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from blackbox_kd.errors import FieldError

WIN_RATE = "win_rate"
"""What a judge measures, and no metric of answers."""


class UntilMetric(BaseModel):
    """A loop ends when a metric does not rise any more; the best round's model is restored."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    metric: str = "accuracy"
    """What an `evaluate` of the loop measures: one of its `metrics`, or with a judge `win_rate`."""
    model: str
    """Model that the loop trains."""
    on: str
    """Table that the `evaluate` reads. The evidence has to be of another one."""
    patience: int = Field(default=1, ge=1)
    """Rounds without a better value after which the loop ends."""


class UntilRows(BaseModel):
    """A loop ends when a table has enough rows, or gets hardly any new ones."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    table: str
    """Table that a step of the loop writes."""
    rows: int | None = Field(default=None, ge=1)
    """Rows that are enough."""
    added_below: int | None = Field(default=None, ge=1)
    """Rows of which a round has to add as many: the loop ends with one that adds fewer."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.rows is None) == (self.added_below is None):
            raise FieldError(
                "a loop by a table ends at a number of rows, or when few are added",
                fix="give rows: N, or added_below: N",
            )
        return self


def _choose_kind(value: Any) -> str:
    """Which of the two is meant, so that mistakes are told of that one alone."""
    if isinstance(value, dict):
        is_rows = value.keys() & UntilRows.model_fields.keys() and not value.keys() & UntilMetric.model_fields.keys()
        return "UntilRows" if is_rows else "UntilMetric"
    return type(value).__name__ if isinstance(value, UntilRows) else "UntilMetric"


class LoopConfig(BaseModel):
    """Steps that are run again, each round with the tables and models that the round before it left."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    rounds: int = Field(default=3, ge=1, le=100)
    """The most rounds."""
    until: (
        Annotated[
            Annotated[UntilMetric, Tag("UntilMetric")] | Annotated[UntilRows, Tag("UntilRows")],
            Discriminator(_choose_kind),
        ]
        | None
    ) = None
    """When the loop ends before that."""
    steps: list[Any] = Field(min_length=1)
    """The steps of a round; the first one names its table with `input:`."""

    @property
    def fewest(self) -> int:
        """How many rounds are run for certain, of as many as there may be."""
        if self.until is None:
            return self.rounds
        return min(self.rounds, self.until.patience) if isinstance(self.until, UntilMetric) else 1
