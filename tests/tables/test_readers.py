"""Files as they come: what is tolerated, and how what is wrong is named."""

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.tables.readers import read_file, simplify


def rows(path: Path, content: str | bytes) -> list[dict[str, Any]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_file(path))


def test_byte_order_marks_windows_line_ends_and_blank_lines_are_fine(tmp_path: Path) -> None:
    assert rows(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"q": 1}\r\n\r\n{"q": 2}\r\n') == [{"q": 1}, {"q": 2}]
    assert rows(tmp_path / "a.csv", b"\xef\xbb\xbfq,r\r\n1,2\r\n\r\n3,4\r\n") == [
        {"q": "1", "r": "2"},
        {"q": "3", "r": "4"},
    ]


def test_huge_integers_are_read(tmp_path: Path) -> None:
    assert rows(tmp_path / "a.jsonl", '{"q": ' + "9" * 400 + "}") == [{"q": int("9" * 400)}]


def test_quoted_csv_fields_hold_commas_quotes_and_lines(tmp_path: Path) -> None:
    assert rows(tmp_path / "a.csv", 'q,r\n"a, ""b""\nc",2\n') == [{"q": 'a, "b"\nc', "r": "2"}]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('q;r\n"a; b";0,5\n', {"q": "a; b", "r": "0,5"}),
        ("q\tr\na, b;\t2\n", {"q": "a, b;", "r": "2"}),
        ('"q, of all";r\n1;2\n', {"q, of all": "1", "r": "2"}),
        ('"q;r"\n1;2\n', {"q;r": "1;2"}),
        ("q,r;s\n1,2;3\n", {"q": "1", "r;s": "2;3"}),
    ],
)
def test_columns_are_parted_by_semicolons_or_tabs_where_the_first_line_has_no_comma(
    tmp_path: Path, content: str, found: dict[str, str]
) -> None:
    assert rows(tmp_path / "a.csv", content) == [found]


def test_long_csv_fields_are_read(tmp_path: Path) -> None:
    assert rows(tmp_path / "a.csv", "q\n" + "x" * 200_000) == [{"q": "x" * 200_000}]


def test_half_a_character_becomes_the_replacement_character(tmp_path: Path) -> None:
    assert rows(tmp_path / "a.jsonl", r'{"q": ["\ud83d", "\ud83d\ude00"]}') == [{"q": ["\ufffd", "\U0001f600"]}]


def test_json_lines_under_the_name_of_json_are_read(tmp_path: Path) -> None:
    assert rows(tmp_path / "a.json", '{"q": 1}\n{"q": 2}\n') == [{"q": 1}, {"q": 2}]


def test_an_object_around_one_list_of_rows_is_read(tmp_path: Path) -> None:
    assert rows(tmp_path / "a.json", '{"version": 1, "data": [{"q": 1}]}') == [{"q": 1}]


