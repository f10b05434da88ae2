"""A running vLLM server: OpenAI's chat completions, with the fields that vLLM adds to them.

    vllm serve MODEL --generation-config vllm

`--generation-config vllm` keeps the sampling defaults of the model's own files out: they would decide replies
without being in the recipe.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, field_validator

from blackbox_kd.analysis.logprobs import DRAWS, TOP
from blackbox_kd.errors import FieldError
from blackbox_kd.models import Model, Price, Sending, Setup
from blackbox_kd.models.http import access, keys
from blackbox_kd.models.http.chat import ChatCompletions, ChatModel
from blackbox_kd.models.http.config import EndpointConfig
from blackbox_kd.models.http.parameters import EFFORT, THINKING_BUDGET, Parameters
from blackbox_kd.models.http.servers import check_servers, connect


class Config(EndpointConfig):
    """A model behind a vLLM server. The step's `extra:` takes vLLM's fields too, over those given here."""

    scores: ClassVar[bool] = True
    lacks: ClassVar[Mapping[str, str]] = {DRAWS: "top: 100 beside it, from which is drawn then"}

    base_url: str = "http://127.0.0.1:8000/v1"
    """URL of the server, up to `/v1`."""
    servers: Annotated[list[str], AfterValidator(check_servers)] = Field(default_factory=list)
    """Base URLs of servers of the same model, among which requests are shared: each goes to the one with the fewest in
    flight, and one that cannot be reached is passed over. If there are any, only they are asked, `base_url` only if it
    is among them. It still names the endpoint in the ledger, so that no server that comes or goes costs a call."""
    key_env: str | None = None
    """Name of the environment variable that holds what the server was given as `--api-key`; without it, no key."""
    timeout_s: float = Field(default=600, gt=0)
    """The most seconds that one reply may take, waiting in the server's queue included."""
    price: Price = Price(input=0, output=0)
    """What tokens cost. Nothing unless you say so: your own server bills nobody."""
    top_k: int | None = Field(default=None, ge=-1)
    """How many of the likeliest tokens are drawn from; 0 or -1 for all."""
    min_p: float | None = Field(default=None, ge=0, le=1)
    """The least probability of a token, as a share of the likeliest one's."""
    repetition_penalty: float | None = Field(default=None, gt=0)
    """Above 1, tokens that occurred become less likely."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Variables of the chat template, such as `{enable_thinking: false}`."""

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str) -> str:
        return access.check_url(value)

    @property
    def names_freely(self) -> bool:
        """The server is one's own."""
        return True

    @property
    def parameters(self) -> Parameters:
        """What the recipe says; names of a server's own models are no vendor's."""
        refused, most = frozenset(self.refuses or ()), self.limits.max_tokens
        return Parameters(refused, most_tokens=most, is_given=self.refuses is not None, patterns=True)

    @property
    def own_fields(self) -> Mapping[str, Any]:
        """See `extra_body`, `thinking`, and the fields that are vLLM's own."""
        template, thinking = self.chat_template_kwargs, self.thinking
        own: dict[str, Any] = {"top_k": self.top_k, "min_p": self.min_p, "repetition_penalty": self.repetition_penalty}
        if thinking == "off":
            template = {"enable_thinking": False, **(template or {})}
        elif isinstance(thinking, int):
            own[THINKING_BUDGET] = thinking
        else:
            own[EFFORT] = thinking
        own["chat_template_kwargs"] = template
        return {**self.extra_body, **{name: value for name, value in own.items() if value is not None}}

    def missing(self, setup: Setup) -> list[tuple[str, str, str]]:
        """What stands in the way of opening a model: the config's field, what is wrong, what to do."""
        if self.key_env is None:
            return []
        try:
            found = keys.read_key(setup.env, self.key_env)
        except FieldError as error:
            return [("key_env", error.what, f"export {self.key_env}=...")]
        fix = f"export {self.key_env}=..., or leave key_env out if the server has no --api-key"
        return [] if found else [("key_env", f"the variable {self.key_env} is not set.", fix)]

    def sends_to(self, setup: Setup) -> tuple[str, str | None]:
        """The URL that requests go to, and the variable that holds the key, if one goes with them."""
        return self.base_url, self.key_env

    def routes(self, setup: Setup) -> list[Sending]:
        """All URLs that requests go to, and the variable that goes with them."""
        field = "servers" if self.servers else "base_url"
        return [Sending(url, self.key_env, field) for url in self.servers or [self.base_url]]


def open_model(config: Config, setup: Setup) -> Model:
    """Opens a model; nothing is sent before the first call.

    Raises:
        SetupError: the key is missing or cannot be one.
    """
    config.refuse_missing(setup)
    address = config.make_address(config.base_url, config.key_env, setup)
    return ChatModel(
        config,
        connect(address, tuple(config.servers)),
        endpoint=config.base_url,  # all models of a server share its GPU
        wire_format=_WithIds(),
    )


class _WithIds(ChatCompletions):
    """The wire format; tokens are told by their ids, which a student of the same vocabulary needs no text for."""

    def translate(self, body: dict[str, Any]) -> dict[str, Any]:
        """See `WireFormat`."""
        return super().translate({**body, "return_tokens_as_token_ids": True} if TOP in body else body)
