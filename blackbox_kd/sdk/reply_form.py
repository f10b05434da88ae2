"""The form in which a step wants replies: a JSON object of a schema, one of some labels, or a text of a pattern.

An endpoint that can hold a model to it is told (see `models.http.parameters`); whether a reply has the form is looked
at in any case, as no endpoint promises it without exception.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from random import Random
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from blackbox_kd.errors import FieldError, UnusableText
from blackbox_kd.json_text import decode, write_json
from blackbox_kd.sandbox.examples import write_match, write_value
from blackbox_kd.sandbox.functions import check_pattern, matches
from blackbox_kd.sandbox.json_schema import JsonSchema, find_loose
from blackbox_kd.sdk.fields import FromFile, NewColumn
from blackbox_kd.sdk.reading import ReplyForm, shorten
from blackbox_kd.sdk.sampling import SamplingConfig

LABEL = "label"
"""The field of the object in which an endpoint is asked for a label; the reply is taken out of it."""
_FENCE = re.compile(r"\s*```\w*\s*\n(.*?)\n\s*```\s*", re.DOTALL)
_AROUND = " \t\r\n\"'`*.:!"


class SchemaForm:
    """A JSON object.

    Args:
        schema: that it fits.
        parsed: column for the object.
        repair: whether a text is mended that is almost JSON; `repaired` says whether it was.
    """

    field = "schema"

    def __init__(self, schema: Mapping[str, Any], parsed: str | None = None, repair: bool = False) -> None:
        self._schema, self._parsed, self._repair = JsonSchema(schema), parsed, repair
        self._described = schema
        self.loose = find_loose(schema)
        """Why an endpoint does not hold a model to it that takes OpenAI's strict subset alone; nothing if it does."""
        self.request: Mapping[str, Any] = _write_request("reply", schema, is_strict=not self.loose)

    def read(self, text: str) -> tuple[str, dict[str, Any]]:
        """See `ReplyForm.read`."""
        said = fenced[1] if (fenced := _FENCE.fullmatch(text)) else text.strip()
        value, fault = self._look_at(said)
        beside = {"repaired": bool(fault)} if self._repair else {}
        if fault and self._repair:
            from json_repair import repair_json

            said = repair_json(said, ensure_ascii=False)
            value, fault = self._look_at(said)
        if fault:
            raise UnusableText(f"{fault}; the reply was {shorten(text)!r}", kind=self.field)
        return said, beside | ({} if self._parsed is None else {self._parsed: value})

    def example(self, text: str, random: Random) -> str:
        """See `ReplyForm.example`: the text itself, if it fits."""
        try:
            return self.read(text)[0]
        except UnusableText:
            return write_json(write_value(self._described, random, said=text))

    def _look_at(self, text: str) -> tuple[Any, str]:
        """The value of a JSON text, and what is wrong with it."""
        try:
            value = json.loads(text, object_pairs_hook=_read_object)
            json.dumps(value, allow_nan=False)
            fault = self._schema.find_fault(value)
        except ValueError as error:
            return None, f"the reply is no JSON ({error})"
        except RecursionError:
            return None, "the reply is nested too deeply"
        return value, f"the reply does not fit the schema ({fault})" if fault else ""


class LabelForm:
    """One of some labels, which may be written with other capitals, or inside of the object that endpoints write."""

    field = "labels"

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = {_fold(label): label for label in labels}
        enum = {"type": "string", "enum": [*labels]}
        schema = {"type": "object", "properties": {LABEL: enum}, "required": [LABEL], "additionalProperties": False}
        self.request: Mapping[str, Any] = _write_request(LABEL, schema, is_strict=True)

    def read(self, text: str) -> tuple[str, dict[str, Any]]:
        """See `ReplyForm.read`."""
        said = fenced[1] if (fenced := _FENCE.fullmatch(text)) else text
        try:
            value = decode(said)
        except (ValueError, RecursionError):
            value = said
        value = value.get(LABEL) if isinstance(value, dict) and len(value) == 1 else value
        label = self._labels.get(_fold(value if isinstance(value, str) else said))
        if label is None:
            known = ", ".join(self._labels.values())
            what = f"the reply {shorten(text)!r} is none of the labels {known:.300}"
            raise UnusableText(what, kind=self.field)
        return label, {}

    def example(self, text: str, random: Random) -> str:
        """See `ReplyForm.example`: the label that the text ends in, if it does."""
        ends = [label for fold, label in self._labels.items() if _fold(text).endswith(fold)]
        return max(ends, key=len) if ends else random.choice([*self._labels.values()])


