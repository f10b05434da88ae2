"""Documents as tables: where they are cut, under which headings, and what of a file is no text."""

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from blackbox_kd.errors import DataError, SetupError
from blackbox_kd.tables.bad_lines import BadLines
from blackbox_kd.tables.sources import TableSource, find_columns, make_rows, read

GUIDE = """---
title: for the site alone
---
Before any heading.

# The [guide](http://x) to *it*

It begins. It goes on.

```bash
# no heading
make all
```

    # nor this

## Install

Run it.

Setext
======

The end.
"""


def rows_of(folder: Path, path: str, **fields: Any) -> list[dict[str, Any]]:
    return list(read(TableSource(path=path, **fields), folder))


def write(folder: Path, name: str, text: str | bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)


def test_a_chunk_stands_under_its_headings_and_code_holds_none(tmp_path: Path) -> None:
    write(tmp_path, "docs/a.md", GUIDE)
    rows = rows_of(tmp_path, "docs/*.md", chunk={"words": 50, "overlap": 0})
    assert [(row["part"], row["heading"]) for row in rows] == [
        (1, ""),
        (2, "The guide to it"),
        (3, "The guide to it > Install"),
        (4, "Setext"),
    ]
    assert {row["source"] for row in rows} == {"docs/a.md"}
    assert rows[0]["text"] == "Before any heading."
    assert rows[1]["text"].startswith("# The [guide](http://x) to *it*\n\nIt begins.")
    assert "# no heading\nmake all\n```\n\n    # nor this" in rows[1]["text"], "as it stands, line breaks included"
    assert "title: for the site" not in "".join(row["text"] for row in rows)


def test_without_chunk_a_file_is_a_row(tmp_path: Path) -> None:
    write(tmp_path, "a.md", GUIDE)
    write(tmp_path, "b.txt", "One.\r\n\r\nTwo.\r\n")
    rows = rows_of(tmp_path, "*.*")
    assert [row["source"] for row in rows] == ["a.md", "b.txt"]
    assert rows[0]["text"].startswith("Before any")
    assert rows[0]["text"].endswith("The end.")
    assert rows[1] == {"text": "One.\n\nTwo.", "source": "b.txt", "heading": "", "part": 1}
    assert find_columns(TableSource(path="*.*"), tmp_path) == ["id", "text", "source", "heading", "part"]


