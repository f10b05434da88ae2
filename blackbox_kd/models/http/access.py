"""What stands in the way of asking an endpoint, as far as that can be told beforehand: its key, and the way to it."""

from collections.abc import Mapping, Sequence
from urllib.parse import SplitResult, parse_qs, urlsplit

from blackbox_kd.errors import FieldError, SetupError
from blackbox_kd.models.http import connection, keys

_EXPECTED = "expected something like https://api.openai.com/v1"


def find_obstacles(
    urls: Sequence[str], variable: str | None, env: Mapping[str, str], *, kind: str = "key", fix: str = ""
) -> list[tuple[str, str, str]]:
    """The field of a model's entry, what is wrong, and what to do; see `ModelConfig.missing`.

    Args:
        urls: that requests go to; those on this machine need no key.
        variable: that holds the key; None if none goes with a request.
        env: the environment.
        kind: what the variable holds: a key, or a token.
        fix: what to do where it is not set, if not just that.
    """
    try:
        has_key = variable is None or keys.read_key(env, variable) is not None
    except FieldError as error:
        return [("provider", error.what, f"export {variable}=...")]
    try:
        for url in urls:
            connection.find_proxy(url, env)
    except SetupError as error:
        return [("provider", f"{error.what}.", error.fix)]
    if has_key or all(map(connection.is_loopback, urls)):
        return []
    fix = fix or f"export {variable}=... or name the variable that holds the key: key_env: NAME"
    return [("provider", f"{urls[0]} needs a {kind}, and the variable {variable} is not set.", fix)]


def check_url(base_url: str) -> str:
    """A base URL without its trailing slash.

    Raises:
        FieldError: it is no URL of an endpoint, or has a password or key in it, which would be stored.
    """
    parts = _split(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FieldError(f"base_url: {base_url!r} is not a URL", exists=_EXPECTED)
    place = f"base_url: {parts.scheme}://{parts.hostname}{'/...' if parts.path else ''}"
    if parts.username or parts.password:
        what = "has a user or a password in it, which would be stored"
        raise FieldError(f"{place} {what}", fix="keep it in an environment variable and write key_env: VARIABLE")
    if parts.query or parts.fragment:
        raise _refuse_query(place, parts)
    return base_url.rstrip("/").removesuffix("/chat/completions").removesuffix("/responses")


def _refuse_query(place: str, parts: SplitResult) -> FieldError:
    """What is wrong with a URL that goes on after its path; only names are shown, as values may be secrets."""
    if "api-version" in parse_qs(parts.query):
        what = f"{place}?api-version=... names a version of Azure's API, which is not sent"
        url = f"{parts.scheme}://{parts.hostname}"
        fix = f"write provider: azure, base_url: {url}, the deployment in model: and its version in api_version:"
        return FieldError(what, fix=fix)
    names = ", ".join(parse_qs(parts.query, keep_blank_values=True)) or "#"
    what = f"{place} goes on after its path ({names}), which is not sent"
    return FieldError(what, fix="end it in /v1; a key stands in the variable that key_env: names")


def _split(base_url: str) -> SplitResult:
    """The parts of a URL that something can be sent to."""
    if unsuited := next((char for char in base_url if char.isspace() or not char.isprintable() or char == "\\"), None):
        what = "a blank" if unsuited.isspace() else f"the character {unsuited!r}"
        raise FieldError(f"base_url: {base_url!r} has {what} in it, which no URL has", exists=_EXPECTED)
    try:
        parts = urlsplit(base_url)
        if parts.port == 0:
            raise ValueError("port 0 is none that anything listens on")
        (parts.hostname or "").encode("idna")
    except ValueError as error:  # UnicodeError, of a host's name, is one
        raise FieldError(f"base_url: {base_url!r} is not a URL: {error}", exists=_EXPECTED) from error
    return parts
