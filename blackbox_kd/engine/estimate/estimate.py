"""What a run will cost: calls, tokens, USD and time, low, likely and high, before anything is sent.

What can be known is counted: rows, prompts as they are rendered, replies in the ledger, prices. What nobody can
know yet is assumed (`assumptions` has the numbers), and said to be; what replies show, those of a probe too,
takes the place of an assumption.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import reduce
from typing import Any

from blackbox_kd.calls.hours import HOUR_S
from blackbox_kd.engine import pricing
from blackbox_kd.engine.estimate import listed
from blackbox_kd.engine.estimate.assumptions import Line, sum_lines
from blackbox_kd.engine.estimate.dry_run import Rehearsal, open_dry_run
from blackbox_kd.engine.estimate.spans import NOTHING, Span, add_up
from blackbox_kd.engine.estimate.tables import EstimateOptions
from blackbox_kd.engine.estimate.variants import count_trainings, list_notes, walk_all
from blackbox_kd.engine.extension import extend_run
from blackbox_kd.engine.plan import group_steps, plan_until
from blackbox_kd.errors import Problem
from blackbox_kd.ledger.ledger import Spent
from blackbox_kd.recipe.kept import keep
from blackbox_kd.recipe.notes import Notes
from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.runs.folder import identity
from blackbox_kd.runs.workplace import read_aliases


class Estimate:
    """An estimate whose probes can be stopped.

    Attributes:
        told: what `estimate` returns.
        notes: what endpoints say of their models.
    """

    def __init__(self, recipe: Recipe, options: EstimateOptions) -> None:
        self.told: dict[str, Any] = {}
        self.notes = Notes()
        self._recipe, self._options = recipe, options
        self._rehearsal: Rehearsal | None = None

    async def execute(self) -> None:
        """Makes the estimate; raises as `estimate` does."""
        self.told = await estimate(self._recipe, self._options, self._note_start, self.notes)

    def stop(self) -> bool:
        """Lets no new probe begin; whether some are under way."""
        return self._rehearsal is not None and self._rehearsal.stop()

    def _note_start(self, rehearsal: Rehearsal) -> None:
        self._rehearsal = rehearsal


async def estimate(
    recipe: Recipe,
    options: EstimateOptions,
    begun: Callable[[Rehearsal], None] = lambda rehearsal: None,
    notes: Notes | None = None,
) -> dict[str, Any]:
    """What the rest of a run will cost, as JSON holds it.

    Args:
        recipe: the recipe.
        options: how it would be run.
        begun: is given what can be stopped.
        notes: is added to, by what endpoints say of their models where probes are sent.

    Raises:
        RecipeError: a probe is wanted, and the budget cannot be kept.
        DataError: the rows cannot be counted.
    """
    recipe, kept_models = keep(recipe, read_aliases(options.run_dir), options.env)
    recipe, extended = extend_run(recipe, options.run_dir, None, {"--limit": options.limit}, options.env)
    steps, notes = plan_until(recipe, options.until), notes or Notes()
    run = identity(options.run_dir)
    with open_dry_run(recipe, options.ledger, run, options.env, probing=options.probe > 0) as rehearsal:
        begun(rehearsal)
        try:
            unpriced = pricing.find_unpriced(recipe, rehearsal.models, steps)
            if options.probe:
                pricing.refuse_unpriced(recipe, rehearsal.models, steps)
                asked = {name for planned in steps for name in planned.list_models()}
                await listed.look(recipe, rehearsal.models, asked, notes)
            walks = await walk_all(recipe, options, rehearsal)
        finally:
            await rehearsal.models.close()
        spent, probed = rehearsal.count_spent(), rehearsal.caller.totals()
    lines = [line for walk in walks for line in walk.lines]
    seconds = add_up(_sum_seconds([planned for planned, _ in walk.gone], walk.lines) for walk in walks)
    total = sum_lines(lines) | {"seconds": seconds.entry(1)}
    return {
        "recipe": recipe.name,
        "total": total,
        "steps": [line.entry() for line in lines],
        "models": list(_sum_by_model(lines)),
        "variants": [count_trainings(walk) for walk in walks] if recipe.variants else [],
        "spent": asdict(spent),
        "probe": {"calls": probed["calls"], "usd": probed["cost_usd"]} if options.probe else None,
        "budget": list(_judge(recipe, spent, total, unpriced)),
        "assumptions": list(dict.fromkeys([*kept_models, *extended.told, *list_notes(walks)])),
        "notes": [asdict(note) for note in notes.list_all()],
    }


def _sum_by_model(lines: list[Line]) -> Iterator[dict[str, Any]]:
    for name in dict.fromkeys(line.model for line in lines):
        yield {"model": name, **sum_lines([line for line in lines if line.model == name])}


def _sum_seconds(steps: list[PlannedStep], lines: list[Line]) -> Span:
    """How long all takes: in a segment models are asked side by side, in a table step one after the other."""
    found = NOTHING
    for stage in group_steps(steps):
        labels = {planned.label for planned in stage.steps}
        here = [line for line in lines if line.step in labels]
        models = {line.model: [other for other in here if other.model == line.model] for line in here}
        times = [add_up(line.seconds for line in own) for own in models.values()]
        slowest = reduce(lambda one, other: one.each(max, other), times, NOTHING)
        found += slowest if stage.kind == "row" else add_up(times)
    return found


def _judge(recipe: Recipe, spent: Spent, total: dict[str, Any], unpriced: list[Problem]) -> Iterator[dict[str, Any]]:
    """Each limit, and which estimate breaks it."""
    hours = {name: seconds / HOUR_S for name, seconds in total["seconds"].items()}
    before = spent.sum_by_limit() | {"hours": 0.0}
    needed = {"usd": total["usd_known"], "requests": total["calls"], "tokens": total["tokens"], "hours": hours}
    for name, limit in recipe.head.budget.model_dump().items():
        if limit is None:
            continue
        left = limit - before[name]
        verdict = "likely breaks" if needed[name]["likely"] > left else "high breaks"
        if name == "usd" and unpriced:
            verdict = "no price"
        elif needed[name]["high"] <= left:
            verdict = "fits"
        yield {"limit": name, "most": limit, "spent": before[name], "verdict": verdict}
