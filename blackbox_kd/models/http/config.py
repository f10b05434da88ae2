"""Fields of the config of every provider that asks an endpoint."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from blackbox_kd.analysis.logprobs import CONTINUE, DRAWS
from blackbox_kd.errors import FieldError
from blackbox_kd.models import NOT_OF_IDENTITY, ModelConfig, Price, Setup
from blackbox_kd.models.http import keys
from blackbox_kd.models.http.access import find_obstacles
from blackbox_kd.models.http.client import Address
from blackbox_kd.models.http.parameters import CAPS, EFFORT, THINKING_BUDGET, Parameters, find
from blackbox_kd.schema import digest, refuse_reserved


class Limits(BaseModel):
    """What a model lets through."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    max_tokens: int | None = Field(default=None, ge=1)
    """The most tokens of a reply."""


class EndpointConfig(ModelConfig):
    """A model behind an endpoint."""

    lacks: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (CONTINUE, DRAWS), "a model of provider vllm or transformers in its place"
    )

    model: str = Field(min_length=1)
    """What the endpoint calls the model; `cheap` and `strong` stand for a known vendor's current ones."""
    key_env: str | None = None
    """Name of the environment variable that holds the key."""
    timeout_s: float = Field(default=600, gt=0)
    """The most seconds that one reply may take."""
    price: Price | None = None
    """What the model costs; without it the list price, where one is known."""
    refuses: list[str] | None = None
    """Fields of a request that the model does not take, in place of what is known of it: `[temperature]`, or `[]` for
    one that takes all. A step's defaults for them are left out; what the recipe itself asks for of them is an error."""
    limits: Limits = Limits()
    """What the model lets through at most, in place of what is known of it."""
    system: Literal["role", "fold"] = "role"
    """`fold` for a model without that role: what the system message says is put in front of the first question."""
    thinking: Literal["off", "low", "medium", "high"] | Annotated[int, Field(ge=1)] | None = None
    """How much the model reasons before it replies: `off`, `low`, `medium`, `high`, or the most tokens of it; left out,
    as much as it does by itself. A step's default for `max_tokens` is raised by what it may take."""
    extra_body: Annotated[dict[str, Any], AfterValidator(refuse_reserved)] = Field(default_factory=dict)
    """Other fields of every request, as the endpoint names them."""

    @field_validator("refuses")
    @classmethod
    def _one_cap(cls, refuses: list[str] | None) -> list[str] | None:
        if refuses is not None and set(CAPS) <= set(refuses):
            raise FieldError(f"refuses: names both {' and '.join(CAPS)}", fix="name the one that is not taken")
        return refuses

    @property
    def parameters(self) -> Parameters:
        """See `refuses` and `limits`."""
        return find(self.model, None if self.refuses is None else tuple(self.refuses), self.limits.max_tokens)

    def identity(self, setup: Setup) -> str:
        """What names a model in fingerprints; a field that is not set is no part of it."""
        return digest(self.model_dump(exclude=NOT_OF_IDENTITY | ({"thinking"} if self.thinking is None else set())))

    def suit_form(self, form: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `ModelConfig.suit_form`."""
        return self.parameters.suit_form(form)

    @property
    def folds_system(self) -> bool:
        """See `system`."""
        return self.system == "fold"

    @property
    def longest_call_s(self) -> float:
        """See `timeout_s`."""
        return self.timeout_s

    @property
    def own_price(self) -> Price | None:
        """See `price`."""
        return self.price

    def make_address(self, base_url: str, variable: str | None, setup: Setup, **how: Any) -> Address:
        """The endpoint, with the key that a variable holds; `how` is in words of Address."""
        key = keys.read_key(setup.env, variable) if variable else None
        return Address(base_url, key, self.max_concurrency, self.timeout_s, **how)

    @property
    def key_variable(self) -> str | None:
        """See `key_env`."""
        return self.key_env

    @property
    def own_fields(self) -> Mapping[str, Any]:
        """See `thinking`, by the names that chat completions and vLLM have for it, and `extra_body`."""
        if self.thinking is None:
            return self.extra_body
        is_budget = isinstance(self.thinking, int)
        name = THINKING_BUDGET if is_budget else EFFORT
        return {name: "none" if self.thinking == "off" else self.thinking, **self.extra_body}


class VendorConfig(EndpointConfig):
    """A model behind an endpoint with limits by the minute, and a way to hand requests in together."""

    most_lines: ClassVar[int]
    """Requests that are handed in together at most."""

    rpm: float | None = Field(default=None, gt=0)
    """The most requests a minute; the limits that the endpoint reports are kept to anyway."""
    tpm: float | None = Field(default=None, gt=0)
    """The most tokens a minute, prompt and reply together."""
    batch: bool = False
    """Hand requests in together through the vendor's Batch API: half of `price`, and replies within 24 hours. Such
    requests are not counted against `rpm`, `tpm` and `max_concurrency`."""

    @property
    def in_flight(self) -> int:
        """As many as a batch takes, or as the endpoint is sent."""
        return self.most_lines if self.batch else self.max_concurrency

    @property
    def is_batched(self) -> bool:
        """See `batch`."""
        return self.batch

    @property
    def rate_limits(self) -> tuple[float | None, float | None]:
        """See `rpm` and `tpm`."""
        return self.rpm, self.tpm

    def sends_to(self, setup: Setup) -> tuple[str, str | None]:
        """The URL that requests go to, and the variable that holds the key, if one goes with them."""
        raise NotImplementedError

    def find_variable(self, asked: str | None, own_url: str, own_variable: str) -> str | None:
        """The variable that holds the key; a vendor's own key goes nowhere the user did not send it."""
        is_own = asked is None or urlsplit(asked).hostname == urlsplit(own_url).hostname
        return self.key_env or (own_variable if is_own else None)

    def missing(self, setup: Setup) -> list[tuple[str, str, str]]:
        """What stands in the way of opening a model: the config's field, what is wrong, what to do."""
        base_url, variable = self.sends_to(setup)
        return find_obstacles([base_url], variable, setup.env)

    def identity(self, setup: Setup) -> str:
        """What names a model in fingerprints: how it is reached, not how fast or at what price."""
        return digest([self.sends_to(setup)[0], self.model, self.own_fields])
