"""Tools that a model may call, as OpenAI defines them, and whether a call of them can be used.

{type: function, function: {name: weather, description: ..., parameters: {type: object, properties: {...}}}}
"""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from blackbox_kd import json_text
from blackbox_kd.errors import FieldError
from blackbox_kd.sandbox.json_schema import JsonSchema

Definition = dict[str, Any]
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_FORM = "write {type: function, function: {name: NAME, description: ..., parameters: {a JSON schema}}}"


def read_definitions(value: Any) -> list[Definition]:
    """Definitions from a list, from its JSON text, or from an object with such a list in `tools`; none of nothing.

    A function by itself, without `type: function` around it, is put into its place.

    Raises:
        FieldError: a definition has no name or no schema of its arguments, or two have one name.
    """
    if isinstance(value, str):
        try:
            value = json_text.decode(value) if value.strip() else []
        except (ValueError, RecursionError) as error:
            raise FieldError("the definitions of tools are no JSON", fix=f"{_FORM}, in a list") from error
    value = value["tools"] if isinstance(value, Mapping) and "tools" in value else value
    if not isinstance(value, list | None):
        raise FieldError(f"{json_text.quote_value(value)} is no list of tools", fix=f"{_FORM}, in a list")
    found = [_read_definition(each) for each in value or ()]
    names = [each["function"]["name"] for each in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise FieldError(f"two tools are called {twice!r}", fix="give each a name of its own")
    return found


def find_fault(calls: Iterable[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> str:
    """Why calls in OpenAI's form cannot be used with the tools that were offered; nothing if they can."""
    schemas = {tool["function"]["name"]: tool["function"].get("parameters") for tool in tools}
    return next(filter(None, (_find_fault(call, schemas) for call in calls)), "")


def _find_fault(call: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    function = call["function"]
    name, text = function["name"], function["arguments"]
    if name not in schemas:
        return f"the reply calls {name!r:.80}, and the tools are {', '.join(schemas)}"
    try:
        arguments = json_text.decode(text)
    except (ValueError, RecursionError):
        return f"the arguments of the call of {name} are no JSON: {text!r:.120}"
    if not isinstance(arguments, dict):
        return f"the arguments of the call of {name} are no object: {text!r:.120}"
    fault = _compile(json_text.encode(schemas[name] or {}, ordered=True).decode()).find_fault(arguments)
    return f"the arguments of the call of {name} do not fit its schema ({fault})" if fault else ""


def _read_definition(value: Any) -> Definition:
    function = value.get("function", value) if isinstance(value, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise FieldError(f"the tool {json_text.quote_value(value)} has no name", fix=_FORM)
    if value is not function and value.get("type", "function") != "function":
        what = f"a tool is of the type {json_text.quote_value(value['type'])}, and only functions can be called"
        raise FieldError(what, fix=_FORM)
    name, parameters = function["name"], function.get("parameters")
    if not _NAME.fullmatch(name):
        fix = "name it with letters, digits, '_', '-' and '.', 64 at most"
        raise FieldError(f"no tool can be called {name!r:.80}", fix=fix)
    if not isinstance(parameters, dict | None):
        raise FieldError(f"the parameters of the tool {name!r} are no JSON schema", fix=_FORM)
    try:
        _compile(json_text.encode(parameters or {}, ordered=True).decode())
    except FieldError as error:
        raise FieldError(f"the parameters of the tool {name!r}: {error.what}", fix=error.fix or _FORM) from error
    return {"type": "function", "function": dict(function)}


@functools.lru_cache(maxsize=4096)
def _compile(schema: str) -> JsonSchema:
    """The schema of a tool's arguments; one that is left out says that there are none to check."""
    return JsonSchema({"type": "object", **json_text.decode(schema)})
