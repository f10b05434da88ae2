"""Certificates, proxies and what else stands between here and an endpoint: what is honoured, and what is said."""

import asyncio
import os
import resource
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import certifi
import pytest

from blackbox_kd.errors import CallError, EndpointRefused, ServerFault, SetupError
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
        f"{scheme}://models.example/v1/chat/completions: its proxy http://127.0.0.1:9 cannot be reached",
        "  fix: check the variables http_proxy, https_proxy and no_proxy",
    ]


@pytest.mark.parametrize(
    ("status", "kind", "fix"),
    [
        (407, EndpointRefused, "export https_proxy=http://USER:PASSWORD@HOST:PORT"),
        (503, ServerFault, "check the variables http_proxy, https_proxy and no_proxy"),
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
        go_through(monkeypatch, f"http://me:hunter2@127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(kind) as caught:
            await ask("https://models.example/v1")
    assert str(caught.value).splitlines() == [
        f"https://models.example/v1/chat/completions: its proxy says {status} and does not connect to it",
        f"  fix: {fix}",
    ]


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
