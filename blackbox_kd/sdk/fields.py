"""Marks on the fields of a step's config: what a field's text names, and what it takes when it is left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from blackbox_kd.sandbox.template import is_template
from blackbox_kd.schema import ModelRef

Kind = Literal[
    "model",
    "student",
    "trained model",
    "table",
    "reported table",
    "new table",
    "prompt",
    "column",
    "new column",
    "expression",
    "template",
    "column or template",
    "answer",
    "metric",
]


@dataclass(frozen=True, slots=True)
class Refers:
    """A mark on a config field: its text names something of the recipe."""

    kind: Kind
    scores: bool = False
    """Of a model: whether its provider must offer log-probabilities of given text."""
    weights: bool = False
    """Of a model: whether its weights must be at hand."""


@dataclass(frozen=True, slots=True)
class FromEarlier:
    """A mark on a config field: left out, it takes the value of the nearest earlier step that has the field.

    Args:
        steps: names of the steps that are looked at; empty for all.
        otherwise: names of those that are looked at where none of `steps` comes before.
        unless: a field of the step that does in place of this one; beside it `otherwise` is not looked at.
    """

    steps: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()
    unless: str = ""


@dataclass(frozen=True, slots=True)
class FromFile:
    """A mark on a config field: a text in place of the value names a JSON file beside the recipe that holds it.

    Args:
        suffix: that the name of the file ends in; any other text is the value itself.
        of_texts: whether the field is a mapping, in which `{file: NAME}` is the text of a file: `{text: ...}`.
    """

    suffix: str = ""
    of_texts: bool = False


StudentName = Annotated[str, Refers("student")]
ModelName = Annotated[str, Refers("model")]
TrainedName = Annotated[str, Refers("trained model")]
"""A model that a step before has trained, of which only how it was trained is read."""
ScoringModel = Annotated[str, Refers("model", scores=True)]
"""A model whose provider offers log-probabilities of given text."""
WeightsModel = Annotated[str, Refers("model", weights=True)]
"""A model whose weights are at hand, which is read where the step runs and not asked."""
TableName = Annotated[str, Refers("table")]
ReportedTable = Annotated[str, Refers("reported table")]
"""A table of which only what `evaluate` reported is read, so that it may be held out."""
NewTable = Annotated[str, Refers("new table")]
PromptName = Annotated[str, Refers("prompt")]
Column = Annotated[str, Refers("column")]
NewColumn = Annotated[str, Refers("new column")]
MetricName = Annotated[str, Refers("metric")]
Expression = Annotated[str, Refers("expression")]
Template = Annotated[str, Refers("template")]
"""A text; with braces in it, a template that is filled in with the columns of each row."""
TextColumn = Annotated[str, Refers("column or template")]
"""What a row says somewhere: with braces in it a template, as above, otherwise the column that holds it."""
_TOLD_KIND = dict[Annotated[str, Refers("answer")], dict[str, Any]]
Answer = Annotated[str | Annotated[_TOLD_KIND, Field(min_length=1, max_length=1)], Refers("answer")]
"""A kind of answer, alone or with what a recipe says of it: `number`, or `{number: {decimal: ","}}`."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One place where a config names something.

    Args:
        field: the field's path as the recipe writes it, such as `models[1]`, `outputs.wrong` or `as`.
        kind: what it names.
        value: the name.
        scores: of a model: whether its provider must offer log-probabilities of given text.
        weights: of a model: whether its weights must be at hand.
    """

    field: str
    kind: Kind
    value: str
    scores: bool = False
    weights: bool = False

    @property
    def model(self) -> ModelRef:
        """The name of a model, with its version."""
        return ModelRef.parse(self.value)


def references(config: BaseModel) -> Iterator[Reference]:
    """Every model, table, prompt, column, expression and answer that a config names, field by field."""
    for name, entry in type(config).model_fields.items():
        yield from _walk(annotate(entry), read_field(config, name), entry.alias or name)


def _walk(annotation: Any, value: Any, path: str) -> Iterator[Reference]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(value, BaseModel):
        for inner in references(value):
            yield replace(inner, field=f"{path}.{inner.field}")
    elif origin is Annotated:
        marks = [mark for mark in arguments[1:] if isinstance(mark, Refers)]
        if marks and isinstance(value, str):
            yield Reference(path, _choose_kind(marks[0].kind, value), value, marks[0].scores, marks[0].weights)
        else:
            yield from _walk(arguments[0], value, path)
    elif origin in (Union, UnionType):
        yield from dict.fromkeys(found for branch in arguments for found in _walk(branch, value, path))
    elif origin is list and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(arguments[0], item, f"{path}[{index}]")
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(arguments[0], key, f"{path}.{key}")
            yield from _walk(arguments[1], item, f"{path}.{key}")


def _choose_kind(kind: Kind, value: str) -> Kind:
    """What a value names, which for some fields the value alone tells."""
    if kind != "column or template":
        return kind
    return "template" if is_template(value) else "column"


def find_earlier(config: type[BaseModel]) -> dict[str, tuple[str, FromEarlier]]:
    """Fields of a config class that take an earlier step's value when they are left out, and what recipes call them."""
    return {
        name: (entry.alias or name, mark)
        for name, entry in config.model_fields.items()
        for mark in entry.metadata
        if isinstance(mark, FromEarlier)
    }


def find_from_file(config: type[BaseModel]) -> dict[str, FromFile]:
    """Fields of a config class whose value may stand in a file, as recipes call them."""
    fields = config.model_fields.items()
    return {entry.alias or name: m for name, entry in fields for m in entry.metadata if isinstance(m, FromFile)}


def find_answers(config: type[BaseModel]) -> list[str]:
    """Fields of a config class that name a kind of answer, as recipes call them."""
    fields = ((entry.alias or name, annotate(entry)) for name, entry in config.model_fields.items())
    return [name for name, annotation in fields if "answer" in list_kinds(annotation)]


def find_names(config: BaseModel, key: str) -> list[str]:
    """The fields of a config that recipes call by a name: one, or none."""
    return [name for name, entry in type(config).model_fields.items() if (entry.alias or name) == key]


def annotate(entry: FieldInfo) -> Any:
    """The type of a field with its marks."""
    return Annotated[(entry.annotation, *entry.metadata)] if entry.metadata else entry.annotation


def list_kinds(annotation: Any) -> Iterator[Kind]:
    """The kinds of things that the values of a field refer to."""
    for part in get_args(annotation):
        if isinstance(part, Refers):
            yield part.kind
        else:
            yield from list_kinds(part)


def read_field(config: BaseModel, name: str) -> Any:
    """The value of a field that only its name tells of."""
    return getattr(config, name)


def resolve(patterns: Sequence[str], config: BaseModel) -> list[str]:
    """Names with `{field}` replaced by the config's value; a list gives several names, None and a template give none.

    A form of a step that lacks a field has no such name.
    """
    names: list[str] = []
    for pattern in patterns:
        if not (pattern.startswith("{") and pattern.endswith("}")):
            names.append(pattern)
            continue
        value = read_field(config, pattern[1:-1]) if pattern[1:-1] in type(config).model_fields else None
        names += [] if value is None else [value] if isinstance(value, str) else list(value)
    return [name for name in names if not is_template(name)]
