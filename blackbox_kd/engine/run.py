"""Runs a recipe: loads its tables, streams its segments, runs its table steps, and keeps the books."""

import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from blackbox_kd.calls.batch.jobs import Limits
from blackbox_kd.calls.batch.queue import Batches
from blackbox_kd.calls.batch.store import Store
from blackbox_kd.calls.batch.transport import BatchTransport
from blackbox_kd.calls.budget import Budget
from blackbox_kd.calls.caller import Caller
from blackbox_kd.calls.transport import DirectTransport
from blackbox_kd.concurrency import collect_seldom
from blackbox_kd.engine import data, loop, packages, pricing, product, push
from blackbox_kd.engine.extension import extend_run
from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.engine.plan import LoopStages, Stage, plan, plan_until
from blackbox_kd.engine.progress import View
from blackbox_kd.engine.row_errors import Mistakes
from blackbox_kd.engine.sharding.finish import ShardResult, finish_shard
from blackbox_kd.engine.sharding.shard import Shard, ShardPlan, plan_shards, sum_spent
from blackbox_kd.engine.stage import StageRunner
from blackbox_kd.engine.state import RunState
from blackbox_kd.engine.variants import Variants
from blackbox_kd.errors import BlackboxError, BudgetReached, Stopped
from blackbox_kd.ledger.ledger import Ledger, Spent
from blackbox_kd.recipe.kept import keep
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs import carried, model_card
from blackbox_kd.runs.accounts import Account, refuse_failures
from blackbox_kd.runs.delivery import Delivery
from blackbox_kd.runs.folder import RunFolder, identity
from blackbox_kd.runs.report import arms, build, losses
from blackbox_kd.runs.report.ending import Ending, raise_first, try_end
from blackbox_kd.runs.stage_files import gather_losses, list_losses
from blackbox_kd.runs.workplace import Reach, Workplace, find_ledger, find_run, find_workplace, read_aliases
from blackbox_kd.tables.stored import StoredTable


@dataclass(slots=True)
class RunOptions:
    """How a recipe is run.

    Args:
        run_dir: the run's folder; `runs/<name>` if left out, where a run with a limit works in `trial/`.
        ledger: the ledger's file; `runs/ledger.sqlite` if left out, so that all runs started here share it.
        limit: at most so many rows of each data table.
        until: name or position of the last step that is run.
        shard: the part of the rows that is worked on; all if left out.
        extend: rows that are taken beyond those of the run, see `extension`.
        retry_failed: ask anew for the rows that failed, also where that means to buy another reply.
        overwrite: a training takes the place of a finished one of other settings; else it is kept beside it.
        cache: the user's cache folder.
        batches: when requests that go through batches are handed in and looked for.
        env: where keys are looked up.
        view: shows how the run goes on.
    """

    cache: Path
    run_dir: Path | None = None
    ledger: Path | None = None
    limit: int | None = None
    until: str | None = None
    shard: Shard | None = None
    extend: int | None = None
    retry_failed: bool = False
    overwrite: bool = False
    batches: Limits = field(default_factory=Limits)
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    view: View = field(default_factory=View)


