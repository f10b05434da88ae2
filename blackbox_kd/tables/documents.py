"""Files of text, Markdown or HTML -> rows: `text`, `source`, `heading`, `part`.

`source` is the file's path from the recipe's folder on, `heading` the headings that the text stands under, from the
outermost on, `part` the number of the chunk in its file, from 1. Chunks are pieces of the text as it stands, line
breaks and code included; each ends with a paragraph or a sentence where one ends in its last quarter.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from blackbox_kd.errors import DataError, FieldError
from blackbox_kd.tables.bad_lines import BadLine, BadLines, Record
from blackbox_kd.tables.fetched import require

logger = logging.getLogger(__name__)

LARGEST = 100_000_000
"""Bytes of a file; it is read whole."""
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_WORD = re.compile(r"\S+")
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_STOP = re.compile(r"[.!?\u2026:\u3002\uff01\uff1f][\"'\u201d\u2019)\]*_]*$")
_NO_TEXT = ("script", "style", "noscript", "template", "svg", "nav", "header", "footer", "aside", "form", "button")
"""Elements of a page that are no part of what it tells."""
_BLOCKS = ("p", "div", "table", "ul", "ol", "dl", "section", "article", "pre", "blockquote")
_LINES = ("li", "tr", "dt", "dd")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")

Section = tuple[tuple[str, ...], str]
"""The headings that a text stands under, from the outermost on, and the text."""


class Chunk(BaseModel):
    """How documents are cut."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    words: int = Field(default=300, ge=1)
    """At most so many words, as they stand between blanks."""
    overlap: int = Field(default=40, ge=0)
    """Words of the end of a chunk with which the next one begins."""
    by: Literal["heading", "file"] = "heading"
    """`heading`: a chunk ends where the next heading stands. `file`: headings are text like any other."""

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        if self.overlap >= self.words:
            raise FieldError(f"overlap: {self.overlap} of {self.words} words: no chunk would go on")
        return self


def is_document(path: Path) -> bool:
    """Whether a file is read as a document, by its ending."""
    return path.suffix.lower() in KINDS


def read(paths: list[Path], folder: Path, chunk: Chunk | None, bad_lines: BadLines) -> Iterator[dict[str, Any]]:
    """The rows of documents; a file is a row if it is not to be cut. Empty files have none.

    Args:
        paths: the files, in the order of their rows; one that is there by several names is read once.
        folder: the recipe's.
        chunk: how they are cut.
        bad_lines: what is done with files that cannot be read.

    Raises:
        DataError: a file is no document, or cannot be read.
        SetupError: the package that reads HTML is not installed.
    """
    once = {path.resolve(): path for path in reversed(paths)}
    wanted = [path for path in paths if once[path.resolve()] is path]
    empty: list[str] = []
    found = (part for path in wanted for part in _read_document(path, folder, chunk, empty))
    yield from (record.row for record in bad_lines.pass_on(found, "documents", of="files"))
    if empty:
        logger.warning(f"documents without text: {len(empty):,} ({', '.join(empty[:3])})")


def _read_document(path: Path, folder: Path, chunk: Chunk | None, empty: list[str]) -> Iterator[Record | BadLine]:
    name = _name(path, folder)
    reader = KINDS.get(path.suffix.lower())
    if reader is None:
        fix = "name the files more closely, such as docs/**/*.md"
        raise DataError(f"{name}: unknown kind of document", exists=f"known: {', '.join(KINDS)}", fix=fix)
    try:
        sections = list(reader(_read_bytes(path)))
    except DataError as error:
        yield BadLine(name, error.what, error.fix)
        return
    if chunk is None or chunk.by == "file":
        sections = _join(sections)
    parts = [(heading, part) for heading, text in sections for part in _cut(text, chunk)]
    empty += [] if parts else [name]
    for number, (heading, text) in enumerate(parts, 1):
        yield Record(name, {"text": text, "source": name, "heading": " > ".join(heading), "part": number})


def _join(sections: list[Section]) -> list[Section]:
    """One section of all, under the heading that it begins with."""
    texts = (text.strip("\n") for _, text in sections)
    return [(sections[0][0], "\n\n".join(text for text in texts if text))] if sections else []


def _name(path: Path, folder: Path) -> str:
    """What a file is called in rows: no place of the machine, as rows are there to be published."""
    absolute, home = (Path(os.path.normpath(each.absolute())) for each in (path, folder))
    return absolute.relative_to(home).as_posix() if absolute.is_relative_to(home) else path.name


def _read_bytes(path: Path) -> bytes:
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise DataError(f"has {size:,} bytes, and {LARGEST:,} are the most", fix="part the file")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", fix="check the file and its permissions") from error


