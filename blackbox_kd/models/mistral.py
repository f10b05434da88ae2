"""Mistral's own endpoint: chat completions in its words, and jobs of them at half the price."""

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from blackbox_kd.models import Model, Setup
from blackbox_kd.models.http import client, keys
from blackbox_kd.models.http.access import find_obstacles
from blackbox_kd.models.http.chat import ChatModel
from blackbox_kd.models.http.config import EndpointConfig
from blackbox_kd.models.http.dialects import MISTRAL
from blackbox_kd.models.http.mistral_batches import BATCH_LINES, MistralBatches
from blackbox_kd.models.http.parameters import THINKING_BUDGET, Parameters
from blackbox_kd.schema import digest

OWN = "https://api.mistral.ai/v1"
DEFAULT_KEY = "MISTRAL_API_KEY"
ABSENT = frozenset({THINKING_BUDGET})


class Config(EndpointConfig):
    """A model behind Mistral's API."""

    base_url: str = OWN
    """URL up to `/v1`."""
    key_env: str | None = None
    """Name of the environment variable that holds the key. Without it MISTRAL_API_KEY, which is sent only to Mistral;
    any other `base_url` is then used without a key."""
    rpm: float | None = Field(default=None, gt=0)
    """The most requests a minute; the limits that the endpoint reports are kept to anyway."""
    tpm: float | None = Field(default=None, gt=0)
    """The most tokens a minute, prompt and reply together."""
    batch: bool = False
    """Hand requests in as jobs: half of `price`, and replies within 24 hours. Such requests are not counted against
    `rpm`, `tpm` and `max_concurrency`."""

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str) -> str:
        return client.check_url(value)

    @property
    def in_flight(self) -> int:
        """As many as a file takes, or as the endpoint is sent."""
        return BATCH_LINES if self.batch else self.max_concurrency

    @property
    def is_batched(self) -> bool:
        """See `batch`."""
        return self.batch

    @property
    def rate_limits(self) -> tuple[float | None, float | None]:
        """See `rpm` and `tpm`."""
        return self.rpm, self.tpm

    @property
    def parameters(self) -> Parameters:
        """What the model takes; of reasoning there are levels alone."""
        return super().parameters.without(ABSENT)

    def missing(self, setup: Setup) -> list[tuple[str, str, str]]:
        """What stands in the way of opening a model: the config's field, what is wrong, what to do."""
        return find_obstacles([self.base_url], _find_variable(self), setup.env)

    def sends_to(self, setup: Setup) -> tuple[str, str | None]:
        """The URL that requests go to, and the variable that holds the key, if one goes with them."""
        return self.base_url, _find_variable(self)

    def identity(self, setup: Setup) -> str:
        """What names a model in fingerprints: how it is reached, not how fast or at what price."""
        return digest([self.base_url, self.model, self.own_fields])


def open_model(config: Config, setup: Setup) -> Model:
    """Opens a model; nothing is sent before the first call.

    Raises:
        SetupError: the key is missing or cannot be one.
    """
    config.refuse_missing(setup)
    variable = _find_variable(config)
    key = keys.read_key(setup.env, variable) if variable else None
    address = client.Address(config.base_url, key, config.max_concurrency, config.timeout_s)
    return ChatModel(
        config,
        client.HttpClient(address),
        endpoint=f"{config.base_url} {config.model}",  # limits are those of a model
        max_tokens_field="max_tokens",
        extra=config.own_fields,
        wire_format=MISTRAL,
        batch_api=MistralBatches(address, config.model, MISTRAL.translate),
    )


def _find_variable(config: Config) -> str | None:
    """The variable that holds the key; Mistral's own key goes nowhere the user did not send it."""
    is_own = urlsplit(config.base_url).hostname == urlsplit(OWN).hostname
    return config.key_env or (DEFAULT_KEY if is_own else None)
