"""What is known of batches that were handed in: files beside the ledger, so that a killed run finds them again.

    LEDGER.batches/MARK.json     a record, written before and after each thing that the endpoint is asked for
    LEDGER.batches/MARK.jsonl    the requests, exactly as they are uploaded

Both go when what became of every request is in the ledger.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from blackbox_kd.errors import StepError
from blackbox_kd.ledger import reclaim as ledger_left
from blackbox_kd.models.http.openai_batches import ENDPOINT
from blackbox_kd.models.http.parameters import CAPS
from blackbox_kd.privacy import KEPT, MAKE_ROOM, open_anew


class Noted(NamedTuple):
    """What a record says of one call, beside its request."""

    row_id: str
    reserved_usd: float | None
    reserved_tokens: int
    is_capped: bool = False
    """Whether the request was given a `max_tokens` that its key does not know of, see `schema.Request.cap`."""
    meant: dict[str, Any] | None = None
    """Fields of what was asked that were not handed in so, as the model does not take them."""
    added: tuple[str, ...] = ()
    """Fields that were handed in beside what was asked, see `ModelConfig.added_fields`."""


@dataclass(slots=True)
class Record:
    """One batch, from before its file is written.

    Args:
        mark: ours; the batch carries it.
        run: whose batch it is.
        model: name of the model in the recipe.
        base_url: of the endpoint.
        wire_url: `url` of the requests in the ledger.
        noted_at: when the record was made; UTC, written as the ledger writes times.
        calls: what is asked, by key.
        file_id: of the uploaded requests.
        creating_at: Unix time of the latest request to create the batch; from then on it can be there.
        batch_id: of the batch, once it is known to be there.
    """

    mark: str
    run: str
    model: str
    base_url: str
    wire_url: str
    noted_at: str
    calls: dict[str, Noted]
    file_id: str | None = None
    creating_at: float | None = None
    batch_id: str | None = None

    @property
    def since(self) -> float:
        """`noted_at` as Unix time."""
        return datetime.fromisoformat(self.noted_at).timestamp()


class Store:
    """The records of one run. Its methods block; what they wrote is on disk when they return.

    Args:
        ledger: the ledger's file.
        run: the run's name in the ledger.

    The methods raise a StepError where files cannot be written.
    """

    def __init__(self, ledger: Path, run: str) -> None:
        self.ledger = ledger
        self.run = run
        self.folder = ledger.with_name(f"{ledger.name}.batches")

    def note(self, model: str, base_url: str, wire_url: str, calls: dict[str, Noted]) -> Record:
        """Makes a record and stores it."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = Record(uuid4().hex, self.run, model, base_url, wire_url, now, calls)
        self.save(record)
        return record

    def save(self, record: Record) -> None:
        """Stores a record; a kill leaves the old one or the new one."""
        path = self.path(record)
        self._write(
            path.with_suffix(".part"), [json.dumps(asdict(record), ensure_ascii=False).encode(errors="replace")]
        )
        with _say_errors(path):
            path.with_suffix(".part").replace(path)
            self._sync_folder()

    def write_requests(self, record: Record, lines: Iterable[bytes]) -> Path:
        """Writes the file to upload."""
        path = self.path(record).with_suffix(".jsonl")
        self._write(path, lines)
        return path

    def wires(self, record: Record) -> dict[str, dict[str, Any]]:
        """The requests of a record by key, as the ledger keeps them."""
        path = self.path(record).with_suffix(".jsonl")
        with _say_errors(path), path.open("rb") as file:
            bodies = {line["custom_id"]: line["body"] for line in map(json.loads, file)}
        for key, body in bodies.items():
            noted = record.calls.get(key)
            if noted is not None and noted.is_capped:
                for name in CAPS:
                    body.pop(name, None)
            for name in noted.added if noted else ():
                body.pop(name, None)
            body.update((noted and noted.meant) or {})
        return {key: {"url": record.wire_url, "body": body} for key, body in bodies.items()}

    def records(self) -> list[Record]:
        """The records of this run, the oldest first."""
        found = []
        for orphan in self.folder.glob("*.jsonl"):
            if not orphan.with_suffix(".json").exists():  # a kill came in the middle of `remove`
                orphan.unlink(missing_ok=True)
        for path in self.folder.glob("*.json"):
            with _say_errors(path):
                values = json.loads(path.read_bytes())
                values["calls"] = {key: Noted(*noted) for key, noted in values["calls"].items()}
                record = Record(**values)
            if record.run == self.run:
                found.append(record)
        return sorted(found, key=lambda record: record.noted_at)

    def remove(self, record: Record) -> None:
        """Forgets a batch."""
        path = self.path(record)
        with _say_errors(path):
            path.unlink(missing_ok=True)
            path.with_suffix(".jsonl").unlink(missing_ok=True)
        with suppress(OSError):  # other batches are recorded there
            self.folder.rmdir()

    def take_back(self, record: Record, *, was_charged: bool) -> None:
        """Removes the intents that ended processes have left for the calls of a batch; see `ledger.left`."""
        ledger_left.take_back(self.ledger, self.run, record.calls.keys(), record.noted_at, was_charged=was_charged)

    def path(self, record: Record) -> Path:
        """The file of a record."""
        return self.folder / f"{record.mark}.json"

    def _write(self, path: Path, lines: Iterable[bytes]) -> None:
        with _say_errors(path):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open_anew(path) as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())

    def _sync_folder(self) -> None:
        """Makes a rename durable; not every system lets a folder be opened."""
        with suppress(PermissionError):
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


@contextmanager
def _say_errors(path: Path) -> Iterator[None]:
    """Tells the user of a file that cannot be used."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StepError(f"{path}: cannot be read or written: {error}; {KEPT}", fix=MAKE_ROOM) from error


def write_line(key: str, body: dict[str, Any]) -> bytes:
    """A line of the file that is uploaded."""
    value = {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n"
