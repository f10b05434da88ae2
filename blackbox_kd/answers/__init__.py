"""How an answer is read and compared: one module per kind, with one class under `@answer` (see `AnswerKind`).

A text that is the reference itself is right before anything is read. A reference that cannot be read, such as an empty
one, is a fault of the row for all other texts: if only those with an answer failed by it, those without one would count
as wrong.
"""

import functools
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Mapping
from typing import Any

from blackbox_kd.answers._kind import DECLARED, PLUGINS, AnswerKind, answer
from blackbox_kd.answers._languages import PHRASE
from blackbox_kd.answers._plain import clean, part_scripts
from blackbox_kd.answers._stated import drop_thought, find_next_question, sentences
from blackbox_kd.answers.exact import normal
from blackbox_kd.errors import DataError, SetupError, did_you_mean
from blackbox_kd.json_text import decode, encode, write_text
from blackbox_kd.paths import list_modules

__all__ = [
    "DECLARED",
    "PLUGINS", "AnswerKind", "Named", "answer", "canonical", "find", "goes_on", "judge", "kind", "kinds", "missing",
    "split",
]  # fmt: skip
_LONGEST_PHRASE = 200
Named = str | Mapping[str, Mapping[str, Any]]
"""A kind of answer as a recipe names it: alone, or with what it says of it, as in `{number: {decimal: ","}}`."""


def kinds() -> list[str]:
    """Names of the package's kinds; a module whose name starts with `_` is shared by kinds and is none itself."""
    return sorted(list_modules(__path__[0]))


def find(name: str) -> type[AnswerKind]:
    """The class of a kind, of the package or of a plugin that was loaded.

    Raises:
        SetupError: there is no such kind.
    """
    if name in PLUGINS:
        return PLUGINS[name]
    if name not in kinds():
        known = f"kinds: {', '.join(kinds())}"
        raise SetupError(f"unknown kind of answer {name!r}", exists=known, fix=did_you_mean(name, kinds()))
    return DECLARED[importlib.import_module(f"blackbox_kd.answers.{name}").__name__]


def kind(named: Named) -> AnswerKind:
    """What reads and compares a kind of answer, as a recipe names it.

    Raises:
        SetupError: there is no such kind.
        ValidationError: it does not take what is said of it.
    """
    name, fields = split(named)
    return _build(find(name), encode(fields))


@functools.lru_cache(maxsize=64)
def _build(declared: type[AnswerKind], fields: bytes) -> AnswerKind:
    return declared.model_validate(decode(fields.decode()))


def split(named: Named) -> tuple[str, Mapping[str, Any]]:
    """The name of a kind, and what a recipe says of it: `number`, or `{number: {decimal: ","}}`."""
    return (named, {}) if isinstance(named, str) else next(iter(named.items()))


def canonical(named: Named, reference: object, row: Mapping[str, Any]) -> str:
    """A right answer as its kind writes answers, so that equal ones are the same text."""
    return kind(named).canonical(write_text(reference), row)


def identify(named: Named) -> str:
    """What a kind compares by besides its name and its fields: the code of a plugin, the contents of files."""
    declared = find(split(named)[0])
    code = "" if declared.__module__.startswith(f"{__name__}.") else inspect.getsource(sys.modules[declared.__module__])
    return code + kind(named).identify()


def judge(named: Named, text: str, reference: object, row: Mapping[str, Any]) -> tuple[str | None, bool]:
    """The answer of a text, read and compared by a kind: what it is, and whether it is right.

    Raises:
        DataError: the reference is empty, or it cannot be read and the text is another one.
    """
    found = kind(named)
    read = found.read(text, row)
    wanted = "" if reference is None else write_text(reference)
    try:
        # Compared even if there is no answer: `same` is what finds a reference that cannot be read.
        right = found.same(read or "", wanted, row)
    except DataError:
        if not found.is_free or not (_is_said(text, wanted) or _is_said(_leave_counted(text), wanted)):
            raise
        return wanted, True
    if right and read is not None:
        return read, True
    if found.is_free and _is_said(text, wanted):
        return found.read(wanted, row) or wanted, True
    return read, False


def goes_on(text: str) -> bool:
    """Whether a text that has answered goes on with another question, of which nothing is read."""
    return find_next_question(part_scripts(clean(drop_thought(text)))) is not None


def _is_said(text: str, reference: str) -> bool:
    """Whether a text, or what it announces as its answer, is the reference itself: it is right whatever it holds."""
    wanted = normal(reference)
    if not wanted or len(text) > 2 * len(reference) + _LONGEST_PHRASE:
        return False
    return any(_announces(part_scripts(clean(each)), wanted) for each in {text, drop_thought(text)})


def _leave_counted(text: str) -> str:
    """The sentences of a text that hold a digit, without what is said around them out of politeness."""
    return "\n".join(each for each in sentences(text) if re.search(r"\d", each))


def _announces(said: str, wanted: str) -> bool:
    announced = PHRASE.search(said)
    if wanted in (normal(said), announced and normal(said[announced.end() :])):
        return True
    whole = normal(said)
    head = whole.removesuffix(wanted)  # the reference may begin as a phrase goes on: "is actually"
    ended = PHRASE.search(head) if len(head) < len(whole) else None
    return ended is not None and not head[ended.end() :].strip()


def missing(name: str) -> str | None:
    """What to install for a kind, such as `pip install 'blackbox-kd[math]'`; None if nothing is missing.

    The package is looked for and not imported, so that checking a recipe stays quick.
    """
    needs = find(name).needs
    if needs is None or importlib.util.find_spec(needs[0]):
        return None
    return f"pip install 'blackbox-kd[{needs[1]}]'"
