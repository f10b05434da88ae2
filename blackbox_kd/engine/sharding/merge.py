"""Joins finished shards into the run that one process would have made; nothing is asked for it.

What became of a row in its shard is copied as it is, to the place that the row has in the whole table. Balances are
added up, and the replies that the shards paid for become the run's, so that `run` goes on without asking again.
"""

import hashlib
import heapq
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from blackbox_kd.engine import data, product
from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.engine.plan import Stage
from blackbox_kd.engine.progress import write_account
from blackbox_kd.engine.sharding import summary
from blackbox_kd.engine.sharding.finish import list_stage_files
from blackbox_kd.engine.sharding.folders import Found, find, find_ledger
from blackbox_kd.engine.sharding.shard import find_owner
from blackbox_kd.engine.versions import Versions
from blackbox_kd.errors import BlackboxError
from blackbox_kd.ledger import adopt as ledger_adopt
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.privacy import open_anew
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs import carried
from blackbox_kd.runs.accounts import Account, refuse_failures, sum_accounts
from blackbox_kd.runs.delivery import Delivery
from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.runs.lineage import Lineage
from blackbox_kd.runs.report import build
from blackbox_kd.runs.report.ending import Ending
from blackbox_kd.runs.stage_files import gather_losses
from blackbox_kd.runs.workplace import Reach, find_workplace
from blackbox_kd.tables.stored import StoredTable

Places: TypeAlias = "list[array[int]]"
"""For each shard, where its rows stand in the whole table. In quotes, as an array takes no `[...]` in Python 3.11."""


def merge(
    recipe: Recipe,
    run: Path,
    ledger: Path,
    models: ModelPool,
    say: Callable[[str], None] = lambda text: None,
    *,
    is_named: bool = True,
    on_place: Callable[[Path], None] = lambda path: None,
) -> dict[str, Any]:
    """Joins the shards in `run/shards`; returns what `report.json` holds.

    Args:
        recipe: the recipe that they ran.
        run: the run folder.
        ledger: the run's ledger; what the shards paid for is in it afterwards.
        models: for their identities; none is asked.
        say: is told what the user should know.
        is_named: whether the user has named the folder: shards with a limit are joined in its `trial/` otherwise.
        on_place: is told in which folder they are joined.

    Raises:
        UserError: a shard is missing, has not finished, or is not one of this run.
        LedgerError: a ledger cannot be read or written.
        TooManyFailed, StepError: the run is merged, but too large a share of a step's rows failed, or none is left.
    """
    with ExitStack() as stack:
        found = find(stack, recipe, run, models)
        place = find_workplace(run, found.reach, is_named=is_named, until=found.until)
        folder = stack.enter_context(RunFolder(place.path, run=place.run))
        on_place(place.path)
        (Reach.read(place.path) or found.reach).note(folder)
        joined = _Joined(recipe, folder, found)
        accounts = joined.join()
        for line in [*map(write_account, accounts), *filter(None, [place.why])]:
            say(line)
        bill = _take_over(ledger, found, folder.identity, say)
        found.reach.note(folder)
        folder.note_aliases({alias.key: alias.model for alias in recipe.aliases.values()})
        folder.save()
        facts = summary.collect_facts(recipe, found, folder, accounts, bill)
        stopped = joined.judge(facts)
        gather_losses(folder.path, [stage.name for stage in found.led.stages])
        written = _deliver(joined, facts, say)
        if not joined.is_whole:
            say(_describe_next(found))
    if stopped is not None:
        raise stopped
    return written


