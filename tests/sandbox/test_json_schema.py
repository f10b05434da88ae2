from typing import Any

import pytest

from blackbox_kd.errors import FieldError
from blackbox_kd.sandbox.json_schema import JsonSchema, find_loose

TEXT = {"type": "string"}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "value", "fault"),
    [
        (of(total={"type": "number"}), {"total": 3}, ""),
        (of(total={"type": "number"}), {"total": "3"}, "total: '3' is not of type 'number'"),
        (of(total={"type": "number"}), {}, "'total' is a required property"),
        (of(total={"type": "number"}), {"total": 1, "more": 2}, "Additional properties are not allowed"),
        (of(total={"type": "number"}), [{"a": None}], '[{"a": null}] does not fit type: "object"'),
        (of(total={"type": "number"}), {"total": True}, 'total: true does not fit type: "number"'),
        (of(a={"type": "array", "maxItems": 1}), {"a": [None, True]}, "a: [null, true] does not fit maxItems: 1"),
        (of(items={"type": "array", "items": of(name=TEXT)}), {"items": [{"name": "a"}, {}]}, "items[1]: 'name' is"),
        (of(day={"type": "string", "format": "date"}), {"day": "2026-02-30"}, "day: '2026-02-30' is not a 'date'"),
        (of(day={"type": "string", "format": "date"}), {"day": "2026-02-28"}, ""),
        (of(at={"type": "string", "format": "date-time"}), {"at": "yesterday"}, "at: 'yesterday' is not a 'date-time'"),
        (of(at={"type": "string", "format": "date-time"}), {"at": "2026-02-28T10:00:00Z"}, ""),
        (of(code={"type": "string", "pattern": "^[A-Z]{3}$"}), {"code": "eur"}, "code: 'eur' does not match"),
        ({**of(a={"$ref": "#/$defs/name"}), "$defs": {"name": TEXT}}, {"a": 1}, "a: 1 is not of type 'string'"),
    ],
)
def test_a_value_is_told_where_it_does_not_fit_and_how(schema: dict[str, Any], value: Any, fault: str) -> None:
    found = JsonSchema(schema).find_fault(value)
    assert found.startswith(fault)
    assert bool(found) == bool(fault)


@pytest.mark.parametrize(
    ("schema", "what"),
    [
        ({"type": "array", "items": TEXT}, "its type is 'array', and replies are objects"),
        ({"properties": {"a": TEXT}}, "it has no type, and replies are objects"),
        (of(a={"type": "text"}), "it is no JSON schema: properties.a.type: 'text' is not valid"),
        (
            of(a={"$ref": "https://example.com/a.json"}),
            "it refers to 'https://example.com/a.json', and nothing outside",
        ),
        (of(a={"$ref": "other.json#/$defs/a"}), "it refers to 'other.json#/$defs/a', and nothing outside"),
        (of(a={"$ref": "#/$defs/gone"}), "it refers to '#/$defs/gone', which it does not have"),
        ({"type": "object", "$ref": "#"}, "it refers to itself without end"),
        (of(a={"type": "string", "pattern": "(?=a)b"}), "'(?=a)b' is no regular expression of RE2's"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_before_anything_is_asked(schema: dict[str, Any], what: str) -> None:
    with pytest.raises(FieldError) as caught:
        JsonSchema(schema)
    assert caught.value.what.startswith(what)


def test_a_pattern_that_would_take_python_forever_is_read_in_linear_time() -> None:
    schema = JsonSchema(of(a={"type": "string", "pattern": "^(a+)+$"}))
    assert schema.find_fault({"a": "a" * 40_000 + "!"}).startswith("a: 'aaa")


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (of(a=TEXT, b={"type": ["number", "null"]}), ""),
        (of(list={"type": "array", "items": of(a=TEXT)}), ""),
        ({**of(a=TEXT), "required": []}, "a is not among required"),
        (
            {"type": "object", "properties": {"a": TEXT}, "required": ["a"]},
            "its root lacks additionalProperties: false",
        ),
        (of(list={"type": "array", "items": {"type": "object"}}), "list[] lacks additionalProperties: false"),
        (of(a={"type": "string", "minLength": 2}), "a has 'minLength'"),
        ({**of(a={"$ref": "#/$defs/b"}), "$defs": {"b": {"oneOf": [TEXT]}}}, "$defs.b has 'oneOf'"),
        (of(a=of(b={**of(c=TEXT), "required": []})), "a.b.c is not among required"),
    ],
)
def test_what_puts_a_schema_outside_of_the_strict_subset_is_told(schema: dict[str, Any], why: str) -> None:
    JsonSchema(schema)
    assert find_loose(schema) == why
