"""HTTP headers and URL query parameters of a recipe's own, whose values may be those of environment variables.

A recipe says `$NAME` or `${NAME}`. What the variable holds is a secret like a key: it is sent, and kept nowhere.
"""

import re
from collections.abc import Mapping
from string import Template
from typing import NamedTuple

from blackbox_kd.errors import FieldError
from blackbox_kd.models.http.keys import SECRET_CHARS, read_secret

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What RFC 9110 takes as the name of a header."""
_WORDS = """accept-encoding connection content-encoding content-length content-type expect host keep-alive
proxy-authorization te trailer transfer-encoding upgrade"""
_OURS = frozenset(_WORDS.split())
"""Headers that say how a request is sent."""
_SECRET = re.compile(r"key|token|secret|auth|cookie|passw|credential|signature|\bsig\b", re.IGNORECASE)
"""Names whose values are secrets."""


class Filled(NamedTuple):
    """Values with what their variables hold.

    Args:
        values: by name.
        secrets: what of them is not to be shown.
    """

    values: dict[str, str]
    secrets: tuple[str, ...]


def check_headers(headers: dict[str, str]) -> dict[str, str]:
    """The headers as they are.

    Raises:
        FieldError: one has no name of a header, is not for a recipe to set, or has a secret written into it.
    """
    for name in headers:
        if not _NAME.fullmatch(name):
            raise FieldError(f"headers: {name!r} is no name of a header", fix="write Name: value")
        if name.lower() in _OURS:
            raise FieldError(f"headers: {name} says how a request is sent", fix="take it out")
    twice = [name for name in headers if sum(name.lower() == other.lower() for other in headers) > 1]
    if twice:
        raise FieldError(f"headers: {' and '.join(twice)} are one header", fix="write one of them")
    return _check_values("headers", headers)


def check_query(query: dict[str, str]) -> dict[str, str]:
    """The parameters as they are.

    Raises:
        FieldError: one has a secret written into it.
    """
    return _check_values("query", query)


def _check_values(field: str, values: dict[str, str]) -> dict[str, str]:
    """Values are not shown: what is wrong with one may be that it is a secret."""
    for name, value in values.items():
        template = Template(value)
        if not template.is_valid():
            what = f"{field}: the value of {name!r} has a $ in it before what is no name of a variable"
            raise FieldError(what, fix="write $NAME or ${NAME} for a variable, and $$ for the sign")
        if not (value.isascii() and value.isprintable()):
            raise FieldError(f"{field}: the value of {name!r} has characters in it that cannot be sent")
        if _SECRET.search(name) and not template.get_identifiers():
            what = f"{field}: the value of {name!r} looks like a secret, and would be stored with the recipe"
            raise FieldError(what, fix=f"keep it in an environment variable and write {name}: $VARIABLE")
    return values


def find_variables(*several: Mapping[str, str]) -> list[str]:
    """The variables that values name, each once."""
    found = (variable for values in several for value in values.values() for variable in _list_variables(value))
    return list(dict.fromkeys(found))


def fill(values: Mapping[str, str], env: Mapping[str, str]) -> Filled:
    """Values with what their variables hold.

    Raises:
        FieldError: a variable holds nothing, or what cannot be sent; the message does not show it.
    """
    held = {variable: _read_set(env, variable) for variable in find_variables(values)}
    # `Bearer KEY` may stand in a variable as a whole, and be echoed in part.
    words = (word for secret in held.values() for word in secret.split() if len(word) >= SECRET_CHARS)
    filled = {name: Template(value).substitute(held) for name, value in values.items()}
    return Filled(filled, tuple(dict.fromkeys([*held.values(), *words])))


def _read_set(env: Mapping[str, str], variable: str) -> str:
    fix = f"export {variable}=VALUE"
    try:
        found = read_secret(env, variable)
    except FieldError as error:
        raise FieldError(error.what, fix=fix) from error
    if found is None:
        raise FieldError(f"the variable {variable} is not set.", fix=fix)
    return found


def _list_variables(value: str) -> list[str]:
    return Template(value).get_identifiers()
