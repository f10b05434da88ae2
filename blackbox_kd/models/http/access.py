"""What stands in the way of asking an endpoint, as far as that can be told beforehand: its key, and the way to it."""

from collections.abc import Mapping, Sequence

from blackbox_kd.errors import FieldError, SetupError
from blackbox_kd.models.http import connection, keys


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
