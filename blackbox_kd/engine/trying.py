"""Tries one step of a recipe on a few rows: what it asks, what comes of it, and what that costs.

The calls are those of a run, with its keys and on its bill: a run finds their replies in the ledger. Its folder is
read, and nothing is written into it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from blackbox_kd.calls.budget import Budget
from blackbox_kd.calls.caller import Caller
from blackbox_kd.calls.transport import DirectTransport
from blackbox_kd.engine import packages, pricing
from blackbox_kd.engine.context import RunContext
from blackbox_kd.engine.estimate.assumptions import Asking, sum_lines
from blackbox_kd.engine.estimate.dry_run import RehearsalModels, Tables, collect_outcomes
from blackbox_kd.engine.estimate.dry_transport import DryTransport
from blackbox_kd.engine.estimate.spans import NOTHING
from blackbox_kd.engine.extension import extend
from blackbox_kd.engine.few_rows import Chain, Kept, Made, list_stages, refuse_untrained
from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.engine.plan import plan_until
from blackbox_kd.engine.row_errors import Mistakes
from blackbox_kd.engine.sharding.shard import sum_spent
from blackbox_kd.engine.state import RunState
from blackbox_kd.engine.try_context import TryContext
from blackbox_kd.errors import BlackboxError, DataError, Stopped, UserError
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.recipe.kept import keep
from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.runs.folder import RunFolder, hold, identity
from blackbox_kd.runs.workplace import read_aliases
from blackbox_kd.schema import Dropped, Memory, Outcome, Row, Table
from blackbox_kd.tables.sampling import Drawn

FEW = 3
"""Rows that a step is tried on."""


@dataclass(slots=True)
class TryOptions:
    """How a step is tried.

    Args:
        run_dir: the run's folder; it names the run in the ledger.
        ledger: the ledger's file.
        cache: the user's cache folder.
        env: where keys are looked up.
        rows: how many rows; None for a few, and of a training for all that are there.
        only: ids of the rows; the first ones if empty.
        dry: whether nothing is sent: messages and an estimate alone.
        say: is told what happens on the way to the step.
    """

    run_dir: Path
    ledger: Path
    cache: Path
    env: Mapping[str, str] = field(repr=False)
    rows: int | None = None
    only: tuple[str, ...] = ()
    dry: bool = False
    say: Callable[[str], None] = lambda text: None


class Try:
    """One try of a step.

    Args:
        recipe: the recipe.
        step: name or position of the step; None for the first one that asks a model.
        options: how it is tried.
        against: the same recipe with another prompt in the step; None to try the one alone.

    Attributes:
        told: what came of it, as JSON holds it.

    Raises:
        UserError: there is no such step, or it asks no model.
    """

    def __init__(self, recipe: Recipe, step: str | None, options: TryOptions, against: Recipe | None = None) -> None:
        self.told: dict[str, Any] = {}
        recipe, self._kept_models = keep(recipe, read_aliases(options.run_dir), options.env)
        recipe, extended = extend(recipe, options.run_dir, None, options.env)
        self._kept_models += extended.told
        self._recipe, self._against, self._options = recipe, against, options
        self.tried = find_tried(recipe, step)
        self._stages = list_stages(recipe, recipe.steps[: recipe.steps.index(self.tried) + 1])
        self._budget: Budget | None = None
        self._dry: DryTransport | None = None
        self._shared: RunState | None = None

    def stop(self) -> bool:
        """Lets no new call begin; whether some are under way."""
        if self._budget is None or self._shared is None:
            return False
        self._budget.stop(Stopped())
        self._shared.caller.stop(Stopped())
        return self._shared.asking > 0

    async def execute(self) -> None:
        """Tries the step.

        Raises:
            BudgetReached, Stopped: it was stopped; replies that came are in the ledger.
            UserError: no row comes to the step, or none of them can be asked.
        """
        for line in self._kept_models:
            self._options.say(line)
        with self._open() as shared:
            try:
                await self._try(shared)
            finally:
                await shared.models.close()

    @contextmanager
    def _open(self) -> Iterator[RunState]:
        options, recipe = self._options, self._recipe
        with ExitStack() as stack:
            empty = Path(stack.enter_context(TemporaryDirectory(prefix="blackbox-kd-")))
            if not options.dry:
                stack.enter_context(hold(options.run_dir))
            is_there = options.ledger.exists() or not options.dry
            file = options.ledger if is_there else empty / "ledger.sqlite"
            ledger = stack.enter_context(Ledger.open(file, run=identity(options.run_dir)))
            spent = ledger.count_spent() + sum_spent(ledger, ledger.run)
            self._budget = Budget(**recipe.head.budget.model_dump(), spent=spent)
            direct = DirectTransport(ledger, self._budget)
            self._dry = DryTransport(direct) if options.dry else None
            caller = Caller(self._dry or direct, may_all_fail=True)
            pool = ModelPool(recipe, options.cache, options.env)
            if options.dry and not self.tried.trains:
                pool = RehearsalModels(recipe, empty / "cache", options.env)
            folder = stack.enter_context(RunFolder(empty / "run"))
            self._shared = RunState(recipe, folder, pool, caller, mistakes=Mistakes(patience=None))
            yield self._shared

    async def _try(self, shared: RunState) -> None:
        options, kept = self._options, Kept(self._recipe, self._options.run_dir)
        tried, before = self._stages[-1].steps[-1], self._stages[:-1]
        if isinstance(shared.models, RehearsalModels):
            shared.models.to_be_trained |= {name for s in before for p in s.steps for name in p.list_names("student")}
        else:
            for stage in before:
                for model, path in kept.find_trained(self._recipe, stage):
                    shared.models.versions.add(model, path)
            trained = {version.ref.name: version for version in shared.models.versions}
            refuse_untrained([tried], before, trained)
            packages.refuse_missing(self._recipe, [tried])
            pricing.refuse_unpriced(self._recipe, shared.models, [tried])
        chain = Chain(
            self._recipe, self._stages, kept, self._work,
            count=options.rows or FEW, only=options.only, draw=self._draw, say=options.say,
        )  # fmt: skip
        if tried.trains:
            table = await chain.find_table(whole=options.rows is None)
            self.told = await self._look(shared, tried, table, chain.find_shown)
            return
        rows = await chain.find_rows()
        tries = [await self._try_on(shared, tried, rows, chain.find_shown)]
        if self._against is not None:
            other = RunState(self._against, shared.folder, shared.models, shared.caller, mistakes=shared.mistakes)
            twin = next(planned for planned in self._against.steps if planned.key == tried.key)
            tries.append(await self._try_on(other, replace(twin, round=tried.round), rows, chain.find_shown))
        _refuse_unasked(tried, tries)
        totals = shared.caller.totals()
        self.told = {
            "recipe": self._recipe.name,
            "step": tried.label,
            "rows": [row.id for row in rows],
            "tries": tries,
            "spent": totals,
            "estimate": self._estimate(shared, tried) if options.dry else None,
        }

    async def _look(self, shared: RunState, planned: PlannedStep, table: Table, tables: Tables) -> dict[str, Any]:
        """What a training would see, which nobody asks anything for."""
        context = TryContext(shared, planned, tables)
        async for _ in planned.step.run(table, planned.config, context):
            pass
        told = {"recipe": self._recipe.name, "step": planned.label, "rows": len(table)}
        return {**told, "trainings": context.seen, "spent": shared.caller.totals()}

    async def _work(self, planned: PlannedStep, rows: list[Row], tables: Tables) -> Made:
        """See `few_rows.Work`."""
        assert self._shared is not None
        return await _work_on(self._shared, planned, rows, TryContext(self._shared, planned, tables))

    def _draw(self, planned: PlannedStep, table: Table) -> Iterable[Row]:
        assert self._shared is not None
        rows = planned.config.rows_to_draw()
        assert rows is not None
        return Drawn(table, rows, RunContext(self._shared, planned).rng("rows"))

    async def _try_on(self, shared: RunState, planned: PlannedStep, rows: list[Row], tables: Tables) -> dict[str, Any]:
        """What a step asks for rows, and what becomes of them."""
        context = TryContext(shared, planned, tables)
        if self._dry is not None:
            self._dry.begin(probes=0, looks_up=True)
        outcomes = [outcome for _, outcome in await _work_on(shared, planned, rows, context)]
        return {
            "prompt": next(iter(planned.list_names("prompt")), None),
            "asked": [{"row": noted.ask.row.id, **noted.entry()} for noted in context.asked],
            "became": [_tell_outcome(outcome) for outcome in outcomes],
        }

    def _estimate(self, shared: RunState, planned: PlannedStep) -> dict[str, Any]:
        """What the calls that were not sent would cost."""
        assert self._dry is not None
        lines = []
        for name in dict.fromkeys(asked.model for asked in self._dry.asked):
            own = [asked for asked in self._dry.asked if asked.model == name]
            tariff = pricing.find_tariff(shared.models, name)
            asking = Asking(own, NOTHING, own)
            lines.append(asking.line(planned.label, name, shared.models.config(name), tariff.met if tariff else []))
        return sum_lines(lines)


def find_tried(recipe: Recipe, step: str | None) -> PlannedStep:
    """The step that is tried.

    Raises:
        UserError: there is no such step, or it neither asks a model nor trains one.
    """
    asking = [planned for planned in recipe.steps if planned.config.calls_per_row() > 0]
    if step is None and asking:
        return asking[0]
    names = ", ".join(f"{planned.key} ({planned.step.name})" for planned in asking) or "none"
    if step is None:
        raise UserError(f"{recipe.file}: no step asks a model, so there is nothing to try")
    found = plan_until(recipe, step, f"step {step!r}")[-1]
    if found not in asking and not found.trains:
        what = f"{found.label} asks no model and trains none, so there is nothing to try"
        raise UserError(what, exists=f"steps that ask: {names}", fix="name one of them")
    return found


async def _work_on(shared: RunState, planned: PlannedStep, rows: list[Row], context: TryContext) -> Made:
    """Lets a step work on rows, as a run would."""
    if planned.step.kind == "row":
        made: Made = []
        async for outcomes in context.each(rows, lambda row: collect_outcomes(planned, row, context, shared.mistakes)):
            made.append(("", outcomes))
        return made
    found: Made = []
    try:
        async for item in planned.step.run(Memory(planned.config.input or "table", rows), planned.config, context):
            found.append(item if isinstance(item, tuple) else ("", item))
    except BlackboxError:
        if not context.asked:
            raise
    return found


def _refuse_unasked(planned: PlannedStep, tries: list[dict[str, Any]]) -> None:
    """Raises DataError if no row could be asked."""
    failed = [entry for each in tries for entry in each["became"] if "failed" in entry]
    if failed and not any(each["asked"] for each in tries):
        what = failed[0]["failed"].split("\n")[0]
        raise DataError(f"{planned.label}: no row could be asked: {what}", fix=failed[0]["fix"])


def _tell_outcome(outcome: Outcome) -> dict[str, Any]:
    """What became of a row, as JSON holds it."""
    if isinstance(outcome, Row):
        return {"id": outcome.id, "row": outcome}
    if isinstance(outcome, Dropped):
        return {"id": outcome.row.id, "dropped": outcome.reason}
    return {"id": outcome.row.id, "failed": outcome.error, "fix": outcome.fix}
