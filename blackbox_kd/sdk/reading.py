"""Reads out of a reply what a step keeps of it."""

from collections.abc import Mapping
from random import Random
from typing import Any, Protocol

from blackbox_kd.errors import UnusableText
from blackbox_kd.sandbox import expressions
from blackbox_kd.schema import Row

_EMPHASIS = "*_`"


class ReplyForm(Protocol):
    """A form of replies."""

    field: str
    """Of the step, that says it; replies that have it not are counted under its name."""
    request: Mapping[str, Any]
    """Fields of a request that hold a model to the form, as chat completions and vLLM call them."""

    def read(self, text: str) -> tuple[str, dict[str, Any]]:
        """The text that is kept of a reply, and columns beside it.

        Raises:
            UnusableText: the reply has another form.
        """
        ...

    def example(self, text: str, random: Random) -> str:
        """A text of the form, which may be made of another one."""
        ...


class Reading:
    """Reads out of a reply what a step keeps of it; calls end when it can.

    Args:
        into: column that the text is for.
        row: the row that the reply is for.
        after: mark after which the text begins, see `read_after_mark`; the whole reply if left out.
        until: expression that must hold over the row with the text in it.
        form: of the reply; any text will do if left out.
    """

    def __init__(
        self,
        into: str,
        row: Row,
        *,
        after: str | None = None,
        until: str | None = None,
        form: ReplyForm | None = None,
    ) -> None:
        self._into = into
        self._row = row
        self._after = after
        self._until = until
        self._form = form

    def __call__(self, text: str, calls: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """The columns that are kept: the text, what its form brings beside it, and calls where tools were offered.

        Raises:
            ValueError: there is no text.
            UnusableText: it has another form, or, of kind `retry_until`, `until` does not hold.
        """
        said, beside = self._form.read(text) if self._form is not None and not calls else (text, {})
        said = read_after_mark(said, self._after) if self._after is not None and not calls else said
        kept = {self._into: said, **beside, **({} if calls is None else {"tool_calls": calls})}
        if self._until is not None and not expressions.evaluate(self._until, self._row | kept):
            what = f"retry_until: {self._until!r} does not hold; the last reply was {shorten(said)!r}"
            raise UnusableText(what, kind="retry_until")
        return kept

    def example(self, text: str, random: Random) -> str:
        """A text of the form, or one that stands behind the mark; what `until` says is left to chance."""
        if self._form is not None:
            return self._form.example(text, random)
        return text if self._after is None else f"{self._after} {text}"


def read_after_mark(text: str, mark: str) -> str:
    """What follows the last `mark` of a text, without the emphasis (`**Rationale:**`) that may stand around the mark.

    Raises:
        ValueError: the mark is not there, or nothing follows it.
    """
    before, found, rest = text.rpartition(mark)
    if not found:
        raise ValueError(f"the mark {mark!r} is not in the reply {shorten(text)!r}")
    emphasis = before[len(before.rstrip(_EMPHASIS)) :][::-1]
    rest = rest.removeprefix(emphasis).strip()
    if not rest:
        raise ValueError(f"nothing follows the mark {mark!r} in the reply {shorten(text)!r}")
    return rest


def shorten(text: str, most: int = 120) -> str:
    """A text on one line, its middle left out where it is long: replies say what counts at their end."""
    line = " ".join(text.split())
    half = (most - 5) // 2
    return line if len(line) <= most else f"{line[:half].rstrip()} ... {line[-half:].lstrip()}"
