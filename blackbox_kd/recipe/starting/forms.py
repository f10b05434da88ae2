"""What answers look like, by examples: a JSON schema of objects, tools by the calls of them, the kind of an answer."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from blackbox_kd import answers, messages
from blackbox_kd.errors import BlackboxError
from blackbox_kd.json_text import decode, write_text
from blackbox_kd.paths import read_table

KINDS: list[tuple[type | tuple[type, ...], str]] = [
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (type(None), "null"),
]
_TABLE = read_table(__file__)
SKELETON: dict[str, Any] = _TABLE["schema"]
"""What stands in for a schema where no example tells of any."""
TOOLS_SKELETON: list[dict[str, Any]] = _TABLE["tools"]


def infer_schema(values: Sequence[Any]) -> dict[str, Any]:
    """A JSON schema that fits all of some values; of objects it requires the keys that all have, and allows no more."""
    objects = [value for value in values if isinstance(value, Mapping)]
    lists = [value for value in values if isinstance(value, list)]
    kinds = [name for kind, name in KINDS if any(_is(value, kind) for value in values)]
    if "number" in kinds and "integer" in kinds:
        kinds.remove("integer")
    kinds = [*(["object"] if objects else []), *(["array"] if lists else []), *kinds]
    schema: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds}
    if objects:
        names = list(dict.fromkeys(name for each in objects for name in each))
        schema["properties"] = {name: infer_schema([each[name] for each in objects if name in each]) for name in names}
        schema["required"] = [name for name in names if all(name in each for each in objects)]
        schema["additionalProperties"] = False
    if items := [item for each in lists for item in each]:
        schema["items"] = infer_schema(items)
    return schema


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def read_objects(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The right answers that are objects, perhaps as JSON text."""
    return [found for row in rows if isinstance(found := _open(row.get("reference")), Mapping)]


def _open(value: Any) -> Any:
    try:
        return decode(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None


def infer_tools(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tools by the calls that are right answers; none where no answer has any."""
    given: dict[str, list[Any]] = {}
    for row in rows:
        try:
            calls = messages.read_calls(_open(row.get("reference")) or [], "column 'reference'")
        except BlackboxError:
            continue
        for call in calls:
            given.setdefault(call["function"]["name"], []).append(_open(call["function"]["arguments"]))
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": f"PLEASE EDIT: when {name} is called",
                "parameters": infer_schema([each for each in arguments if isinstance(each, Mapping)] or [{}]),
            },
        }
        for name, arguments in given.items()
    ]


def guess_kind(rows: Sequence[Mapping[str, Any]]) -> str:
    """The kind of the right answers: numbers if all of them can be read as one, or there are none; else texts."""
    number = answers.kind("number")
    stated = [write_text(row["reference"]) for row in rows if "reference" in row]
    return "number" if all(number.read(text, {}) is not None for text in stated) else "exact"
