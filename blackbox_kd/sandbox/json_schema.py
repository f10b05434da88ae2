"""JSON schemas of strangers: nothing is fetched for them, and no pattern can take longer than the text is.

Source   draft 2020-12 by the library jsonschema, unless `$schema` names another; OpenAI's strict subset by
         https://developers.openai.com/api/docs/guides/structured-outputs, "supported schemas"
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, time
from typing import Any

from blackbox_kd.errors import FieldError, quote_cause
from blackbox_kd.json_text import quote_value, write_json
from blackbox_kd.sandbox.functions import check_pattern, matches

FORMATS = ("date", "email", "ipv4", "ipv6", "uuid")
"""Values of `format` that jsonschema checks by itself, whatever else is installed."""
DEEPEST = 10
"""Levels of objects in OpenAI's strict subset."""
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_TOLD_WITHOUT_VALUE = ("required", "dependentRequired", "additionalProperties", "unevaluatedProperties")
"""Keywords of which jsonschema names the field, and does not show the value."""
_STRICT = frozenset(
    """
    $defs $ref $schema additionalProperties anyOf const definitions description enum exclusiveMaximum exclusiveMinimum
    format items maxItems maximum minItems minimum multipleOf pattern properties required title type
    """.split()  # noqa: SIM905 - as a list it would be no better to read
)
"""Keywords of OpenAI's strict subset."""


class JsonSchema:
    """A schema, and what it says of values.

    Args:
        schema: as a recipe has it; its root is an object.

    Raises:
        FieldError: it is no JSON schema, refers to what is not in it, or describes something else than an object.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        import jsonschema
        from referencing import Registry

        _check(schema)
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        try:
            kind.check_schema(schema)
        except jsonschema.SchemaError as error:
            at = "".join(f".{part}" for part in error.absolute_path)
            raise FieldError(f"it is no JSON schema: {at.lstrip('.') or 'its root'}: {error.message:.200}") from error
        limited = jsonschema.validators.extend(kind, {"pattern": _find_mismatch})
        self._validator = limited(schema, registry=Registry(), format_checker=_make_format_checker())
        _check_references(schema)
        try:
            self.find_fault({})
        except RecursionError as error:
            raise FieldError("it refers to itself without end") from error

    def find_fault(self, value: Any) -> str:
        """What is wrong with a value; nothing if it fits.

        Raises:
            RecursionError: it is nested too deeply.
        """
        from jsonschema.exceptions import best_match

        error = best_match(self._validator.iter_errors(value))
        if error is None:
            return ""
        at, what = error.json_path.removeprefix("$").lstrip("."), error.message
        is_plain = isinstance(error.instance, str | int | float) and not isinstance(error.instance, bool)
        if not is_plain and error.validator not in _TOLD_WITHOUT_VALUE:  # it is shown as Python writes it
            what = (
                f"{write_json(error.instance):.80} does not fit {error.validator}: {write_json(error.validator_value)}"
            )
        return f"{at}: {what:.200}" if at else f"{what:.200}"


def find_loose(schema: Mapping[str, Any]) -> str:
    """Why a schema is outside of the subset that OpenAI and others hold a model to; nothing if it is not."""
    return next(_list_loose(schema, "", 0), "")


def _check(schema: Mapping[str, Any]) -> None:
    if schema.get("type") != "object":
        fix = "write {type: object, properties: {...}}; a list stands in one of its properties"
        told = f"its type is {quote_value(schema['type'])}" if "type" in schema else "it has no type"
        raise FieldError(f"{told}, and replies are objects", fix=fix)
    for part in _list_parts(schema):
        for name in _REFERENCES:
            if isinstance(target := part.get(name), str) and not target.startswith("#"):
                what = f"it refers to {target!r}, and nothing outside of it is read"
                raise FieldError(what, fix="put what it refers to under $defs: and write $ref: '#/$defs/NAME'")
        if isinstance(pattern := part.get("pattern"), str):
            check_pattern(pattern)


def _check_references(schema: Mapping[str, Any]) -> None:
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    root = Resource.from_contents(dict(schema), default_specification=DRAFT202012)
    resolver = Registry().with_resource("", root).resolver()
    for part in _list_parts(schema):
        if isinstance(target := part.get("$ref"), str):
            try:
                resolver.lookup(target)
            except (Unresolvable, ValueError, TypeError) as error:
                raise FieldError(f"it refers to {target!r}, which it does not have: {quote_cause(error)}") from error


def _list_parts(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object inside of a value."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _find_mismatch(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    """The keyword `pattern`, by RE2: Python's own expressions can take forever."""
    from jsonschema import ValidationError

    if isinstance(value, str) and not matches(value, pattern):
        yield ValidationError(f"{value!r:.80} does not match {pattern!r:.80}")


def _make_format_checker() -> Any:
    from jsonschema import FormatChecker

    checker = FormatChecker(formats=FORMATS)
    for name, read in (("date-time", datetime.fromisoformat), ("time", time.fromisoformat)):
        checker.checks(name, raises=ValueError)(
            lambda value, read=read: not isinstance(value, str) or bool(read(value))
        )
    return checker


def _list_loose(part: Any, path: str, depth: int) -> Iterator[str]:
    where = path.lstrip(".") or "its root"
    if not isinstance(part, dict):
        yield f"{where} is {quote_value(part)}"
        return
    if depth > DEEPEST:
        yield f"{where} is nested more than {DEEPEST} levels deep"
    yield from (f"{where} has {name!r}" for name in sorted(part.keys() - _STRICT))
    properties = part.get("properties", {})
    if "object" in part.get("type", ()) or properties:
        if part.get("additionalProperties") is not False:
            yield f"{where} lacks additionalProperties: false"
        yield from (
            f"{path.lstrip('.')}{'.' if path else ''}{name} is not among required"
            for name in properties
            if name not in part.get("required", ())
        )
    for name, inner in properties.items():
        yield from _list_loose(inner, f"{path}.{name}", depth + 1)
    if "items" in part:
        yield from _list_loose(part["items"], f"{path}[]", depth)
    for inner in part.get("anyOf", ()):
        yield from _list_loose(inner, path, depth)
    for group in ("$defs", "definitions"):
        for name, inner in part.get(group, {}).items():
            yield from _list_loose(inner, f"{group}.{name}", depth)
