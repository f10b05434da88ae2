"""A JSON object, read out of a reply and compared field by field: numbers, dates, texts, lists, objects in objects.

It is the whole text, a block of code, or an object between sentences; of several the last one that fits the schema. It
is right where all fields are (see `_values`); `field_f1` tells how many are.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import Field, field_validator

from blackbox_kd.answers._json_in_text import find_values, read_value, repair
from blackbox_kd.answers._kind import answer
from blackbox_kd.answers._values import ComparedValues, Counts
from blackbox_kd.errors import DataError, FieldError
from blackbox_kd.json_text import quote_value, write_json
from blackbox_kd.sandbox.json_schema import JsonSchema


@answer
class Json(ComparedValues):
    """A JSON object or list."""

    from_earlier = ("schema",)
    from_file = ("schema",)

    json_schema: dict[str, Any] | str | None = Field(default=None, alias="schema")
    """JSON schema of the object: a file beside the recipe, or the schema itself; that of the nearest earlier step if
    left out. It tells numbers from texts, and which object of a reply is meant; without one the references do."""
    repair: bool = False
    """Whether a reply is mended that is almost JSON."""

    @field_validator("json_schema")
    @classmethod
    def _is_schema(cls, schema: dict[str, Any] | str | None) -> dict[str, Any] | str | None:
        if isinstance(schema, str):
            raise FieldError(f"{schema!r} is no schema", fix="name a .json file beside the recipe")
        if schema is not None:
            JsonSchema(schema)
        return schema

    @cached_property
    def _schema(self) -> dict[str, Any]:
        return self.json_schema if isinstance(self.json_schema, dict) else {}

    @cached_property
    def _validator(self) -> JsonSchema | None:
        return JsonSchema(self._schema) if self._schema else None

    def read(self, text: str, row: Mapping[str, Any]) -> str | None:
        """The object as JSON."""
        found = find_values(text)
        if not found and self.repair and (mended := repair(text)) is not None:
            found = [mended]
        if not found:
            return None
        fits = [value for value in found if self._validator is not None and not self._validator.find_fault(value)]
        return write_json((fits or found)[-1])

    def same(self, answer: str, reference: str, row: Mapping[str, Any]) -> bool:
        """Whether all fields are right, and there are no others.

        Raises:
            DataError: the reference is no object.
        """
        counts = self.match_fields(answer, reference, row)
        return read_value(answer) is not None and not any(wrong or missed for _, wrong, missed in counts.values())

    def canonical(self, reference: str, row: Mapping[str, Any]) -> str:
        """The reference as JSON."""
        return write_json(_read_reference(reference))

    def match_fields(self, answer: str | None, reference: str, row: Mapping[str, Any]) -> Counts:
        """See `AnswerKind`; all fields are missed where there is no answer."""
        wanted = _read_reference(reference)
        return self.compare(read_value(answer), wanted, self._schema)


def _read_reference(reference: str) -> dict[str, Any] | list[Any]:
    value = read_value(reference)
    if not isinstance(value, dict | list):
        what = f"the reference {quote_value(reference)} is no JSON object"
        raise DataError(what, fix="answer: exact for texts, or write the right answers as JSON objects")
    return value
