"""The run folder: tables, the manifest, and what a resumed run may skip."""

import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from blackbox_kd.errors import UserError
from blackbox_kd.privacy import open_shared, write_whole
from blackbox_kd.runs.manifest import (
    NAME,
    Extension,
    FinishedShard,
    FinishedStage,
    Reached,
    WrittenDataSet,
    read_manifest,
)
from blackbox_kd.tables.ordered_writer import OrderedLines
from blackbox_kd.tables.stored import StoredTable

FOLDERS = ("work", "tables", "models")
"""Of a run folder; the first one has its lock."""
IDENTITY = Path("work") / "run"
"""File of a run folder that holds its name in the ledger."""


def identity(path: Path) -> str:
    """What a run is called in the ledger: the place where its folder was made, also after the folder was moved."""
    try:
        kept = (path / IDENTITY).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        kept = ""
    return kept or str(path.resolve())


@dataclass(frozen=True, slots=True)
class Finished:
    """A stage that has finished before.

    Args:
        entry: what the manifest says of it.
        folder: the run folder whose files it names.
    """

    entry: FinishedStage
    folder: Path

    def tables(self) -> list[StoredTable]:
        """What it wrote."""
        return [StoredTable(t.name, self.folder / t.path, t.rows, t.sha256) for t in self.entry.tables]


class RunFolder:
    """One run's folder, held by one process at a time.

    Args:
        path: the folder.
        numbered: whether its files say which input rows their lines come from, see `OrderedLines`.
        run: the folder of the run that works in this one: it has one name in the ledger wherever it works, and it is
            held, too, as two processes with one budget would both take all that is left of it.
        longer: the folder of a longer run, whose finished stages count and where nothing is written.

    Raises:
        UserError: the folder cannot be written, leads elsewhere, or another process runs in it.
    """

    def __init__(
        self, path: Path, numbered: bool = False, *, run: Path | None = None, longer: Path | None = None
    ) -> None:
        self.path = path
        self._numbered = numbered
        self._longer = longer
        run = path if run is None else run
        with ExitStack() as stack:
            for place in dict.fromkeys((run, path)):
                _refuse_links(place)
                stack.callback(_lock(place, FOLDERS if place == path else FOLDERS[:1]).close)
            self._locks = stack.pop_all()
        self.identity = identity(run)
        for place in (run, path):
            if not (place / IDENTITY).exists():
                write_whole(place / IDENTITY, self.identity + "\n")
        self.manifest = read_manifest(path)

    def save(self) -> None:
        """Writes the manifest; a kill leaves the old one or the new one."""
        write_whole(self.path / NAME, self.manifest.write())

    def find_finished(self, stage: str, fingerprints: Container[str]) -> Finished | None:
        """A stage that finished with one of the fingerprints, and whose files are there."""
        manifests = [(self.path, self.manifest)]
        manifests += [(self._longer, read_manifest(self._longer))] if self._longer is not None else []
        for folder, manifest in manifests:
            entry = manifest.stages.get(stage)
            if entry is not None and entry.fingerprint in fingerprints:
                files = [*(table.path for table in entry.tables), *entry.files]
                if all(_has(folder, file) for file in files):
                    return Finished(entry, folder)
        return None

    def owns(self, path: Path) -> bool:
        """Whether a file is this run's own, not one of a longer run that was taken over."""
        return path.is_relative_to(self.path)

    def table_lines(self, stage: str) -> OrderedLines:
        """Where a stage writes a table."""
        return OrderedLines(self.path / "tables" / f"{stage}.jsonl", self._numbered)

    def loss_lines(self, stage: str, kind: str) -> OrderedLines:
        """Where a stage writes its `dropped` or `failed` rows: by stage, so that a skipped stage keeps its own."""
        return OrderedLines(self.path / "work" / f"{stage}.{kind}.jsonl", self._numbered)

    def describe(self, path: Path) -> str:
        """A file of the folder as the manifest names it."""
        return str(path.relative_to(self.path))

    def note_stage(self, name: str, stage: FinishedStage) -> None:
        """Notes that a table step has finished."""
        self.manifest.stages = {**self.manifest.stages, name: stage}

    def note_names(self, tables: Iterable[StoredTable]) -> None:
        """Keeps which file holds a table that has a name: the last one that was written under it."""
        own = {t.name: t.path.stem for t in tables if not t.name.startswith("#") and self.owns(t.path)}
        self.manifest.tables = {**self.manifest.tables, **own}

    def note_aliases(self, aliases: Mapping[str, str]) -> None:
        """Keeps what names of models stand for in this run; what an earlier invocation has noted counts."""
        if (noted := {**aliases, **self.manifest.aliases}) != self.manifest.aliases:
            self.manifest.aliases = noted
            self.save()

    def note_reach(self, reached: Reached) -> None:
        """Notes how far a run has come."""
        self.manifest.reached = reached

    def note_extension(self, extension: Extension | None) -> None:
        """Notes the rows that the run takes beyond its recipe."""
        self.manifest.extension = extension

    def note_dataset(self, dataset: WrittenDataSet) -> None:
        """Notes what the data set holds."""
        self.manifest.dataset = dataset

    def note_shard(self, shard: FinishedShard) -> None:
        """Notes that a shard is complete."""
        self.manifest.shard = shard

    def close(self) -> None:
        """Lets another process use the folder."""
        self._locks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def hold(run: Path) -> Iterator[None]:
    """Keeps other processes out of a run while its money is spent, if it has a folder; writes nothing there.

    Raises:
        UserError: another process runs in it.
    """
    with ExitStack() as stack:
        if (run / IDENTITY).exists():
            stack.callback(_lock(run, FOLDERS[:1]).close)
        yield


def _refuse_links(run: Path) -> None:
    """A folder that came with a stranger's recipe must not lead what the run writes elsewhere.

    Links within it are fine, and shards may lie anywhere: they are only read.
    """
    inside = [Path(at) / name for at, folders, files in os.walk(run) for name in (*folders, *files)]
    shards, home = run / "shards", run.resolve()
    for path in [run, *(path for path in inside if not path.is_relative_to(shards))]:
        if path.is_symlink() and (path == run or not path.resolve().is_relative_to(home)):
            message = f"{path} is a link to {path.resolve()}, and a run writes into its own folder only"
            raise UserError(f"{message}", fix="remove the link, or give --run-dir the folder itself")


def _lock(run: Path, folders: Sequence[str]) -> BinaryIO:
    """The lock of a run folder, which has these folders then; whoever closes it gives the folder free."""
    try:
        for folder in (run, *(run / name for name in folders)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = open_shared(run / "work" / "lock")
    except OSError as error:
        raise UserError(f"{run}: cannot be written: {error}", fix="--run-dir names another folder") from error
    try:
        import fcntl
    except ImportError:  # not a POSIX system: the lock is a courtesy there
        return lock
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        message = f"{run}: another process runs in this folder"
        raise UserError(message) from error
    return lock


def _has(run: Path, file: str) -> bool:
    """Whether a folder has a file, and has it inside."""
    path = run / file
    return path.exists() and path.resolve().is_relative_to(run.resolve())