class PatternForm:
    """A text that a regular expression describes from its first to its last character."""

    field = "regex"

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self.request: Mapping[str, Any] = {"structured_outputs": {"regex": pattern}}

    def read(self, text: str) -> tuple[str, dict[str, Any]]:
        """See `ReplyForm.read`."""
        said = text.strip()
        if not matches(said, rf"\A(?:{self._pattern})\z"):
            raise UnusableText(
                f"the reply {shorten(text)!r} is not of the form {self._pattern!r:.200}", kind=self.field
            )
        return said, {}

    def example(self, text: str, random: Random) -> str:
        """See `ReplyForm.example`."""
        return write_match(self._pattern, random)


class FormConfig(SamplingConfig):
    """Fields of a step that can want its replies in a form."""

    json_schema: Annotated[dict[str, Any] | str | None, FromFile()] = Field(default=None, alias="schema")
    """JSON schema of the object that is replied: a file beside the recipe, or the schema itself. A reply that does not
    fit it is not used."""
    labels: list[Annotated[str, Field(min_length=1)]] | None = Field(default=None, min_length=2)
    """Labels of which the reply is one; `as:` has it as it is written here."""
    regex: str | None = Field(default=None, min_length=1)
    """Regular expression (RE2) that the whole reply matches. Only vLLM holds a model to it."""
    parsed: NewColumn | None = None
    """Column for the object that `schema` describes."""
    repair: bool = False
    """Whether a reply is mended that is almost JSON; `repaired` says of each row whether it was."""

    @field_validator("json_schema")
    @classmethod
    def _usable(cls, schema: dict[str, Any] | str | None) -> dict[str, Any] | str | None:
        if isinstance(schema, str):
            raise FieldError(f"schema: {schema!r} is none", fix="name a .json file beside the recipe")
        try:
            if schema is not None:
                JsonSchema(schema)
        except FieldError as error:
            raise FieldError(f"schema: {error.what}", fix=error.fix or "mend the schema") from error
        return schema

    @field_validator("regex")
    @classmethod
    def _of_re2(cls, regex: str | None) -> str | None:
        if regex is not None:
            check_pattern(regex)
        return regex

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        forms = {"schema": self.json_schema, "labels": self.labels, "regex": self.regex}
        given = [f"{name}:" for name, value in forms.items() if value is not None]
        given += ["extra.response_format:"] * ("response_format" in self.extra)
        if len(given) > 1:
            raise FieldError(f"{' and '.join(given)} each say what a reply is", fix=f"keep one of {', '.join(given)}")
        if self.json_schema is None and (self.parsed is not None or self.repair):
            name = "repair" if self.repair else "parsed"
            raise FieldError(f"{name}: means nothing without schema:", fix=f"add schema: FILE, or take {name}: out")
        if self.labels is not None and len({_fold(label) for label in self.labels}) < len(self.labels):
            raise FieldError("labels: has one label twice, but for capitals and signs around it", fix="name each once")
        return self

    @cached_property
    def form(self) -> ReplyForm | None:
        """The form; None if any text will do."""
        if isinstance(self.json_schema, dict):
            return SchemaForm(self.json_schema, self.parsed, self.repair)
        if self.labels is not None:
            return LabelForm(self.labels)
        return PatternForm(self.regex) if self.regex is not None else None

    def reply_form(self) -> ReplyForm | None:
        """See `form`."""
        return self.form

    def form_variables(self) -> dict[str, str | list[str]]:
        """What a prompt can show of the form: `schema` as JSON, `labels` as a list, `regex`."""
        schema = None if self.json_schema is None else write_json(self.json_schema, indent=2)
        shown = {"schema": schema, "labels": self.labels, "regex": self.regex}
        return {name: value for name, value in shown.items() if value is not None}


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of a field that it names twice nobody could say which one is meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"it names {twice!r} twice")
    return found


def _write_request(name: str, schema: Mapping[str, Any], *, is_strict: bool) -> dict[str, Any]:
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": name, "schema": schema, "strict": is_strict},
        }
    }


def _fold(label: str) -> str:
    """A label without what models write around it, and without case."""
    return " ".join(label.strip(_AROUND).split()).casefold() or label
