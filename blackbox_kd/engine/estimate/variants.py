"""The walks of an estimate: along the chain as it stands, and for arms and seeds along what is other than there."""

from collections.abc import Iterator
from typing import Any

from blackbox_kd.engine.estimate.dry_run import Rehearsal
from blackbox_kd.engine.estimate.spans import Span
from blackbox_kd.engine.estimate.tables import EstimateOptions
from blackbox_kd.engine.estimate.walk import Walk
from blackbox_kd.engine.plan import Stage, plan, plan_until
from blackbox_kd.recipe.changed import find_changed
from blackbox_kd.recipe.spec import PlannedStep, Recipe


def _in_rounds(recipe: Recipe, steps: list[PlannedStep]) -> Iterator[tuple[PlannedStep, bool]]:
    """The steps of a run, those of a loop once for each round, and whether it is certain that they are run."""
    for part in plan(recipe, steps):
        if isinstance(part, Stage):
            yield from ((planned, True) for planned in part.steps)
            continue
        most = part.loop.config.rounds if part.is_whole else 1
        fewest = min(most, part.loop.config.fewest)
        for number in range(1, most + 1):
            for stage in part.stages:
                yield from ((planned, number <= fewest) for planned in stage.in_round(number).steps)


async def _walk_along(
    recipe: Recipe, options: EstimateOptions, rehearsal: Rehearsal, before: Walk | None = None
) -> Walk:
    """The walk along all steps of a recipe, or along those of a variant that differ from the walk `before`."""
    walk = Walk(recipe, options, rehearsal, before)
    others = recipe.variants if before is None else [recipe]
    walk.apart = {at for other in others for at in find_changed(recipe if before is None else before.recipe, other)}
    for planned, is_certain in _in_rounds(recipe, plan_until(recipe, options.until)):
        if before is None or planned.at in walk.apart:
            await walk.step(planned, is_certain)
        else:
            walk.take(planned)
    return walk


async def walk_all(recipe: Recipe, options: EstimateOptions, rehearsal: Rehearsal) -> list[Walk]:
    """The walks along the chain as it stands, and then those of its variants.

    Another seed is held against its own arm, which has asked all that does not depend on the seed.
    """
    walks = [await _walk_along(recipe, options, rehearsal)]
    for variant in recipe.variants:
        before = next((walk for walk in walks if walk.recipe.arm == variant.arm), walks[0])
        async with before.rehearsal.branch(variant) as branch:
            walks.append(await _walk_along(variant, options, branch, before))
    return walks


def count_trainings(walk: Walk) -> dict[str, Any]:
    """The arm and the seed of a walk, and how many trainings and exams are its own, as JSON holds it."""
    own = {
        "trainings": [is_certain for planned, is_certain in walk.gone if planned.trains],
        "exams": [is_certain for planned, is_certain in walk.gone if planned.step.held_out],
    }
    return walk.recipe.marks | {name: Span(sum(sure), len(sure), len(sure)).entry() for name, sure in own.items()}


def list_notes(walks: list[Walk]) -> Iterator[str]:
    """What was assumed; of a variant only what was not assumed of the chain as it stands."""
    lead, *others = walks
    yield from lead.notes
    for walk in others:
        named = ", ".join(f"{key} {value}" for key, value in walk.recipe.marks.items())
        yield from (f"{named}: {note}" for note in walk.notes if note not in lead.notes)
