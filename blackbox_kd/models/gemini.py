"""Gemini by its own API: generateContent, and batches of it."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import field_validator

from blackbox_kd.errors import FieldError
from blackbox_kd.models import Model, Setup
from blackbox_kd.models.http import access, client
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
        name = next((name for name in DEFAULT_KEYS if setup.env.get(name, "").strip()), DEFAULT_KEYS[0])
        return self.base_url, self.find_variable(self.base_url, GOOGLE, name)


def open_model(config: Config, setup: Setup) -> Model:
    """Opens a model; nothing is sent before the first call.

    Raises:
        SetupError: the key is missing or cannot be one.
    """
    config.refuse_missing(setup)
    path, listing = f"/{VERSION}/models/{config.model}:generateContent", f"/{VERSION}/models?pageSize=1000"
    address = config.make_address(*config.sends_to(setup), setup, path=path, listing=listing)
    address = replace(address, headers={"x-goog-api-key": address.key} if address.key else {})
    http, wire_format = client.HttpClient(address), GenerateContent(config.parameters)
    return ChatModel(
        config,
        http,
        endpoint=f"{config.base_url} {config.model}",  # limits are those of a model
        wire_format=wire_format,
        batch_api=GeminiBatches(address, config.model, wire_format.translate),
    )
