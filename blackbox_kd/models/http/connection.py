"""How an endpoint is connected to: whose certificates are trusted, which proxy is asked, and what failures mean."""

import errno
import ipaddress
import os
import ssl
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from blackbox_kd.errors import RAISE_LIMIT, CallError, EndpointRefused, ServerFault, SetupError
from blackbox_kd.models.http.status import drop_user, quote_error

OWN = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables that Python's TLS heeds by itself."""
OTHERS = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables of other programs, for a machine that was set up for them; what any of all these names is trusted."""
TRUST = "if you trust the server: export SSL_CERT_FILE=FILE, with the certificate of who signed its own"
_CERTIFICATES = (
    ("mismatch", "write the host into base_url that the certificate is made out to"),
    ("expired", "have the server's certificate renewed, or set this machine's clock"),
    ("not yet valid", "have the server's certificate renewed, or set this machine's clock"),
)
_PLAIN = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")
"""What OpenSSL calls an answer that is no TLS."""


class Failure(NamedTuple):
    """What a failed connection means.

    Args:
        what: it is.
        fix: what mends it.
        is_final: whether the next try would fail, too.
    """

    what: str
    fix: str
    is_final: bool

    def as_error(self, url: str, *, is_open: bool = False) -> CallError:
        """The error of a call to a URL that has failed so, before there was a connection or after."""
        if self.is_final:
            return EndpointRefused(f"{url}: {self.what}", fix=self.fix, kind="endpoint_refused")
        return ServerFault(f"{url}: {self.what}", fix=self.fix, kind="connection" if is_open else "unreachable")


class Proxy(NamedTuple):
    """A proxy that the environment names.

    Args:
        variable: that names it.
        url: of it, perhaps with a user and a password.
    """

    variable: str
    url: str

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"its proxy {parts.scheme}://{drop_user(parts.netloc)} (the variable {self.variable})"


def find_proxy(url: str, env: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy that the environment names for a URL; none for what is on this machine.

    Raises:
        SetupError: nothing can be sent through what it names; a password in it is not shown.
    """
    parts = urlsplit(url)
    names = [case(f"{kind}_proxy") for kind in (parts.scheme, "all") for case in (str.lower, str.upper)]
    variable = next((name for name in names if env.get(name, "").strip()), None)
    if variable is None or is_loopback(url) or _is_excepted(parts, env.get("no_proxy") or env.get("NO_PROXY") or ""):
        return None
    proxy = env[variable].strip()
    scheme, separator, place = proxy.rpartition("://")
    place, scheme = drop_user(place), scheme.lower()
    fix = f"export {variable}=http://HOST:PORT, or except the endpoint: no_proxy={parts.hostname}"
    if not separator:
        what = f"the variable {variable} names the proxy {place!r} without a scheme"
        raise SetupError(what, fix=f"export {variable}=http://{place}")
    if scheme not in ("http", "https"):
        kind = "a SOCKS proxy" if scheme.startswith("socks") else "a proxy"
        raise SetupError(f"the variable {variable} names {kind}, {scheme}://{place}, which is not spoken", fix=fix)
    if not _is_place(proxy):
        raise SetupError(f"the variable {variable} names {scheme}://{place}, which is no URL of a proxy", fix=fix)
    return Proxy(variable, proxy)


