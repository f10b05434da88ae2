"""What a recipe says of an arm."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ArmConfig(BaseModel):
    """One other way through the chain of a recipe."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    set: dict[str, Any] = Field(min_length=1, examples=[{"steps.4.input": "all"}])
    """What is other than in the recipe, by the paths of `--set`: below `steps` and `models`."""
