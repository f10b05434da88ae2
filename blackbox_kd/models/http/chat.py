"""A model behind an endpoint. What is asked is a body of chat completions, whatever form it has on the wire."""

from collections.abc import Coroutine, Mapping
from typing import Any, Protocol

from blackbox_kd.models import ModelConfig
from blackbox_kd.models.http.batches import BatchApi
from blackbox_kd.models.http.body import build_body, fold_system, leave_out, plain_calls
from blackbox_kd.schema import Request


class Connections(Protocol):
    """What requests go through."""

    url: str
    """Of what replies are asked for; without parameters, it stands for the endpoint in keys."""

    async def post(self, body: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
        """See `client.HttpClient.post`."""
        ...

    async def list_models(self) -> tuple[str, str] | None:
        """See `client.HttpClient.list_models`."""
        ...

    async def close(self) -> None:
        """Closes the connections."""
        ...


class WireFormat(Protocol):
    """What a vendor's requests and replies look like. Keys and the ledger's requests know nothing of it."""

    def translate(self, body: dict[str, Any]) -> dict[str, Any]:
        """A body of chat completions as the vendor takes it."""
        ...

    def convert(self, value: Any) -> Any:
        """A decoded reply of the vendor as a chat completion; what is none is returned as it is."""
        ...


class ChatCompletions:
    """The format in which requests are meant."""

    def translate(self, body: dict[str, Any]) -> dict[str, Any]:
        """See `WireFormat`."""
        return plain_calls(body)

    def convert(self, value: Any) -> Any:
        """See `WireFormat`."""
        return value


class ChatModel:
    """A model behind such an endpoint: see `models.Model`.

    Args:
        config: the provider's.
        http: the connections.
        endpoint: what the limiter counts by.
        max_tokens_field: name of the body's field for `max_tokens`.
        wire_format: of the vendor.
        batch_api: how requests are handed in as files, if there is a way.
    """

    def __init__(
        self,
        config: ModelConfig,
        http: Connections,
        *,
        endpoint: str,
        max_tokens_field: str = "max_tokens",
        wire_format: WireFormat | None = None,
        batch_api: BatchApi | None = None,
    ) -> None:
        self.config = config
        self.endpoint = endpoint
        self._http = http
        self._max_tokens_field = max_tokens_field
        self._extra = config.own_fields
        wire_format = wire_format or ChatCompletions()
        self._translate, self.convert = wire_format.translate, wire_format.convert
        self.batch_api = batch_api
        self._parameters, self._folds_system = config.parameters, config.folds_system
        self._takes_all = not (self._parameters.refuses or self._parameters.refuses_reasoning or self._folds_system)
        self._added = config.added_fields

    def wire(self, request: Request) -> dict[str, Any]:
        """The URL, and the body as the recipe means it."""
        body = build_body(self.config.model, request, self._max_tokens_field, self._extra)
        return {"url": self._http.url, "body": body}

    def body(self, wire: dict[str, Any], request: Request) -> dict[str, Any]:
        """What is asked of the model: the body with the cap that the request is given, as far as the model takes it."""
        body: dict[str, Any] = wire["body"]
        if self._added:
            body = {**self._added, **body}
        if request.cap is not None:
            body = {**body, self._max_tokens_field: request.cap}
        if request.form:
            rest = {name: value for name, value in body.items() if name not in request.form}
            body = {**rest, **self.config.suit_form(request.form)}
        if self._takes_all and not request.refused:
            return body
        if self._folds_system:
            body = {**body, "messages": fold_system(body["messages"])}
        return leave_out(body, self._parameters.find_refused(body) | request.refused)

    def send(self, wire: dict[str, Any], request: Request) -> Coroutine[Any, Any, tuple[str, Mapping[str, str]]]:
        """See `models.Model.send`."""
        return self._http.post(self._translate(self.body(wire, request)))

    async def list_models(self) -> tuple[str, str] | None:
        """See `models.Model.list_models`."""
        return await self._http.list_models()

    async def close(self) -> None:
        """Closes the connections."""
        if self.batch_api is not None:
            await self.batch_api.close()
        await self._http.close()
