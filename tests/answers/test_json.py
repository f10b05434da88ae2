"""JSON read out of replies, and compared field by field."""

import json
from typing import Any

import pytest

from blackbox_kd import answers
from blackbox_kd.errors import DataError

INVOICE = {
    "type": "object",
    "properties": {
        "vendor": {"type": "string"},
        "total": {"type": "number"},
        "paid": {"type": ["boolean", "null"]},
        "date": {"type": "string", "format": "date"},
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
    },
    "required": ["vendor", "total"],
    "$defs": {"item": {"type": "object", "properties": {"name": {"type": "string"}, "price": {"type": "number"}}}},
}
RIGHT = {
    "vendor": "Müller GmbH",
    "total": 1234.5,
    "paid": True,
    "date": "2024-03-05",
    "items": [{"name": "Tea", "price": 3.5}, {"name": "Cup", "price": 4}],
}


def right(given: Any, wanted: Any, **fields: Any) -> bool:
    """Whether one value is the other to the kind."""
    return answers.judge({"json": fields}, json.dumps(given), json.dumps(wanted), {})[1]


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        ' {"a": 1}\n',
        '```json\n{"a": 1}\n```',
        '```\n{"a": 1}\n```',
        'Here it is:\n```json\n{"a": 1}\n```\nI hope this helps!',
        'The object is {"a": 1}.',
        'Not {"b": 2}, but {"a": 1} it is.',
        '<think>{"a": 7}</think>{"a": 1}',
        'As in [1], the result is {"a": 1} {',
        '{{"x"}} and then {"a": 1}',
    ],
)
def test_an_object_is_found_wherever_it_stands(text: str) -> None:
    assert answers.kind("json").read(text, {}) == '{"a": 1}'


@pytest.mark.parametrize(
    "text", ["", "no idea", "[1] says so", '{"a": 1', '{"a": NaN}', "7", '"a"', "{'a': 1}", "{" * 5000, '{"a":' * 5000]
)
def test_where_there_is_no_object_nothing_is_read(text: str) -> None:
    assert answers.kind("json").read(text, {}) is None


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("{'a': 1}", '{"a": 1}'),
        ('{"a": 1, "b": [1, 2', '{"a": 1, "b": [1, 2]}'),
        ('Sure: {"a": 1,}', '{"a": 1}'),
        ("no idea", None),
    ],
)
def test_what_is_almost_json_is_mended_where_that_is_asked_for(text: str, read: str | None) -> None:
    assert answers.kind({"json": {"repair": True}}).read(text, {}) == read


def test_of_several_objects_the_last_that_fits_the_schema_is_meant() -> None:
    kind = answers.kind({"json": {"schema": INVOICE}})
    one = '{"vendor": "A", "total": 1}'
    assert kind.read(f'{one} and not {{"vendor": "B"}}', {}) == one
    assert kind.read('{"vendor": "A"} or {"vendor": "B"}', {}) == '{"vendor": "B"}'
    assert answers.kind("json").read(f'{one} and {{"vendor": "B"}}', {}) == '{"vendor": "B"}'


@pytest.mark.parametrize(
    ("given", "wanted", "fields"),
    [
        ({"a": 1}, {"a": 1.0}, {}),
        ({"a": "1"}, {"a": 1}, {}),
        ({"a": "1,234.50"}, {"a": 1234.5}, {}),
        ({"a": "$12"}, {"a": 12}, {}),
        ({"a": "12 EUR"}, {"a": 12}, {}),
        ({"a": "1.234,50 €"}, {"a": 1234.5}, {"decimal": ","}),
        ({"a": 3.14}, {"a": 3.145}, {"tolerance": 0.01}),
        ({"a": 0.1 + 0.2}, {"a": 0.3}, {}),
        ({"a": "paris "}, {"a": "Paris"}, {}),
        ({"a": "“Paris”"}, {"a": '"Paris"'}, {}),
        ({"a": "true"}, {"a": True}, {}),
        ({"a": None}, {}, {}),
        ({}, {"a": None}, {}),
        ({"a": []}, {}, {}),
        ({"b": 2, "a": 1}, {"a": 1, "b": 2}, {}),
        ({"a": "2024-03-05"}, {"a": "2024-03-05T00:00:00"}, {}),
        ({"a": "5 March 2024"}, {"a": "2024-03-05"}, {}),
        ({"a": "March 5th, 2024"}, {"a": "2024-03-05"}, {}),
        ({"a": "5. März 2024"}, {"a": "2024-03-05"}, {}),
        ({"a": "5 de marzo de 2024"}, {"a": "2024-03-05"}, {}),
        ({"a": "1er août 2024"}, {"a": "2024-08-01"}, {}),
        ({"a": "5 марта 2024"}, {"a": "2024-03-05"}, {}),
        ({"a": "2024年3月5日"}, {"a": "2024-03-05"}, {}),
        ({"a": "05.03.2024"}, {"a": "2024-03-05"}, {"dates": "day_first"}),
        ({"a": "3/5/2024"}, {"a": "2024-03-05"}, {"dates": "month_first"}),
        ({"a": [1, 2]}, {"a": [2, 1]}, {"lists": "sets"}),
        ({"a": [1, 1, 2]}, {"a": [2, 1]}, {"lists": "sets"}),
        ({"a": ["x", "Y"]}, {"a": ["y", "X"]}, {"lists": "sets"}),
        ({"a": [{"n": 1, "m": 2}, {"n": 3}]}, {"a": [{"n": 3}, {"m": 2, "n": 1}]}, {"lists": "sets"}),
        ({"a": {"b": {"c": [[1], [2]]}}}, {"a": {"b": {"c": [[1], [2]]}}}, {}),
        ([{"n": 1}], [{"n": 1}], {}),
        ({"a": "-"}, {"a": "-"}, {}),
        ({"total": "12.50"}, {"total": "12.5"}, {"schema": INVOICE}),
        ({"items": [{"price": "4.0"}]}, {"items": [{"price": "4"}]}, {"schema": INVOICE}),
    ],
)
def test_values_are_equal_by_their_types(given: Any, wanted: Any, fields: dict[str, Any]) -> None:
    assert right(given, wanted, **fields)


