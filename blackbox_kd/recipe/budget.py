"""What a recipe says of spending."""

from pydantic import BaseModel, ConfigDict, Field


class BudgetConfig(BaseModel):
    """The most that a run may spend, over all its invocations, of which 0 means none; `hours` are those of each."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    usd: float | None = Field(default=None, ge=0)
    """Dollars."""
    requests: int | None = Field(default=None, ge=0)
    """Calls that bring a reply."""
    tokens: int | None = Field(default=None, ge=0)
    """Prompt and completion tokens together."""
    hours: float | None = Field(default=None, gt=0, examples=[8])
    """Hours of each invocation. Then nothing new is asked or trained, calls and a training under way end and are kept,
    a batch goes on at its endpoint, and the run ends with status 3; the same command has as many hours again."""

    @property
    def amounts(self) -> dict[str, float | None]:
        """The limits on what all invocations together may spend."""
        return self.model_dump(exclude={"hours"})
