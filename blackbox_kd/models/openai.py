"""Any endpoint that speaks as OpenAI does: OpenAI itself, gateways, and most other vendors."""

from collections.abc import Mapping
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from blackbox_kd.errors import FieldError
from blackbox_kd.models import Model, Sending, Setup
from blackbox_kd.models.http import access, connection
from blackbox_kd.models.http.dialects import find_dialect
from blackbox_kd.models.http.openai_config import OpenAIConfig, open_endpoint
from blackbox_kd.models.http.servers import check_servers
from blackbox_kd.schema import digest

OPENAI = "https://api.openai.com/v1"
DEFAULT_KEY = "OPENAI_API_KEY"
OPENROUTER = "openrouter.ai"
_NO_FILES: Mapping[str, str] = {
    "api.mistral.ai": "write provider: mistral, which hands in jobs",
    "api.anthropic.com": "write provider: anthropic, which hands in batches",
    "api.deepseek.com": "take it out",
    OPENROUTER: "take it out",
}
"""Hosts without OpenAI's files of requests, and what can be done."""


class Config(OpenAIConfig):
    """A model behind an OpenAI-compatible endpoint."""

    base_url: str | None = None
    """URL up to `/v1`; without it the variable OPENAI_BASE_URL, then https://api.openai.com/v1."""
    servers: Annotated[list[str], AfterValidator(check_servers)] = Field(default_factory=list)
    """Base URLs of servers of the same model, among which requests are shared: each goes to the one with the fewest in
    flight, and one that cannot be reached is passed over. If there are any, only they are asked, `base_url` only if it
    is among them. It still names the endpoint in the ledger, so that no server that comes or goes costs a call."""
    key_env: str | None = None
    """Name of the environment variable that holds the key. Without it OPENAI_API_KEY, which is sent only to OpenAI
    and to OPENAI_BASE_URL; any other `base_url`, and `servers` of others, are then used without a key."""
    distillable_only: bool = False
    """At openrouter.ai, ask only models whose authors let others be trained on what they write
    (`provider.enforce_distillable_text`, by the best of OpenRouter's knowledge)."""

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        return None if value is None else access.check_url(value)

    @model_validator(mode="after")
    def _one_endpoint(self) -> Self:
        if self.batch and self.servers:
            raise FieldError("batch: true hands in at one endpoint, and servers: names others", fix="take one out")
        host = urlsplit(self.base_url or "").hostname or ""
        if self.batch and host in _NO_FILES:
            raise FieldError(
                f"batch: true hands in files as OpenAI takes them, and {host} does not", fix=_NO_FILES[host]
            )
        return self

    @property
    def takes_budget(self) -> bool:
        """Only OpenRouter, which passes it on to models that know one."""
        return self.api == "chat" and find_dialect(self.base_url or "") is find_dialect(f"https://{OPENROUTER}")

    @property
    def names_freely(self) -> bool:
        """Servers of one's own, and deployments in Azure."""
        return bool(self.servers) or (urlsplit(self.base_url or "").hostname or "").endswith(".azure.com")

    @property
    def own_fields(self) -> Mapping[str, Any]:
        """See `thinking`, `distillable_only` and `extra_body`."""
        own = super().own_fields
        if not self.distillable_only:
            return own
        routing = own.get("provider")
        routing = routing if isinstance(routing, dict) else {}
        return {**own, "provider": {**routing, "enforce_distillable_text": True}}

    def missing(self, setup: Setup) -> list[tuple[str, str, str]]:
        """What stands in the way of opening a model: the config's field, what is wrong, what to do."""
        try:
            base_url = _find_base_url(self, setup)
        except FieldError as error:
            return [("provider", f"the variable OPENAI_BASE_URL: {error.what}.", "export OPENAI_BASE_URL=https://...")]
        if self.distillable_only and not _tells_distillable(base_url):
            what = f"distillable_only: {base_url} does not tell which models others may be trained on."
            return [("distillable_only", what, f"take it out, or base_url: https://{OPENROUTER}/api/v1")]
        obstacles = access.find_obstacles(self.servers or [base_url], _find_variable(self), setup.env)
        return obstacles or self.find_unset(setup)

    def sends_to(self, setup: Setup) -> tuple[str, str | None]:
        """The URL that requests go to, and the variable that holds the key, if one goes with them."""
        return _find_base_url(self, setup), _find_variable(self)

    def routes(self, setup: Setup) -> list[Sending]:
        """All URLs that requests go to, and the variables whose values go with them."""
        field = "servers" if self.servers else "base_url"
        variables: list[str | None] = [*filter(None, [_find_variable(self), *self.own_variables])] or [None]
        asked = self.servers or [_find_base_url(self, setup)]
        return [Sending(url, variable, field) for url in asked for variable in variables]

    def identity(self, setup: Setup) -> str:
        """What names a model in fingerprints: how it is reached, not how fast or at what price."""
        named = [_find_base_url(self, setup), self.model, _find_max_tokens_field(self, setup), self.own_fields]
        return digest(named if self.api == "chat" else [*named, self.api])


def open_model(config: Config, setup: Setup) -> Model:
    """Opens a model; nothing is sent before the first call.

    Raises:
        SetupError: the key is missing or cannot be one, or OPENAI_BASE_URL is no URL.
    """
    config.refuse_missing(setup)
    address = config.make_address(*config.sends_to(setup), setup, path=config.path)
    return open_endpoint(
        config,
        setup,
        address,
        max_tokens_field=_find_max_tokens_field(config, setup),
        servers=tuple(config.servers),
        chat_format=find_dialect(address.base_url),
    )


def _find_base_url(config: Config, setup: Setup) -> str:
    return config.base_url or access.check_url(setup.env.get("OPENAI_BASE_URL") or OPENAI)


def _find_variable(config: Config) -> str | None:
    """The variable that holds the key; OpenAI's own key goes nowhere the user did not send it."""
    if config.has_own("Authorization"):
        return None
    named = [*filter(None, [config.base_url]), *config.servers]
    return config.key_env or (DEFAULT_KEY if all(map(_is_openai, named)) else None)


def _find_max_tokens_field(config: Config, setup: Setup) -> str:
    if config.max_tokens_field != "auto":
        return config.max_tokens_field
    return "max_completion_tokens" if _is_openai(_find_base_url(config, setup)) else "max_tokens"


def _is_openai(base_url: str) -> bool:
    return urlsplit(base_url).hostname == "api.openai.com"


def _tells_distillable(base_url: str) -> bool:
    """Whether OpenRouter is asked, perhaps through a proxy of the user's own on this machine."""
    host = urlsplit(base_url).hostname or ""
    return host == OPENROUTER or host.endswith(f".{OPENROUTER}") or connection.is_loopback(base_url)
