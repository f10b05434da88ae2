"""Lines that cannot be read: all of them are told by their numbers, or left out and counted."""

import json
import logging
from pathlib import Path

import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.tables.bad_lines import MOST_TOLD, BadLines
from blackbox_kd.tables.readers import read_file
from blackbox_kd.tables.sources import TableSource, read

BAD = '{"q": 1}\n{"q": \n[2]\n\n{"q": 3}\nnot JSON\n'


def test_every_bad_line_of_a_file_is_told_with_its_number_and_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(BAD)
    with pytest.raises(DataError) as error:
        list(read_file(tmp_path / "a.jsonl"))
    assert error.value.what == "a.jsonl: bad lines: 3"
    assert error.value.exists.split("; ") == [
        "line 2: not JSON: Expecting value at character 6, near '{\"q\":'",
        "line 3: '[2]' is not an object with columns",
        "line 6: not JSON: Expecting value at character 1, near 'not JSON'",
    ]
    assert error.value.fix == "mend them; or leave them out: bad_lines: drop"


def test_a_single_bad_line_is_told_with_its_own_fix(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"q": 1}\n[2]\n')
    with pytest.raises(DataError) as error:
        list(read_file(tmp_path / "a.jsonl"))
    assert str(error.value) == (
        "a.jsonl, line 2: '[2]' is not an object with columns\n"
        '  fix: write {"column": value, ...}; or leave them out: bad_lines: drop'
    )


def test_dropped_lines_are_counted_and_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.jsonl").write_text(BAD)
    bad_lines = BadLines()
    with caplog.at_level(logging.WARNING):
        rows = list(read(TableSource(path="a.jsonl", bad_lines="drop"), tmp_path, bad_lines=bad_lines))
    assert rows == [{"q": 1}, {"q": 3}]
    assert bad_lines.dropped == {"a.jsonl": 3}
    assert caplog.messages[0].startswith("a.jsonl: bad lines left out: 3 (line 2: not JSON")


def test_lines_of_a_csv_file_are_told_and_those_behind_them_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('q,r\n1,2\n1,2,3\n"x" 2,3\n4,5\n6\n')
    with pytest.raises(DataError, match=r"line 3, .*|bad lines: 3") as error:
        list(read_file(tmp_path / "a.csv"))
    assert [part.split(":")[0] for part in error.value.exists.split("; ")] == ["line 3", "line 4", "line 6"]
    assert list(read_file(tmp_path / "a.csv", BadLines("drop"))) == [{"q": "1", "r": "2"}, {"q": "4", "r": "5"}]


def test_a_byte_that_is_no_utf_8_spoils_its_own_line_only(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"q": "é"}\n'.encode() + b'{"q": "\xe9"}\n{"q": "z"}\n')
    with pytest.raises(DataError, match=r"a.jsonl, line 2: is not UTF-8 \(byte 0xe9\)\n  fix: save it as UTF-8"):
        list(read_file(tmp_path / "a.jsonl"))
    assert list(read_file(tmp_path / "a.jsonl", BadLines("drop"))) == [{"q": "é"}, {"q": "z"}]


def test_items_of_a_list_that_are_no_rows_are_told_by_their_number(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"q": 1}, 2, {"q": 3}, null]')
    with pytest.raises(DataError) as error:
        list(read_file(tmp_path / "a.json"))
    assert error.value.exists == "row 2: '2' is not an object with columns; row 4: 'null' is not an object with columns"
    assert list(read_file(tmp_path / "a.json", BadLines("drop"))) == [{"q": 1}, {"q": 3}]


def test_of_very_many_bad_lines_the_rest_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("[1]\n" * (MOST_TOLD + 7))
    with pytest.raises(DataError) as error:
        list(read_file(tmp_path / "a.jsonl"))
    assert error.value.what == "a.jsonl: bad lines: 107"
    assert error.value.exists.startswith("line 1, line 2, line 3, ")
    assert error.value.exists.endswith("line 100: '[1]' is not an object with columns; and 7 more")


def test_a_file_with_nothing_but_bad_lines_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("[1]\n[2]\n")
    with pytest.raises(DataError, match=r"a\.jsonl has no rows"):
        list(read(TableSource(path="a.jsonl", bad_lines="drop"), tmp_path))


def test_a_limit_reads_no_further_than_it_has_to(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"q": 1}) + "\n" + "[1]\n" * 3)
    assert list(read(TableSource(path="a.jsonl"), tmp_path, limit=1)) == [{"q": 1}]