def test_chunks_overlap_and_end_with_a_sentence_or_a_paragraph_where_one_ends(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", " ".join(f"w{n}." if n % 7 == 0 else f"w{n}" for n in range(1, 41)))
    texts = [row["text"] for row in rows_of(tmp_path, "a.txt", chunk={"words": 16, "overlap": 2})]
    assert texts[0].split()[-1] == "w14."
    assert texts[1].split()[:2] == ["w13", "w14."]
    assert texts[-1].split()[-1] == "w40"
    assert all(len(text.split()) <= 16 for text in texts)
    write(tmp_path, "b.txt", "one two three four five six seven\n\neight. nine ten")
    assert (
        rows_of(tmp_path, "b.txt", chunk={"words": 8, "overlap": 0})[0]["text"] == "one two three four five six seven"
    )
    write(tmp_path, "c.txt", "a b c d e f g h i j")
    assert [r["text"] for r in rows_of(tmp_path, "c.txt", chunk={"words": 4, "overlap": 3})][:2] == [
        "a b c d",
        "b c d e",
    ]


def test_by_file_a_heading_ends_no_chunk(tmp_path: Path) -> None:
    write(tmp_path, "a.md", GUIDE)
    (row,) = rows_of(tmp_path, "a.md", chunk={"words": 500, "overlap": 0, "by": "file"})
    assert "## Install" in row["text"]
    assert "The end." in row["text"]


def test_a_page_is_read_without_its_menus_and_under_its_headings(tmp_path: Path) -> None:
    page = (
        "<html><head><title>The page</title><style>b {}</style></head><body><nav>Home | Shop</nav><main>"
        "<p>Hello <b>bold</b>\n  world.</p><h2>Set <i>up</i></h2><ul><li>one</li><li>two</li></ul>"
        "<pre>code:\n  more</pre><table><tr><td>a</td><td>b</td></tr></table><script>x()</script></main>"
        "<footer>(c)</footer></body></html>"
    )
    write(tmp_path, "a.html", page)
    rows = rows_of(tmp_path, "a.html", chunk={"words": 50, "overlap": 0})
    assert [(row["heading"], row["text"]) for row in rows] == [
        ("The page", "Hello bold world."),
        ("The page > Set up", "Set up\n\none\ntwo\n\ncode:\n  more\n\n a b"),
    ]
    write(tmp_path, "b.html", "<h1>Caf\xe9</h1><p>ol\xe9</p>".encode("latin-1"))
    assert rows_of(tmp_path, "b.html")[0]["text"] == "Café\n\nolé"


def test_the_package_for_pages_is_named_where_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.html", "<p>Hello.</p>")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "bs4", raising=False)
    with pytest.raises(SetupError, match=r"pip install 'blackbox-kd\[documents\]'"):
        rows_of(tmp_path, "a.html")


def test_files_that_are_no_text_are_all_told_or_left_out(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", b"caf\xe9")
    write(tmp_path, "b.md", b"\x00\x01")
    write(tmp_path, "c.md", "Good.")
    write(tmp_path, "d.txt", "Gut.".encode("utf-16"))
    with pytest.raises(DataError) as error:
        rows_of(tmp_path, "*.*")
    assert error.value.what == "documents: bad files: 2"
    assert error.value.exists == "a.txt: is not UTF-8 (byte 0xe9); b.md: is no text: it holds NUL characters"
    bad_lines = BadLines()
    rows = list(read(TableSource(path="*.*", bad_lines="drop"), tmp_path, bad_lines=bad_lines))
    assert [(row["source"], row["text"]) for row in rows] == [("c.md", "Good."), ("d.txt", "Gut.")]
    assert bad_lines.dropped == {"documents": 2}


def test_empty_files_are_told_of_and_an_empty_folder_has_no_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "a.md", "")
    write(tmp_path, "b.md", "---\ntitle: x\n---\n")
    with caplog.at_level(logging.WARNING), pytest.raises(DataError, match="have no rows"):
        rows_of(tmp_path, "*.md")
    assert caplog.messages == ["documents without text: 2 (a.md, b.md)"]


def test_a_file_that_is_there_by_two_names_is_read_once_and_links_in_a_circle_end(tmp_path: Path) -> None:
    write(tmp_path, "docs/a.md", "One.")
    (tmp_path / "docs" / "b.md").symlink_to("a.md")
    (tmp_path / "docs" / "again").symlink_to(".")
    assert [row["source"] for row in rows_of(tmp_path, "docs/**/*.md")] == ["docs/a.md"]


def test_a_folder_outside_gives_no_place_of_the_machine_away(tmp_path: Path) -> None:
    write(tmp_path, "out/a.md", "One.")
    (tmp_path / "in").mkdir()
    (row,) = rows_of(tmp_path / "in", str(tmp_path / "out" / "*.md"))
    assert row["source"] == "a.md"


def test_twenty_long_files_have_the_same_rows_and_ids_each_time(tmp_path: Path) -> None:
    for number in range(20):
        text = "\n\n".join(f"## Part {part}\n\n" + f"Word{number} of {part}. " * 400 for part in range(5))
        write(tmp_path, f"docs/{number:02}.md", text)
    source = TableSource(path="docs/**/*.md", chunk={"words": 300, "overlap": 40})  # type: ignore[arg-type]
    rows = list(make_rows(read(source, tmp_path), {}))
    assert rows == list(make_rows(read(source, tmp_path), {}))
    assert len({row["id"] for row in rows}) == len(rows) == 20 * 5 * 5
    assert [row["source"] for row in rows] == sorted(row["source"] for row in rows)
    assert {row["part"] for row in rows} == set(range(1, 26))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"path": "a.md", "chunk": {"words": 10, "overlap": 10}}, "no chunk would go on"),
        ({"path": "a.md", "chunk": {}, "format": "auto"}, "take one of them out"),
        ({"hub": "x/y", "chunk": {}}, "goes with path:, not with hub:"),
        ({"rows": [{"a": 1}], "bad_lines": "drop"}, "goes with path:, not with rows:"),
        ({"rows": [{"a": 1}], "path": "a.md"}, "give one of path:, rows:, hub:, generator:"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        TableSource(**fields)


def test_chunks_of_rows_and_of_files_of_unknown_kinds_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", '{"q": 1}')
    with pytest.raises(DataError, match=r"chunk: a.jsonl is no text\n  texts: .txt, .md"):
        rows_of(tmp_path, "a.jsonl", chunk={})
    write(tmp_path, "b.md", "One.")
    write(tmp_path, "c.png", "x")
    with pytest.raises(DataError, match=r"c\.png: unknown kind of document"):
        rows_of(tmp_path, "[bc].*")


def test_rows_of_the_recipe_itself_are_a_table(tmp_path: Path) -> None:
    source = TableSource(rows=[{"q": "1 + 1?", "n": 2}, {"q": "2 + 2?", "n": None}], rename={"q": "instruction"})
    assert list(read(source, tmp_path, limit=1)) == [{"q": "1 + 1?", "n": 2}]
    assert find_columns(source, tmp_path) == ["id", "instruction", "n"]
