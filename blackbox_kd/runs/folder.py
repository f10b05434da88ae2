"""The run folder: tables, the manifest, and what a resumed run may skip."""

import json
import os
from collections.abc import Container
from pathlib import Path
from typing import Any, Self

from blackbox_kd import __version__
from blackbox_kd.errors import UserError
from blackbox_kd.privacy import open_shared, write_whole
from blackbox_kd.tables.ordered_writer import OrderedLines
from blackbox_kd.tables.stored import StoredTable

IDENTITY = Path("work") / "run"
"""File of a run folder that holds its name in the ledger."""


def identity(path: Path) -> str:
    """What a run is called in the ledger: the place where its folder was made, also after the folder was moved."""
    try:
        kept = (path / IDENTITY).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        kept = ""
    return kept or str(path.resolve())


class RunFolder:
    """One run's folder, held by one process at a time.

    Args:
        path: the folder.
        numbered: whether its files say which input rows their lines come from, see `OrderedLines`.

    Raises:
        UserError: the folder cannot be written, leads elsewhere, or another process runs in it.
    """

    def __init__(self, path: Path, numbered: bool = False) -> None:
        self.path = path
        self._numbered = numbered
        self._refuse_links()
        try:
            for folder in (path, path / "tables", path / "models", path / "work"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = open_shared(path / "work" / "lock")
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error}\n  fix: --run-dir names another folder") from error
        self._take_lock()
        self.identity = identity(path)
        if not (path / IDENTITY).exists():
            write_whole(path / IDENTITY, self.identity + "\n")
        self.manifest: dict[str, Any] = self._read_manifest()

    def _refuse_links(self) -> None:
        """A folder that came with a stranger's recipe must not lead what the run writes elsewhere.

        Links within it are fine, and shards may lie anywhere: they are only read.
        """
        inside = [Path(at) / name for at, folders, files in os.walk(self.path) for name in (*folders, *files)]
        shards, home = self.path / "shards", self.path.resolve()
        for path in [self.path, *(path for path in inside if not path.is_relative_to(shards))]:
            if path.is_symlink() and (path == self.path or not path.resolve().is_relative_to(home)):
                message = f"{path} is a link to {path.resolve()}, and a run writes into its own folder only"
                raise UserError(f"{message}\n  fix: remove the link, or give --run-dir the folder itself")

    def _take_lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # not a POSIX system: the lock is a courtesy there
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            message = f"{self.path}: another process runs in this folder\n  fix: wait for it, or use --run-dir"
            raise UserError(message) from error

    def _read_manifest(self) -> dict[str, Any]:
        file = self.path / "manifest.json"
        fresh: dict[str, Any] = {"blackbox_kd": __version__, "stages": {}}
        if not file.exists():
            return fresh
        try:
            manifest: Any = json.loads(file.read_text())
        except ValueError:
            return fresh
        # What an earlier version has finished counts: fingerprints say whether this one would write the same.
        return {**fresh, **manifest, "blackbox_kd": __version__} if isinstance(manifest, dict) else fresh

    def save(self) -> None:
        """Writes the manifest; a kill leaves the old one or the new one."""
        write_whole(self.path / "manifest.json", json.dumps(self.manifest, indent=1, ensure_ascii=False))

    def finished(self, stage: str, fingerprints: Container[str]) -> dict[str, Any] | None:
        """What the manifest says of a stage, if it finished with one of the fingerprints and its files are there."""
        entry: dict[str, Any] | None = self.manifest["stages"].get(stage)
        if entry is None or entry["fingerprint"] not in fingerprints:
            return None
        files = [*(table["path"] for table in entry["tables"]), *entry.get("files", [])]
        return entry if all(self._has(file) for file in files) else None

    def _has(self, file: str) -> bool:
        """Whether the folder has a file, and has it inside."""
        path = self.path / file
        return path.exists() and path.resolve().is_relative_to(self.path.resolve())

    def table_lines(self, stage: str) -> OrderedLines:
        """Where a stage writes a table."""
        return OrderedLines(self.path / "tables" / f"{stage}.jsonl", self._numbered)

    def loss_lines(self, stage: str, kind: str) -> OrderedLines:
        """Where a stage writes its `dropped` or `failed` rows: by stage, so that a skipped stage keeps its own."""
        return OrderedLines(self.path / "work" / f"{stage}.{kind}.jsonl", self._numbered)

    def stored(self, entry: dict[str, Any]) -> StoredTable:
        """A table that the manifest describes."""
        return StoredTable(entry["name"], self.path / entry["path"], entry["rows"], entry["sha256"])

    def described(self, table: StoredTable) -> dict[str, Any]:
        """What the manifest keeps of a table."""
        path = str(table.path.relative_to(self.path))
        return {"name": table.name, "path": path, "rows": table.rows, "sha256": table.sha256}

    def close(self) -> None:
        """Lets another process use the folder."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
