"""OpenAI's Batch API: requests are handed in as a file and answered within a day, at half the price.

Everything else goes over aiohttp (see `client`); here calls are few and files large, and the openai package
knows their ways.
"""

import asyncio
import json
import re
import ssl
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from blackbox_kd.errors import CallError, EndpointRefused, QuotaSpent, RequestRejected, ServerFault
from blackbox_kd.models.http import connection
from blackbox_kd.models.http.batches import Batch
from blackbox_kd.models.http.client import Address
from blackbox_kd.models.http.keys import hide_secret
from blackbox_kd.models.http.status import find_fault, make_fault, quote, quote_error
from blackbox_kd.privacy import hide_key, tell_cause

ENDPOINT = "/v1/chat/completions"
"""That lines on our disk name, which are chat completions whatever is uploaded."""
BATCH_LINES = 50_000
"""Requests that a file may hold."""
BATCH_BYTES = 200_000_000
TRANSLATED_BYTES = 180_000_000
"""Of lines that grow a little when they are translated."""
MARK = "blackbox_kd"
"""Key of our mark in a batch's metadata."""
CLOCKS_DIFFER_S = 3600
"""By how much the endpoint's clock may be behind ours."""
QUEUE_FULL = "token_limit_exceeded"
"""Code of a batch that does not fit into what the account may have waiting."""
OF_SERVER = ("server_error", "internal_error", "internal_server_error", "service_unavailable", "rate_limit_exceeded")
"""Codes of a batch that was not begun though nothing is wrong with it."""
STATUS_OF_CODE = {"model_not_found": 404}
"""What a code of a batch that was not begun would be as the status of a response; 400 for all others."""


