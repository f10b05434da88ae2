"""A run keeps the models that it began with, whatever `cheap` and `strong` stand for by now.

The names change with the table of vendors' models, from one version of this package to the next. The same command asks
the same model all the same, so that no student learns from two of them unnoticed, and nothing is paid for twice.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

from blackbox_kd.recipe.load import build_recipe
from blackbox_kd.recipe.notes import Notes
from blackbox_kd.recipe.spec import Recipe


def keep(recipe: Recipe, began_with: Mapping[str, str], env: Mapping[str, str]) -> tuple[Recipe, list[str]]:
    """The recipe with the models that its names stood for when a run began, and what the user is told of it.

    Args:
        recipe: as it was loaded.
        began_with: models by `Alias.key`, as the run's manifest holds them.
        env: where keys are looked up.

    Raises:
        RecipeError: the recipe asks for what the model of then does not take.
    """
    values, told = deepcopy(recipe.source.values), []
    aliases = {name: replace(a, model=began_with.get(a.key, a.model)) for name, a in recipe.aliases.items()}
    for name, alias in aliases.items():
        if (now := recipe.aliases[name].model) != alias.model:
            values["models"][name]["model"] = alias.model
            told.append(
                f"models.{name}: {alias.word} is {alias.model}, with which this run began; by now it is {now}: "
                f"--model {name}={alias.vendor}:{now} asks that one, and pays for all of its replies"
            )
    if not told:
        return recipe, []
    notes, source = Notes(), replace(recipe.source, values=values)
    kept = build_recipe(
        source, file=recipe.file, folder=recipe.folder, allow_code=recipe.allow_code, env=env, notes=notes
    )
    kept.aliases = aliases
    return kept, [*told, *(note.text(recipe.file) for note in notes.list_warnings())]
