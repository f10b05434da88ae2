"""The files of one stage: rows that are dropped, failed or passed on, while they are written."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from blackbox_kd.errors import StepError
from blackbox_kd.privacy import open_anew
from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.schema import Dropped, Outcome, Row
from blackbox_kd.tables.stored import StoredTable


def name_table_file(stage: str, name: str) -> str:
    """What the file of a table is called, without its ending: by its stage, and by its own name if it has one.

    Args:
        stage: name of the stage.
        name: of the table; `#3` is no name.
    """
    return stage if name.startswith("#") else f"{stage}_{name}"


class StageFiles:
    """The files of a stage: its tables, and the rows that it lost."""

    def __init__(self, folder: RunFolder, stage: str, names: list[str]) -> None:
        self.names = names
        self._tables = {name: folder.table_lines(name_table_file(stage, name)) for name in names}
        self._losses = {kind: folder.loss_lines(stage, kind) for kind in ("dropped", "failed")}

    def take(self, number: int, label: str, outcome: Outcome, name: str | None = None) -> None:
        """Writes what became of a row."""
        if name is not None and name not in self._tables:
            raise StepError(
                f"{label}: gave a row to the table {name!r}, which none of its fields names",
                exists=f"tables: {', '.join(self.names)}",
                fix="mark the field that names it as NewTable",
            )
        if isinstance(outcome, Row):
            self._tables[name or self.names[0]].add(number, outcome.id, outcome)
            return
        where = {"id": outcome.row.id, "step": label}
        if isinstance(outcome, Dropped):
            entry = {**where, "reason": outcome.reason, "row": outcome.row}
            self._losses["dropped"].add(number, outcome.row.id, entry)
        else:
            told = {"kind": outcome.kind, "error": outcome.error}
            told |= {"traceback": outcome.traceback} if outcome.traceback else {}
            entry = {**where, **told, "row": outcome.row}
            self._losses["failed"].add(number, outcome.row.id, entry)

    def finish(self, label: str) -> list[StoredTable]:
        """Closes the files of a stage that ended well.

        Args:
            label: how messages name the step that wrote the tables.

        Raises:
            StepError: two rows of a table have the same id, by which all later steps tell rows apart.
        """
        for name, lines in self._tables.items():
            if (repeated := lines.find_repeated()) is not None:
                self._abandon()
                table = "its table" if name.startswith("#") else f"table {name!r}"
                raise StepError(
                    f"{label}: two rows of {table} have the id {repeated!r}",
                    exists="rows are told apart by their ids",
                    fix="write each row once, and give one made from another an id of its own: row.child('copy', {})",
                )
        return [StoredTable(name, lines.path, *lines.finish()) for name, lines in self._tables.items()]

    def __enter__(self) -> "StageFiles":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for lines in self._losses.values():
            lines.finish()
        if kind is not None:
            self._abandon()

    def _abandon(self) -> None:
        for lines in self._tables.values():
            lines.abandon()


def list_losses(folder: Path, stages: Iterable[str], kind: str) -> list[Path]:
    """The files of the rows that stages have lost, `dropped` or `failed`; not every stage has one."""
    return [folder / "work" / f"{stage}.{kind}.jsonl" for stage in stages]


def gather_losses(folder: Path, stages: Sequence[str]) -> None:
    """Joins the losses of all stages into `dropped.jsonl` and `failed.jsonl`.

    Raises:
        StepError: one of them cannot be written.
    """
    for kind in ("dropped", "failed"):
        target = folder / f"{kind}.jsonl"
        part = target.with_suffix(".part")
        try:
            with open_anew(part) as joined:
                for source in list_losses(folder, stages, kind):
                    if source.exists():
                        joined.write(source.read_bytes())
            part.replace(target)
        except OSError as error:
            raise StepError(f"{target}: cannot be written: {error.strerror}") from error
