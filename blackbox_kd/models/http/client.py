"""The connections to one endpoint over HTTP: what all providers of that kind share.

aiohttp and not the openai package, which needs 1.7 to 4 ms of CPU for a call where aiohttp needs 0.2 ms.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from blackbox_kd import __version__, json_text
from blackbox_kd.errors import CallError, ServerFault
from blackbox_kd.models.http import connection
from blackbox_kd.models.http.deadlines import Deadlines
from blackbox_kd.models.http.keys import hide_secret
from blackbox_kd.models.http.status import find_fault, make_fault, quote, quote_error
from blackbox_kd.privacy import Secret, open_anew, tell_cause

if TYPE_CHECKING:
    import aiohttp

CONNECT_S = 15.0
KEEP_IDLE_S = 4.0
"""Servers built on uvicorn, vLLM among them, close connections idle for 5 s: not to send into one that closes."""
MAX_BODY_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Address:
    """Where to send, and how long to wait.

    Args:
        base_url: up to and without `path`.
        key: never shown; sent as a bearer token where `headers` do not carry it. None sends `EMPTY`, which servers
            without keys expect.
        max_concurrency: connections that are kept.
        timeout_s: the most that a call may take, to its last byte.
        gap_s: the longest pause within a body; its first byte may take `timeout_s`, as the model is writing then.
        path: of what replies are asked for.
        headers: in place of the bearer token; names of the vendor's, and the key where it wants it.
        listing: path of the list of its models; None where that tells nothing of what a recipe can ask for.
        query: parameters of every URL.
        secrets: what else is never shown.
    """

    base_url: str
    key: str | None = field(repr=False)
    max_concurrency: int
    timeout_s: float
    gap_s: float = 60.0
    path: str = "/chat/completions"
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    listing: str | None = "/models"
    query: Mapping[str, str] | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def secret(self) -> Secret:
        """All that is never shown."""
        return (*filter(None, [self.key]), *self.secrets) if self.secrets else self.key

    @property
    def sent_headers(self) -> Mapping[str, str]:
        """What says who asks."""
        return {"Authorization": f"Bearer {self.key or 'EMPTY'}"} if self.headers is None else self.headers


class HttpClient:
    """The connections to one endpoint. `post` is for one event loop."""

    def __init__(self, endpoint: Address) -> None:
        self._endpoint = endpoint
        self.url = endpoint.base_url + endpoint.path
        self._session: aiohttp.ClientSession | None = None
        self._deadlines = Deadlines(endpoint.timeout_s)
        self._proxy = connection.find_proxy(self.url)

    def post(self, body: Mapping[str, Any]) -> Coroutine[Any, Any, tuple[str, Mapping[str, str]]]:
        """Asks for a reply; returns the raw body and the headers of a response that is no error.

        Raises:
            CallError: by class, see `errors`; the message names the URL, never the key.
        """
        return self._exchange("POST", self.url, json_text.encode(body, halves="replaced"))

    def request(
        self,
        method: str,
        url: str,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        tells_errors: bool = False,
    ) -> Coroutine[Any, Any, tuple[str, Mapping[str, str]]]:
        """Sends any request to the endpoint; see `post`.

        Args:
            method: of HTTP.
            url: of the same host.
            data: the body: bytes, or what aiohttp takes for it.
            headers: over those of every request.
            tells_errors: whether what comes may tell of errors that are none of this request.
        """
        return self._exchange(method, url, data, headers, tells_errors=tells_errors)

    async def list_models(self) -> tuple[str, str] | None:
        """The URL of the endpoint's list of its models, and what it says; None where there is none. See `post`."""
        if self._endpoint.listing is None:
            return None
        url = self._endpoint.base_url + self._endpoint.listing
        text, _ = await self.request("GET", url)
        return url.partition("?")[0], text

    async def download(self, url: str, path: Path) -> None:
        """Writes a file of the endpoint to disk, as long as it comes steadily; see `post`."""

        async def write(response: "aiohttp.ClientResponse") -> str:
            with open_anew(path) as file:
                while part := await self._read_part(response):
                    await asyncio.to_thread(file.write, part)
            return ""

        await self._exchange("GET", url, read=write)

    async def upload(self, url: str, file: BinaryIO, name: str, fields: Mapping[str, str]) -> str:
        """Sends a file of a name, and other fields, as a form, however long that takes; the answer. See `post`."""
        import aiohttp

        form = aiohttp.FormData(fields)
        form.add_field("file", file, filename=name)
        body = form()
        text, _ = await self._exchange("POST", url, body, {"Content-Type": body.content_type}, read=self._read)
        return text

    async def _exchange(
        self,
        method: str,
        url: str,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        read: Callable[["aiohttp.ClientResponse"], Awaitable[str]] | None = None,
        *,
        tells_errors: bool = False,
    ) -> tuple[str, Mapping[str, str]]:
        """What is read of a response that is no error, and its headers; what goes wrong is one of our errors.

        `read` takes the body where the whole may last longer than a call, as long as the endpoint is not silent.
        """
        import aiohttp

        session = self._session or self._open()
        task = None if read else self._deadlines.begin()
        try:
            async with session.request(
                method,
                url,
                params=self._endpoint.query,
                data=data,
                headers=headers,
                allow_redirects=False,
                timeout=self._make_timeout(self._endpoint.timeout_s) if read else session.timeout,
            ) as response:
                is_good = 200 <= response.status < 300
                text = await (read if read and is_good else self._read)(response)
                if is_good:
                    fault = None if tells_errors else find_fault(url, response.headers, text, self._endpoint.secret)
                    if fault is not None:
                        raise fault
                    return hide_secret(text, self._endpoint.secret), response.headers
                if self._proxy and url.startswith("http:") and connection.is_of_proxy(response.status, text):
                    raise connection.refuse_by_proxy(response.status, self._proxy).as_error(url)
                raise make_fault(url, response.status, response.headers, text, self._endpoint.secret)
        except (aiohttp.ClientError, OSError) as error:
            raise self._explain(url, error) from tell_cause(error, self._endpoint.secret)
        except asyncio.CancelledError:
            if task is None or not self._deadlines.is_over(task):
                raise
            late = f"no whole reply within {self._endpoint.timeout_s:g} s"
            raise _make_fault(url, "timeout", late, "raise timeout_s: of the model") from None
        finally:
            if task is not None:
                self._deadlines.end(task)

    async def close(self) -> None:
        """Closes the connections."""
        self._deadlines.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> "aiohttp.ClientSession":
        import aiohttp

        limit = self._endpoint.max_concurrency
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=limit,
                ttl_dns_cache=300,
                keepalive_timeout=KEEP_IDLE_S,
                ssl=connection.find_context(self.url) or True,
            ),
            timeout=self._make_timeout(None),
            headers={
                "Content-Type": "application/json",
                "User-Agent": f"blackbox-kd/{__version__}",
                **self._endpoint.sent_headers,
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            # Looked up once: `trust_env` would read the environment for each call.
            proxy=self._proxy and self._proxy.url,
        )
        return self._session

    def _make_timeout(self, silence_s: float | None) -> "aiohttp.ClientTimeout":
        import aiohttp

        return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=silence_s)

    async def _read(self, response: "aiohttp.ClientResponse") -> str:
        """The decoded body, as long as it comes steadily and is not absurdly large."""
        content = response.content
        if content.is_eof():  # it came with the headers, as short replies do
            return content.read_nowait().decode(errors="replace")
        parts: list[bytes] = []
        size = 0
        while part := await self._read_part(response):
            parts.append(part)
            size += len(part)
            if size > MAX_BODY_BYTES:
                response.close()
                what = f"a reply of more than {MAX_BODY_BYTES // 2**20} MB was not read"
                raise _make_fault(str(response.url.with_query(None)), "too_large", what)
        return b"".join(parts).decode(errors="replace")

    async def _read_part(self, response: "aiohttp.ClientResponse") -> bytes:
        try:
            async with asyncio.timeout(self._endpoint.gap_s):
                return await response.content.readany()
        except TimeoutError:
            what = f"the reply stopped for {self._endpoint.gap_s:g} s"
            raise _make_fault(str(response.url.with_query(None)), "timeout", what) from None

    def _explain(self, url: str, error: Exception) -> CallError:
        """What a connection that could not be made, or that broke, means."""
        import aiohttp

        is_open = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
        if isinstance(error, aiohttp.ClientHttpProxyError):  # it is asked for a tunnel, and its URL may hold a password
            assert self._proxy is not None
            return connection.refuse_by_proxy(error.status, self._proxy).as_error(url)
        proxy = self._proxy if isinstance(error, aiohttp.ClientProxyConnectionError) else None
        if (failure := connection.explain(error, proxy, is_open=is_open)) is not None:
            return failure.as_error(url, is_open=is_open)
        if isinstance(error, aiohttp.SocketTimeoutError):
            return _make_fault(url, "timeout", f"no answer within {self._endpoint.timeout_s:g} s")
        quoted = quote_error(error, self._endpoint.secret)
        if is_open:
            return _make_fault(url, "connection", f"the connection broke: {quoted}")
        return _make_fault(url, "unreachable", f"cannot be reached: {quoted}")


def _make_fault(url: str, kind: str, what: str, fix: str = "") -> CallError:
    return ServerFault(f"{url}: {quote(what)}", kind=kind, fix=fix)