@pytest.mark.parametrize(
    ("given", "wanted", "fields"),
    [
        ({"a": 1}, {"a": 2}, {}),
        ({"a": "007"}, {"a": "7"}, {}),
        ({"a": "12.50"}, {"a": "12.5"}, {}),
        ({"a": "1,5"}, {"a": 1.5}, {}),
        ({"a": 3.14}, {"a": 3.16}, {"tolerance": 0.01}),
        ({"a": True}, {"a": 1}, {}),
        ({"a": "maybe"}, {"a": True}, {}),
        ({"a": 1, "b": 2}, {"a": 1}, {}),
        ({"a": 1}, {"a": 1, "b": 2}, {}),
        ({"a": 0}, {"a": None}, {}),
        ({"a": ""}, {"a": "x"}, {}),
        ({"a": [1, 2]}, {"a": [2, 1]}, {}),
        ({"a": [1]}, {"a": [1, 2]}, {"lists": "sets"}),
        ({"a": 1}, {"a": [1]}, {}),
        ({"a": {"b": 1}}, {"a": 1}, {}),
        ({"a": "05.03.2024"}, {"a": "2024-03-05"}, {}),
        ({"a": "05.03.2024"}, {"a": "2024-03-05"}, {"dates": "month_first"}),
        ({"a": "2024-03-06"}, {"a": "2024-03-05"}, {}),
        ({"a": "2024-03-05T10:00:00"}, {"a": "2024-03-05"}, {}),
        ({"a": "+"}, {"a": "-"}, {}),
        ({}, {"a": 1}, {}),
    ],
)
def test_values_differ_by_their_types(given: Any, wanted: Any, fields: dict[str, Any]) -> None:
    assert not right(given, wanted, **fields)


def test_the_fields_that_are_right_are_told_by_their_paths() -> None:
    kind = answers.kind({"json": {"schema": INVOICE, "lists": "sets"}})
    given = {
        "vendor": "müller gmbh",
        "total": 999,
        "note": "hello",
        "date": None,
        "items": [{"name": "Cup", "price": 4}, {"name": "Pot", "price": 9}],
    }
    assert kind.match_fields(json.dumps(given), json.dumps(RIGHT), {}) == {
        "vendor": (1, 0, 0),
        "total": (0, 1, 1),
        "paid": (0, 0, 1),
        "date": (0, 0, 1),
        "items.name": (1, 1, 1),
        "items.price": (1, 1, 1),
        "note": (0, 1, 0),
    }
    perfect = kind.match_fields(json.dumps(RIGHT), json.dumps(RIGHT), {})
    assert set(perfect.values()) == {(1, 0, 0), (2, 0, 0)}
    missed = kind.match_fields(None, json.dumps(RIGHT), {})
    assert {path: counts[2] for path, counts in missed.items()} == {
        "vendor": 1, "total": 1, "paid": 1, "date": 1, "items.name": 2, "items.price": 2,
    }  # fmt: skip


def test_items_of_a_set_are_compared_with_those_that_are_most_like_them() -> None:
    kind = answers.kind({"json": {"lists": "sets"}})
    given = [{"n": "a", "p": 1}, {"n": "b", "p": 2}, {"n": "c", "p": 3}]
    wanted = [{"n": "c", "p": 3}, {"n": "a", "p": 9}, {"n": "b", "p": 2}]
    assert kind.match_fields(json.dumps({"x": given}), json.dumps({"x": wanted}), {}) == {
        "x.n": (3, 0, 0),
        "x.p": (2, 1, 1),
    }
    ordered = answers.kind("json").match_fields(json.dumps({"x": given}), json.dumps({"x": wanted}), {})
    assert ordered == {"x.n": (0, 3, 3), "x.p": (0, 3, 3)}


@pytest.mark.parametrize("reference", ["Paris", "", None, "7", '{"a": '])
def test_a_reference_that_is_no_object_fails_its_row(reference: str | None) -> None:
    with pytest.raises(DataError, match="is no JSON object"):
        answers.judge("json", '{"a": 1}', reference, {})


def test_a_reference_that_is_an_object_of_the_row_is_taken_as_it_is() -> None:
    assert answers.judge("json", 'It is {"total": 3, "note": null}.', {"total": 3}, {}) == (
        '{"total": 3, "note": null}',
        True,
    )
    assert answers.canonical("json", {"b": 1, "a": "x"}, {}) == '{"b": 1, "a": "x"}'


@pytest.mark.timeout(30)
@pytest.mark.parametrize("piece", ["{", '{"a":', '{"a": 1} ', "```json\n", "[", '{"a": {'])
def test_a_text_of_a_megabyte_is_read_in_linear_time(piece: str) -> None:
    text = (piece * 1_000_000)[:1_000_000]
    for named in ("json", "tool_call"):
        answers.kind(named).read(text, {})


def test_long_lists_are_compared_in_time() -> None:
    items = [{"n": n, "m": str(n)} for n in range(3000)]
    assert right({"a": items}, {"a": items[::-1]}, lists="sets")
    assert not right({"a": items}, {"a": [item | {"n": -1} for item in items]}, lists="sets")
