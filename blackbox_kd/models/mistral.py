"""Mistral's own endpoint: chat completions in its words, and jobs of them at half the price."""

from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import field_validator

from blackbox_kd.models import Model, Setup
from blackbox_kd.models.http import access, client
from blackbox_kd.models.http.chat import ChatModel
from blackbox_kd.models.http.config import VendorConfig
from blackbox_kd.models.http.dialects import MISTRAL
from blackbox_kd.models.http.mistral_batches import BATCH_LINES, MistralBatches
from blackbox_kd.models.http.parameters import Parameters

OWN = "https://api.mistral.ai/v1"
DEFAULT_KEY = "MISTRAL_API_KEY"


class Config(VendorConfig):
    """A model behind Mistral's API."""

    most_lines: ClassVar[int] = BATCH_LINES

    base_url: str = OWN
    """URL up to `/v1`."""
    key_env: str | None = None
    """Name of the environment variable that holds the key. Without it MISTRAL_API_KEY, which is sent only to Mistral;
    any other `base_url` is then used without a key."""

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str) -> str:
        url = access.check_url(value)
        return url if urlsplit(url).path else f"{url}/v1"

    @property
    def parameters(self) -> Parameters:
        """What the model takes; of reasoning there are levels alone, and no log-probabilities."""
        return super().parameters.without("mistral")

    def sends_to(self, setup: Setup) -> tuple[str, str | None]:
        """The URL that requests go to, and the variable that holds the key, if one goes with them."""
        return self.base_url, self.find_variable(self.base_url, OWN, DEFAULT_KEY)


def open_model(config: Config, setup: Setup) -> Model:
    """Opens a model; nothing is sent before the first call.

    Raises:
        SetupError: the key is missing or cannot be one.
    """
    config.refuse_missing(setup)
    address = config.make_address(*config.sends_to(setup), setup)
    return ChatModel(
        config,
        client.HttpClient(address),
        endpoint=f"{config.base_url} {config.model}",  # limits are those of a model
        wire_format=MISTRAL,
        batch_api=MistralBatches(address, config.model, MISTRAL.translate),
    )
