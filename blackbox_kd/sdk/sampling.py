"""The sampling fields that every step has which asks a model, and what is taken of a reply."""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from blackbox_kd.schema import Sampling, refuse_reserved
from blackbox_kd.sdk.step_config import StepConfig


class SamplingConfig(StepConfig):
    """Sampling fields; they go to the endpoint as they are."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature; without it, the endpoint's default."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Nucleus sampling: the share of the probability that is drawn from."""
    max_tokens: int | None = Field(default=1024, ge=1)
    """The most tokens of a reply; one that reaches it is cut off."""
    stop: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list, max_length=16)
    """Texts that end a reply."""
    sampling_seed: int | None = None
    """Seed that is sent to the endpoint, where it takes one."""
    extra: Annotated[dict[str, Any], AfterValidator(refuse_reserved)] = Field(default_factory=dict)
    """Other fields of the request, as the endpoint names them (`reasoning_effort`, `top_k`)."""

    def set_for(self, field: str) -> dict[str, tuple[str, Any]]:
        """The sampling fields: each goes to all models that the step names."""
        fields = {
            "temperature": ("temperature", self.temperature),
            "top_p": ("top_p", self.top_p),
            "max_tokens": ("max_tokens", self.max_tokens),
            "stop": ("stop", self.stop or None),
            "seed": ("sampling_seed", self.sampling_seed),
        }
        given = {name: entry for name, entry in fields.items() if entry[0] in self.model_fields_set}
        return given | {name: ("extra", value) for name, value in self.extra.items()}

    def sampling(self) -> Sampling:
        """The fields as one value."""
        return self.sampled

    @cached_property
    def sampled(self) -> Sampling:
        """See `sampling`, which is asked by every call."""
        return Sampling(
            self.temperature,
            self.top_p,
            self.max_tokens,
            tuple(self.stop),
            self.sampling_seed,
            self.extra,
            frozenset({"temperature", "max_tokens"} - self.model_fields_set),
        )


def find_named_twice(models: Sequence[str]) -> list[tuple[str, str, str]]:
    """What is wrong with a step's `models` if one of them stands there twice; see `StepConfig.problems`."""
    twice = next((name for at, name in enumerate(models) if name in models[:at]), None)
    if twice is None:
        return []
    return [("models", f"model {twice!r} is named twice; it would only say the same again.", "name it once")]
