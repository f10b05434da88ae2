"""Packages that only some steps and models need: looked for before anything is paid, and never loaded for it."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec

from blackbox_kd.errors import Problem, RecipeError
from blackbox_kd.recipe.spec import PlannedStep, Recipe


def refuse_missing(recipe: Recipe, steps: Iterable[PlannedStep]) -> None:
    """Refuses steps that cannot be run here, as packages are missing.

    Args:
        recipe: the recipe.
        steps: those that are to be run, in all arms; what all others need may be missing.

    Raises:
        RecipeError: with every such step.
    """
    own = {planned.at: planned for planned in steps}
    others = [(variant, planned) for variant in recipe.variants for planned in variant.steps if planned.at in own]
    lacking = [
        (planned, who, needs, absent)
        for each, planned in [*((recipe, planned) for planned in own.values()), *others]
        for who, needs in _list_needs(each, planned)
        if (absent := [package for package in needs if not is_installed(package)])
    ]
    if not lacking:
        return
    first = lacking[0][0]
    before = next((step for step in reversed(recipe.steps) if step.index < first.index), None)
    rest = f", or end the run before {first.label}: --until {before.key}" if before is not None else ""
    problems = []
    for planned, who, needs, absent in lacking:
        what = f"{who} needs packages that are not installed: {', '.join(absent)}."
        extras = ",".join(dict.fromkeys(needs[package] for package in absent))
        problem = Problem(planned.line, planned.label, what, "", f"pip install 'blackbox-kd[{extras}]'{rest}")
        problems += [problem] if problem not in problems else []
    raise RecipeError(recipe.file, problems)


def _list_needs(recipe: Recipe, planned: PlannedStep) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The step and the models that it asks, each with its packages and the extra that brings each."""
    yield "the step", planned.config.needs()
    for name in planned.list_models():
        yield f"model {name!r}", recipe.models[name].needs()


def is_installed(package: str) -> bool:
    """Whether a package can be imported; a folder that an uninstallation has left behind cannot."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None
