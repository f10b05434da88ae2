"""What a config field takes, in words: `a whole number from 1 to 1000`, `'first' or 'random'`, `a list of models`."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from blackbox_kd.sdk.fields import Refers, annotate

PLAIN = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
NAMED = {
    "model": "the name of a model",
    "student": "the name of a model",
    "trained model": "the name of a model",
    "table": "the name of a table",
    "reported table": "the name of a table",
    "new table": "a name for a table",
    "prompt": "the name of a prompt",
    "column": "the name of a column",
    "new column": "a name for a column",
    "expression": "an expression",
    "template": "a text, or a template with columns in braces",
    "column or template": "the name of a column, or a template with columns in braces",
    "answer": "a kind of answer",
    "metric": "the name of a metric",
}
ANYTHING = "any value"
EXAMPLES = {"prompt": "rationale/cot", "expression": "EXPRESSION", "answer": "number", "metric": "macro_f1"}
"""What messages show as a value, where it is not NAME."""


def list_fields(kind: type[BaseModel]) -> list[str]:
    """Names of a model's fields as a recipe writes them."""
    return [entry.alias or name for name, entry in kind.model_fields.items()]


@dataclass(frozen=True, slots=True)
class Spot:
    """What a model says of the value at a path.

    Args:
        annotation: its type with its marks; None where the path leads nowhere.
        about: the nearest field and what its docstring says: `samples: Replies per row.`
        default: the field's default, if the path ends in a field.
        example: an example that the field gives, likewise.
    """

    annotation: Any
    about: str = ""
    default: Any = None
    example: Any = None


def find_spot(kind: type[BaseModel], path: Sequence[str | int]) -> Spot:
    """What a model says of the value at a path."""
    found = Spot(kind)
    for part in path:
        inner = Spot(None, found.about)
        for branch in _list_branches(found.annotation):
            if is_model(branch):
                inner = _find_field(branch, part) or inner
            elif get_origin(branch) is list and isinstance(part, int):
                inner = Spot(get_args(branch)[0], found.about)
            elif get_origin(branch) is dict:
                inner = Spot(get_args(branch)[1], found.about)
        found = inner
    return found


def _find_field(kind: type[BaseModel], key: str | int) -> Spot | None:
    for name, entry in kind.model_fields.items():
        if (entry.alias or name) == key:
            about = f"{key}: {' '.join(entry.description.split())}" if entry.description else ""
            example = entry.examples[0] if entry.examples else None
            return Spot(annotate(entry), about, entry.get_default(), example)
    return None


def is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    """Whether an annotation is a model: a mapping with named fields."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def find_inner_models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a value, or a part of it, may be of."""
    if is_model(annotation):
        yield annotation
    for inner in get_args(annotation):
        yield from find_inner_models(inner)


