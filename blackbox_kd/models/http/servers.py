"""Several servers of one model, among which requests are shared."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from blackbox_kd.errors import FieldError, ServerFault
from blackbox_kd.models.http.access import check_url
from blackbox_kd.models.http.chat import Connections
from blackbox_kd.models.http.client import Address, HttpClient

PASSED_OVER_S = 10.0
"""How long a server that fails is asked only if all others do, too."""


@dataclass(slots=True, eq=False)
class _Server:
    """One of them.

    Args:
        client: its connections.
        in_flight: requests that it has.
        out_until: on the monotonic clock; 0 for one whose latest answer was well.
    """

    client: HttpClient
    in_flight: int = 0
    out_until: float = 0.0

    def rank(self, now: float) -> tuple[float, int]:
        """What is least for the one to ask; one that has failed is asked for one reply before it is asked for more."""
        is_out = now < self.out_until or (self.out_until and self.in_flight)
        return (self.out_until if is_out else 0.0), self.in_flight


class SharedServers:
    """The connections to several servers; a request goes to the one with the fewest in flight. For one event loop.

    Args:
        url: see `Connections.url`.
        clients: of the servers.
    """

    def __init__(self, url: str, clients: list[HttpClient]) -> None:
        self.url = url
        self._servers = [_Server(client) for client in clients]

    async def post(self, body: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
        """Asks a server for a reply; one that cannot be reached is passed over for the others.

        Raises:
            CallError: by class, see `errors`; `unreachable` where none of them can be reached.
        """
        left = list(self._servers)
        while True:
            now = time.monotonic()
            server = min(left, key=lambda each: each.rank(now))
            left.remove(server)
            server.in_flight += 1
            try:
                answer = await server.client.post(body)
                server.out_until = 0.0
                return answer
            except ServerFault as fault:
                if fault.kind == "rate_limit":
                    raise
                server.out_until = time.monotonic() + PASSED_OVER_S
                # Only what was surely not sent is sent again at once: all else may have been worked on.
                if fault.kind != "unreachable" or not left:
                    raise
            finally:
                server.in_flight -= 1

    async def list_models(self) -> tuple[str, str] | None:
        """The list of one of them, see `HttpClient.list_models`."""
        return await min(self._servers, key=lambda each: each.out_until).client.list_models()

    async def close(self) -> None:
        """Closes the connections to all of them."""
        for server in self._servers:
            await server.client.close()


def check_servers(servers: list[str]) -> list[str]:
    """Base URLs as they are written into `servers:`, each once.

    Raises:
        FieldError: one is no URL, see `check_url`, or stands there twice.
    """
    checked = []
    for server in servers:
        try:
            checked.append(check_url(server))
        except FieldError as error:
            raise FieldError(f"servers: {error.what}", exists=error.exists, fix=error.fix) from error
    twice = next((server for server in checked if checked.count(server) > 1), None)
    if twice is not None:
        raise FieldError(f"servers: {twice} stands there twice", fix="write it once")
    return checked


def connect(address: Address, servers: tuple[str, ...] = ()) -> Connections:
    """The connections to an endpoint, or to those servers that are asked in its place.

    Args:
        address: of the endpoint, whose URL stands for the servers, too.
        servers: their base URLs.
    """
    if not servers:
        return HttpClient(address)
    clients = [HttpClient(replace(address, base_url=server)) for server in servers]
    return SharedServers(address.base_url + address.path, clients)
