import dataclasses
import datetime
import enum
import json
import random
from collections import namedtuple
from typing import Any

import pytest

from blackbox_kd.json_text import decode, encode

Point = namedtuple("Point", "x y")
Colour = enum.StrEnum("Colour", {"RED": "red"})


@dataclasses.dataclass
class Thing:
    name: str


class Share(float):
    pass


@pytest.mark.parametrize(
    "value",
    [
        {"text": 'a "b" \\ \n\r\t\b\f\x00\x1f\x7f \u2028 Zwölf 十二 🙂', "none": None, "yes": True},
        {"numbers": [0, -1, 2**63 - 1, 2**64 - 1, 0.1, -0.0, 1e-7, 1.5e300, 3.0]},
        {"big": 2**200, "small": -(2**64)},
        {"half": "a\ud83db", "deep": [[[{"a": [1]}]]]},
        {1: "a", None: "b", 2.5: "c"},
        {"tuple": (1, 2), "point": Point(1, 2), "colour": Colour.RED, "share": Share(0.25)},
        {"day": datetime.date(2026, 1, 2), "now": datetime.datetime(2026, 1, 2, 3, 4), "thing": Thing("x")},
    ],
)
def test_a_value_reads_back_as_the_standard_library_would_have_written_it(value: Any) -> None:
    assert json.loads(encode(value)) == json.loads(json.dumps(value, default=str))


def test_floats_read_back_exactly() -> None:
    numbers = random.Random(1)
    values = [numbers.random() * 10.0 ** numbers.randrange(-300, 300) for _ in range(10_000)]
    assert json.loads(encode(values)) == values


def test_a_text_is_one_line_of_utf_8() -> None:
    assert encode({"text": "Zwölf\n"}) == b'{"text":"Zw\xc3\xb6lf\\n"}'


def test_what_is_no_number_becomes_null() -> None:
    assert encode([float("nan"), float("inf")]) == b"[null,null]"


@pytest.mark.parametrize(
    "text", ['{"a": [1, 2.5, null]}', '"half \\ud83d"', "[NaN, -Infinity]", '{"a": 1e999}', " {} "]
)
def test_texts_are_read_as_the_standard_library_reads_them(text: str) -> None:
    assert repr(decode(text)) == repr(json.loads(text))


@pytest.mark.parametrize("text", ["", "<html>", "{", '{"a": 1} 2', "\ufeff{}", "\ud83d"])
def test_what_is_no_json_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"line 1|BOM"):
        decode(text)


def test_a_text_that_is_nested_too_deeply_is_an_error() -> None:
    with pytest.raises(RecursionError):
        decode("[" * 100_000)
