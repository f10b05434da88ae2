"""What a config field takes, in words: `a whole number from 1 to 1000`, `'first' or 'random'`, `a list of models`."""

import re
from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from blackbox_kd.marks import Names

PLAIN = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
NAMED = {
    "model": "the name of a model",
    "student": "the name of a model",
    "table": "the name of a table",
    "new table": "a name for a table",
    "prompt": "the name of a prompt",
    "column": "the name of a column",
    "new column": "a name for a column",
    "expression": "an expression",
    "answer": "a kind of answer",
}


def fields(kind: type[BaseModel]) -> list[str]:
    """Names of a model's fields as a recipe writes them."""
    return [entry.alias or name for name, entry in kind.model_fields.items()]


def inside(kind: type[BaseModel], path: Sequence[str | int]) -> tuple[Any, str]:
    """The annotation of the value at a path of a model, and what the nearest field's docstring says.

    The annotation is None where the path leads nowhere.
    """
    annotation: Any = kind
    about = ""
    for part in path:
        branches = list(_branches(annotation))
        annotation = None
        for branch in branches:
            if isinstance(branch, type) and issubclass(branch, BaseModel):
                entry = next((e for n, e in branch.model_fields.items() if (e.alias or n) == part), None)
                if entry is not None:
                    annotation = Annotated[(entry.annotation, *entry.metadata)] if entry.metadata else entry.annotation
                    about = " ".join((entry.description or "").split())
            elif get_origin(branch) is list and isinstance(part, int):
                annotation = get_args(branch)[0]
            elif get_origin(branch) is dict:
                annotation = get_args(branch)[1]
    return annotation, about


def _branches(annotation: Any) -> Iterator[Any]:
    """An annotation without its marks; of a union, each of its branches."""
    if get_origin(annotation) is Annotated:
        yield from _branches(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for branch in get_args(annotation):
            yield from _branches(branch)
    else:
        yield annotation


def model_at(kind: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel] | None:
    """The model whose fields stand at a path."""
    for branch in _branches(inside(kind, path)[0] if path else kind):
        if isinstance(branch, type) and issubclass(branch, BaseModel):
            return branch
    return None


def words(annotation: Any) -> str:
    """What an annotation takes."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        marks = list(_flat(arguments[1:]))
        named = [NAMED[mark.kind] for mark in marks if isinstance(mark, Names)]
        return named[0] if named else f"{words(arguments[0])}{_limits(marks)}"
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(words(branch) for branch in arguments if branch is not NoneType))
    if origin is Literal:
        return either(arguments)
    if origin is list:
        return f"a list, each entry {words(arguments[0])}"
    if origin is dict:
        value = words(arguments[1])
        return "a mapping" if value == "any value" else f"a mapping, each value {value}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"a mapping with fields of {', '.join(fields(annotation))}"
    return PLAIN.get(annotation, "any value")


def either(values: Sequence[object]) -> str:
    """`'a', 'b' or 'c'`."""
    *most, last = [repr(value) for value in values]
    return f"{', '.join(most)} or {last}" if most else last


def _flat(marks: Sequence[Any]) -> Iterator[Any]:
    """Marks, those inside of pydantic's `Field(...)` included."""
    for mark in marks:
        yield from getattr(mark, "metadata", None) or [mark]


def bounds(annotation: Any) -> dict[str, float]:
    """Limits of a number by the names `ge`, `gt`, `le`, `lt`."""
    found: dict[str, float] = {}
    if get_origin(annotation) is Annotated:
        for mark in _flat(get_args(annotation)[1:]):
            found |= {name: getattr(mark, name) for name in ("ge", "gt", "le", "lt") if hasattr(mark, name)}
    return found


def _limits(marks: Sequence[Any]) -> str:
    at = {
        name: getattr(mark, name)
        for mark in marks
        for name in ("ge", "gt", "le", "lt", "min_length", "max_length")
        if getattr(mark, name, None) is not None
    }
    if "min_length" in at or "max_length" in at:
        low, high = at.get("min_length"), at.get("max_length")
        return f" with at least {low}" if high is None else f" with {low or 0} to {high}"
    if "ge" in at and "le" in at:
        return f" from {at['ge']} to {at['le']}"
    low = f"at least {at['ge']}" if "ge" in at else f"above {at['gt']}" if "gt" in at else ""
    high = f"at most {at['le']}" if "le" in at else f"below {at['lt']}" if "lt" in at else ""
    both = " and ".join(filter(None, (low, high)))
    return f" of {both}" if both.startswith("at") else f" {both}" if both else ""


def example(annotation: Any, value: Any, default: Any) -> str:
    """A value that the field takes, as a recipe writes it: close to `value` where that can be mended."""
    limits = bounds(annotation)
    for branch in _branches(annotation):
        if get_origin(branch) is Literal:
            return str(get_args(branch)[0])
        if branch in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
            return _clipped(value, limits, whole=branch is int)
        if get_origin(branch) is list and not isinstance(value, list | dict | None):
            return f"[{value}]"
        if branch is bool:
            return "true"
        if branch in (int, float):
            return str(default if isinstance(default, int | float) else limits.get("ge", 1))
        if branch is str:
            return _text(annotation, value, default)
    return "VALUE"


def _text(annotation: Any, value: Any, default: Any) -> str:
    named = any(word in words(annotation) for word in ("the name of", "a name for", "a kind of"))
    if isinstance(value, str) and value:
        return re.sub(r"[^A-Za-z0-9_.-]+", "_", value).strip("_.-") or "NAME"
    if isinstance(value, int | float) and not named:
        return f'"{value}"'
    return default if isinstance(default, str) and default else "NAME" if named else "TEXT"


def _clipped(value: float, limits: dict[str, float], *, whole: bool) -> str:
    """The nearest number within the limits; for a limit that is itself outside, one at some distance from it."""
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    nearest = value if low is None else max(value, low)
    nearest = nearest if high is None else min(nearest, high)
    if "gt" in limits and nearest <= limits["gt"]:
        nearest = limits["gt"] + 1 if high is None else (limits["gt"] + high) / 2
    elif "lt" in limits and nearest >= limits["lt"]:
        nearest = limits["lt"] - 1 if low is None else (low + limits["lt"]) / 2
    return str(round(nearest)) if whole else f"{nearest:g}"
