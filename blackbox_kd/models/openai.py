"""Any endpoint that speaks OpenAI's chat completions: OpenAI itself, gateways, and most other vendors."""

from dataclasses import replace
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from blackbox_kd.errors import FieldError, SetupError
from blackbox_kd.models import Model, Setup
from blackbox_kd.models.http import client, connection, keys
from blackbox_kd.models.http.chat import ChatModel
from blackbox_kd.models.http.config import EndpointConfig
from blackbox_kd.models.http.dialects import find_dialect
from blackbox_kd.models.http.openai_batches import BATCH_LINES, OpenAIBatches
from blackbox_kd.models.http.parameters import CAPS, Parameters
from blackbox_kd.schema import digest

OPENAI = "https://api.openai.com/v1"
DEFAULT_KEY = "OPENAI_API_KEY"


class Config(EndpointConfig):
    """A model behind an OpenAI-compatible endpoint."""

    base_url: str | None = None
    """URL up to `/v1`; without it the variable OPENAI_BASE_URL, then https://api.openai.com/v1."""
    key_env: str | None = None
    """Name of the environment variable that holds the key. Without it OPENAI_API_KEY, which is sent only to OpenAI
    and to OPENAI_BASE_URL; any other `base_url` is then used without a key."""
    rpm: float | None = Field(default=None, gt=0)
    """The most requests a minute; the limits that the endpoint reports are kept to anyway."""
    tpm: float | None = Field(default=None, gt=0)
    """The most tokens a minute, prompt and reply together."""
    batch: bool = False
    """Hand requests in as files through the endpoint's Batch API: half of `price`, and replies within 24 hours. Such
    requests are not counted against `rpm`, `tpm` and `max_concurrency`."""
    max_tokens_field: Literal["auto", "max_tokens", "max_completion_tokens"] = "auto"
    """What the endpoint calls `max_tokens`; `auto` is `max_completion_tokens` at api.openai.com, else `max_tokens`, and
    the other one where the model refuses it."""

    @property
    def in_flight(self) -> int:
        """As many as a file takes, or as the endpoint is sent."""
        return BATCH_LINES if self.batch else self.max_concurrency

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        return None if value is None else client.check_url(value)

    @field_validator("thinking")
    @classmethod
    def _level(cls, value: str | int | None) -> str | int | None:
        if isinstance(value, int):
            what = f"thinking: {value} is a number of tokens, which chat completions have no field for"
            raise FieldError(what, fix="write off, low, medium or high, or the endpoint's own field in extra_body:")
        return value

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
        """What the model takes; a name of `max_tokens` that the recipe gives is taken."""
        known = super().parameters
        if self.max_tokens_field == "auto":
            return known
        return replace(known, refuses=known.refuses - set(CAPS), cap=self.max_tokens_field)

    def missing(self, setup: Setup) -> list[tuple[str, str, str]]:
        """What stands in the way of opening a model: the config's field, what is wrong, what to do."""
        variable = _find_variable(self)
        try:
            base_url = _find_base_url(self, setup)
        except FieldError as error:
            return [("provider", f"the variable OPENAI_BASE_URL: {error.what}.", "export OPENAI_BASE_URL=https://...")]
        try:
            has_key = variable is None or keys.read_key(setup.env, variable) is not None
        except FieldError as error:
            return [("provider", error.what, f"export {variable}=...")]
        try:
            connection.find_proxy(base_url, setup.env)
        except SetupError as error:
            return [("provider", f"{error.what}.", error.fix)]
        if has_key or connection.is_loopback(base_url):
            return []
        fix = f"export {variable}=... or name the variable that holds the key: key_env: NAME"
        return [("provider", f"{base_url} needs a key, and the variable {variable} is not set.", fix)]

    def sends_to(self, setup: Setup) -> tuple[str, str | None]:
        """The URL that requests go to, and the variable that holds the key, if one goes with them."""
        return _find_base_url(self, setup), _find_variable(self)

    def identity(self, setup: Setup) -> str:
        """What names a model in fingerprints: how it is reached, not how fast or at what price."""
        return digest([_find_base_url(self, setup), self.model, _find_max_tokens_field(self, setup), self.own_fields])


def open_model(config: Config, setup: Setup) -> Model:
    """Opens a model; nothing is sent before the first call.

    Raises:
        SetupError: the key is missing or cannot be one, or OPENAI_BASE_URL is no URL.
    """
    config.refuse_missing(setup)
    base_url = _find_base_url(config, setup)
    variable = _find_variable(config)
    key = keys.read_key(setup.env, variable) if variable else None
    http = client.HttpClient(client.Address(base_url, key, config.max_concurrency, config.timeout_s))
    return ChatModel(
        config,
        http,
        endpoint=f"{base_url} {config.model}",  # vendors limit each model by itself
        max_tokens_field=_find_max_tokens_field(config, setup),
        extra=config.own_fields,
        wire_format=find_dialect(base_url),
        batch_api=OpenAIBatches(base_url, key, config.timeout_s),
    )


def _find_base_url(config: Config, setup: Setup) -> str:
    return config.base_url or client.check_url(setup.env.get("OPENAI_BASE_URL") or OPENAI)


def _find_variable(config: Config) -> str | None:
    """The variable that holds the key; OpenAI's own key goes nowhere the user did not send it."""
    default = DEFAULT_KEY if config.base_url is None or _is_openai(config.base_url) else None
    return config.key_env or default


def _find_max_tokens_field(config: Config, setup: Setup) -> str:
    if config.max_tokens_field != "auto":
        return config.max_tokens_field
    return "max_completion_tokens" if _is_openai(_find_base_url(config, setup)) else "max_tokens"


def _is_openai(base_url: str) -> bool:
    return urlsplit(base_url).hostname == "api.openai.com"
