"""Queries of a SQLite database, compared by what they find."""

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from blackbox_kd import answers
from blackbox_kd.errors import DataError


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    file = tmp_path / "shop.sqlite"
    with sqlite3.connect(file) as database:
        database.executescript(
            """CREATE TABLE item (id INTEGER, name TEXT, price REAL);
            INSERT INTO item VALUES (1, 'Tea', 3.5), (2, 'Cup', 4), (3, 'Pot', 12.25), (4, 'Tea', 3.5);"""
        )
    database.close()
    return file


def judge(shop: Path, text: str, reference: str, **fields: Any) -> tuple[str | None, bool]:
    return answers.judge({"sql": {"database": str(shop), **fields}}, text, reference, {})


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("SELECT name FROM item", "SELECT name FROM item"),
        ("select name from item;", "select name from item"),
        ("```sql\nSELECT name\nFROM item;\n```\nThis lists the names.", "SELECT name\nFROM item"),
        ("The names are found by SELECT name FROM item; that is all.", "SELECT name FROM item"),
        ("I select the names.\nSELECT name FROM item;", "SELECT name FROM item"),
        ("SQL: SELECT name FROM item", "SELECT name FROM item"),
        ("<sql>SELECT name FROM item</sql>", "SELECT name FROM item"),
        ("<think>SELECT 1</think>SELECT name FROM item", "SELECT name FROM item"),
        ("SELECT name FROM item\n\nThis query lists the names.", "SELECT name FROM item"),
        ("SELECT name\n\nFROM item", "SELECT name\n\nFROM item"),
        ("SELECT ';' FROM item; -- all", "SELECT ';' FROM item"),
        ("WITH t AS (SELECT 1) SELECT * FROM t;", "WITH t AS (SELECT 1) SELECT * FROM t"),
        ("```sql\nSELECT 1\n```\nor better\n```sql\nSELECT 2\n```", "SELECT 2"),
        ("Select one of the options below.", "Select one of the options below."),
        ("No idea.", None),
        ("DROP TABLE item", None),
        ("", None),
    ],
)
def test_the_query_is_found_in_the_text(text: str, query: str | None, shop: Path) -> None:
    assert answers.kind({"sql": {"database": str(shop)}}).read(text, {}) == query


@pytest.mark.parametrize(
    ("query", "reference", "right"),
    [
        ("SELECT name FROM item WHERE id = 1", "SELECT name FROM item WHERE id = 1", True),
        ("SELECT name AS n FROM item WHERE id < 2", "select NAME from ITEM where ID = 1;", True),
        ("SELECT id FROM item ORDER BY id DESC", "SELECT id FROM item", True),
        ("SELECT id FROM item ORDER BY id DESC", "SELECT id FROM item ORDER BY id", False),
        ("SELECT id FROM item", "SELECT id FROM (SELECT * FROM item ORDER BY id DESC)", True),
        ("SELECT id, name FROM item", "SELECT name, id FROM item", False),
        ("SELECT DISTINCT name FROM item", "SELECT name FROM item", False),
        ("SELECT sum(price) FROM item", "SELECT 23.25", True),
        ("SELECT count(*) FROM item", "SELECT 4.0", True),
        ("SELECT 0.1 + 0.2", "SELECT 0.3", True),
        ("SELECT name FROM item WHERE id = 9", "SELECT name FROM item WHERE id = 10", True),
        ("SELECT name FROM item WHERE id = 9", "SELECT name FROM item", False),
        ("SELECT NULL", "SELECT 0", False),
        ("SELECT nme FROM item", "SELECT name FROM item", False),
        ("SELECT name FROM", "SELECT name FROM item", False),
        ("WITH t AS (SELECT max(price) AS p FROM item) SELECT name FROM item, t WHERE price = p", "SELECT 'Pot'", True),
    ],
)
def test_two_queries_are_the_same_where_they_find_the_same(query: str, reference: str, right: bool, shop: Path) -> None:
    assert judge(shop, query, reference)[1] is right


