"""JSON schemas as Claude takes them: of what it cannot be held to, its replies are at least told.

Source   anthropic 2.14 (`lib/_parse/_transform.py`), which writes schemas anew in the same way
"""

from collections.abc import Mapping
from typing import Any

from blackbox_kd.json_text import write_json

_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
_KEPT = ("title", "description", "type", "enum", "const", "$ref", "required")
_SAYING = ("type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf")
"""Keywords of which a part of a schema has at least one."""
_DROPPED = ("$schema", "$id", "additionalProperties", "default")
_OF = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}


def suit_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """A schema without what the API refuses, which stands in the descriptions; None where there is none like it.

    What fits it fits the schema as far as the kinds of its values go. Objects whose fields are not named are no part
    of the API: Claude could only write them empty.
    """
    try:
        return _suit(schema)
    except _Open:
        return None


class _Open(Exception):
    """An object may have fields that the schema does not name, or a value may be anything."""


def _suit(part: Any) -> dict[str, Any]:
    if not isinstance(part, Mapping) or part.keys().isdisjoint(_SAYING):
        raise _Open
    is_object = "object" in part.get("type", ()) or "properties" in part
    if is_object and (part.get("additionalProperties") or not part.get("properties")):
        raise _Open
    suited = {name: part[name] for name in _KEPT if name in part}
    suited |= {_OF[name]: [_suit(inner) for inner in part[name]] for name in _OF if name in part}
    for group in ("$defs", "definitions", "properties"):
        if group in part:
            suited[group] = {name: _suit(inner) for name, inner in part[group].items()}
    if is_object:
        suited["additionalProperties"] = False
    if "items" in part:
        suited["items"] = _suit(part["items"])
    if part.get("format") in _FORMATS:
        suited["format"] = part["format"]
    if part.get("minItems") in (0, 1):
        suited["minItems"] = part["minItems"]
    told = {name: value for name, value in part.items() if name not in {*suited, *_OF, *_DROPPED}}
    if told:
        suited["description"] = "\n\n".join(filter(None, (suited.get("description"), write_json(told))))
    return suited
