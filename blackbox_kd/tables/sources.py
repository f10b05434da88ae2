"""Tables to start from, the entries of a recipe's `data:`: files, the Hub, generators.

Rows are streamed, and a row's id is made from its content: the same data has the same ids in every recipe, so
that replies paid for are found again.
"""

import glob
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from blackbox_kd.errors import DataError, FieldError, SetupError, WrongRename, did_you_mean, quote_cause
from blackbox_kd.json_text import write_text
from blackbox_kd.privacy import switch_off_telemetry
from blackbox_kd.schema import Row, digest
from blackbox_kd.tables.readers import READERS, read_file, simplify, tell_of_nan

PEEK = 50
"""Rows that are read to know a table's columns: a row need not have all of them."""
GENERATED = ("instruction", "reference", "task", "metadata")
"""Columns that the generator writes; `answer: reasoning_gym` of the step `check` needs the last two."""
_MOST_NAMES = 12
"""Names that a message lists."""


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
    """Where a table comes from: one of `path`, `hub` and `generator`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    path: str | None = None
    """JSONL, JSON, CSV or Parquet file, relative to the recipe; globs too, in the order of their names."""
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
        """Those of `path`, `hub` and `generator` that are given; of an entry that is right, one."""
        known = {"path": self.path, "hub": self.hub, "generator": self.generator}
        return [name for name, value in known.items() if value is not None]

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = self.origins
        if len(given) != 1:
            raise FieldError(fix="give one of path:, hub:, generator:")
        if self.generator and not self.task:
            raise FieldError("generator: needs task: NAME")
        own = {"hub": ("name", "split"), "generator": ("task", "size", "seed", "options")}
        for source, fields in own.items():
            stray = [field for field in fields if field in self.model_fields_set and source != given[0]]
            if stray:
                raise FieldError(f"{stray[0]}: goes with {source}:, not with {given[0]}:", fix=f"remove {stray[0]}:")
        doubled = {new for new in self.rename.values() if list(self.rename.values()).count(new) > 1}
        if "id" in self.rename.values():
            raise FieldError("rename: the column 'id' is made from a row's content", fix="choose another name")
        if doubled:
            raise FieldError(f"rename: two columns would be called {min(doubled)!r}", fix="give each a name of its own")
        return self


def read(source: TableSource, folder: Path, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a table, as they are.

    Args:
        source: the entry of the recipe.
        folder: the recipe's; paths start there.
        limit: at most so many rows, besides the entry's own limit.

    Raises:
        DataError: a file does not exist, is empty, or a line of it cannot be read.
        SetupError: a package for the source is not installed.
    """
    limits = [number for number in (source.limit, limit, sys.maxsize) if number is not None]
    return islice(_read_all(source, folder), min(limits))


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
        _require("datasets", "hub:", "hub")
        return None
    if source.generator is not None:
        _require("reasoning_gym", "generator: reasoning_gym", "reasoning-gym")
        rows: list[dict[str, Any]] = [dict.fromkeys(GENERATED, "...")]
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
        yield Row({"id": name + suffix, **{new: row[old] for old, new in names.items() if new is not None}})


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
                raise WrongRename(what, exists=f"columns: {_list_some(found)}", fix=fix)
        elif new != old and new in found and new not in rename:
            fix = f"rename {new!r}, too, such as {{{old}: {new}, {new}: old_{new}}}"
            raise WrongRename(f"rename: {old!r} would hide the column {new!r} that is there already", fix=fix)


def _read_all(source: TableSource, folder: Path) -> Iterator[dict[str, Any]]:
    if source.path is not None:
        return _read_files(source.path, folder)
    return _read_hub(source) if source.hub is not None else _generate(source)


def find_files(pattern: str, folder: Path) -> list[Path]:
    """The files that a pattern fits, in the order of their names; relative ones start at the folder."""
    whole = folder / Path(pattern).expanduser()
    paths = [whole] if whole.is_file() else [Path(name) for name in sorted(glob.glob(str(whole), recursive=True))]  # noqa: PTH207
    return [path for path in paths if path.is_file()]


