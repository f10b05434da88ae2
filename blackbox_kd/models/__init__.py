"""How messages become a reply: one module per provider, found by its name in a recipe's `models:`."""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field

from blackbox_kd.errors import SetupError
from blackbox_kd.schema import Request


class Price(BaseModel):
    """What a model costs, in USD for a million tokens."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    input: float = Field(ge=0)
    """USD for a million prompt tokens."""
    output: float = Field(ge=0)
    """USD for a million completion tokens, hidden reasoning included."""
    cached: float | None = Field(default=None, ge=0)
    """USD for a million prompt tokens that the endpoint had cached; without it they cost `input`."""


class ModelConfig(BaseModel):
    """Fields that every provider has."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    local: ClassVar[bool] = False
    """Whether the model runs in this process, free of charge."""

    provider: str
    """Name of a module of `models/`."""
    model: str
    """What the provider calls the model."""
    max_concurrency: int = Field(default=64, ge=1)
    """The most requests in flight at once."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a provider may need besides its config.

    Args:
        name: the model's name in the recipe.
        folder: the recipe's folder; relative paths of the config start there.
        cache: the user's cache folder, for converted weights.
        env: environment variables; a key is looked up here when the model is opened, and never stored.
        allow_code: whether the user allowed code named by the recipe to run.
        seed: the run's seed.
    """

    name: str
    folder: Path
    cache: Path
    env: Mapping[str, str] = field(repr=False)
    allow_code: bool = False
    seed: int = 0


class Model(Protocol):
    """An open model. `wire` and `send` are apart so that a paid reply is found before anything is sent."""

    config: ModelConfig
    endpoint: str
    """What the limiter counts by: models of one endpoint share its limits."""

    def wire(self, request: Request) -> dict[str, Any]:
        """The canonical request: all that decides the reply, and nothing else. No key, no time-out."""
        ...

    async def send(self, wire: dict[str, Any], request: Request) -> tuple[str, Mapping[str, str]]:
        """Sends a request; returns the raw body (the JSON of a chat completion) and the response's headers.

        Raises:
            CallError: by class, see `errors`.
        """
        ...

    async def close(self) -> None:
        """Frees connections and memory."""
        ...


def providers() -> list[str]:
    """Names of all providers; a package in this folder is what a provider is made of, and none itself."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def provider(name: str) -> ModuleType:
    """The module of a provider: it has `Config` (a ModelConfig) and `open_model(config, setup) -> Model`.

    It may have, each with the arguments `(config, setup)`: `missing`, what stands in the way of opening a model;
    `identity`, what names it in fingerprints; `key_goes_to`, the variable of its key and the URL that it is sent to.
    And with the config alone `needs`: packages beyond those that are always there, and the extra that brings each.

    Raises:
        SetupError: there is no such provider.
    """
    if name not in providers():
        raise SetupError(f"unknown provider {name!r}; providers: {', '.join(providers())}")
    return importlib.import_module(f"blackbox_kd.models.{name}")
