"""How an answer is read and compared: one module per kind, with `read` and `same` (see schema.AnswerKind)."""

import difflib
import functools
import importlib
import importlib.util
import pkgutil
from typing import cast

from blackbox_kd.errors import SetupError
from blackbox_kd.schema import AnswerKind


def kinds() -> list[str]:
    """Names of all kinds; a module whose name starts with `_` is shared by kinds and is none itself."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_")


@functools.cache
def kind(name: str) -> AnswerKind:
    """The module of a kind.

    Raises:
        SetupError: there is no such kind.
    """
    if name not in kinds():
        close = difflib.get_close_matches(name, kinds(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise SetupError(f"unknown kind of answer {name!r}; kinds: {', '.join(kinds())}{hint}")
    return cast(AnswerKind, importlib.import_module(f"blackbox_kd.answers.{name}"))


def missing(name: str) -> str | None:
    """What to install for a kind, such as `pip install 'blackbox-kd[math]'`; None if nothing is missing.

    The package is looked for and not imported, so that checking a recipe stays quick.
    """
    needs = getattr(kind(name), "NEEDS", None)
    if needs is None or importlib.util.find_spec(needs[0]):
        return None
    return f"pip install 'blackbox-kd[{needs[1]}]'"
