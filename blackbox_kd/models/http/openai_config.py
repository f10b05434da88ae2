"""Fields of the config of every provider that speaks as OpenAI does, and the model that they lead to."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from blackbox_kd.errors import FieldError
from blackbox_kd.models import Model, Setup
from blackbox_kd.models.http import responses_api
from blackbox_kd.models.http.chat import ChatModel, WireFormat
from blackbox_kd.models.http.client import Address
from blackbox_kd.models.http.config import VendorConfig
from blackbox_kd.models.http.openai_batches import BATCH_LINES, OpenAIBatches
from blackbox_kd.models.http.own_headers import check_headers, check_query, fill, find_variables
from blackbox_kd.models.http.parameters import CAPS, Parameters
from blackbox_kd.models.http.responses_api import ResponsesApi
from blackbox_kd.models.http.servers import connect


class OpenAIConfig(VendorConfig):
    """A model behind an endpoint with OpenAI's chat completions, or its Responses."""

    most_lines: ClassVar[int] = BATCH_LINES

    api: Literal["chat", "responses"] = "chat"
    """What is asked: `chat`, the completions that most endpoints have, or `responses`, in which models of OpenAI tell
    a summary of their reasoning. Responses know neither `stop` nor a seed, and nothing of them is stored (`store`)."""
    max_tokens_field: Literal["auto", "max_tokens", "max_completion_tokens"] = "auto"
    """What the endpoint calls `max_tokens`; `auto` is `max_completion_tokens` at OpenAI and in Azure's v1, else
    `max_tokens`, and the other one where the model refuses it."""
    headers: Annotated[dict[str, str], AfterValidator(check_headers)] = Field(default_factory=dict)
    """HTTP headers of every request, over those that are sent anyway. `$NAME` or `${NAME}` in a value is what that
    environment variable holds: a secret like a key, and stored nowhere. `Authorization` takes the place of the key."""
    query: Annotated[dict[str, str], AfterValidator(check_query)] = Field(default_factory=dict)
    """Parameters of every URL; values as in `headers`."""

    @property
    def takes_budget(self) -> bool:
        """Whether the endpoint has a field for a number of tokens of reasoning."""
        return False

    @model_validator(mode="after")
    def _level(self) -> Self:
        if isinstance(self.thinking, int) and not self.takes_budget:
            what = f"thinking: {self.thinking} is a number of tokens, which OpenAI's models have no field for"
            raise FieldError(what, fix="write off, low, medium or high, or the endpoint's own field in extra_body:")
        return self

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if self.api == "responses" and self.max_tokens_field != "auto":
            what = f"max_tokens_field: {self.max_tokens_field} is of chat completions"
            raise FieldError(what, fix="take it out, or write api: chat")
        return self

    @property
    def parameters(self) -> Parameters:
        """What the model takes; a name of `max_tokens` that the recipe gives is taken."""
        known = super().parameters
        if self.api == "responses":  # whose one name of `max_tokens` is nothing to find out
            return replace(known, refuses=known.refuses - set(CAPS)).without("responses", "api: chat")
        if self.max_tokens_field == "auto":
            return known
        return replace(known, refuses=known.refuses - set(CAPS), cap=self.max_tokens_field)

    @property
    def added_fields(self) -> Mapping[str, Any]:
        """See `responses_api.ADDED`."""
        return responses_api.ADDED if self.api == "responses" else {}

    @property
    def path(self) -> str:
        """Of what replies are asked for, behind the base URL."""
        return responses_api.PATH if self.api == "responses" else "/chat/completions"

    def has_own(self, header: str) -> bool:
        """Whether the recipe gives a header."""
        return any(name.lower() == header.lower() for name in self.headers)

    @property
    def own_variables(self) -> list[str]:
        """Environment variables whose values are sent in headers and parameters."""
        return find_variables(self.headers, self.query)

    def find_unset(self, setup: Setup) -> list[tuple[str, str, str]]:
        """What stands in the way of filling headers and parameters; see `ModelConfig.missing`."""
        for field, values in (("headers", self.headers), ("query", self.query)):
            try:
                fill(values, setup.env)
            except FieldError as error:
                return [(field, error.what, error.fix)]
        return []


def open_endpoint(
    config: OpenAIConfig,
    setup: Setup,
    address: Address,
    *,
    max_tokens_field: str,
    servers: tuple[str, ...] = (),
    chat_format: WireFormat | None = None,
) -> Model:
    """Opens a model; nothing is sent before the first call.

    Args:
        config: of the model.
        setup: where variables are looked up.
        address: of the endpoint; its headers and parameters stand under the recipe's own.
        max_tokens_field: what `max_tokens` is called.
        servers: base URLs that are asked in place of the address's own.
        chat_format: of `api: chat`, where it has its own ways.
    """
    address = _fill_in(address, config, setup)
    wire_format = chat_format if config.api == "chat" else ResponsesApi(reasons=config.parameters.reasons)
    return ChatModel(
        config,
        connect(address, servers),
        endpoint=f"{address.base_url} {config.model}",  # vendors limit each model by itself
        max_tokens_field=max_tokens_field,
        wire_format=wire_format,
        batch_api=OpenAIBatches(address, None if wire_format is None else wire_format.translate),
    )


def _fill_in(address: Address, config: OpenAIConfig, setup: Setup) -> Address:
    """An address with the recipe's own headers and parameters over those that are there."""
    headers, parameters = fill(config.headers, setup.env), fill(config.query, setup.env)
    query = {**(address.query or {}), **parameters.values} or None
    address = replace(address, query=query, secrets=headers.secrets + parameters.secrets)
    if not headers.values:
        return address
    own = {name.lower() for name in headers.values}
    kept = {name: value for name, value in address.sent_headers.items() if name.lower() not in own}
    return replace(address, headers=kept | headers.values)
