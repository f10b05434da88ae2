"""Tables to start from, the entries of a recipe's `data:`: files, rows of the recipe itself, the Hub, generators.

Rows are streamed, and a row's id is made from its content: the same data has the same ids in every recipe, so
that replies paid for are found again.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from blackbox_kd.errors import FieldError, WrongRename, did_you_mean
from blackbox_kd.messages import tidy
from blackbox_kd.schema import Row, digest
from blackbox_kd.tables import fetched, files
from blackbox_kd.tables.bad_lines import BadLines, Rule
from blackbox_kd.tables.documents import Chunk
from blackbox_kd.tables.logs import Form
from blackbox_kd.tables.values import simplify

PEEK = 50
"""Rows that are read to know a table's columns: a row need not have all of them."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the first rows of a table tell.

    Args:
        columns: names, `id` first.
        filled: of these, the columns in which a row holds something.
        rows: the rows themselves; placeholders where a generator makes them.
    """

    columns: list[str]
    filled: set[str]
    rows: list[Row]


class TableSource(BaseModel):
    """Where a table comes from: one of `path`, `rows`, `hub` and `generator`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    path: str | None = None
    """JSONL, JSON, CSV or Parquet file, relative to the recipe; globs too, in the order of their names. Text, Markdown
    and HTML files make rows with `text`, `source`, `heading` and `part`, one for each file or for each `chunk`."""
    format: Form | None = None
    """Form of a log of prompts and replies: its rows have `messages`, `response`, `tools`, `model`, `time`, `feedback`.
    `auto` recognises it."""
    chunk: Chunk | None = None
    """How files of text are cut: `{words: 300, overlap: 40, by: heading}`."""
    bad_lines: Rule = "error"
    """What is done with lines (of documents, with files) that cannot be read: all of them are told, or left out."""
    rows: list[dict[str, Any]] | None = Field(default=None, min_length=1)
    """The rows themselves."""
    hub: str | None = None
    """Id of a data set on the Hub."""
    name: str | None = None
    """Configuration of the Hub's data set."""
    split: str = "train"
    """Split of the Hub's data set."""
    generator: Literal["reasoning_gym"] | None = None
    """Library that makes the rows."""
    task: str | None = None
    """Task of the generator."""
    size: int = Field(default=100, ge=1)
    """Rows that the generator makes."""
    seed: int = 0
    """Seed of the generator."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The task's own options."""
    rename: dict[str, str] = Field(default_factory=dict)
    """New names of columns: `{question: instruction, answer: reference}`."""
    held_out: bool = False
    """Whether only `evaluate` may read the table."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many rows, the first ones."""

    @property
    def origins(self) -> list[str]:
        """Those of `path`, `rows`, `hub` and `generator` that are given; of an entry that is right, one."""
        known = {"path": self.path, "rows": self.rows, "hub": self.hub, "generator": self.generator}
        return [name for name, value in known.items() if value is not None]

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = self.origins
        if len(given) != 1:
            raise FieldError(fix="give one of path:, rows:, hub:, generator:")
        if self.generator and not self.task:
            raise FieldError("generator: needs task: NAME")
        own = {
            "path": ("format", "chunk", "bad_lines"),
            "hub": ("name", "split"),
            "generator": ("task", "size", "seed", "options"),
        }
        for source, fields in own.items():
            stray = [field for field in fields if field in self.model_fields_set and source != given[0]]
            if stray:
                raise FieldError(f"{stray[0]}: goes with {source}:, not with {given[0]}:", fix=f"remove {stray[0]}:")
        doubled = {new for new in self.rename.values() if list(self.rename.values()).count(new) > 1}
        if "id" in self.rename.values():
            raise FieldError("rename: the column 'id' is made from a row's content", fix="choose another name")
        if self.format is not None and self.chunk is not None:
            raise FieldError("chunk: cuts documents, which format: does not read", fix="take one of them out")
        if doubled:
            raise FieldError(f"rename: two columns would be called {min(doubled)!r}", fix="give each a name of its own")
        return self