def test_parquet_dates_and_decimals_become_json(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"day": [datetime.date(2026, 1, 2)], "cost": [Decimal("1.50")], "turns": [[{"role": "user"}]]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert list(read_file(tmp_path / "a.parquet")) == [{"day": "2026-01-02", "cost": 1.5, "turns": [{"role": "user"}]}]


def parquet(path: Path, columns: dict[str, list[Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999", '{"deep": [NaN]}', "[1, Infinity]"])
def test_what_becomes_null_is_told_once_with_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    file = tmp_path / f"{value[:2].encode().hex()}.jsonl"
    lines = f'{{"x": 1, "score": null}}\n{{"x": 2, "score": {value}}}\n{{"x": 3, "score": {value}}}\n'
    assert [row["x"] for row in rows(file, lines) + list(read_file(file))] == [1, 2, 3] * 2
    told = f"{file.name}, line 2: column 'score' holds NaN or an infinity; such values are read as null"
    assert [record.getMessage() for record in caplog.records] == [told]


def test_nan_in_parquet_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(list(read_file(parquet(tmp_path / "odd.parquet", {"score": [0.5, float("nan"), None]})))) == 3
    assert "odd.parquet, row 2: column 'score' holds NaN" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", '{"x": 1}\n{"x": 1, "y": 2, "x": 3}\n', "a.jsonl, line 2: an object names 'x' twice"),
        ("a.jsonl", '{"x": {"y": 1, "y": 1}}\n', "a.jsonl, line 1: an object names 'y' twice"),
        ("a.json", '[{"x": 1, "x": 2}]', "a.json: an object names 'x' twice"),
    ],
    ids=["line", "own_nested", "own_array"],
)
def test_a_key_that_stands_twice_in_an_object_is_refused(tmp_path: Path, name: str, content: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        rows(tmp_path / name, content)


def test_bytes_are_no_text() -> None:
    with pytest.raises(DataError, match="column 'image' holds bytes"):
        simplify({"bytes": b"\x89PNG"}, "image")


@pytest.mark.parametrize(
    ("type_", "number", "told"),
    [
        ("timestamp('us')", 10**18, "timestamp[us] holds what cannot be read: date value out of range"),
        ("date32()", 5_000_000, "date32[day] holds what cannot be read: date value out of range"),
        ("duration('s')", 2**52, "own_duration[s] holds what cannot be read: "),
        (
            "struct([('d', pa.timestamp('us'))])",
            {"d": 10**18},
            "own_struct<d: timestamp[us]> holds what cannot be read",
        ),
        ("timestamp('ns', tz='Nowhere/Here')", 5, "own_timestamp[ns, tz=Nowhere/Here] holds what cannot be read: "),
    ],
)
def test_dates_that_python_has_not_are_told_by_their_column(tmp_path: Path, type_: str, number: Any, told: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = eval(f"pa.{type_}", {"pa": pa})  # pyarrow takes long to import, and cases stand at the top
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"q": ["x"], "when": pa.array([number], kind)}), file)
    with pytest.raises(DataError) as caught:
        list(read_file(file))
    assert f"a.parquet: column 'when' of type {told.removeprefix('own_')}" in caught.value.what
    assert caught.value.fix == "write the column as text"


def test_own_a_damaged_page_of_parquet_is_told(tmp_path: Path) -> None:
    file = parquet(tmp_path / "a.parquet", {"q": [f"{number} is a text" for number in range(5000)]})
    content = bytearray(file.read_bytes())
    content[40:400] = b"\xff" * 360
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"a.parquet: not Parquet: \w+.*\n  fix: write the file anew"):
        list(read_file(file))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", '{"q": 1}\n{"q": \n', "a.jsonl, line 2: not JSON: Expecting value at character 6, near"),
        ("a.jsonl", '{"q": 1}\n[1]\n', r"a.jsonl, line 2: '\[1\]' is not an object with columns"),
        ("a.jsonl", '{"q": ' + "9" * 5_000 + "}", "line 1: a number has too many digits"),
        ("a.jsonl", '{"q": ' + "[" * 200_000, "line 1: nested too deeply"),
        ("a.jsonl", b'{"q": "\xe9"}', r"is not UTF-8 \(byte 0xe9\)\n  fix: save it as UTF-8"),
        ("a.jsonl", '{"q": "é"}'.encode("utf-16"), "the file is UTF-16"),
        ("a.json", '[{"q": 1},\n{"q": }]', "a.json: not JSON: Expecting value at line 2, character 7"),
        ("a.json", '{"q": 1}', "holds an object with the keys q, not a list of rows"),
        ("a.json", "3", "holds '3', not a list of rows"),
        ("a.json", '[{"q": 1}, 2]', "a.json, row 2: '2' is not an object"),
        ("a.csv", "q,r\n1,2\n1,2,3\n", "a.csv, line 3: 3 fields, but 2 column names"),
        ("a.csv", "q,r\n1\n", "a.csv, line 2: 1 fields, but 2 column names"),
        ("a.csv", 'q,r\n"1" 2,3\n', "a.csv, line 2: not CSV"),
        ("a.csv", "q,q\n1,2\n", "names 'q' twice"),
        ("a.csv", "q,\n1,2\n", "has a column without name"),
        ("a.parquet", "no", "a.parquet: not Parquet"),
        ("a.xlsx", "no", "unknown kind of file '.xlsx'\n  known: .jsonl, .ndjson, .json, .csv, .parquet"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
    with pytest.raises(DataError, match=says) as error:
        rows(tmp_path / name, content)
    assert "\n  fix: " in str(error.value)


def test_integers_and_decimals_are_one_kind_and_null_is_none(tmp_path: Path) -> None:
    assert len(rows(tmp_path / "a.jsonl", '{"q": 1}\n{"q": null}\n{"q": 1.5}\n')) == 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"q": 1}\n\n{"q": "x"}', "line 3: column 'q' holds text ('x'), but a number in a.jsonl, line 1"),
        ('{"q": true}\n{"q": 1}', "holds a number ('1'), but true or false"),
        ('{"q": "x"}\n{"q": {"a": 1}}\n{"q": [2]}', "line 2: column 'q' holds an object ('{\"a\": 1}'), but text"),
    ],
)
def test_a_column_of_several_kinds_is_read_and_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str, says: str
) -> None:
    path = tmp_path / f"{len(says)}.jsonl"
    lines = [json.loads(line) for line in content.splitlines() if line]
    assert rows(path, content) == rows(path, content) == lines
    assert len(caplog.messages) == 1
    assert says.replace("a.jsonl", path.name) in caplog.text
