"""Values that a recipe gives to columns: a constant, a template, an expression, or the text of a file."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from blackbox_kd.errors import FieldError
from blackbox_kd.sandbox import expressions, template
from blackbox_kd.sdk.fields import Expression, Template


class Computed(BaseModel):
    """A value that an expression gives."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    expr: Expression
    """What is computed from the row: `len(text)`, `json(raw)['total']`."""


class Constant(BaseModel):
    """A text in which braces mean nothing, such as one from a file."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    text: str | None = None
    """The text."""
    file: str | None = None
    """File beside the recipe that holds the text."""

    @model_validator(mode="after")
    def _holds_a_text(self) -> Self:
        if self.text is None:
            raise FieldError(fix="give either text: TEXT, or file: NAME alone")
        return self


Value = Template | Computed | Constant | int | float | bool | None


def compute_value(value: Value, row: Mapping[str, Any]) -> Any:
    """A value for a row.

    Raises:
        DataError: the row does not fit the template or the expression.
    """
    if isinstance(value, Computed):
        return expressions.parse(value.expr)(row)
    if isinstance(value, Constant):
        return value.text
    if isinstance(value, str) and template.is_template(value):
        return template.parse(value).render(row)
    return value


def find_read(value: Value) -> set[str]:
    """The columns that a value is made of; none where it is wrong, of which the check tells."""
    if not isinstance(value, Computed):
        return set(template.list_read(value)) if isinstance(value, str) else set()
    try:
        return set(expressions.parse(value.expr).names)
    except FieldError:
        return set()