def read(
    source: TableSource, folder: Path, limit: int | None = None, bad_lines: BadLines | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a table, as they are.

    Args:
        source: the entry of the recipe.
        folder: the recipe's; paths start there.
        limit: at most so many rows, besides the entry's own limit.
        bad_lines: is told how many lines were left out.

    Raises:
        DataError: a file does not exist, is empty, or a line of it cannot be read.
        SetupError: a package for the source is not installed.
    """
    limits = [number for number in (source.limit, limit, sys.maxsize) if number is not None]
    return islice(_read_all(source, folder, bad_lines), min(limits))


def find_columns(source: TableSource, folder: Path) -> list[str] | None:
    """The columns of a table as steps see them: renamed, and `id` first; None if only loading it would tell.

    Raises:
        DataError: the first rows cannot be read, or a column to rename is not there.
        SetupError: a package for the source is not installed.
    """
    found = look_at_first(source, folder)
    return None if found is None else found.columns


def look_at_first(source: TableSource, folder: Path) -> Look | None:
    """What the first rows of a table tell; None if only loading it would. Raises as `columns` does."""
    if source.hub is not None:
        fetched.require("datasets", "hub:", "hub")
        return None
    if source.generator is not None:
        fetched.require("reasoning_gym", "generator: reasoning_gym", "reasoning-gym")
        rows: list[dict[str, Any]] = [dict.fromkeys(fetched.GENERATED, "...")]
    else:
        rows = list(islice(_read_all(source, folder), PEEK))
    _check_names(source.rename, list(dict.fromkeys(name for row in rows for name in row)))
    return look_at(make_rows(rows, source.rename))


def look_at(rows: Iterable[Row]) -> Look:
    """What a table's first rows tell, as steps see them."""
    first = list(islice(rows, PEEK))
    names = dict.fromkeys(["id", *(name for row in first for name in row)])
    return Look(list(names), {name for row in first for name in list_filled(row)}, first)


def list_filled(row: Mapping[str, Any]) -> Iterator[str]:
    """The columns of a row that hold something."""
    return (name for name, value in row.items() if value not in (None, "", [], {}))


def make_rows(rows: Iterable[Mapping[str, Any]], rename: Mapping[str, str]) -> Iterator[Row]:
    """Rows with ids made from their content, before columns are renamed.

    A column `id` of the data is kept as `source_id`, unless the data has a column of that name, too, which then
    stays as it is. The n-th row of the same content gets the ending `-n`.

    Raises:
        DataError: a renamed column would hide another one.
    """
    seen: dict[str, int] = {}
    for row in rows:
        _check_names(rename, list(row), all_of=False)
        name = digest(row, 16)
        seen[name] = seen.get(name, 0) + 1
        suffix = f"-{seen[name]}" if seen[name] > 1 else ""
        names = {column: _name_in_rows(column, rename, row) for column in row}
        yield Row({"id": name + suffix, **{new: tidy(row[old]) for old, new in names.items() if new is not None}})


def _name_in_rows(column: str, rename: Mapping[str, str], present: Iterable[str]) -> str | None:
    """What a column of the data is called in rows; None if it gives way to another one."""
    if column in rename:
        return rename[column]
    if column != "id":
        return column
    return None if "source_id" in present else "source_id"


def _check_names(rename: Mapping[str, str], found: list[str], all_of: bool = True) -> None:
    """Whether the columns to rename are there, and their new names free."""
    for old, new in rename.items():
        if old not in found:
            if all_of:
                fix = did_you_mean(old, found) or "name one of them"
                what = f"rename: there is no column {old!r}"
                raise WrongRename(what, exists=f"columns: {files.list_some(found)}", fix=fix)
        elif new != old and new in found and new not in rename:
            fix = f"rename {new!r}, too, such as {{{old}: {new}, {new}: old_{new}}}"
            raise WrongRename(f"rename: {old!r} would hide the column {new!r} that is there already", fix=fix)


def _read_all(source: TableSource, folder: Path, bad_lines: BadLines | None = None) -> Iterator[dict[str, Any]]:
    if source.path is not None:
        bad = bad_lines or BadLines()
        bad.rule = source.bad_lines
        return files.read_files(source.path, folder, bad, source.format, source.chunk)
    if source.rows is not None:
        return ({name: simplify(value, name) for name, value in row.items()} for row in source.rows)
    if source.hub is not None:
        return fetched.read_hub(source.hub, source.name, source.split)
    return fetched.generate(str(source.task), source.size, source.seed, source.options)
