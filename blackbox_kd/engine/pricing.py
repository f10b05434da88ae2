"""The prices that a run needs to keep its budget in dollars."""

from collections.abc import Mapping
from pathlib import Path

from blackbox_kd.calls import tariff
from blackbox_kd.calls.tariff import Tariff
from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.errors import Problem, RecipeError
from blackbox_kd.recipe.spec import PlannedStep, Recipe


def find_tariff(models: ModelPool, name: str) -> Tariff | None:
    """What a model costs; None when that is not known. Models behind an endpoint are opened for it, nothing is sent."""
    config = models.config(name)
    endpoint = "" if config.local else models.get(name).endpoint
    return tariff.find_paid(config, endpoint)


def find_unpriced(recipe: Recipe, models: ModelPool, steps: list[PlannedStep]) -> list[Problem]:
    """The models that a step asks and no price is known for, in any of the arms, when the budget is in dollars."""
    usd = recipe.head.budget.usd
    if usd is None:
        return []
    named = {name for planned in steps for name in planned.list_models()}
    problems = [
        Problem(
            recipe.source.line(("models", name)),
            f"models.{name}",
            f"no price is known for {config.model!r}, so budget.usd = {usd:g} could not be kept.",
            "",
            "add price: {input: ..., output: ...} (USD for a million tokens), or limit requests: or tokens: instead",
        )
        for name, config in recipe.models.items()
        if name in named and find_tariff(models, name) is None
    ]
    places = {planned.at for planned in steps}
    for variant in recipe.variants:
        own = [planned for planned in variant.steps if planned.at in places]
        found = find_unpriced(variant, models.branch(variant), own)
        problems += [problem for problem in found if problem not in problems]
    return problems


async def check(recipe: Recipe, cache: Path, env: Mapping[str, str]) -> None:
    """Like `refuse_unpriced`, for all steps of a recipe that is not run; nothing is sent.

    Args:
        recipe: the recipe.
        cache: the user's cache folder.
        env: where keys are looked up.
    """
    models = ModelPool(recipe, cache, env)
    try:
        refuse_unpriced(recipe, models, recipe.steps)
    finally:
        await models.close()


def refuse_unpriced(recipe: Recipe, models: ModelPool, steps: list[PlannedStep]) -> None:
    """Ends a run before its first call if it could not keep its budget.

    Raises:
        RecipeError: a model that a step asks has no known price, and the budget is in dollars.
    """
    problems = find_unpriced(recipe, models, steps)
    if problems:
        raise RecipeError(recipe.file, problems)
