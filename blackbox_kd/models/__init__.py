"""How messages become a reply: one module per provider, found by its name in a recipe's `models:`."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

from blackbox_kd.errors import SetupError
from blackbox_kd.models.http.parameters import NOTHING_KNOWN, Parameters
from blackbox_kd.paths import list_modules
from blackbox_kd.schema import Request, digest

MOST_USD = 1_000_000
"""A dollar for a token. What no model costs is a slip, and sums of it would overflow."""
Usd = Annotated[float, Field(ge=0, le=MOST_USD)]


class Price(BaseModel):
    """What a model costs, in USD for a million tokens."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    input: Usd
    """USD for a million prompt tokens."""
    output: Usd
    """USD for a million completion tokens, hidden reasoning included."""
    cached: Usd | None = None
    """USD for a million prompt tokens that the endpoint had cached; without it they cost `input`."""
    cache_write: Usd | None = None
    """USD for a million prompt tokens that the endpoint puts into its cache; without it they cost `input`, or more in
    the proportion that the vendor's list has, where it is known."""
    cache_write_1h: Usd | None = None
    """USD for a million of those that it keeps for an hour; without it they cost as much as others that it caches."""


NOT_OF_IDENTITY = {
    *("max_concurrency", "rpm", "tpm", "timeout_s", "price", "key_env", "refuses", "limits", "system"),
    *("headers", "query", "servers"),
}
"""Fields that change no reply, or no more than how an endpoint takes the question."""


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


class ModelConfig(BaseModel):
    """Fields that every provider has, and what it can do; each says for itself what differs."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    local: ClassVar[bool] = False
    """Whether the model runs in this process, free of charge."""
    canned: ClassVar[bool] = False
    """Whether its replies are made up, so that they say nothing of any model."""
    scores: ClassVar[bool] = False
    """Whether it offers log-probabilities of given text."""
    trainable: ClassVar[bool] = False
    """Whether there are weights to train: see `WeightsConfig`."""
    lacks: ClassVar[Mapping[str, str]] = {}
    """Fields of a request that the provider has nothing like, and what to do."""

    provider: str
    """Name of a module of `models/`."""
    model: str = Field(min_length=1)
    """What the provider calls the model."""
    max_concurrency: int = Field(default=64, ge=1)
    """The most requests in flight at once."""

    @property
    def in_flight(self) -> int:
        """Requests that are worth having under way at once."""
        return self.max_concurrency

    @property
    def names_freely(self) -> bool:
        """Whether `model` is what someone likes to call it, and no vendor's name: weights, a server of one's own."""
        return self.local

    @property
    def is_batched(self) -> bool:
        """Whether requests are handed in as files, and replies come within a day."""
        return False

    @property
    def makes_up(self) -> bool:
        """Whether replies are made up, so that nothing measured or made of them is evidence."""
        return False

    @property
    def rate_limits(self) -> tuple[float | None, float | None]:
        """The most requests and the most tokens a minute, as far as the recipe says."""
        return None, None

    @property
    def longest_call_s(self) -> float | None:
        """The most seconds that a call may take, if there is such a limit."""
        return None

    @property
    def own_price(self) -> Price | None:
        """The price that the recipe gives."""
        return None

    @property
    def key_variable(self) -> str | None:
        """The variable that the recipe names for the key."""
        return None

    @property
    def parameters(self) -> Parameters:
        """What the model takes of a request."""
        return NOTHING_KNOWN

    @property
    def folds_system(self) -> bool:
        """Whether a system message is sent as the beginning of the first question."""
        return False

    @property
    def own_fields(self) -> Mapping[str, Any]:
        """Fields of every request that the recipe's entry sets; a step's own go over them."""
        return {}

    @property
    def added_fields(self) -> Mapping[str, Any]:
        """Fields that are sent beside what is asked, as long as the model takes them; they are no part of a key."""
        return {}

    def suit_form(self, form: Mapping[str, Any]) -> Mapping[str, Any]:
        """Of the fields that hold a reply to a form (`Ask.form`), what the model takes; a prompt asks for the rest."""
        return {}

    def leaves_tools_out(self, folder: Path) -> bool:
        """Whether it is known, before anything is loaded, that the model is shown no tools; `folder`: the recipe's."""
        return False

    def find_files(self) -> dict[str, str]:
        """Files beside the recipe with which fields begin."""
        return {}

    def needs(self) -> dict[str, str]:
        """Packages beyond those that are always there, and the extra that brings each."""
        return {}

    def missing(self, setup: Setup) -> list[tuple[str, str, str]]:
        """What stands in the way of opening a model: the config's field, what is wrong, what to do."""
        return []

    def refuse_missing(self, setup: Setup) -> None:
        """Refuses a model that cannot be opened.

        Raises:
            SetupError: with the first thing that stands in the way.
        """
        for _, what, fix in self.missing(setup):
            raise SetupError(f"model {setup.name!r}: {what}", fix=fix)

    def sends_to(self, setup: Setup) -> tuple[str, str | None] | None:
        """The URL that requests go to, and the variable that holds the key, if one goes with them; None if none go."""
        return None

    def routes(self, setup: Setup) -> list["Sending"]:
        """All URLs that requests go to, and the variables whose values go with them."""
        return [Sending(*sent)] if (sent := self.sends_to(setup)) is not None else []

    def identity(self, setup: Setup) -> str:
        """What names a model in fingerprints: how it is reached, not how fast or at what price."""
        return digest(self.model_dump(exclude=NOT_OF_IDENTITY))