def _read_files(pattern: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of all files that a pattern fits, in the order of their names."""
    paths = find_files(pattern, folder)
    if not paths:
        raise _explain_not_found(pattern, folder / Path(pattern).expanduser())
    count = 0
    for path in paths:
        for row in read_file(path):
            count += 1
            yield row
    if not count:
        said = f"{paths[0].name} has" if len(paths) == 1 else f"the {len(paths)} files of {pattern!r} have"
        raise DataError(f"{said} no rows", fix="fill the file, or take the entry out of the recipe")


def _explain_not_found(pattern: str, whole: Path) -> DataError:
    if whole.is_dir():
        return DataError(f"{pattern!r} is a folder", fix=f"name the files in it, such as {pattern}/*.jsonl")
    folder = whole.parent
    if not folder.is_dir():
        return DataError(f"no file {pattern!r}: there is no folder {folder}", fix="a path starts at the recipe")
    here = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in READERS)
    fix = did_you_mean(whole.name, here) or "name a file, relative to the recipe"
    return DataError(f"no file {pattern!r}", exists=f"files there: {_list_some(here)}", fix=fix)


def _list_some(names: list[str]) -> str:
    rest = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return (", ".join(names[:_MOST_NAMES]) or "none") + rest


def _require(package: str, what: str, extra: str) -> None:
    """Raises SetupError if a package is not installed; it is looked for and not imported."""
    if importlib.util.find_spec(package) is None:
        name = package.replace("_", "-")
        raise SetupError(f"{what} needs the package {name}, not installed", fix=f"pip install 'blackbox-kd[{extra}]'")


def _read_hub(source: TableSource) -> Iterator[dict[str, Any]]:
    """The rows of a data set on the Hub: streamed, or from the local cache where the Hub is out of reach."""
    _require("datasets", "hub:", "hub")
    switch_off_telemetry()
    from datasets import config, load_dataset

    def load(streaming: bool) -> Any:
        return load_dataset(source.hub, source.name, split=source.split, streaming=streaming)

    try:
        try:
            rows = load(streaming=not config.HF_HUB_OFFLINE)
        except ConnectionError:
            rows = load(streaming=False)
        for number, row in enumerate(rows, 1):
            found = {name: simplify(value, name) for name, value in row.items()}
            tell_of_nan(found, f"hub {source.hub}, row {number}")
            yield found
    except DataError:
        raise
    except Exception as error:  # datasets passes on what its readers and HTTP clients raise, whatever that is
        where = f"{source.hub!r} (name {source.name or 'default'!r}, split {source.split!r})"
        reason = quote_cause(error)
        fix = "check the id, name: and split:; a private data set needs HF_TOKEN, an uncached one the network"
        raise DataError(f"hub: {where} cannot be loaded: {reason}", fix=fix) from error


def _generate(source: TableSource) -> Iterator[dict[str, Any]]:
    """The rows that a task of reasoning-gym makes; its verifier needs the options again."""
    _require("reasoning_gym", "generator: reasoning_gym", "reasoning-gym")
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if source.task not in DATASETS:
        fix = did_you_mean(str(source.task), list(DATASETS)) or f"name one of them: {', '.join(sorted(DATASETS))}"
        raise DataError(f"reasoning_gym has no task {source.task!r}", fix=fix)
    try:
        made = reasoning_gym.create_dataset(source.task, size=source.size, seed=source.seed, **source.options)
    except (ValueError, TypeError, AssertionError) as error:
        reason = quote_cause(error) if error.args else "an option is out of its range"
        what = f"reasoning_gym task {source.task!r} with {source.options}: {reason}"
        raise DataError(what, fix="see the task's config") from error
    for number in range(source.size):
        entry = made[number]
        extra = {"task_options": source.options} if source.options else {}
        yield {
            "instruction": entry["question"],
            "reference": "" if entry["answer"] is None else write_text(entry["answer"]),
            "task": source.task,
            "metadata": simplify({**entry["metadata"], **extra}, "metadata"),
        }
