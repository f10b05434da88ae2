"""What manifest.json of a run folder holds, as types: which stages have finished, and what the run has made.

It is read from folders of earlier versions, and of later ones: what is not known here is kept.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from blackbox_kd import __version__
from blackbox_kd.runs.report.schema import Balance, ModelUse, Overlap

NAME = "manifest.json"


class Record(BaseModel):
    """A part of the manifest."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)


class TableFile(Record):
    """A table that a stage has written."""

    name: str
    """`#3` is what steps[3] has written without giving it a name."""
    path: str
    """Its file, relative to the run folder."""
    rows: int
    sha256: str


class FinishedStage(Record):
    """A table step that has finished."""

    fingerprint: str
    """Of all that decides its rows: see `engine.fingerprint`."""
    tables: list[TableFile]
    account: Balance
    report: dict[str, list[dict[str, Any]]]
    """What it has recorded, by lists of the report."""
    trained: list[tuple[str, str]] = Field(default_factory=list)
    """Models that it has trained, each with the folder of the version, relative to the run folder."""
    files: list[str] = Field(default_factory=list)
    """What must be there besides the tables."""


class Reached(Record):
    """How far the longest run in the folder has come: see `workplace.Reach`."""

    step: tuple[int, int]
    limit: int | None


class Extension(Record):
    """Rows that the run takes beyond those of its recipe: see `engine.extension`."""

    rows: int
    """All of them."""
    last: int
    """Those that the last `--extend` has added."""
    finished: bool
    """Whether a run has come to its end with them."""


class DataConfig(Record):
    """One kind of rows of the data set."""

    name: str
    table: str
    source: str
    """SHA-256 of the table."""
    rows: int
    left_out: dict[str, int]
    """Rows from which nothing can be learnt, by reason."""
    parquet: str
    sha256: str
    """Of the Parquet file."""
    files: list[str]


class WrittenDataSet(Record):
    """The data set in `dataset/`."""

    complete: bool
    """Whether the run had come to its end."""
    configs: list[DataConfig]
    beside: list[str]
    """Files that are no rows."""

    def list_files(self) -> list[str]:
        """All of its files."""
        return [*(file for config in self.configs for file in config.files), *self.beside]


class FinishedShard(Record):
    """A shard that is complete; `merge` joins it with the others."""

    number: int
    count: int
    run: str
    """What the run is called in the ledger."""
    ledger: str
    settings: dict[str, Any]
    """What must be the same in all shards."""
    limit: int | None
    until: str | None
    tables: list[str]
    """Tables to start from that it has loaded."""
    files: dict[str, str]
    """SHA-256 of each file that `merge` reads."""
    accounts: list[Balance]
    models: list[ModelUse]
    contamination: list[Overlap]


class Manifest(Record):
    """The manifest of a run folder."""

    blackbox_kd: str
    """Version that has written it."""
    stages: dict[str, FinishedStage] = Field(default_factory=dict)
    """Table steps that have finished, by the names of their stages."""
    tables: dict[str, str] = Field(default_factory=dict)
    """Which file holds the table that has a name, without its ending."""
    aliases: dict[str, str] = Field(default_factory=dict)
    """Models that the recipe names by what they are good for, by vendor and word: `openai:cheap`."""
    reached: Reached | None = None
    extension: Extension | None = None
    dataset: WrittenDataSet | None = None
    shard: FinishedShard | None = None

    def write(self) -> str:
        """The manifest as its file holds it."""
        return json.dumps(self.model_dump(by_alias=True, exclude_unset=True), indent=1, ensure_ascii=False)


def read_manifest(run: Path) -> Manifest:
    """What a run folder says of itself; a damaged manifest says nothing."""
    fresh = Manifest(blackbox_kd=__version__, stages={}, tables={})
    try:
        found = Manifest.model_validate_json((run / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return fresh
    # What another version has finished counts: fingerprints say whether this one would write the same.
    found.blackbox_kd = __version__
    return found
