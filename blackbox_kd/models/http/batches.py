"""How an endpoint takes requests by the file and answers them within a day: what calls need to know of it.

Each vendor has a module of its own.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote as quote_url

from blackbox_kd import json_text
from blackbox_kd.errors import CallError, EndpointRefused, QuotaSpent, RequestRejected, ServerFault
from blackbox_kd.models.http import error_body
from blackbox_kd.models.http.client import Address, HttpClient
from blackbox_kd.models.http.keys import hide_secret
from blackbox_kd.models.http.status import find_fault

ENDED = ("completed", "failed", "expired", "cancelled")
CLOCKS_DIFFER_S = 3600
"""By how much the endpoint's clock may be behind ours."""


@dataclass(frozen=True, slots=True)
class Batch:
    """How a batch stands.

    Args:
        id: the endpoint's name for it.
        status: `validating`, `in_progress`, ... or one of ENDED.
        files: of results and of errors; those that there are.
        done: requests with a result.
        errors: why it was not begun: `code`, `message` and `param` of each, and the `line` of the file, from 1.
    """

    id: str
    status: str
    files: tuple[str, ...]
    done: int
    errors: tuple[Mapping[str, Any], ...]


class BatchApi(ABC):
    """Files and batches of one endpoint. For one event loop; nothing is sent before the first call.

    The methods that ask the endpoint raise a CallError by class, see `errors`.

    Args:
        address: of the endpoint.
        url: that errors of requests and batches name.
        translate: makes the endpoint's body of one of chat completions, see `chat.WireFormat`.
    """

    most_lines: int
    """Requests that a file may hold."""
    most_bytes: int
    """Bytes that a file may have, as it is written for us: a line for each request, see `calls.batch.store`."""

    def __init__(self, address: Address, url: str, translate: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.base_url = address.base_url
        """Batches that were handed in at another one are not looked for here."""
        self._url = url
        self._translate = translate
        self._http = HttpClient(address)
        self._address = address

    @abstractmethod
    async def upload(self, path: Path) -> str:
        """Uploads a file of requests; returns what the endpoint calls it, or the path where `create` hands it in."""

    @abstractmethod
    async def create(self, file_id: str, mark: str) -> str:
        """Hands an uploaded file in as a batch that carries `mark`; returns the batch's id.

        Never sent a second time by itself: after a fault the batch can be there all the same.
        """

    @abstractmethod
    async def find(self, file_id: str, mark: str, since: float) -> str | None:
        """The id of the batch that carries `mark`, or was made of the file, or None.

        Args:
            file_id: of its requests.
            mark: see `create`.
            since: Unix time before which it cannot have been created.
        """

    @abstractmethod
    async def look(self, batch_id: str) -> Batch:
        """How a batch stands."""

    @abstractmethod
    def outcome(self, line: Mapping[str, Any]) -> str | CallError:
        """What a line of results says: the raw body of a reply, or the error of its request."""

    @abstractmethod
    def _find_results(self, file_id: str) -> str:
        """The URL of a file of results."""

    async def lines(self, file_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """The lines of a file of results; each names its request by `custom_id`. What is no JSON object is left out."""
        with TemporaryDirectory(prefix="blackbox-kd-") as folder:
            path = Path(folder) / "results.jsonl"
            await self._http.download(self._find_results(file_id), path)
            with path.open("rb") as file:
                for line in file:
                    with suppress(ValueError, RecursionError):
                        value = json_text.decode(line.decode(errors="replace"))
                        if isinstance(value, dict):
                            yield value

    def explain_unanswered(self, batch: Batch) -> CallError:
        """Why requests of a batch that has ended have no line among its results."""
        kind = "left_out" if batch.status == "completed" else f"batch_{batch.status}"
        return ServerFault(f"{self._url}: batch {batch.id} {batch.status} without an answer", kind=kind)

    def explain_line(self, batch: Batch, number: int) -> CallError | None:
        """What is wrong with the line of a number, from 1, in the file of a batch that was not begun; None if nothing.

        The other lines are worth another try: in a file without those that are named.
        """
        return None

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.close()

    async def _ask(self, method: str, url: str, data: Any = None, *, tells_errors: bool = False) -> dict[str, Any]:
        """The JSON object that the endpoint answers with; see `HttpClient.request`."""
        text, _ = await self._http.request(method, url, data, tells_errors=tells_errors)
        return self._read_object(url, text)

    def _read_object(self, url: str, text: str) -> dict[str, Any]:
        with suppress(ValueError, RecursionError):
            value = error_body.decode(text)
            if isinstance(value, dict):
                return value
        raise ServerFault(f"{url}: what came is no JSON object", kind="unreadable")

    def _read_text(self, found: Mapping[str, Any], name: str) -> str:
        value = found.get(name)
        if not isinstance(value, str):
            raise ServerFault(f"{self.base_url}: what came has no {name!r}", kind="unreadable")
        return value

    def _read_reply(self, body: Any) -> str | CallError:
        """The raw body of a reply of status 200, or the error that it tells of."""
        text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
        return find_fault(self._url, {}, text, self._address.secret) or hide_secret(text, self._address.secret)


def suggest_none(error: EndpointRefused, api: str) -> EndpointRefused:
    """An endpoint's refusal of a first request to an API that it may not have at all."""
    fix = f"{error.fix}; or take out batch: true, if the endpoint has no {api}"
    return EndpointRefused(error.what, fix=fix, kind=error.kind)


def explain_not_begun(error: CallError, *, is_of_server: bool = False) -> CallError:
    """What it means for the requests of a batch that it was not begun, for an error that it names."""
    if isinstance(error, (EndpointRefused, QuotaSpent)) or error.field:
        return error
    if is_of_server or isinstance(error, ServerFault):
        return ServerFault(error.what, kind="batch_failed")
    fix = "mend what it says, then run the same command; or take out batch: true"
    return RequestRejected(error.what, fix=fix, kind="batch_rejected")


def list_objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; none of anything else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def quote_id(name: str) -> str:
    """An id as a part of a URL."""
    return quote_url(name, safe="")