class Sending(NamedTuple):
    """Where requests go, and what goes with them.

    Args:
        url: of the endpoint.
        variable: whose value goes with them, if there is one.
        field: of the config that says where they go.
    """

    url: str
    variable: str | None
    field: str = "base_url"


class WeightsConfig(ModelConfig):
    """Fields of a provider whose models have weights at hand, so that they can be trained."""

    trainable: ClassVar[bool] = True
    adapter: str | None = None
    """Folder of a LoRA adapter."""
    chat_template: str | None = None
    """In place of the model's own: `plain`, which writes `Question: ...` and `Answer: ...`, for a base model; `tools`,
    ChatML with tools; or a .jinja file beside the recipe. What is trained from the model is saved with it."""

    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Values for the chat template, such as `{enable_thinking: false}`; a student is trained with them, too."""

    def find_files(self) -> dict[str, str]:
        """A template beside the recipe."""
        return {"chat_template": file} if (file := self.chat_template or "").endswith(".jinja") else {}

    def version_in(self, folder: Path) -> Self:
        """The config of a version that training has written: the weights there, or the adapter over these weights."""
        is_adapter = (folder / "adapter_config.json").exists()
        return self.model_copy(
            update={"adapter": str(folder)} if is_adapter else {"model": str(folder), "adapter": None}
        )


class Model(Protocol):
    """An open model. `wire` and `send` are apart so that a paid reply is found before anything is sent."""

    config: ModelConfig
    endpoint: str
    """What the limiter counts by: models of one endpoint share its limits."""

    @property
    def batch_api(self) -> Any:
        """How requests are handed in as files, see `models.http.batches.BatchApi`; None where there is no way."""
        ...

    def wire(self, request: Request) -> dict[str, Any]:
        """The canonical request: all that decides the reply, and nothing else. No key, no time-out."""
        ...

    async def send(self, wire: dict[str, Any], request: Request) -> tuple[str, Mapping[str, str]]:
        """Sends a request; returns the raw body (JSON of the vendor) and the response's headers.

        Raises:
            CallError: by class, see `errors`.
        """
        ...

    def convert(self, value: Any) -> Any:
        """A decoded body as a chat completion; what is none is returned as it is."""
        ...

    async def list_models(self) -> tuple[str, str] | None:
        """The URL of the endpoint's own list of models, and its body; None where there is none. It costs nothing.

        Raises:
            CallError: it cannot be had.
        """
        ...

    async def close(self) -> None:
        """Frees connections and memory."""
        ...


class InProcess:
    """What models share that send nothing: their replies are chat completions as they come."""

    batch_api = None

    def convert(self, value: Any) -> Any:
        """See `Model.convert`."""
        return value

    async def list_models(self) -> None:
        """See `Model.list_models`."""


def providers() -> list[str]:
    """Names of all providers; a package in this folder is what a provider is made of, and none itself."""
    return sorted(list_modules(__path__[0]))


def provider(name: str) -> ModuleType:
    """The module of a provider: it has `Config` (a ModelConfig) and `open_model(config, setup) -> Model`.

    Raises:
        SetupError: there is no such provider.
    """
    if name not in providers():
        raise SetupError(f"unknown provider {name!r}; providers: {', '.join(providers())}")
    return importlib.import_module(f"blackbox_kd.models.{name}")