def _list_branches(annotation: Any) -> Iterator[Any]:
    """An annotation without its marks; of a union, each of its branches."""
    if get_origin(annotation) is Annotated:
        yield from _list_branches(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for branch in get_args(annotation):
            yield from _list_branches(branch)
    else:
        yield annotation


def takes_numbers(annotation: Any) -> bool:
    """Whether a value may be a number and may not be true or false."""
    kinds = list(_list_branches(annotation))
    return not {int, float}.isdisjoint(kinds) and bool not in kinds and Any not in kinds


def describe_type(annotation: Any, limits: str = "") -> str:
    """What an annotation takes; `limits` are those of a mark around it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        marks = list(_flatten(arguments[1:]))
        named = [NAMED[mark.kind] for mark in marks if isinstance(mark, Refers)]
        return named[0] if named else describe_type(arguments[0], _describe_limits(marks))
    if origin in (Union, UnionType):
        taken = dict.fromkeys(describe_type(branch) for branch in arguments if branch is not NoneType)
        return f"{' or '.join(taken)}{limits}"
    if origin is Literal:
        return list_choices(arguments)
    if origin in (list, dict):
        what, each = (
            ("a list", describe_type(arguments[0])) if origin is list else ("a mapping", describe_type(arguments[1]))
        )
        return f"{what}{limits}" if each == ANYTHING else f"{what}{limits}, each entry {each}"
    if is_model(annotation):
        return f"a mapping of {', '.join(list_fields(annotation))}"
    if annotation is str:
        limits = limits.replace("entries", "characters").replace("entry", "character")
    return f"{PLAIN.get(annotation, ANYTHING)}{limits}"


def list_choices(values: Sequence[object]) -> str:
    """`'a', 'b' or 'c'`."""
    *most, last = [repr(value) for value in values]
    return f"{', '.join(most)} or {last}" if most else last


def _flatten(marks: Sequence[Any]) -> Iterator[Any]:
    """Marks, those inside of pydantic's `Field(...)` included."""
    for mark in marks:
        yield from getattr(mark, "metadata", None) or [mark]


def _list_marks(annotation: Any) -> Iterator[Any]:
    """All marks of an annotation and of the branches of its union."""
    if get_origin(annotation) is Annotated:
        yield from _flatten(get_args(annotation)[1:])
        yield from _list_marks(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for branch in get_args(annotation):
            yield from _list_marks(branch)


def _find_bounds(annotation: Any) -> dict[str, float]:
    """Limits of a number by the names `ge`, `gt`, `le`, `lt`."""
    marks = list(_list_marks(annotation))
    return {name: getattr(mark, name) for name in ("ge", "gt", "le", "lt") for mark in marks if hasattr(mark, name)}


def _describe_limits(marks: Sequence[Any]) -> str:
    names = ("ge", "gt", "le", "lt", "min_length", "max_length")
    at = {name: value for mark in marks for name in names if (value := getattr(mark, name, None)) is not None}
    if "max_length" in at:
        return f" of {at.get('min_length', 0)} to {at['max_length']} entries"
    if "min_length" in at:
        return f" of at least {at['min_length']} {'entry' if at['min_length'] == 1 else 'entries'}"
    if "ge" in at and "le" in at:
        return f" from {at['ge']} to {at['le']}"
    low = f"at least {at['ge']}" if "ge" in at else f"above {at['gt']}" if "gt" in at else ""
    high = f"at most {at['le']}" if "le" in at else f"below {at['lt']}" if "lt" in at else ""
    both = " and ".join(filter(None, (low, high)))
    return f" of {both}" if both.startswith("at") else f" {both}" if both else ""


def write_example(at: Spot, value: Any) -> str:
    """A value that a field takes, as a recipe writes it: close to `value` where that can be mended."""
    if at.example is not None and not (isinstance(at.example, str) and isinstance(value, str)):
        return json.dumps(at.example).replace('"', "")
    limits = _find_bounds(at.annotation)
    for branch in _list_branches(at.annotation):
        if get_origin(branch) is Literal:
            first = str(get_args(branch)[0])
            return first if re.match(r"\w", first) else json.dumps(first)
        if branch is bool:
            return "true"
        if branch in (int, float):
            number = value if _is_number(value) else at.default if _is_number(at.default) else 1
            return _clip(number, limits, whole=branch is int)
        if branch is str:
            return _write_value(at, value)
        if get_origin(branch) is list:
            single = isinstance(value, str | int | float)
            return f"[{value if single else write_example(Spot(get_args(branch)[0]), None)}]"
        if is_model(branch):
            needed = [name for name in list_fields(branch) if find_spot(branch, [name]).default is PydanticUndefined]
            parts = [
                f"{name}: {write_example(find_spot(branch, [name]), value)}"
                for name in needed or list_fields(branch)[:1]
            ]
            return f"{{{', '.join(parts)}}}"
    return "{NAME: ...}"


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _write_value(at: Spot, value: Any) -> str:
    kinds = [mark.kind for mark in _list_marks(at.annotation) if isinstance(mark, Refers)]
    if kinds:
        return EXAMPLES.get(kinds[0], "NAME")
    if isinstance(value, str) and value:
        return re.sub(r"[^A-Za-z0-9_.-]+", "_", value).strip("_.-")[:40] or "NAME"
    if _is_number(value):
        return f'"{value}"'
    return at.default if isinstance(at.default, str) and at.default else "TEXT"


def _clip(value: float, limits: dict[str, float], *, whole: bool) -> str:
    """The nearest number within the limits; for a limit that is itself outside, one at some distance from it."""
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    nearest = value if low is None else max(value, low)
    nearest = nearest if high is None else min(nearest, high)
    if "gt" in limits and nearest <= limits["gt"]:
        nearest = limits["gt"] + 1 if high is None else (limits["gt"] + high) / 2
    elif "lt" in limits and nearest >= limits["lt"]:
        nearest = limits["lt"] - 1 if low is None else (low + limits["lt"]) / 2
    return str(round(nearest)) if whole else f"{nearest:g}"
