"""The shards that lie in a run folder: whether they are all there, finished, and of one run."""

import re
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.engine.plan import plan, plan_until
from blackbox_kd.engine.sharding.finish import hash_file, list_files, list_stage_files
from blackbox_kd.engine.sharding.shard import Shard, ShardPlan, describe_settings, jobs, plan_shards
from blackbox_kd.errors import UserError
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.runs.manifest import FinishedShard
from blackbox_kd.runs.workplace import Reach


@dataclass(slots=True)
class Found:
    """The N shards of a run, in order.

    Args:
        folders: their folders, held until the merge is done.
        entries: what their manifests say of them.
        led: the stages that they ran.
    """

    folders: list[RunFolder]
    entries: list[FinishedShard]
    led: ShardPlan

    @property
    def until(self) -> str | None:
        """Name or position of the last step that they were to run; None for all."""
        return self.entries[0].until

    @property
    def reach(self) -> Reach:
        """How far they have come."""
        return Reach.of([planned for stage in self.led.stages for planned in stage.steps], self.entries[0].limit)

    @property
    def whole(self) -> list[str]:
        """Files, without their ending, that are the same in every shard."""
        tables = [f"tables/00_{name}" for name in self.entries[0].tables]
        return tables + [file for stage in self.led.stages if stage.kind == "table" for file in list_stage_files(stage)]


@dataclass(slots=True)
class _Finder:
    recipe: Recipe
    run: Path
    options: Sequence[str] = ()

    def command(self, shard: Shard) -> str:
        """The command that makes a shard."""
        words = list(jobs(self.recipe.file, shard.count, self.options))[shard.number - 1]
        if self.run != Path("runs") / self.recipe.name:
            words += ["--run-dir", str(shard.folder(self.run))]
        return shlex.join(words)

    def shards(self) -> list[Shard]:
        """The shards whose folders are there: all of one count."""
        names = [path.name for path in (self.run / "shards").glob("*-of-*")]
        matches = [match for name in sorted(names) if (match := re.fullmatch(r"(\d+)-of-(\d+)", name))]
        found = [Shard(int(match[1]), int(match[2])) for match in matches]
        if not found:
            message = f"{self.run / 'shards'}: there are no shards of this run"
            raise UserError(message, fix=f"{self.command(Shard(1, 2))}, and the same with --shard 2/2")
        counts = sorted({shard.count for shard in found})
        if len(counts) > 1:
            several = " and ".join(f"of {count}" for count in counts)
            raise UserError(
                f"{self.run / 'shards'}: there are shards {several}, whose rows overlap",
                fix="take away the folders of all but one of these numbers",
            )
        return sorted(found, key=lambda shard: shard.number)

    def refuse_missing(self, found: list[Shard]) -> None:
        count = found[0].count
        missing = [Shard(number, count) for number in range(1, count + 1) if Shard(number, count) not in found]
        if missing:
            commands = "\n".join(map(self.command, missing))
            raise UserError(f"{self.run / 'shards'}: {_list_shards(missing)} not there", fix=commands)

    def explain_unfinished(self, shard: Shard) -> UserError:
        return UserError(f"{shard.folder(self.run)}: shard {shard} has not finished", fix=self.command(shard))

    def entry(self, shard: Shard, folder: RunFolder) -> FinishedShard:
        """What the manifest of a finished shard says of it."""
        entry = folder.manifest.shard
        if entry is None:
            raise self.explain_unfinished(shard)
        if (entry.number, entry.count) != (shard.number, shard.count):
            own = Shard(entry.number, entry.count)
            raise UserError(
                f"{folder.path}: holds shard {own}, whose rows would then be in the run twice",
                fix=f"{self.command(shard)}, after taking the folder away",
            )
        return entry

    def refuse_changed(self, shard: Shard, folder: RunFolder, entry: FinishedShard, led: ShardPlan) -> None:
        """Raises UserError if a file of a shard is not what it was when the shard finished."""
        for file in list_files(led, entry.tables):
            path = folder.path / file
            if not path.is_file() or hash_file(path) != entry.files.get(file):
                what = "is not what it was when the shard finished" if path.is_file() else "is not there"
                raise UserError(f"{path}: {what}", fix=f"copy the whole folder, or {self.command(shard)}")
        if not find_ledger(entry, folder.path).exists():
            raise UserError(
                f"shard {shard}: its ledger {entry.ledger!r} is not there, and with it the replies paid for",
                fix=f"copy it to {folder.path / 'ledger.sqlite'}",
            )


def find(stack: ExitStack, recipe: Recipe, run: Path, models: ModelPool) -> Found:
    """The shards of a run, checked; their folders are held until `stack` ends.

    Raises:
        UserError: one is missing, has not finished, runs still, has changed, or is of another run.
    """
    finder = _Finder(recipe, run)
    shards = finder.shards()
    finder.refuse_missing(shards)
    folders, entries = [], []
    for shard in shards:
        path = shard.folder(run).resolve()  # a link may lead to where a shard was made
        if not (path / "manifest.json").is_file():
            raise finder.explain_unfinished(shard)
        folders.append(stack.enter_context(RunFolder(path)))
        entries.append(finder.entry(shard, folders[-1]))
    first = entries[0]
    given = {"--limit": first.limit, "--until": first.until}
    finder.options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    led = plan_shards(recipe, plan(recipe, plan_until(recipe, first.until)))
    expected = describe_settings(recipe, led, first.limit, models)
    found = Found(folders, entries, led)
    for shard, folder, entry in zip(shards, folders, entries, strict=True):
        other = [name for name in expected.keys() - {"versions"} if entry.settings.get(name) != expected[name]]
        other += [] if set(entry.tables) <= set(recipe.data) else ["data"]
        if "steps" in other and entry.settings.get("versions") != expected["versions"]:
            raise UserError(
                f"{folder.path}: shard {shard} was finished by another version of blackbox-kd, whose steps may write "
                "other rows",
                fix=f"merge with that version, or {finder.command(shard)}, which takes the replies from its ledger",
            )
        if other:
            raise UserError(
                f"{folder.path}: shard {shard} was made with another recipe (other {', '.join(sorted(other))})",
                fix=f"merge with the recipe and the --set it was made with, or {finder.command(shard)}",
            )
        finder.refuse_changed(shard, folder, entry, led)
        for file in (f"{name}.jsonl" for name in found.whole):
            if entry.files.get(file) != first.files[file]:
                raise UserError(
                    f"{folder.path}: shard {shard} was made from other data than shard {shards[0]} ({file} differs)",
                    fix=f"give all shards the same data, then {finder.command(shard)}",
                )
    return found


def find_ledger(entry: FinishedShard, folder: Path) -> Path:
    """The ledger of a shard: the one in its folder, or else where it was when the shard ran."""
    own = folder / "ledger.sqlite"
    return own if own.exists() else folder / entry.ledger


def _list_shards(shards: list[Shard]) -> str:
    return f"shard {shards[0]} is" if len(shards) == 1 else f"shards {', '.join(map(str, shards))} are"
