"""Certificates, proxies and what else stands between here and an endpoint: what is honoured, and what is said."""

import asyncio
import os
import resource
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import certifi
import pytest

from blackbox_kd.errors import CallError, EndpointRefused, RequestRejected, ServerFault, SetupError
from blackbox_kd.models import Setup, openai
from blackbox_kd.models.http import connection
from blackbox_kd.schema import Request, Row, Sampling
from tests.support.fake_server import FakeServer

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def _nobody_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate that signs itself, and a server's context with it."""
    file, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=test", "-addext", f"subjectAltName={name}"]
    made = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key), "-out", str(file)]
    subprocess.run(["openssl", "req", *made, *subject], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return file, context


async def ask(url: str) -> str:
    config = openai.Config.model_validate({"provider": "openai", "model": "m", "base_url": url})
    model = openai.open_model(config, Setup("teacher", Path(), Path(), {}))
    request = Request([{"role": "user", "content": "What is 2 + 2?"}], Sampling(), Row(id="r1"))
    try:
        return (await model.send(model.wire(request), request))[0]
    finally:
        await model.close()


async def test_a_certificate_that_nobody_knows_is_named_and_so_is_what_makes_it_known(tmp_path: Path) -> None:
    _, context = certificate(tmp_path, "IP:127.0.0.1")
    async with FakeServer(tls=context) as server:
        with pytest.raises(EndpointRefused) as caught:
            await ask(server.url)
    assert str(caught.value).splitlines() == [
        f"{server.url}/chat/completions: certificate verify failed: self-signed certificate",
        "  fix: if you trust the server: export SSL_CERT_FILE=FILE, with the certificate of who signed its own",
    ]


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
async def test_certificates_that_the_environment_names_are_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    file, context = certificate(tmp_path, "IP:127.0.0.1")
    alone = [()] if variable in connection.OTHERS else []  # the other ones are read by aiohttp once, when it is loaded
    for others in [*alone, set(VARIABLES) - {variable}]:
        monkeypatch.setenv(variable, str(file))
        for other in others:  # a machine may name its own in each of them
            monkeypatch.setenv(other, certifi.where() if other != "SSL_CERT_DIR" else str(tmp_path))
        async with FakeServer(tls=context) as server:
            assert "The answer is" in await ask(server.url)


async def test_own_a_certificate_of_another_host_is_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, context = certificate(tmp_path, "DNS:elsewhere.invalid")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    async with FakeServer(tls=context) as server:
        with pytest.raises(EndpointRefused, match=r"mismatch.*\n  fix: write the host into base_url that"):
            await ask(server.url)


async def test_own_a_server_without_tls_is_told_from_one_with_a_bad_certificate() -> None:
    async with FakeServer() as server:
        with pytest.raises(EndpointRefused, match=r"TLS failed: wrong version number\n  fix: check base_url: http://"):
            await ask(server.url.replace("http://", "https://"))


@pytest.mark.parametrize(
    ("reason", "kind", "is_open", "is_final", "fix"),
    [
        (
            "TLSV13_ALERT_CERTIFICATE_REQUIRED",
            ssl.SSLError,
            True,
            True,
            "the server wants a certificate of its clients",
        ),
        ("TLSV1_ALERT_PROTOCOL_VERSION", ssl.SSLError, False, True, "which versions of TLS the server takes"),
        ("TLSV1_ALERT_INTERNAL_ERROR", ssl.SSLError, False, False, "check base_url"),
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", ssl.SSLError, True, False, "check base_url"),
        ("UNEXPECTED_EOF_WHILE_READING", ssl.SSLEOFError, False, False, "check base_url"),
    ],
)
def test_own_tls_is_tried_again_where_that_may_help_and_its_number_is_not_taken_for_the_systems(
    reason: str, kind: type[ssl.SSLError], is_open: bool, is_final: bool, fix: str
) -> None:
    error = kind(1, "words")
    error.reason = reason
    wrapped = OSError(1, "Operation not permitted")
    wrapped.__cause__ = error
    failure = connection.explain(wrapped, is_open=is_open)
    assert failure is not None
    assert failure.what == f"TLS failed: {reason.lower().replace('_', ' ')}"
    assert fix in failure.fix
    told = failure.as_error("https://x", is_open=is_open)
    assert (type(told), told.kind) == (
        (EndpointRefused, "endpoint_refused") if is_final else (ServerFault, "connection" if is_open else "unreachable")
    )


async def test_own_a_server_that_breaks_off_a_handshake_is_asked_again() -> None:
    async def drop(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0)
        writer.close()

    async with await asyncio.start_server(drop, "127.0.0.1") as server:
        with pytest.raises(ServerFault) as caught:
            await ask(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    assert caught.value.kind == "unreachable"


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file or directory"), ("no certificate", "none in PEM form")]
)
def test_a_bundle_that_has_no_certificates_is_told(tmp_path: Path, content: str | None, reason: str) -> None:
    file = tmp_path / "bundle.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SetupError) as caught:
        connection.find_context("https://x", {"REQUESTS_CA_BUNDLE": str(file)})
    assert str(caught.value).splitlines() == [
        f"the variable REQUESTS_CA_BUNDLE: '{file}' has no certificates: {reason}",
        "  fix: export REQUESTS_CA_BUNDLE=FILE, with certificates in PEM form, or unset it",
    ]
    assert connection.find_context("http://x", {"REQUESTS_CA_BUNDLE": str(file)}) is None
    assert connection.find_context("https://x", {"SSL_CERT_FILE": str(file), "CURL_CA_BUNDLE": str(file)}) is None
    assert connection.find_context("https://x", {}) is None


# Proxies


def go_through(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "localhost")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_cannot_be_reached_is_named_and_its_password_is_not(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    go_through(monkeypatch, "http://me:hunter2@127.0.0.1:9")
    with pytest.raises(ServerFault) as caught:
        await ask(f"{scheme}://models.example/v1")
    assert str(caught.value).splitlines() == [
        f"{scheme}://models.example/v1/chat/completions: its proxy http://127.0.0.1:9 (the variable {scheme}_proxy) "
        "cannot be reached",
        f"  fix: check the variable {scheme}_proxy, or except the endpoint in no_proxy",
    ]


@pytest.mark.parametrize(
    ("status", "kind", "fix"),
    [
        (407, EndpointRefused, "export https_proxy=http://USER:PASSWORD@HOST:PORT"),
        (403, EndpointRefused, "check the variable https_proxy, or except the endpoint in no_proxy"),
        (503, ServerFault, "check the variable https_proxy, or except the endpoint in no_proxy"),
    ],
)
async def test_own_what_a_proxy_says_in_place_of_a_tunnel_is_told(
    monkeypatch: pytest.MonkeyPatch, status: int, kind: type[CallError], fix: str
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        go_through(monkeypatch, f"http://me:hunter2@127.0.0.1:{port}")
        with pytest.raises(kind) as caught:
            await ask("https://models.example/v1")
    assert str(caught.value).splitlines() == [
        f"https://models.example/v1/chat/completions: its proxy http://127.0.0.1:{port} (the variable https_proxy) "
        f"says {status} and does not connect to it",
        f"  fix: {fix}",
    ]


@asynccontextmanager
async def answering(status: int, body: str, headers: str = "") -> AsyncIterator[int]:
    """The port of a server that answers everything alike."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n{headers}\r\n{body}".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(("status", "body"), [(407, ""), (407, '{"error": "login"}'), (403, "<html>Blocked</html>")])
async def test_a_proxy_that_refuses_without_a_tunnel_ends_the_run_and_is_named(
    monkeypatch: pytest.MonkeyPatch, status: int, body: str
) -> None:
    async with answering(status, body) as port:
        go_through(monkeypatch, f"http://me:hunter2@127.0.0.1:{port}")
        with pytest.raises(EndpointRefused) as caught:
            await ask("http://models.example/v1")
    assert f"its proxy http://127.0.0.1:{port} (the variable http_proxy) says {status}" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_what_an_endpoint_forbids_itself_is_not_blamed_on_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(403, '{"error": {"message": "no access to m"}}') as port:
        go_through(monkeypatch, f"http://127.0.0.1:{port}")
        with pytest.raises(RequestRejected, match="403 Forbidden: no access to m"):
            await ask("http://models.example/v1")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_what_is_on_this_machine_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    go_through(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name)
    async with FakeServer() as server:
        assert "The answer is" in await ask(server.url.replace("127.0.0.1", host))


PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("host", "no_proxy", "is_proxied"),
    [
        ("10.1.2.3", "10.0.0.0/8", False),
        ("11.1.2.3", "10.0.0.0/8", True),
        ("192.168.7.9", "172.16.0.0/12, 192.168.0.0/16", False),
        ("10.1.2.3", "10.1.2.3", False),
        ("[fd00::7]", "fd00::/8", False),
        ("[fd00::7]", "[fd00::7]", False),
        ("[fe00::7]", "fd00::/8", True),
        ("models.example", "example", False),
        ("models.example", ".example", False),
        ("models.example", "*.example", False),
        ("models.example", "models.example:80", False),
        ("models.example", "models.example:8080", True),
        ("models.example", "els.example", True),
        ("models.example", "*", False),
        ("models.example", "", True),
        ("models.example", "not/a network,MODELS.example", False),
        ("127.0.0.1", "", False),
        ("127.9.9.9", "", False),
        ("[::1]", "", False),
        ("localhost", "", False),
        ("api.localhost", "", False),
    ],
)
def test_hosts_domains_and_networks_that_are_excepted_are_asked_without_a_proxy(
    host: str, no_proxy: str, is_proxied: bool
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        found = connection.find_proxy(f"http://{host}/v1", {"http_proxy": PROXY, name: no_proxy})
        assert found == (("http_proxy", PROXY) if is_proxied else None)


@pytest.mark.parametrize(
    ("env", "variable"),
    [
        ({"HTTPS_PROXY": PROXY}, "HTTPS_PROXY"),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, "https_proxy"),
        ({"ALL_PROXY": PROXY}, "ALL_PROXY"),
        ({"http_proxy": PROXY}, None),
        ({"https_proxy": " "}, None),
    ],
)
def test_the_variable_of_the_scheme_goes_before_the_one_of_all(env: dict[str, str], variable: str | None) -> None:
    found = connection.find_proxy("https://models.example/v1", env)
    assert (found and found.variable) == variable


@pytest.mark.parametrize(
    ("proxy", "says"),
    [
        ("me:hunter2@proxy.example:3128", "names the proxy 'proxy.example:3128' without a scheme"),
        ("proxy.example:3128", "names the proxy 'proxy.example:3128' without a scheme"),
        ("socks5://me:hunter2@proxy.example:1080", "names a SOCKS proxy, socks5://proxy.example:1080, which is not"),
        ("socks5h://proxy.example:1080", "names a SOCKS proxy"),
        ("ftp://proxy.example", "names a proxy, ftp://proxy.example, which is not spoken"),
        ("http://me:hunter2@:3128", "is no URL of a proxy"),
        ("http://me:hunter2@proxy.example:x", "is no URL of a proxy"),
    ],
)
def test_a_proxy_through_which_nothing_can_be_sent_is_refused_before_a_call(
    monkeypatch: pytest.MonkeyPatch, proxy: str, says: str
) -> None:
    with pytest.raises(SetupError) as caught:
        connection.find_proxy("https://models.example/v1", {"https_proxy": proxy})
    assert str(caught.value).startswith("the variable https_proxy ")
    assert says in str(caught.value)
    assert "\n  fix: export https_proxy=http://" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    config = openai.Config.model_validate({"provider": "openai", "model": "m", "base_url": "https://models.example/v1"})
    found = config.missing(Setup("teacher", Path(), Path(), {"https_proxy": proxy}))
    assert says in found[0][1]


# Descriptors


async def test_a_process_that_can_open_no_more_files_blames_its_limit_and_not_the_endpoint() -> None:
    async with FakeServer() as server:
        with few_descriptors(), pytest.raises(ServerFault) as caught:
            await ask(server.url)
    assert str(caught.value).splitlines() == [
        f"{server.url}/chat/completions: cannot be reached: this process can open no more files",
        "  fix: raise the limit (ulimit -n 1024) and run the same command: it goes on",
    ]


@contextmanager
def few_descriptors() -> Iterator[None]:
    """Lets this process open no file that it has not open by now."""
    import aiohttp  # noqa: F401  # not to need files of it later

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
