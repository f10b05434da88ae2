"""Claude by Anthropic's own API: Messages, and batches of them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import field_validator

from blackbox_kd.errors import FieldError
from blackbox_kd.models import Model, Setup
from blackbox_kd.models.http import access, client
from blackbox_kd.models.http.anthropic_batches import BATCH_LINES, AnthropicBatches
from blackbox_kd.models.http.cache_marks import CacheMarks
from blackbox_kd.models.http.chat import ChatModel
from blackbox_kd.models.http.claude_schemas import suit_schema
from blackbox_kd.models.http.config import VendorConfig
from blackbox_kd.models.http.messages_api import MessagesApi
from blackbox_kd.models.http.parameters import FORMAT, Parameters

ANTHROPIC = "https://api.anthropic.com"
DEFAULT_KEY = "ANTHROPIC_API_KEY"
PATH = "/v1/messages"
VERSION = "2023-06-01"
"""The version of the API that takes a temperature, of models that do."""


class Config(VendorConfig):
    """A model behind Anthropic's Messages API."""

    most_lines: ClassVar[int] = BATCH_LINES

    base_url: str | None = None
    """URL up to `/v1`; without it the variable ANTHROPIC_BASE_URL, then https://api.anthropic.com."""
    key_env: str | None = None
    """Name of the environment variable that holds the key. Without it ANTHROPIC_API_KEY, which is sent only to
    Anthropic and to ANTHROPIC_BASE_URL; any other `base_url` is then used without a key."""
    cache: bool = True
    """Mark the system text and the examples of a prompt, where they are long and come again, so that the endpoint keeps
    them for five minutes: the first time costs a quarter more, each later time a tenth of `price` or less."""

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        return None if value is None else _check_url(value)

    @property
    def parameters(self) -> Parameters:
        """What the model takes of what the API has a field for."""
        known, firm = super().parameters, frozenset({FORMAT})
        known = replace(known, levels_are_tokens=known.efforts is None)
        return replace(known.without("anthropic"), formats=("json_schema",), firm=firm)

    def suit_form(self, form: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `ModelConfig.suit_form`."""
        if FORMAT not in (taken := super().suit_form(form)):
            return {}
        asked = taken[FORMAT]["json_schema"]
        schema = suit_schema(asked["schema"])
        return {} if schema is None else {FORMAT: {"type": "json_schema", "json_schema": {**asked, "schema": schema}}}

    def missing(self, setup: Setup) -> list[tuple[str, str, str]]:
        """What stands in the way of opening a model: the config's field, what is wrong, what to do."""
        try:
            _find_base_url(self, setup)
        except FieldError as error:
            fix = "export ANTHROPIC_BASE_URL=https://..."
            return [("provider", f"the variable ANTHROPIC_BASE_URL: {error.what}.", fix)]
        return super().missing(setup)

    def sends_to(self, setup: Setup) -> tuple[str, str | None]:
        """The URL that requests go to, and the variable that holds the key, if one goes with them."""
        return _find_base_url(self, setup), self.find_variable(self.base_url, ANTHROPIC, DEFAULT_KEY)


def open_model(config: Config, setup: Setup) -> Model:
    """Opens a model; nothing is sent before the first call.

    Raises:
        SetupError: the key is missing or cannot be one, or ANTHROPIC_BASE_URL is no URL.
    """
    config.refuse_missing(setup)
    address = config.make_address(*config.sends_to(setup), setup, path=PATH, listing="/v1/models?limit=1000")
    own = {"x-api-key": address.key} if address.key else {}
    address = replace(address, headers={"anthropic-version": VERSION} | own)
    http, known = client.HttpClient(address), config.parameters
    wire_format = MessagesApi(known, CacheMarks(known.cached_from) if config.cache else None)
    return ChatModel(
        config,
        http,
        endpoint=f"{address.base_url} {config.model}",  # vendors limit each model by itself
        wire_format=wire_format,
        batch_api=AnthropicBatches(address, wire_format.translate),
    )


def _check_url(url: str) -> str:
    return access.check_url(url).removesuffix("/messages").removesuffix("/v1")


def _find_base_url(config: Config, setup: Setup) -> str:
    return config.base_url or _check_url(setup.env.get("ANTHROPIC_BASE_URL") or ANTHROPIC)
