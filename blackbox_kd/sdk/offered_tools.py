"""The field of a step that offers tools to the models that it asks."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import model_validator

from blackbox_kd.errors import DataError, FieldError
from blackbox_kd.sandbox.tool_calls import Definition, read_definitions
from blackbox_kd.sdk.fields import Column, FromFile
from blackbox_kd.sdk.step_config import StepConfig

Tools = Column | list[dict[str, Any]] | dict[str, Any]
"""A column with definitions, or the definitions themselves: a list, or an object with one in `tools`."""


class ToolsConfig(StepConfig):
    """The field of a step that offers tools."""

    tools: Annotated[Tools | None, FromFile(suffix=".json")] = None
    """Tools that may be called, as OpenAI defines functions: a column with a list of definitions or its JSON text, a
    .json file beside the recipe, or the list itself."""

    @model_validator(mode="after")
    def _usable_tools(self) -> Self:
        if self.tools is not None and not isinstance(self.tools, str):
            try:
                found = read_definitions(self.tools)
            except FieldError as error:
                raise FieldError(f"tools: {error.what}", fix=error.fix) from error
            if not found:
                raise FieldError("tools: there are none", fix="define one, or take tools: out")
            self.tools = list(found)
        return self

    def offer(self, row: Mapping[str, Any]) -> list[Definition]:
        """The tools that a row offers.

        Raises:
            DataError: what its column holds are no definitions.
        """
        try:
            return read_definitions(row[self.tools] if isinstance(self.tools, str) else self.tools)
        except FieldError as error:
            raise DataError(f"column {self.tools!r}: {error.what}", fix=error.fix) from error
