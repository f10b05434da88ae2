"""Tables to start from: files, the Hub, generators. Rows are streamed; memory stays flat."""

import csv
import glob
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from blackbox_kd.errors import DataError, SetupError
from blackbox_kd.schema import Row, digest
from blackbox_kd.validation import did_you_mean

PEEK = 50
"""Rows that are read to know a table's columns."""


class TableSource(BaseModel):
    """Where a table comes from: one of `path`, `hub` and `generator`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    path: str | None = None
    """JSONL, JSON, CSV or Parquet file, relative to the recipe; globs too."""
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

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("path", "hub", "generator") if getattr(self, name) is not None]
        if len(given) != 1:
            said = " and ".join(given) if given else "none of them"
            raise ValueError(f"give one of path:, hub:, generator:, not {said}")
        if self.generator and not self.task:
            raise ValueError("generator: needs task: NAME")
        return self


def read(source: TableSource, folder: Path, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a table, as they are.

    Raises:
        DataError: a file does not exist, is empty, or a line of it cannot be read.
        SetupError: a package for the source is not installed.
    """
    limits = [number for number in (source.limit, limit) if number is not None]
    rows = _all(source, folder)
    return islice(rows, min(limits)) if limits else rows


def columns(source: TableSource, folder: Path) -> list[str] | None:
    """The columns of a table, renamed; None when only loading it would tell."""
    if source.hub is not None:
        return None
    if source.generator is not None:
        found = ["instruction", "reference", "task", "metadata"]
    else:
        seen: dict[str, None] = {}
        for row in islice(_all(source, folder), PEEK):
            seen.update(dict.fromkeys(row))
        found = list(seen)
    for old in source.rename:
        if old not in found:
            fix = did_you_mean(old, found) or "name one of them"
            raise DataError(f"rename: there is no column {old!r}; columns: {', '.join(found)}.\n  fix: {fix}")
    return [source.rename.get(name, name) for name in found] + (["source_id"] if "id" in found else [])


def make_rows(rows: Iterable[Mapping[str, Any]], rename: Mapping[str, str]) -> Iterator[Row]:
    """Rows with ids made from their content, so that the same data brings the same ids in any recipe.

    A column `id` of the data is kept as `source_id`; the n-th row of the same content gets the ending `-n`.
    """
    seen: dict[str, int] = {}
    for row in rows:
        name = digest(row, 16)
        seen[name] = seen.get(name, 0) + 1
        suffix = f"-{seen[name]}" if seen[name] > 1 else ""
        renamed = {
            rename.get(column, "source_id" if column == "id" else column): value for column, value in row.items()
        }
        yield Row({"id": name + suffix, **renamed})


def _all(source: TableSource, folder: Path) -> Iterator[dict[str, Any]]:
    if source.path is not None:
        return _files(source.path, folder)
    if source.hub is not None:
        return _hub(source)
    return _generated(source)


def _files(pattern: str, folder: Path) -> Iterator[dict[str, Any]]:
    paths = sorted(Path(name) for name in glob.glob(str(folder / pattern), recursive=True))  # noqa: PTH207
    if not paths:
        here = sorted(path.name for path in (folder / pattern).parent.glob("*.*"))
        fix = did_you_mean(Path(pattern).name, here) or "name a file, relative to the recipe"
        raise DataError(f"no file {pattern!r}; files there: {', '.join(here) or 'none'}.\n  fix: {fix}")
    for path in paths:
        count = 0
        for row in _READERS.get(path.suffix.lower(), _unknown)(path):
            count += 1
            yield row
        if not count:
            raise DataError(f"{path.name} has no rows.\n  fix: give it rows, or take it out of the recipe")


def _unknown(path: Path) -> Iterator[dict[str, Any]]:
    raise DataError(f"{path.name}: unknown kind of file {path.suffix!r}.\n  fix: use {', '.join(_READERS)}")


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path.name}, line {number}: not JSON: {error}.\n  fix: mend the line") from error
            yield _object(row, f"{path.name}, line {number}")


def _object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(f"{where}: {str(row)[:60]!r} is not an object with columns.\n  fix: write {{...}}")
    return row


def _json(path: Path) -> Iterator[dict[str, Any]]:
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{path.name}: not JSON: {error}.\n  fix: mend it; JSON lines are .jsonl") from error
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        value = lists[0] if len(lists) == 1 else [value]
    for number, row in enumerate(value):
        yield _object(row, f"{path.name}, item {number}")


def _csv(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey="\0more")
        for row in reader:
            if "\0more" in row or None in row.values():
                raise DataError(
                    f"{path.name}, line {reader.line_num}: not {len(reader.fieldnames or [])} fields as in the first "
                    "line.\n  fix: quote texts that hold commas"
                )
            yield dict(row)


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1000):
            yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise DataError(f"{path.name}: not Parquet: {error}.\n  fix: write it anew") from error


_READERS = {".jsonl": _jsonl, ".ndjson": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}


def _hub(source: TableSource) -> Iterator[dict[str, Any]]:
    try:
        from datasets import load_dataset
    except ImportError:
        message = "hub: needs the package datasets\n  fix: pip install 'blackbox-kd[hub]'"
        raise SetupError(message) from None
    try:
        rows = load_dataset(source.hub, source.name, split=source.split, streaming=True)
        yield from (dict(row) for row in rows)
    except (OSError, ValueError) as error:
        where = f"{source.hub} ({source.name or 'default'}, {source.split})"
        raise DataError(
            f"hub data set {where} cannot be loaded: {error}\n  fix: check the id, HF_TOKEN, network"
        ) from error


def _generated(source: TableSource) -> Iterator[dict[str, Any]]:
    try:
        import reasoning_gym
    except ImportError:
        message = "generator: needs the package reasoning-gym\n  fix: pip install 'blackbox-kd[reasoning-gym]'"
        raise SetupError(message) from None
    try:
        made = reasoning_gym.create_dataset(source.task, size=source.size, seed=source.seed, **source.options)
    except (ValueError, TypeError, AssertionError) as error:
        raise DataError(f"reasoning_gym task {source.task!r}: {error}\n  fix: see reasoning_gym's gallery") from error
    for entry in made:
        yield {
            "instruction": entry["question"],
            "reference": str(entry["answer"]),
            "task": source.task,
            "metadata": entry["metadata"],
        }
