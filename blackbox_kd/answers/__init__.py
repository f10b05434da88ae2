"""How an answer is read and compared: one module per kind, with `read` and `same` (see schema.AnswerKind).

A reference that no answer can equal, such as an empty one, is a fault of the row, whatever the text says: if only
texts with an answer failed by it, those without one would count as wrong, and models would be measured by other rows.
"""

import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from typing import Any, cast

from blackbox_kd.errors import SetupError, did_you_mean
from blackbox_kd.json_text import write_text
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
        known = f"kinds: {', '.join(kinds())}"
        raise SetupError(f"unknown kind of answer {name!r}", exists=known, fix=did_you_mean(name, kinds()))
    return cast(AnswerKind, importlib.import_module(f"blackbox_kd.answers.{name}"))


def judge(name: str, text: str, reference: object, row: Mapping[str, Any]) -> tuple[str | None, bool]:
    """The answer of a text, read and compared by a kind: what it is, and whether it is right.

    Raises:
        DataError: the reference is empty or cannot be read.
    """
    answer = kind(name).read(text, row)
    # Compared even if there is no answer: `same` is what finds a reference that cannot be read.
    right = kind(name).same(answer or "", "" if reference is None else write_text(reference), row)
    return answer, right and answer is not None


def missing(name: str) -> str | None:
    """What to install for a kind, such as `pip install 'blackbox-kd[math]'`; None if nothing is missing.

    The package is looked for and not imported, so that checking a recipe stays quick.
    """
    needs = getattr(kind(name), "NEEDS", None)
    if needs is None or importlib.util.find_spec(needs[0]):
        return None
    return f"pip install 'blackbox-kd[{needs[1]}]'"
