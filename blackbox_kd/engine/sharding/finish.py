"""What a finished shard leaves for `merge`: its files, and in the manifest what is in them."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blackbox_kd.engine.plan import Stage
from blackbox_kd.engine.sharding.shard import Shard, ShardPlan, describe_settings
from blackbox_kd.engine.state import RunState
from blackbox_kd.runs.accounts import Account
from blackbox_kd.runs.manifest import FinishedShard
from blackbox_kd.runs.report.schema import Balance, ModelUse, Overlap
from blackbox_kd.runs.stage_files import name_table_file

LOSSES = ("dropped", "failed")


def list_files(led: ShardPlan, tables: Iterable[str]) -> list[str]:
    """What a merge reads of a shard's folder.

    Args:
        led: the stages that the shard ran.
        tables: tables to start from that it loaded.
    """
    found = [f"tables/00_{name}.jsonl" for name in tables]
    for stage in led.stages:
        own = list_stage_files(stage)
        found += [f"{file}.jsonl" for file in own]
        found += [f"{file}.rows" for file in own if stage.kind == "row"]
    return found


def list_stage_files(stage: Stage) -> list[str]:
    """The files of a stage, its tables first, relative to the run folder and without their ending."""
    tables = [f"tables/{name_table_file(stage.name, name)}" for name in stage.outputs]
    return tables + [f"work/{stage.name}.{kind}" for kind in LOSSES]


@dataclass(slots=True)
class ShardResult:
    """What a shard did, besides its files.

    Args:
        accounts: the balances of its steps.
        contamination: held-out tables against training tables.
        ledger: the ledger's file.
        limit: at most so many rows of each table were read.
        until: name or position of the last step, if one was given.
    """

    accounts: Sequence[Account]
    contamination: list[dict[str, Any]]
    ledger: Path
    limit: int | None
    until: str | None


def finish_shard(shard: Shard, led: ShardPlan, shared: RunState, done: ShardResult) -> None:
    """Notes in the manifest of a shard's folder that it is complete, and what is in it."""
    folder, recipe = shared.folder, shared.recipe
    tables = [name for name in recipe.data if name in shared.tables]
    here, ledger = folder.path.resolve(), done.ledger.resolve()
    folder.note_shard(
        FinishedShard(
            number=shard.number,
            count=shard.count,
            run=folder.identity,
            ledger=str(ledger.relative_to(here) if ledger.is_relative_to(here) else ledger),
            settings=describe_settings(recipe, led, done.limit, shared.models),
            limit=done.limit,
            until=done.until,
            tables=tables,
            files={file: hash_file(folder.path / file) for file in list_files(led, tables)},
            accounts=[Balance.model_validate(account.entry()) for account in done.accounts],
            models=[ModelUse.model_validate(entry) for entry in shared.caller.summary()],
            contamination=[Overlap.model_validate(entry) for entry in done.contamination],
        )
    )
    folder.save()


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