class _Joined:
    """The tables and lost rows of a run, put together from those of N shards.

    Args:
        recipe: the recipe that they ran.
        folder: the run folder, which they are written to.
        found: the shards.

    Attributes:
        tables: those of the run by name.
        lineage: of these tables.
        is_whole: whether no step is left to the merged run.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder, found: Found) -> None:
        self.folder = folder
        self._recipe = recipe
        self._found = found
        self._shards = [shard.path for shard in found.folders]
        self.tables: dict[str, StoredTable] = {}
        self.lineage = Lineage(recipe)
        self.is_whole = found.led.rest is None
        self._places: dict[str, Places] = {}

    def join(self) -> list[Account]:
        """Writes all files; returns the balances of the steps."""
        accounts: list[Account] = []
        for name in self._found.entries[0].tables:
            self.tables[name] = self._copy_table(name, f"tables/00_{name}")
            self.lineage.start(self.tables[name])
        last = next(iter(self.tables), None)
        for stage in self._found.led.stages:
            before = dict(self.tables)
            if stage.kind == "row":
                self._join(stage)
            else:
                self._copy(stage)
            self.lineage.add(stage.steps, last, before, {}, [self.tables[name] for name in stage.outputs])
            last = stage.outputs[0]
            accounts += self._accounts(stage)
        self.folder.note_names(self.tables.values())
        carried.take_over(self._shards[0], self.folder.path)
        return accounts

    def judge(self, facts: build.Facts) -> BlackboxError | None:
        """Writes into the facts how the run has ended; returns what it is to be raised as, once its files are there."""
        limit, path = self._recipe.head.max_failed_share, self.folder.path
        seeds = data.find_flowing(self._recipe)
        try:
            refuse_failures(facts.accounts, limit, path)
            if self.is_whole:
                rows = 0 if seeds is None else len(self.tables[seeds])
                facts.ending = product.find_ending(self.choose_tables(), facts.accounts, limit, rows, path)
        except BlackboxError as error:
            facts.ending = Ending.of(error)
            return error
        return None

    def choose_tables(self) -> dict[str, StoredTable]:
        """Those of the data set."""
        return product.choose_tables(self._recipe, self.lineage, self.tables, Versions())

    @property
    def options(self) -> str:
        """Of the command that made the shards."""
        return carried.format_options(self._found.reach.limit, self._found.until)

    @property
    def last(self) -> StoredTable:
        """The table that the last segment wrote."""
        return self.tables[self._found.led.stages[-1].outputs[0]]

    def _copy(self, stage: Stage) -> None:
        """Takes over a table step that every shard has run on the whole."""
        for name, file in zip([*stage.outputs, None, None], list_stage_files(stage), strict=True):
            table = self._copy_table(name or file, file)
            if name is not None:
                self.tables[name] = table
        self.folder.note_stage(stage.name, self._found.folders[0].manifest.stages[stage.name])

    def _copy_table(self, name: str, file: str) -> StoredTable:
        with (self._shards[0] / f"{file}.jsonl").open("rb") as lines:
            return self._write_table(name, file, lines)

    def _join(self, stage: Stage) -> None:
        """Puts each line to where its row stands in the whole table that the segment read."""
        places = self._places_in(self._found.led.reads[stage.name])
        table, *lost = list_stage_files(stage)
        name, ends = stage.outputs[0], self._make_places()
        self.tables[name] = self._write_table(name, table, self._merge_lines(table, places, ends))
        self._places[name] = ends
        for file in lost:
            self._write_table(file, file, self._merge_lines(file, places, self._make_places()))

    def _merge_lines(self, file: str, places: Places, ends: Places) -> Iterator[bytes]:
        """The lines of all shards in order; notes in `ends` where those of each shard went.

        A shard writes its lines in the order of its rows, and a row is in one shard alone: so merging by the places of
        the rows restores the order that one process would have written, whatever the steps have dropped or added.
        """
        streams = [_read_placed(shard / file, number, places[number]) for number, shard in enumerate(self._shards)]
        for at, (_, number, line) in enumerate(heapq.merge(*streams, key=itemgetter(0))):
            ends[number].append(at)
            yield line

    def _places_in(self, table: str) -> Places:
        """For each shard, where its rows stand in a whole table."""
        if table not in self._places:
            places = self._places[table] = self._make_places()
            for at, row in enumerate(self.tables[table]):
                places[find_owner(row.id, len(places)) - 1].append(at)
        return self._places[table]

    def _make_places(self) -> Places:
        return [array("q") for _ in self._shards]

    def _write_table(self, name: str, file: str, lines: Iterable[bytes]) -> StoredTable:
        path, sha, rows = self.folder.path / f"{file}.jsonl", hashlib.sha256(), 0
        with _open_whole(path) as target:
            for line in lines:
                sha.update(line)
                target.write(line)
                rows += 1
        return StoredTable(name, path, rows, sha.hexdigest())

    def _accounts(self, stage: Stage) -> list[Account]:
        """The balances of a stage's steps: those of all shards added up."""
        found = []
        for planned in stage.steps:
            own = [e.write() for shard in self._found.entries for e in shard.accounts if e.step == planned.label]
            found.append(sum_accounts(map(Account.of, own if stage.kind == "row" else own[:1])))
            found[-1].check()
        read = self.tables[self._found.led.reads[stage.name]].rows if stage.kind == "row" else found[0].rows_in
        if found[0].rows_in != read:
            step = found[0].step
            raise BlackboxError(f"{step}: the shards were given {found[0].rows_in} rows of {read}. This is a bug.")
        return found


def _read_placed(file: Path, shard: int, places: "array[int]") -> Iterator[tuple[int, int, bytes]]:
    """The lines of a shard's file, each with the place in the whole table of the row that it comes from."""
    with Path(f"{file}.rows").open(encoding="ascii") as rows, Path(f"{file}.jsonl").open("rb") as lines:
        for row, line in zip(rows, lines, strict=True):
            yield places[int(row)], shard, line


@contextmanager
def _open_whole(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when it is complete."""
    part = path.with_name(f"{path.name}.part")
    with open_anew(part) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _describe_next(found: Found) -> str:
    same_rows = "" if found.reach.limit is None else f", and --limit {found.reach.limit}"
    return f"next: the same command with run in place of merge{same_rows}; it asks nothing again"


def _deliver(joined: _Joined, facts: build.Facts, say: Callable[[str], None]) -> dict[str, Any]:
    """Writes the recipe, the report and, if no step is left to the merged run, the data set; returns the report."""
    delivery = Delivery(joined.folder, facts.recipe, joined.options)
    delivery.write_recipe()
    tables = joined.choose_tables() if joined.is_whole else {}
    if any(map(len, tables.values())):
        delivery.write_dataset(tables, joined.lineage, say=say)
    facts.dataset = delivery.summary()
    report = build.collect(facts)
    build.write(joined.folder.path, report, [joined.last] if len(joined.last) else [])
    delivery.write_cards(report)
    return report


def _take_over(ledger: Path, found: Found, name: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Makes what the shards paid for the run's; returns what all of it has cost."""
    for entry, shard in zip(found.entries, found.folders, strict=True):
        ledger_adopt.adopt(ledger, find_ledger(entry, shard.path), entry.run, name)
    count = ledger_adopt.count_overruled(ledger, name)
    if count:
        say(
            f"note: {count:,} replies of the shards have another text than older replies to the same calls in "
            f"{ledger}; the run goes on with the older ones"
        )
    with Ledger.open(ledger, run=name) as opened:
        return {**asdict(opened.count_spent()), "repeated": opened.count_repeated()}