def _is_place(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_loopback(url: str) -> bool:
    """Whether a URL stays on this machine."""
    host = urlsplit(url).hostname or ""
    address = _read_address(host)
    return address.is_loopback if address is not None else host == "localhost" or host.endswith(".localhost")


def _is_excepted(parts: SplitResult, listed: str) -> bool:
    """Whether a list of hosts, domains and networks names where a URL leads: `10.0.0.0/8,.example.com,host:8080`."""
    host, address = (parts.hostname or "").rstrip("."), _read_address(parts.hostname or "")
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    for entry in listed.lower().replace(",", " ").split():
        name, _, number = entry.rpartition(":") if entry.count(":") == 1 or "]:" in entry else (entry, "", "")
        if entry == "*":
            return True
        if number and number != str(port):
            continue
        name = name.strip("[]").removeprefix("*").strip(".")
        if address is not None and _holds(name, address):
            return True
        if name and (host == name or (address is None and host.endswith(f".{name}"))):
            return True
    return False


def _holds(network: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _read_address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def find_context(url: str, env: Mapping[str, str] = os.environ) -> ssl.SSLContext | None:
    """What trusts the certificates that the environment names; None where Python's default does so, or none is needed.

    Raises:
        SetupError: there are no certificates where a variable says.
    """
    named = {env[name]: name for name in OTHERS if env.get(name) and env[name] != env.get(OWN[0])}
    if not named or urlsplit(url).scheme != "https":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if any(env.get(own) for own in OWN):
        context.set_default_verify_paths()
    for place, name in named.items():
        try:
            if Path(place).is_dir():
                context.load_verify_locations(capath=place)
            else:
                context.load_verify_locations(cafile=place)
        except OSError as error:  # errors of TLS are such, too
            reason = "none in PEM form" if isinstance(error, ssl.SSLError) else quote_error(error)
            fix = f"export {name}=FILE, with certificates in PEM form, or unset it"
            raise SetupError(f"the variable {name}: {place!r} has no certificates: {reason}", fix=fix) from error
    return context


def explain(error: BaseException, proxy: Proxy | None = None, *, is_open: bool = False) -> Failure | None:
    """What keeps a connection from being made, where something else than the endpoint is to blame, or can be told.

    Args:
        error: of the HTTP library, or of what it is made of.
        proxy: that could not be reached, if it was that.
        is_open: whether there was a connection already.
    """
    chain = list(_chain(error))
    if tls := [link for link in chain if isinstance(link, ssl.SSLError)]:
        return _explain_tls(tls[-1], is_open)  # of those that wrap it, some only look like it
    if any(isinstance(link, OSError) and link.errno in (errno.EMFILE, errno.ENFILE) for link in chain):
        return Failure("cannot be reached: this process can open no more files", RAISE_LIMIT, is_final=False)
    if proxy is not None:
        return Failure(f"{proxy} cannot be reached", _advise(proxy), is_final=False)
    return None


def _advise(proxy: Proxy) -> str:
    return f"check the variable {proxy.variable}, or except the endpoint in no_proxy"


def refuse_by_proxy(status: int, proxy: Proxy) -> Failure:
    """What it means that a proxy passes nothing on to the endpoint, but answers with a status."""
    fix = _advise(proxy)
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        fix = f"export {proxy.variable}=http://USER:PASSWORD@HOST:PORT"
    return Failure(f"{proxy} says {status} and does not connect to it", fix, is_final=400 <= status < 500)


def is_of_proxy(status: int, body: str) -> bool:
    """Whether a response without a tunnel is the proxy's own: no endpoint says 407, nor forbids anything by a page."""
    is_page = status == HTTPStatus.FORBIDDEN and not body.lstrip("\ufeff \r\n\t").startswith(("{", "["))
    return is_page or status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED


def _explain_tls(error: ssl.SSLError, is_open: bool) -> Failure:
    """What OpenSSL says; its errors have the number 1, which is that of a missing permission elsewhere."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message
        fix = next((fix for sign, fix in _CERTIFICATES if sign in said.lower()), TRUST)
        return Failure(f"certificate verify failed: {said.rstrip('.')}", fix, is_final=True)
    reason = error.reason or "broken off"
    is_chance = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) or "INTERNAL" in reason
    fix = "check base_url, and which versions of TLS the server takes"
    if reason in _PLAIN:
        fix = "check base_url: http:// reaches a server without TLS"
    elif "CERTIFICATE" in reason:
        fix = "the server wants a certificate of its clients: reach it through a proxy that has one"
    is_final = not is_chance and ("ALERT" in reason or not is_open)
    return Failure(f"TLS failed: {reason.lower().replace('_', ' ')}", fix, is_final)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it was made of: libraries wrap those of TLS, each in a way of its own."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__
