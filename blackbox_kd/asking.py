"""The sampling fields that every step has which asks a model."""

from typing import Any

from pydantic import Field

from blackbox_kd.registry import StepConfig
from blackbox_kd.schema import Sampling


class AskingConfig(StepConfig):
    """Sampling fields; they go to the endpoint as they are."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature; without it, the endpoint's default."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Nucleus sampling: the share of the probability that is drawn from."""
    max_tokens: int | None = Field(default=1024, ge=1)
    """The most tokens of a reply; one that reaches it is cut off."""
    stop: list[str] = Field(default_factory=list, max_length=16)
    """Texts that end a reply."""
    sampling_seed: int | None = None
    """Seed that is sent to the endpoint, where it takes one."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Other fields of the request, as the endpoint names them (`reasoning_effort`, `top_k`)."""

    def sampling(self) -> Sampling:
        """The fields as one value."""
        return Sampling(self.temperature, self.top_p, self.max_tokens, tuple(self.stop), self.sampling_seed, self.extra)
