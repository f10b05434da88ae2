"""Models of OpenAI and others that are deployed in Azure: the v1 API, and the one before it, which has dated versions.

    {provider: azure, base_url: https://NAME.openai.azure.com, model: DEPLOYMENT}
    {provider: azure, base_url: https://NAME.openai.azure.com, model: DEPLOYMENT, api_version: 2024-10-21}

Source   openai 3.54 (`lib/azure.py`) and Microsoft's documentation of the v1 API, November 2026
"""

from dataclasses import replace
from typing import Annotated, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import Field, field_validator, model_validator

from blackbox_kd.errors import FieldError
from blackbox_kd.models import Model, Sending, Setup
from blackbox_kd.models.http import access
from blackbox_kd.models.http.content_filter import AzureCompletions
from blackbox_kd.models.http.openai_config import OpenAIConfig, open_endpoint
from blackbox_kd.schema import digest

ENDPOINT = "AZURE_OPENAI_ENDPOINT"
KEYS = {"key": "AZURE_OPENAI_API_KEY", "token": "AZURE_OPENAI_AD_TOKEN"}
"""Variables that Azure's own packages read, too."""
_DATED = r"\d{4}-\d{2}-\d{2}(-preview)?"


class Config(OpenAIConfig):
    """A deployment in Azure; `model` is its name."""

    base_url: str | None = None
    """URL of the resource, https://NAME.openai.azure.com; without it the variable AZURE_OPENAI_ENDPOINT."""
    api_version: Annotated[str, Field(pattern=f"^{_DATED}$")] | None = None
    """Version of the API before v1, such as 2024-10-21, which knows neither `api: responses` nor `batch` here; left
    out, the v1 API is asked, which has none."""
    auth: Literal["key", "token"] = "key"
    """What the variable holds that `key_env` names: `key`, a key of the resource, or `token`, a token of Entra, which
    is good for about an hour: run the same command with a new one, and it goes on."""
    key_env: str | None = None
    """Name of the environment variable that holds the key or the token. Without it AZURE_OPENAI_API_KEY or
    AZURE_OPENAI_AD_TOKEN."""

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        return None if value is None else _check_resource(value)

    @model_validator(mode="after")
    def _is_of_version(self) -> Self:
        asked = "api: responses" if self.api == "responses" else "batch: true" if self.batch else ""
        if self.api_version is not None and asked:
            raise FieldError(f"{asked} is of the v1 API, and api_version: names another", fix="take api_version: out")
        return self

    @property
    def names_freely(self) -> bool:
        """A deployment is called what one likes, and goes on as long as Azure says."""
        return True

    @property
    def path(self) -> str:
        """Of what replies are asked for, behind the base URL."""
        is_v1 = self.api_version is None
        return super().path if is_v1 else f"/deployments/{quote(self.model, safe='')}/chat/completions"

    @property
    def header(self) -> str:
        """In which the key or the token goes."""
        return "api-key" if self.auth == "key" else "Authorization"

    @property
    def variable(self) -> str | None:
        """That holds the key or the token, if the recipe's own headers do not carry it."""
        return None if self.has_own("api-key") or self.has_own("Authorization") else self.key_env or KEYS[self.auth]

    def missing(self, setup: Setup) -> list[tuple[str, str, str]]:
        """What stands in the way of opening a model: the config's field, what is wrong, what to do."""
        try:
            base_url = _find_base_url(self, setup)
        except FieldError as error:
            return [("provider", f"the variable {ENDPOINT}: {error.what}.", f"export {ENDPOINT}=https://...")]
        if not base_url:
            what, example = (
                f"there is no base_url:, and the variable {ENDPOINT} is not set.",
                "https://NAME.openai.azure.com",
            )
            return [("provider", what, f"write base_url: {example}, or export {ENDPOINT}={example}")]
        other = "key" if self.auth == "token" else "token"
        fix = f"export {self.variable}=..., or auth: {other} with {KEYS[other]}, or key_env: NAME"
        found = access.find_obstacles([base_url], self.variable, setup.env, kind=self.auth, fix=fix)
        return found or self.find_unset(setup)

    def sends_to(self, setup: Setup) -> tuple[str, str | None]:
        """The URL that requests go to, and the variable that holds the key, if one goes with them."""
        return _find_base_url(self, setup), self.variable

    def routes(self, setup: Setup) -> list[Sending]:
        """All URLs that requests go to, and the variables whose values go with them."""
        variables: list[str | None] = [*filter(None, [self.variable, *self.own_variables])] or [None]
        return [Sending(_find_base_url(self, setup), variable) for variable in variables]

    def identity(self, setup: Setup) -> str:
        """What names a model in fingerprints: how it is reached, not how fast or at what price."""
        return digest(
            [_find_base_url(self, setup), self.path, self.model, _find_max_tokens_field(self), self.own_fields]
        )


def open_model(config: Config, setup: Setup) -> Model:
    """Opens a model; nothing is sent before the first call.

    Raises:
        SetupError: the key, the token or the resource's URL is missing or cannot be one.
    """
    config.refuse_missing(setup)
    query = {"api-version": config.api_version} if config.api_version else None
    # A listing would tell models, and not deployments.
    address = config.make_address(*config.sends_to(setup), setup, path=config.path, listing=None, query=query)
    said = f"Bearer {address.key}" if config.auth == "token" else address.key
    address = replace(address, headers={config.header: said} if address.key and said else {})
    max_tokens_field = _find_max_tokens_field(config)
    return open_endpoint(config, setup, address, max_tokens_field=max_tokens_field, chat_format=AzureCompletions())


def _check_resource(url: str) -> str:
    """The URL of a resource, however much of the path behind it was copied along.

    Raises:
        FieldError: see `access.check_url`.
    """
    parts = urlsplit(access.check_url(url))
    return f"{parts.scheme}://{parts.netloc}{parts.path.partition('/openai')[0]}"


def _find_base_url(config: Config, setup: Setup) -> str:
    """Up to the path of what is asked; "" where nobody says which resource."""
    named = setup.env.get(ENDPOINT)
    resource = config.base_url or (_check_resource(named) if named else "")
    return resource and f"{resource}/openai{'' if config.api_version else '/v1'}"


def _find_max_tokens_field(config: Config) -> str:
    """The older name is taken by all dated versions, and refused by name where a model wants the newer one."""
    if config.max_tokens_field != "auto":
        return config.max_tokens_field
    return "max_tokens" if config.api_version else "max_completion_tokens"
