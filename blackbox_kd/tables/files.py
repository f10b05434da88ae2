"""Finds the files of a table, and reads them as what they are: rows, documents, or what an application has logged."""

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blackbox_kd.errors import DataError, did_you_mean
from blackbox_kd.tables import documents, logs
from blackbox_kd.tables.bad_lines import BadLines
from blackbox_kd.tables.documents import Chunk
from blackbox_kd.tables.readers import READERS, read_file

_MOST_NAMES = 12
"""Names that a message lists."""


def find_files(pattern: str, folder: Path) -> list[Path]:
    """The files that a pattern fits, in the order of their names; relative ones start at the folder."""
    whole = folder / Path(pattern).expanduser()
    paths = [whole] if whole.is_file() else [Path(name) for name in sorted(glob.glob(str(whole), recursive=True))]  # noqa: PTH207
    return [path for path in paths if path.is_file()]


def read_files(
    pattern: str, folder: Path, bad_lines: BadLines, form: logs.Form | None = None, chunk: Chunk | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of all files that a pattern fits, in the order of their names.

    Args:
        pattern: a path, or a glob.
        folder: relative paths start here.
        bad_lines: what is done with lines that cannot be read.
        form: what the files hold, if an application has logged it.
        chunk: how documents are cut.

    Raises:
        DataError: there is no such file, or no row in any, or one of them cannot be read.
        SetupError: a package that reads them is not installed.
    """
    paths = find_files(pattern, folder)
    if not paths:
        raise _explain_not_found(pattern, folder / Path(pattern).expanduser())
    texts = [path for path in paths if documents.is_document(path)]
    if chunk is not None and not texts:
        fix = "take chunk: out, or name files of text"
        raise DataError(f"chunk: {paths[0].name} is no text", exists=f"texts: {', '.join(documents.KINDS)}", fix=fix)
    if form is not None:
        rows = logs.read(paths, form, bad_lines)
    elif texts:
        rows = documents.read(paths, folder, chunk, bad_lines)
    else:
        rows = (row for path in paths for row in read_file(path, bad_lines))
    count = 0
    for row in rows:
        count += 1
        yield row
    if not count:
        said = f"{paths[0].name} has" if len(paths) == 1 else f"the {len(paths)} files of {pattern!r} have"
        raise DataError(f"{said} no rows", fix="fill the file, or take the entry out of the recipe")


def _explain_not_found(pattern: str, whole: Path) -> DataError:
    if whole.is_dir():
        known = next((kind for kind in (*documents.KINDS, *READERS) if any(whole.rglob(f"*{kind}"))), ".jsonl")
        return DataError(f"{pattern!r} is a folder", fix=f"name the files in it, such as {pattern}/**/*{known}")
    folder = whole.parent
    if not folder.is_dir():
        return DataError(f"no file {pattern!r}: there is no folder {folder}", fix="a path starts at the recipe")
    kinds = documents.KINDS if documents.is_document(whole) else READERS
    here = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in kinds)
    fix = did_you_mean(whole.name, here) or "name a file, relative to the recipe"
    return DataError(f"no file {pattern!r}", exists=f"files there: {list_some(here)}", fix=fix)


def list_some(names: list[str]) -> str:
    """Names for a message, as many as it can hold."""
    rest = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return (", ".join(names[:_MOST_NAMES]) or "none") + rest
