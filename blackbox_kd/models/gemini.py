"""Gemini by its own API: generateContent, and batches of it."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import field_validator

from blackbox_kd.errors import FieldError
from blackbox_kd.models import Model, Setup
from blackbox_kd.models.http import access, client, keys
from blackbox_kd.models.http.chat import ChatModel
from blackbox_kd.models.http.config import VendorConfig
from blackbox_kd.models.http.gemini_batches import BATCH_LINES, VERSION, GeminiBatches
from blackbox_kd.models.http.generate_content import GenerateContent
from blackbox_kd.models.http.parameters import EFFORT, Parameters

GOOGLE = "https://generativelanguage.googleapis.com"
DEFAULT_KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
"""The first that is set counts."""
_FULL = re.compile(rf"(?<=/{VERSION})/models(/[^/]*)?$")
"""What of a URL with a model's name is behind the version."""


class Config(VendorConfig):
    """A model behind Gemini's API."""

    most_lines: ClassVar[int] = BATCH_LINES

    base_url: str = GOOGLE
    """URL up to `/v1beta`."""
    key_env: str | None = None
    """Name of the environment variable that holds the key. Without it GEMINI_API_KEY or GOOGLE_API_KEY, which are sent
    only to Google; any other `base_url` is then used without a key."""

    @field_validator("model")
    @classmethod
    def _name(cls, value: str) -> str:
        return value.removeprefix("models/") or value  # as the API lists it

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str) -> str:
        url = _FULL.sub("", access.check_url(value))
        if url.endswith("/openai"):
            what = f"base_url: {url} speaks chat completions"
            raise FieldError(what, fix=f"write provider: openai, or base_url: {GOOGLE}")
        return url.removesuffix(f"/{VERSION}")

    @property
    def parameters(self) -> Parameters:
        """What the model takes, by an API that lacks some fields of chat completions."""
        return replace(super().parameters.without("gemini"), levels_are_tokens=True)

    @property
    def own_fields(self) -> Mapping[str, Any]:
        """See `EndpointConfig.own_fields`; a model that only knows levels is told the least one to be off."""
        fields, known = super().own_fields, self.parameters
        is_least = self.thinking == "off" and not known.budget and "minimal" in (known.efforts or ("minimal",))
        return {**fields, EFFORT: "minimal", **self.extra_body} if is_least else fields

    def sends_to(self, setup: Setup) -> tuple[str, str | None]:
        """The URL that requests go to, and the variable that holds the key, if one goes with them."""
        return self.base_url, _find_variable(self, setup)


def open_model(config: Config, setup: Setup) -> Model:
    """Opens a model; nothing is sent before the first call.

    Raises:
        SetupError: the key is missing or cannot be one.
    """
    config.refuse_missing(setup)
    variable = _find_variable(config, setup)
    key = keys.read_key(setup.env, variable) if variable else None
    address = client.Address(
        config.base_url,
        key,
        config.max_concurrency,
        config.timeout_s,
        path=f"/{VERSION}/models/{config.model}:generateContent",
        headers={"x-goog-api-key": key} if key else {},
        listing=f"/{VERSION}/models?pageSize=1000",
    )
    http, wire_format = client.HttpClient(address), GenerateContent(config.parameters)
    return ChatModel(
        config,
        http,
        endpoint=f"{config.base_url} {config.model}",  # limits are those of a model
        max_tokens_field="max_tokens",
        extra=config.own_fields,
        wire_format=wire_format,
        batch_api=GeminiBatches(address, config.model, wire_format.translate),
    )


def _find_variable(config: Config, setup: Setup) -> str | None:
    """The variable that holds the key; Google's own key goes nowhere the user did not send it."""
    if config.key_env is not None or urlsplit(config.base_url).hostname != urlsplit(GOOGLE).hostname:
        return config.key_env
    return next((name for name in DEFAULT_KEYS if setup.env.get(name, "").strip()), DEFAULT_KEYS[0])
