"""Templates that stand in a recipe: a line of text with a row's columns in braces, `{{ raw | lower | trim }}`."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import jinja2
from jinja2 import meta

from blackbox_kd.errors import DataError, FieldError
from blackbox_kd.sandbox.jinja import GLOBALS, Sandbox
from blackbox_kd.sandbox.prompt import find_optional, find_read

_SIGNS = ("{{", "{%")


def is_template(text: str) -> bool:
    """Whether a text has anything to fill in."""
    return any(sign in text for sign in _SIGNS)


class Template:
    """A template of a recipe, compiled; as it stands, blanks and all.

    Args:
        text: as the recipe has it.

    Attributes:
        names: columns that it needs; what it asks for by `is defined` or `default(...)` it does not.
        read: names that it can show something of, whether it needs them or not.

    Raises:
        FieldError: it cannot be compiled, or wants other templates.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._sandbox = Sandbox(keep_trailing_newline=True)
        try:
            self._template = self._sandbox.from_string(text)
            tree = self._sandbox.parse(text)
            self.read = frozenset(find_read(tree))
        except (jinja2.TemplateError, ValueError, RecursionError, SyntaxError, MemoryError) as error:
            what = error.message if isinstance(error, jinja2.TemplateError) else error
            raise FieldError(f"it goes wrong: {what}") from None
        if list(meta.find_referenced_templates(tree)):  # None among them is one whose name is not known yet
            raise FieldError("it takes in another template, and stands alone", fix="write out what it takes in")
        self.names = self.read - {*GLOBALS, *find_optional(tree)}

    def render(self, row: Mapping[str, Any]) -> str:
        """The text for a row.

        Raises:
            DataError: a column is missing, or a value cannot be used so.
        """
        try:
            return self._sandbox.render(self._template, row)
        except Exception as error:  # a template is code of its own and can raise anything
            raise DataError(f"template {self._text!r}: {error}") from error


def list_read(text: str) -> frozenset[str]:
    """The columns that a template can show something of; none where it is wrong, of which the check tells."""
    try:
        return parse(text).read
    except FieldError:
        return frozenset()


@cache
def parse(text: str) -> Template:
    """The template of a text; see `Template`."""
    return Template(text)
