"""How an endpoint is connected to: whose certificates are trusted, which proxy is asked, and what failures mean."""

import errno
import os
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from blackbox_kd.errors import RAISE_LIMIT, CallError, EndpointRefused, ServerFault, SetupError
from blackbox_kd.models.http.status import quote_error

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


def find_proxy(url: str) -> str | None:
    """The proxy that the environment names for a URL."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)


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


def explain(error: BaseException, proxy: str | None = None, *, is_open: bool = False) -> Failure | None:
    """What keeps a connection from being made, where something else than the endpoint is to blame, or can be told.

    Args:
        error: of the HTTP library, or of what it is made of.
        proxy: URL of the proxy, if that could not be reached.
        is_open: whether there was a connection already.
    """
    chain = list(_chain(error))
    if tls := [link for link in chain if isinstance(link, ssl.SSLError)]:
        return _explain_tls(tls[-1], is_open)  # of those that wrap it, some only look like it
    if any(isinstance(link, OSError) and link.errno in (errno.EMFILE, errno.ENFILE) for link in chain):
        return Failure("cannot be reached: this process can open no more files", RAISE_LIMIT, is_final=False)
    if proxy is not None:
        parts = urlsplit(proxy)
        what = f"its proxy {parts.scheme}://{parts.hostname}:{parts.port} cannot be reached"
        return Failure(what, "check the variables http_proxy, https_proxy and no_proxy", is_final=False)
    return None


def refuse_by_proxy(status: int) -> Failure:
    """What it means that a proxy makes no tunnel to the endpoint, but answers with a status."""
    fix = "check the variables http_proxy, https_proxy and no_proxy"
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        fix = "export https_proxy=http://USER:PASSWORD@HOST:PORT"
    return Failure(f"its proxy says {status} and does not connect to it", fix, is_final=400 <= status < 500)


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