class Run:
    """One run of a recipe. After `execute`, `report` holds what `report.json` holds."""

    def __init__(self, recipe: Recipe, options: RunOptions) -> None:
        self.options = options
        self.report: dict[str, Any] = {}
        run = whole = find_run(recipe, options.run_dir)
        if options.shard is not None and options.run_dir is None:
            run = options.shard.folder(whole)
        recipe, self._kept_models = keep(recipe, read_aliases(whole) | read_aliases(run), options.env)
        parts = {"--limit": options.limit, "--until": options.until, "--shard": options.shard}
        self.recipe, self._extended = extend_run(recipe, whole, options.extend, parts, options.env)
        self._steps = plan_until(self.recipe, options.until)
        self._program: list[Stage | LoopStages] = list(plan(self.recipe, self._steps))
        self._led = ShardPlan()
        self._reach = Reach.of(self._steps, options.limit)
        if options.shard is None:
            self._place = find_workplace(run, self._reach, is_named=options.run_dir is not None, until=options.until)
        else:
            self._place = Workplace(run, run)
            self._led = plan_shards(self.recipe, self._program)
            self._program = [*self._led.stages]
        self.path = self._place.path
        self._push = push.Pushing.of(self.recipe, parts)
        self._budget: Budget | None = None
        self._contamination: list[dict[str, Any]] = []

    async def execute(self) -> None:
        """Runs the recipe, or goes on where an earlier run of the same folder stopped.

        Raises:
            BudgetReached, Stopped, StepError: the run stopped; everything paid for is kept, the report is written.
            TooManyFailed: too large a share of a step's rows failed; if it is the last one's, the data set is written.
        """
        ledger_file = find_ledger(self._place.run, self.options.ledger, is_scripted=self.recipe.scripted)
        with ExitStack() as stack:
            shard = self.options.shard
            folder = stack.enter_context(self._open_folder())
            ledger = Ledger.open(ledger_file, run=folder.identity)
            stack.callback(ledger.close)
            budget = self._budget = Budget(**self._share_limits(ledger), spent=self._count_spent(ledger))
            store = Store(ledger_file, folder.identity)
            batches = Batches(ledger, store, limits=self.options.batches, say=self.options.view.say)
            caller = Caller(
                BatchTransport(DirectTransport(ledger, budget), batches),
                retry_failed=self.options.retry_failed,
                may_all_fail=self.recipe.head.max_failed_share >= 1,
            )
            batches.is_busy = caller.is_busy
            models = self._prepare(folder, caller, budget)
            stack.enter_context(budget.hours.count(self._stop))
            ending = Ending()
            stopped: BaseException | None = None
            try:
                if await batches.take_up(lambda name: models.get(name) if name in self.recipe.models else None):
                    budget.recount(self._count_spent(ledger))
                ending = await self._run_all()
                if shard is not None:
                    done = ShardResult(
                        self.accounts, self._contamination, ledger_file, self.options.limit, self.options.until
                    )
                    finish_shard(shard, self._led, self._shared, done)
                refuse_failures(self.accounts, self.recipe.head.max_failed_share, self.path)
            except BaseException as error:
                ending, stopped = Ending.of(error), error
            # All of it is done whatever goes wrong with a part of it.
            report = partial(self._write_report, caller, ledger, ending)
            faults = [
                fault for end in (batches.close, models.close, report, ledger.close) for fault in await try_end(end)
            ]
        raise_first(stopped, faults, self.options.view.say)
        self._push.send(self.path, self._shared.models.versions, self.options.view.say)

    def _open_folder(self) -> RunFolder:
        place = self._place
        folder = RunFolder(place.path, numbered=self.options.shard is not None, run=place.run, longer=place.longer)
        if (there := Reach.read(place.path)) is not None:
            there.note(folder)
        for line in filter(None, [place.why, *self._kept_models, *self._extended.told]):
            self.options.view.say(line)
        self._extended.note(folder)
        return folder

    @property
    def accounts(self) -> list[Account]:
        """Those of the steps, as far as the run has come."""
        return self._work.accounts

    def _prepare(self, folder: RunFolder, caller: Caller, budget: Budget) -> ModelPool:
        """Makes what the steps of the run share, and what runs them."""
        options = self.options
        again, trial = options.retry_failed, options.limit is not None
        models = ModelPool(self.recipe, options.cache, options.env)
        if narrowed := models.describe_narrowed():
            options.view.say(narrowed)
        self._delivery = Delivery(folder, self.recipe, carried.format_options(options.limit, options.until))
        self._shared = RunState(
            self.recipe,
            folder,
            models,
            caller,
            mistakes=Mistakes(on_mistake=self.stop),
            on_event=options.view.training,
            refuse_late=budget.refuse_late,
            overwrite=options.overwrite,
        )
        part = None if options.shard is None else (options.shard, self._led)
        self._work = StageRunner(
            self._shared, options.view, shard=part, retry_failed=again, is_trial=trial, on_stage=self._note_reach
        )
        self._variants = Variants(self._shared, self._work, options.until)
        return models

    def _note_reach(self, stage: Stage) -> None:
        if self.options.shard is None:
            Reach.of(stage.steps, self.options.limit).note(self._shared.folder)

    def _share_limits(self, ledger: Ledger) -> dict[str, Any]:
        """The recipe's budget, or a shard's share of what is left of it."""
        shard = self.options.shard
        if shard is None:
            return self.recipe.head.budget.model_dump()
        whole = identity(Path("runs") / self.recipe.name)
        spent = ledger.count_spent(whole) + sum_spent(ledger, whole, besides=shard)
        return {**shard.share(self.recipe, self.options.limit, spent), "hours": self.recipe.head.budget.hours}

    def _count_spent(self, ledger: Ledger) -> Spent:
        """What is gone of the budget: a whole run and its shards have one together."""
        mine = ledger.count_spent()
        return mine if self.options.shard is not None else mine + sum_spent(ledger, ledger.run)

    def stop(self) -> bool:
        """Lets no new call begin; whether paid calls are under way, whose replies are worth waiting for."""
        if self._budget is None:
            return False
        self._stop(Stopped())
        return self._shared.asking > 0

    def _stop(self, why: BudgetReached | Stopped) -> None:
        assert self._budget is not None
        self._budget.stop(why)
        self._shared.caller.stop(why)

    async def _run_all(self) -> Ending:
        """Runs all stages; returns how the run has ended."""
        done = [stage for part in self._program for stage in (part.stages if isinstance(part, LoopStages) else [part])]
        packages.refuse_missing(self.recipe, [planned for stage in done for planned in stage.steps])
        self._push.refuse_unready()
        pricing.refuse_unpriced(self.recipe, self._shared.models, [p for stage in done for p in stage.steps])
        tables = self._shared.tables
        others = [planned for variant in self.recipe.variants for planned in variant.steps]
        filled = data.load(self.recipe, [*self._steps, *others], tables, self._shared.folder, self.options.limit)
        self._delivery.write_recipe()
        self._shared.folder.note_aliases({alias.key: alias.model for alias in self.recipe.aliases.values()})
        data.check(self.recipe, tables, filled, self.options.env)
        self._contamination = data.compare(self.recipe, tables)
        with collect_seldom(), self.options.view.showing(self.accounts, self._shared.caller):
            for part in self._program:
                if isinstance(part, LoopStages):
                    await loop.run(part, self._shared, self._work)
                else:
                    await self._work.run(part)
            if self.options.shard is None:
                await self._variants.run()
        if self.options.shard is not None:
            return Ending()
        self._reach.set(self._shared.folder)
        seeds = data.find_flowing(self.recipe)
        rows, most = 0 if seeds is None else len(tables[seeds]), self.recipe.head.max_failed_share
        own = [account for account in self.accounts if account.marks == self.recipe.marks]
        ending = product.find_ending(self._choose_tables(), own, most, rows, self.path)
        if not ending.is_complete:
            return ending
        self._deliver(is_complete=True)
        self._delivery.refuse_empty()
        self._extended.finish(self._shared.folder, self.options.until)
        return ending

    def _choose_tables(self) -> Mapping[str, StoredTable]:
        shared = self._shared
        return product.choose_tables(self.recipe, shared.tables.lineage, shared.tables, shared.models.versions)

    def _deliver(self, *, is_complete: bool) -> None:
        shared = self._shared
        say = (lambda text: None) if len(shared.models.versions) else self.options.view.say  # the training has said it
        self._delivery.write_dataset(self._choose_tables(), shared.tables.lineage, is_complete=is_complete, say=say)

    def _write_report(self, caller: Caller, ledger: Ledger, ending: Ending) -> None:
        shared, folder = self._shared, self._shared.folder
        if not ending.is_complete and len(shared.models.versions) and self._delivery.made is None:
            with suppress(BlackboxError, OSError):  # the run has ended already, and says why
                self._deliver(is_complete=False)
        bill = {**asdict(ledger.count_spent(lost=True)), "repeated": ledger.count_repeated()}
        facts = build.Facts(
            self.recipe,
            ending,
            self.accounts,
            shared.records.find_all(),
            caller.summary(),
            bill,
            self._contamination,
            shared.tables.files,
            self._delivery.summary(),
            losses.find(self.accounts, self.recipe, list_losses(folder.path, self._work.names, "dropped")),
            shared.tables.bad_lines,
            self._variants.list_recorded(),
        )
        self.report = build.collect(facts)
        for line in losses.describe(self.report) if ending.is_complete else ():
            self.options.view.say(f"warning: {line}")
        folder.save()
        gather_losses(folder.path, self._work.names)
        build.write(folder.path, self.report, [table for table in shared.tables.list_results() if len(table)])
        self._delivery.write_cards(self.report, [(v.ref.name, v.folder) for v in shared.models.versions])
        for variant, trained in self._variants.list_trained():
            model_card.write_models(variant, arms.select(self.report, variant), trained)