def _decode(data: bytes) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        fix = "save it as UTF-8 (iconv -f CP1252 -t UTF-8 OLD > NEW)"
        raise DataError(f"is not UTF-8 (byte {data[error.start]:#04x})", fix=fix) from error
    if "\0" in text:
        raise DataError("is no text: it holds NUL characters", fix="take the file out of the folder")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_plain(data: bytes) -> Iterator[Section]:
    yield (), _decode(data)


def _read_markdown(data: bytes) -> Iterator[Section]:
    """Sections of Markdown, each with its heading. A heading is what CommonMark takes for one: none in a code block."""
    from markdown_it import MarkdownIt

    text = _FRONT_MATTER.sub("", _decode(data))
    lines = text.split("\n")
    parser = MarkdownIt("commonmark").disable("inline")
    path: list[tuple[int, str]] = []
    begin = 0
    tokens = parser.parse(text)
    for token, inner in pairwise(tokens):
        if token.type != "heading_open" or token.map is None or token.level:
            continue
        yield tuple(title for _, title in path), "\n".join(lines[begin : token.map[0]])
        begin, depth = token.map[0], int(token.tag[1])
        path = [*((level, title) for level, title in path if level < depth), (depth, _strip_marks(inner.content))]
    yield tuple(title for _, title in path), "\n".join(lines[begin:])


def _strip_marks(title: str) -> str:
    """A heading without the marks of links, emphasis and anchors."""
    title = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"\s*\{#[^}]*\}\s*$|[*`]+|<[^>]+>", "", title).strip()


def _read_html(data: bytes) -> Iterator[Section]:
    """Sections of a page, without menus, scripts and forms; of `<main>` or `<article>` alone if the page has one."""
    require("bs4", "documents of HTML", "documents")
    from bs4 import BeautifulSoup

    page = BeautifulSoup(data, "html.parser")
    title = " ".join(page.title.get_text().split()) if page.title is not None else ""
    root = page.find("main") or page.find("article") or page.body or page
    for tag in [*root.find_all(_NO_TEXT), *([page.title] if page.title is not None else [])]:
        tag.decompose()
    for string in root.find_all(string=True):
        if string.find_parent("pre") is None:
            string.replace_with(re.sub(r"\s+", " ", string.replace("\0", "")))
    for tag in root.find_all([*_BLOCKS, *_LINES, "br", "td", "th"]):
        tag.insert_before("\n\n" if tag.name in _BLOCKS else "\n" if tag.name in (*_LINES, "br") else " ")
        tag.insert_after("\n" if tag.name in _BLOCKS else "")
    marks: list[tuple[int, str]] = []
    for tag in root.find_all(_HEADINGS):
        marks.append((int(tag.name[1]), " ".join(tag.get_text().split())))
        tag.replace_with(f"\n\n\0{marks[-1][1]}\n\n")
    path: list[tuple[int, str]] = [(0, title)] if title and all(depth > 1 for depth, _ in marks) else []
    lines = "\n".join(line.rstrip() for line in root.get_text().split("\n"))
    first, *others = re.sub(r"\n{3,}", "\n\n", lines).split("\0")
    yield tuple(each for _, each in path), first
    for (depth, heading), text in zip(marks, others, strict=True):
        path = [*((level, each) for level, each in path if level < depth), (depth, heading)]
        yield tuple(each for _, each in path), text


def _cut(text: str, chunk: Chunk | None) -> Iterator[str]:
    """Pieces of a text, as it stands between the first and the last word of each."""
    words = [found.span() for found in _WORD.finditer(text)]
    begin, end = 0, 0
    while end < len(words):
        end = len(words) if chunk is None else _find_end(text, words, begin, chunk.words)
        yield text[words[begin][0] : words[end - 1][1]]
        begin = max(begin + 1, end - chunk.overlap) if chunk is not None else end


def _find_end(text: str, words: list[tuple[int, int]], begin: int, most: int) -> int:
    """The word before which a chunk ends: behind a paragraph, or else a sentence, in its last quarter; or at the most.

    Args:
        text: the text.
        words: where its words stand.
        begin: the first word of the chunk.
        most: words of a chunk.
    """
    end = begin + most
    if end >= len(words):
        return len(words)
    sentence = 0
    for place in range(end, max(begin + 1, end - most // 4), -1):
        (start, stop), after = words[place - 1], words[place][0]
        if _PARAGRAPH.search(text, stop, after):
            return place
        if not sentence and _STOP.search(text[start:stop]):
            sentence = place
    return sentence or end


KINDS: dict[str, Callable[[bytes], Iterator[Section]]] = {
    ".txt": _read_plain,
    ".md": _read_markdown,
    ".markdown": _read_markdown,
    ".html": _read_html,
    ".htm": _read_html,
}
"""Readers of documents by the ending of a file's name."""
