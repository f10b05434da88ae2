"""What a kind of answer is: its fields, how an answer is read and compared, and what is known of its answers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict


class AnswerKind(BaseModel, ABC):
    """A kind of answer; its fields are what a recipe may say of it: `answer: {number: {decimal: ","}}`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    needs: ClassVar[tuple[str, str] | None] = None
    """A package that does the comparing, and the extra of ours that brings it."""
    from_earlier: ClassVar[tuple[str, ...]] = ()
    """Fields that, left out, are those of the nearest earlier step: its own, or those of its kind of answer."""
    is_free: ClassVar[bool] = True
    """Whether any text may be an answer: then one that is the reference itself is right, whatever can be read."""
    from_file: ClassVar[tuple[str, ...]] = ()
    """Fields whose value may stand in a JSON file beside the recipe."""
    beside: ClassVar[tuple[str, ...]] = ()
    """Fields with the name of a file, relative to the recipe."""
    has_fields: ClassVar[bool] = False
    """Whether an answer has fields, of which some may be right: see `match_fields`."""

    @abstractmethod
    def read(self, text: str, row: Mapping[str, Any]) -> str | None:
        """The last answer that a text states, as the kind writes it; None if it states none."""

    @abstractmethod
    def same(self, answer: str, reference: str, row: Mapping[str, Any]) -> bool:
        """Whether an answer that was read is right; "" is none, and finds a reference that cannot be read.

        Raises:
            DataError: the reference cannot be read.
        """

    def is_alike(self, answer: str, other: str, row: Mapping[str, Any]) -> bool:
        """Whether two answers that were read are the same."""
        return self.same(answer, other, row)

    def canonical(self, reference: str, row: Mapping[str, Any]) -> str:
        """A reference as the kind writes answers."""
        return self.read(reference, row) or reference

    def classes(self) -> list[str] | None:
        """All answers that there can be, as the kind writes them; None where nobody can list them."""
        return None

    def identify(self) -> str:
        """What an answer is compared by besides the fields: what a file holds, say, whatever it is called."""
        return ""

    def match_fields(
        self, answer: str | None, reference: str, row: Mapping[str, Any]
    ) -> dict[str, tuple[int, int, int]]:
        """By the path of each field: values that were found and are right, found and wrong, and missed.

        Raises:
            DataError: the reference cannot be read.
        """
        return {}


K = TypeVar("K", bound=type[AnswerKind])
DECLARED: dict[str, type[AnswerKind]] = {}
"""The kinds of answers by the modules that declare them."""
PLUGINS: dict[str, type[AnswerKind]] = {}
"""Kinds of somebody's own by their names; of the same name, the one that was loaded last."""


def answer(kind: K) -> K:
    """Declares a kind of answer, an `AnswerKind` with `read` and `same`; its name in a recipe is the file's."""
    if not (isinstance(kind, type) and issubclass(kind, AnswerKind)) or kind.__abstractmethods__:
        raise TypeError(f"{kind.__name__} must be an AnswerKind with read() and same()")
    if DECLARED.setdefault(kind.__module__, kind).__qualname__ != kind.__qualname__:
        raise TypeError(f"{DECLARED[kind.__module__].__name__} is the kind of answer of this file: give each its own")
    DECLARED[kind.__module__] = kind
    return kind
