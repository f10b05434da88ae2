"""YAML -> Recipe.

What is wrong with the text is found by `yaml_source`, with the fields by `entries`, between them by
`checks`. All problems are reported at once.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blackbox_kd.errors import Problem, RecipeError, UserError, did_you_mean
from blackbox_kd.paths import find_bundled
from blackbox_kd.privacy import write_whole
from blackbox_kd.recipe import aliases, arms, swaps, yaml_source
from blackbox_kd.recipe import entries as recipe_entries
from blackbox_kd.recipe.checks import chain as recipe_check
from blackbox_kd.recipe.notes import Notes
from blackbox_kd.recipe.overrides import override
from blackbox_kd.recipe.spec import Recipe, RecipeFile
from blackbox_kd.recipe.validation import validate
from blackbox_kd.recipe.yaml_source import Source, quote
from blackbox_kd.sdk.registry import Registry


def find_recipe(name: str) -> Path:
    """A recipe by path, or by its bare name in `recipes/` here or in the package.

    Raises:
        UserError: there is none.
    """
    places = [Path(), Path("recipes"), find_bundled("recipes")]
    for place in places:
        for candidate in (place / name, place / f"{name}.yaml"):
            if candidate.is_file():
                return candidate
    known = sorted(path.stem for path in places[2].glob("*.yaml"))
    fix = did_you_mean(name, known) or "name a file, or one of the bundled recipes"
    raise UserError(f"recipe {name!r} does not exist", exists=f"bundled: {', '.join(known)}", fix=fix)


def load_recipe(
    path: Path,
    *,
    overrides: Sequence[str | tuple[str, Any]] = (),
    models: Sequence[str] = (),
    allow_code: bool = False,
    teacher: str | None = None,
    scripted: bool = False,
    env: Mapping[str, str] = os.environ,
    notes: Notes | None = None,
) -> Recipe:
    """Reads and checks a recipe file, without running or loading anything.

    Args:
        path: the YAML file.
        overrides: `path=value` assignments, or paths with their values, applied before the check.
        allow_code: whether plugins and functions named by the recipe may run.
        models: `name=provider:model` assignments, applied before the overrides: see `swaps`.
        teacher: `provider:model` in the place of the model called `teacher`, or `scripted`.
        scripted: whether replies are made up in the place of every model that is asked over the network.
        env: where keys are looked up.
        notes: is added to, also where the recipe is wrong.

    Raises:
        RecipeError: with every problem at once.
        UserError: the file cannot be read or an override leads nowhere.
    """
    source = yaml_source.read(_read_text(path))
    if source.problems:
        raise RecipeError(str(path), source.problems)
    return build_recipe(
        source,
        file=str(path),
        folder=path.resolve().parent,
        overrides=overrides,
        models=models,
        allow_code=allow_code,
        teacher=teacher,
        scripted=scripted,
        env=env,
        notes=notes,
    )


def _read_text(path: Path) -> str:
    fix = "name a YAML file in UTF-8"
    try:
        if not path.is_file():
            raise UserError(f"{path}: {'is no file' if path.exists() else 'does not exist'}.", fix=fix)
        size = path.stat().st_size
        if size > yaml_source.MAX_BYTES:
            raise RecipeError(str(path), [yaml_source.refuse_size(size)])
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8.", fix=fix) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}.", fix=fix) from error


def build_recipe(
    source: Source,
    *,
    file: str,
    folder: Path,
    overrides: Sequence[str | tuple[str, Any]] = (),
    models: Sequence[str] = (),
    allow_code: bool = False,
    teacher: str | None = None,
    scripted: bool = False,
    env: Mapping[str, str] = os.environ,
    notes: Notes | None = None,
) -> Recipe:
    """The recipe of values that were read already; raises as `load` does."""
    if not isinstance(source.values, dict):
        is_empty = source.values is None
        what = "the recipe is empty" if is_empty else f"the recipe is {quote(source.values)}, not a mapping of fields"
        problem = Problem(source.line(()), "", f"{what}.", "", "start with name:, data:, models: and steps:")
        raise RecipeError(file, [problem])
    notes = Notes() if notes is None else notes
    if teacher is not None:
        notes.told += swaps.swap_teacher(source, teacher)
    for assignment in models:
        notes.told += swaps.swap(source, assignment)
    for change in overrides:
        override(source, change)
    if scripted:
        notes.told += swaps.stand_in(source)
    problems: list[Problem] = []
    named = aliases.resolve(source, env, problems)
    head = validate(RecipeFile, source.values, (), "", source, problems)
    recipe = Recipe(file, folder, source, head or _salvage(source.values), Registry(), allow_code)
    recipe.aliases, recipe.scripted = named, scripted
    recipe_entries.load(recipe, problems)
    arms.spread(recipe, problems)
    recipe_check.check(recipe, problems, env, notes=notes)
    arms.check(recipe, problems, env)
    if problems:
        raise RecipeError(file, problems)
    return recipe


def _salvage(values: dict[str, Any]) -> RecipeFile:
    """A head to go on with after problems at the top level, so that all other problems are found too."""
    fields: dict[str, Any] = {"name": "unnamed", "data": {}, "models": {}, "steps": []}
    for key, kind in (("data", dict), ("models", dict), ("steps", list), ("plugins", list)):
        if isinstance(values.get(key), kind):
            fields[key] = values[key]
    return RecipeFile.model_construct(**fields)


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Writes the recipe as it was run, overrides applied."""
    text = yaml_source.dump(recipe.source.values)
    write_whole(path, f"# {Path(recipe.file).name}, as it was run\n{text}")