class OpenAIBatches:
    """Files and batches of one endpoint. For one event loop; nothing is sent or imported before the first call.

    Args:
        address: of the endpoint; its `timeout_s` is the longest silence.
        translate: makes what is uploaded of a body of chat completions, see `chat.WireFormat`.

    The methods raise a CallError by class, see `errors`.
    """

    most_lines = BATCH_LINES

    def __init__(self, address: Address, translate: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> None:
        self.base_url = address.base_url
        self.most_bytes = TRANSLATED_BYTES if translate else BATCH_BYTES
        self._address = address
        self._make_body = translate
        self._timeout_s = address.timeout_s
        self._endpoint = f"/v1{address.path}"
        self._client: Any = None
        self._proxy = connection.find_proxy(self.base_url)

    async def upload(self, path: Path) -> str:
        """Uploads a file of requests; returns its id."""
        try:
            with self._convert_errors("/files"), await asyncio.to_thread(self._open_lines, path) as file:
                made = await self._connect().files.create(file=(path.name, file), purpose="batch", **self._own())
                return self._read_text(made, "id")
        except EndpointRefused as error:
            fix = f"{error.fix}; or take out batch: true, if the endpoint has no Batch API"
            raise EndpointRefused(error.what, fix=fix, kind=error.kind) from error

    def _open_lines(self, path: Path) -> BinaryIO:
        """The requests as they are uploaded."""
        if self._make_body is None:
            return path.open("rb")
        with path.open("rb") as lines, ExitStack() as until_done:
            sent: BinaryIO = until_done.enter_context(TemporaryFile(dir=path.parent))
            for line in map(json.loads, lines):
                asked = self._make_line(line, self._make_body(line["body"]))
                sent.write(json.dumps(asked, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
            sent.seek(0)
            until_done.pop_all()
        return sent

    def _make_line(self, line: Mapping[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        """A line as it is uploaded, of one on our disk and the body in the endpoint's words."""
        return {**line, "url": self._endpoint, "body": body}

    async def create(self, file_id: str, mark: str) -> str:
        """Hands an uploaded file in as a batch that carries `mark`; returns the batch's id.

        Never sent a second time by itself: after a fault the batch can be there all the same.
        """
        with self._convert_errors("/batches"):
            made = await self._connect().batches.create(
                input_file_id=file_id,
                endpoint=self._endpoint,
                completion_window="24h",
                metadata={MARK: mark},
                **self._own(),
            )
            return self._read_text(made, "id")

    async def find(self, file_id: str, mark: str, since: float) -> str | None:
        """The id of the batch that carries `mark`, or was made of the file, or None.

        Args:
            file_id: of its requests.
            mark: see `create`.
            since: Unix time before which it cannot have been created.
        """
        with self._convert_errors("/batches"):
            async for batch in self._connect().batches.list(limit=100, **self._own()):
                if (batch.metadata or {}).get(MARK) == mark or batch.input_file_id == file_id:
                    return self._read_text(batch, "id")
                if batch.created_at < since - CLOCKS_DIFFER_S:  # the newest come first
                    break
        return None

    async def look(self, batch_id: str) -> Batch:
        """How a batch stands."""
        with self._convert_errors(f"/batches/{batch_id}"):
            found = await self._connect().batches.retrieve(batch_id, **self._own())
            status = self._read_text(found, "status").lower()
        errors = getattr(found.errors, "data", None) or []
        return Batch(
            id=batch_id,
            status=status,
            files=tuple(file for file in (found.output_file_id, found.error_file_id) if file),
            done=found.request_counts.completed if found.request_counts else 0,
            errors=tuple(
                {
                    "code": error.code,
                    "message": self._hide(error.message or ""),
                    "param": error.param,
                    "line": error.line,
                }
                for error in errors
            ),
        )

    async def lines(self, file_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """The lines of a file of results, as they arrive; those that are no JSON objects are left out."""
        with self._convert_errors(f"/files/{file_id}/content"):
            async with self._connect().files.with_streaming_response.content(file_id, **self._own()) as response:
                rest = b""
                async for part in response.iter_bytes():
                    *whole, rest = (rest + part).split(b"\n")
                    for line in filter(None, map(_read, whole)):
                        yield line
                if last := _read(rest):
                    yield last

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def outcome(self, line: Mapping[str, Any]) -> str | CallError:
        """What a line of results says: the raw body of a reply, or the error of its request."""
        response, error = line.get("response"), line.get("error")
        if isinstance(response, dict):
            body, status = response.get("body"), response.get("status_code")
            text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
            if isinstance(status, int):
                if 200 <= status < 300:
                    fault = find_fault(self._build_url(), {}, text, self._address.secret)
                    return hide_secret(text, self._address.secret) if fault is None else fault
                return make_fault(self._build_url(), status, {}, text, self._address.secret)
        said = error if isinstance(error, dict) else {}
        message = quote(self._hide(str(said.get("message") or line)))
        return ServerFault(f"{self._build_url()}: {message}", kind=_read_code(said.get("code")))

    def explain_unanswered(self, batch: Batch) -> CallError:
        """Why requests of a batch that has ended have no line among its results."""
        if batch.status != "failed":
            kind = "left_out" if batch.status == "completed" else f"batch_{batch.status}"
            return ServerFault(f"{self._build_url()}: batch {batch.id} {batch.status} without an answer", kind=kind)
        first = batch.errors[0] if batch.errors else {}
        code, error = str(first.get("code")), self._explain(batch, first)
        if isinstance(error, (EndpointRefused, QuotaSpent)) or error.field:
            return error
        if code == QUEUE_FULL or code in OF_SERVER or not batch.errors:
            return ServerFault(error.what, kind="queue_full" if code == QUEUE_FULL else "batch_failed")
        fix = "mend what it says, then run the same command; or take out batch: true"
        return RequestRejected(error.what, fix=fix, kind="batch_rejected")

    def explain_line(self, batch: Batch, number: int) -> CallError | None:
        """What is wrong with the line of a number, from 1, in the file of a batch that was not begun; None if nothing.

        The other lines are worth another try: in a file without those that are named.
        """
        error = next((error for error in batch.errors if error["line"] == number), None)
        found = None if batch.status != "failed" or error is None else self._explain(batch, error)
        return None if found is not None and found.field else found  # a field of one line is one of all

    def _explain(self, batch: Batch, error: Mapping[str, Any]) -> CallError:
        """What one of a batch's errors would be as the body of a response."""
        code, message = str(error.get("code")), error.get("message") or "it does not say why"
        said = {"message": f"batch {batch.id} failed: {message}", "code": code, "param": error.get("param")}
        return make_fault(self._build_url(), STATUS_OF_CODE.get(code, 400), {}, json.dumps({"error": said}))

    def _own(self) -> dict[str, Any]:
        """What the package takes along with each request: headers, and none of its own where they hold the key."""
        from openai import Omit

        own = self._address.headers
        if own is None:
            return {}
        has_bearer = any(name.lower() == "authorization" for name in own)
        return {"extra_headers": own if has_bearer else {**own, "Authorization": Omit()}}

    def _connect(self) -> Any:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        if self._client is None:
            how: dict[str, Any] = {"base_url": self.base_url, "timeout": self._timeout_s, "max_retries": 0}
            how["http_client"] = DefaultAsyncHttpxClient(
                verify=connection.find_context(self.base_url) or ssl.create_default_context(),
                proxy=self._proxy and self._proxy.url,
                trust_env=False,
                **({"follow_redirects": False} if self._address.headers else {}),  # only Authorization stays behind
            )
            how["default_query"] = self._address.query
            self._client = AsyncOpenAI(api_key=self._address.key or "EMPTY", **how)
        return self._client

    def _build_url(self) -> str:
        return f"{self.base_url}/batches"

    def _read_text(self, found: Any, name: str) -> str:
        """A field of an answer; a gateway's page instead of the answer comes as a plain string."""
        value = getattr(found, name, None)
        if not isinstance(value, str):
            raise ServerFault(f"{self.base_url}: what came has no {name!r}", kind="unreadable")
        return value

    def _hide(self, text: str) -> str:
        return hide_key(text, self._address.secret)

    @contextmanager
    def _convert_errors(self, path: str) -> Iterator[None]:
        """Turns errors of the openai package, and of the HTTP library under it, into ours."""
        import openai

        url, secret = f"{self.base_url}{path}", self._address.secret
        try:
            yield
        except openai.APIStatusError as error:
            response = error.response  # the package's own error repeats what the server says, and would be shown
            raise make_fault(url, response.status_code, response.headers, response.text, secret) from None
        except openai.APITimeoutError as error:
            raise ServerFault(f"{url}: no answer within {self._timeout_s:g} s", kind="timeout") from error
        except openai.APIConnectionError as error:
            raise self._make_fault(url, error.__cause__ or error) from tell_cause(error, secret)
        except openai.OpenAIError as error:
            raise ServerFault(f"{url}: {self._quote(error)}", kind="unreadable") from tell_cause(error, secret)
        except Exception as error:
            if not _is_of_transport(error):
                raise
            raise self._make_fault(url, error) from tell_cause(error, secret)

    def _make_fault(self, url: str, error: BaseException) -> CallError:
        if self._proxy and _is_of_transport(error, "ProxyError"):
            return connection.refuse_tunnel(self._proxy, self._quote(error)).as_error(url)
        proxy = self._proxy if _is_of_transport(error, "ConnectError") else None
        if (failure := connection.explain(error, proxy, is_open=True)) is not None:
            return failure.as_error(url, is_open=True)
        return ServerFault(f"{url}: the connection broke: {self._quote(error)}", kind="connection")

    def _quote(self, error: BaseException) -> str:
        return quote_error(error, self._address.secret)


def _read_code(code: Any) -> str:
    """A code of the endpoint as the kind of a fault, where it is a word."""
    return code if isinstance(code, str) and re.fullmatch(r"\w{1,40}", code, re.ASCII) else "unreadable"


def _read(line: bytes) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        value = json.loads(line)
        if isinstance(value, dict):
            return value
    return None


def _is_of_transport(error: BaseException, name: str = "HTTPError") -> bool:
    """Whether an error is one of the HTTP library: of httpx before openai 3, of httpx2 since."""
    libraries = filter(None, map(sys.modules.get, ("httpx2", "httpx")))
    return any(isinstance(error, library.__dict__[name]) for library in libraries)
