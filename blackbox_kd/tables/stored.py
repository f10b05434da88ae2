"""A table on disk."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from blackbox_kd.schema import Row
from blackbox_kd.tables.ordered_writer import BUFFER_BYTES

_decode = json.JSONDecoder().raw_decode


class StoredTable:
    """A finished table on disk; iterating reads it anew, row by row.

    Args:
        name: the table's name.
        path: its JSONL file.
        rows: number of rows.
        sha256: of the file; two tables with the same rows in the same order have the same.
    """

    def __init__(self, name: str, path: Path, rows: int, sha256: str) -> None:
        self.name = name
        self.path = path
        self.rows = rows
        self.sha256 = sha256

    def __iter__(self) -> Iterator[Row]:
        with self.path.open(encoding="utf-8", newline="\n", buffering=BUFFER_BYTES) as file:
            for line in file:
                yield Row(_decode(line)[0])

    def has_changed(self) -> bool:
        """Whether the file is another one than that which was finished; it is read as a whole for it."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() != self.sha256

    def __len__(self) -> int:
        return self.rows
