"""Keys of endpoints: how they stand in the environment, and that no reply shows them."""

import re
from collections.abc import Mapping

from blackbox_kd.errors import FieldError
from blackbox_kd.privacy import Secret, hide_key

SECRET_CHARS = 16
"""Keys of vendors are longer; shorter ones are those of servers that ask for any."""
_PLACEHOLDER = re.compile(
    r"\A(?:<.*>|\[.*\]|\{.*\}|\$\{?\w+\}?|%\w+%|(?:\w{1,8}-)*(?:x{3,}|\*{3,}|\.{3,}|\u2026)+"
    r"|change[-_ ]?me|replace[-_ ]?me|todo"
    r"|(?:insert|paste|put|enter|add|set)[-_ ].*|.*(?:api|access|secret)[-_ ]?(?:key|token)[-_ ]?(?:goes[-_ ])?here)\Z"
    r"|\byour[-_ ]|\A(?:\w{1,8}-)*(?:my|your)[-_]?(?:\w+[-_])?(?:api)?[-_]?(?:key|token)\Z",
    re.IGNORECASE,
)
"""What examples and templates have in the place of a key; `EMPTY` and `none` are what servers without keys are sent."""


def read_key(env: Mapping[str, str], variable: str) -> str | None:
    """The key in a variable, or None if it holds nothing.

    Raises:
        FieldError: what it holds cannot be a key; the message does not show it.
    """
    key = read_secret(env, variable)
    if key and " " in key:
        raise FieldError(f"what the variable {variable} holds cannot be a key: no key has such characters.")
    return key


def read_secret(env: Mapping[str, str], variable: str) -> str | None:
    """What a variable holds that is sent in a header, perhaps with a word such as `Bearer` before a key; or None.

    Raises:
        FieldError: what it holds cannot be sent so; the message does not show it.
    """
    key = env.get(variable, "").strip()
    if len(key) > 1 and key[0] == key[-1] and key[0] in "\"'`":  # as env files have it, and some programs leave it
        key = key[1:-1].strip()
    if key == variable or _PLACEHOLDER.search(key):
        raise FieldError(f"what the variable {variable} holds stands in the place of a key, and is none.")
    if not key.isascii() or not key.isprintable():
        raise FieldError(f"what the variable {variable} holds cannot be a key: no key has such characters.")
    return key or None


def hide_secret(reply: str, key: Secret) -> str:
    """A reply without the key, which a server may echo; one that may well be a word of the reply (`test`) stays."""
    if isinstance(key, tuple):
        return hide_key(reply, tuple(each for each in key if len(each) >= SECRET_CHARS))
    return hide_key(reply, key) if key and len(key) >= SECRET_CHARS else reply