@pytest.mark.parametrize(
    "query",
    [
        "WITH t AS (SELECT 1) DELETE FROM item",
        "WITH t AS (SELECT 1) INSERT INTO item SELECT 9, 'x', 1",
        "WITH t AS (SELECT 9) UPDATE item SET id = 9",
        "SELECT load_extension('x')",
        "SELECT writefile('gone', 'x')",
        "SELECT 1; DROP TABLE item",
        "SELECT * FROM pragma_journal_mode('delete')",
        "SELECT zeroblob(100000000)",
        "SELECT printf('%*d', 100000000, 1)",
        "SELECT replace(printf('%*d', 900000, 1), ' ', '          ')",
    ],
)
def test_a_query_of_a_model_changes_nothing(query: str, shop: Path) -> None:
    before = shop.read_bytes()
    assert not judge(shop, query, "SELECT name FROM item")[1]
    assert shop.read_bytes() == before
    assert sorted(file.name for file in shop.parent.iterdir()) == ["shop.sqlite"]


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH 'other.sqlite' AS o",
        "PRAGMA journal_mode = WAL",
        "PRAGMA writable_schema = 1",
        "VACUUM INTO 'copy'",
        "DROP TABLE item",
        "CREATE TEMP TABLE t (a)",
        "BEGIN",
    ],
)
def test_a_reference_that_is_no_query_fails_its_row(statement: str, shop: Path) -> None:
    with pytest.raises(DataError, match="cannot be run on shop") as caught:
        judge(shop, "SELECT 1", statement)
    assert caught.value.fix == "mend the query of the row, or name the database that it is for"
    assert sorted(file.name for file in shop.parent.iterdir()) == ["shop.sqlite"]


@pytest.mark.parametrize("reference", ["SELECT nme FROM item", "", None])
def test_a_reference_that_fails_fails_its_row_whatever_the_text_says(reference: str | None, shop: Path) -> None:
    for text in ("SELECT 1", "no idea", str(reference)):
        with pytest.raises(DataError, match="cannot be run"):
            judge(shop, text, reference)  # type: ignore[arg-type]


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT "


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "query",
    [
        ENDLESS + "count(*) FROM n",
        ENDLESS + "x FROM n",
        ENDLESS + "x FROM n ORDER BY -x",
        ENDLESS + "group_concat(x) FROM n",
        ENDLESS + "DISTINCT x FROM n",
        ENDLESS + "printf('%*d', 900000, 1) FROM n",
        "SELECT count(*) FROM " + ", ".join(f"item a{n}" for n in range(40)),
    ],
)
def test_a_query_without_an_end_is_stopped_and_wrong(query: str, shop: Path) -> None:
    began = time.monotonic()
    assert not judge(shop, query, "SELECT 1", seconds=0.5)[1]
    assert time.monotonic() - began < 20


def test_each_row_may_have_a_database_of_its_own(shop: Path) -> None:
    other = shop.with_name("other.sqlite")
    other.write_bytes(shop.read_bytes())
    with sqlite3.connect(other) as database:
        database.execute("DELETE FROM item WHERE id > 1")
    database.close()
    named = {"sql": {"database": str(shop.parent / "{db}.sqlite")}}
    for name, count in (("shop", 4), ("other", 1)):
        assert answers.judge(named, "SELECT count(*) FROM item", f"SELECT {count}", {"db": name})[1]
    with pytest.raises(DataError, match="column 'db' is missing"):
        answers.judge(named, "SELECT 1", "SELECT 1", {})
    for name in ("../x", "", "a/b", "gone"):
        with pytest.raises(DataError, match=r"no name of a file|cannot be read"):
            answers.judge(named, "SELECT 1", "SELECT 1", {"db": name})


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a text that is long enough")
    for name in ("a.txt", "gone"):
        with pytest.raises(ValidationError, match=r"is no SQLite database|cannot be read"):
            answers.kind({"sql": {"database": str(tmp_path / name)}})


def test_another_database_of_the_same_name_is_another_kind(shop: Path) -> None:
    named = {"sql": {"database": str(shop)}}
    before = answers.identify(named)
    with sqlite3.connect(shop) as database:
        database.execute("DELETE FROM item")
    database.close()
    assert answers.identify(named) != before
    assert answers.identify("number") == ""
