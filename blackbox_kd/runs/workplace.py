"""Where a run works: in its folder, or in one of its own inside of it, so that a shorter run spoils no longer one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.runs.manifest import Reached, read_manifest

TRIAL, SHARDS, SCRIPTED = "trial", "shards", "scripted"
_TABLE_FILE = re.compile(r"(\d{2,})_(?:round\d+_(\d+)_)?")


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a run goes.

    Args:
        step: position of its last step, from 1, and in a loop that in the loop, from 1; 0 outside of one.
        limit: at most so many rows of each table; None for all.
    """

    step: tuple[int, int]
    limit: int | None = None

    @classmethod
    def of(cls, steps: Sequence[PlannedStep], limit: int | None) -> Self:
        """That of a run of these steps."""
        last = steps[-1]
        return cls((last.index + 1, last.inner + 1 if last.loop is not None else 0), limit)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """That of the longest run that has worked in a folder; None if there is none."""
        reached = read_manifest(folder).reached
        return cls._guess(folder) if reached is None else cls(reached.step, reached.limit)

    @classmethod
    def _guess(cls, folder: Path) -> Self | None:
        """By the names of its tables, where the manifest does not say: it is an earlier version's, or damaged."""
        found = (_TABLE_FILE.match(path.name) for path in (folder / "tables").glob("*.jsonl"))
        steps = [(int(match[1]), int(match[2] or 0)) for match in found if match]
        return cls(max(steps)) if max(steps, default=(0, 0)) > (0, 0) else None

    def has_more_rows(self, other: "Reach") -> bool:
        """Whether it takes more rows of a table than another run may."""
        return other.limit is not None and (self.limit is None or self.limit > other.limit)

    def note(self, folder: RunFolder) -> None:
        """Notes in a folder that a run has come this far, unless one has gone further."""
        before = folder.manifest.reached
        told = self if before is None else Reach(before.step, before.limit)
        limit = told.limit if told.has_more_rows(self) else self.limit
        Reach(max(told.step, self.step), limit).set(folder)

    def set(self, folder: RunFolder) -> None:
        """Notes in a folder that a run has come this far, and no further."""
        folder.note_reach(Reached(step=self.step, limit=self.limit))


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a run works.

    Args:
        run: the run's folder: whoever works here or inside of it has one name in the ledger, and one budget.
        path: the folder that is written to.
        longer: the folder of a longer run, whose finished steps are taken over and where nothing is written.
        why: what the user is told of it.
    """

    run: Path
    path: Path
    longer: Path | None = None
    why: str = ""


def read_aliases(run: Path) -> dict[str, str]:
    """What names of models stood for when a run began, also in its trial or a shard: see `Manifest.aliases`."""
    begun = [*sorted((run / SHARDS).glob("*-of-*")), run / TRIAL, run]
    return {key: model for folder in begun for key, model in read_manifest(folder).aliases.items()}


def find_run(recipe: Recipe, named: Path | None) -> Path:
    """The folder of a run: `runs/NAME`, or the one that the user has named; with made-up replies, one inside of it."""
    whole = named or Path("runs") / recipe.name
    return whole / SCRIPTED if recipe.scripted else whole


def find_ledger(run: Path, named: Path | None, *, is_scripted: bool) -> Path:
    """The ledger of a run; that of made-up replies is thrown away with their folder, and no other holds any."""
    return run / "ledger.sqlite" if is_scripted else named or Path("runs") / "ledger.sqlite"


def find_workplace(run: Path, reach: Reach, *, is_named: bool, until: str | None) -> Workplace:
    """Where a run works.

    Args:
        run: the run's folder.
        reach: how far the run goes.
        is_named: whether the user has named the folder; a trial then works right there, if no longer run has.
        until: what `--until` was given.
    """
    path, longer, why = run, None, ""
    there = Reach.read(run)
    if reach.limit is not None and (not is_named or (there is not None and there.has_more_rows(reach))):
        path = run / TRIAL
        why = f"a trial with --limit {reach.limit}: works in {path}"
    there = Reach.read(path)
    if until is not None and there is not None and there.step > reach.step:
        longer, path = path, path / f"until_{until}"
        why = f"an earlier run has gone further than --until {until}: this one works in {path}"
    return Workplace(run, path, longer, why)
