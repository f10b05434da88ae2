"""YAML -> Recipe. What is wrong with the fields is found here, what is wrong between them in `recipe_check`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from blackbox_kd import models, recipe_check, yaml_source
from blackbox_kd.errors import Problem, RecipeError, SetupError, UserError
from blackbox_kd.marks import earlier
from blackbox_kd.models import ModelConfig
from blackbox_kd.prompt import Prompt
from blackbox_kd.registry import Registry, Step, StepConfig
from blackbox_kd.sources import TableSource
from blackbox_kd.validation import did_you_mean, validate
from blackbox_kd.yaml_source import Source


class BudgetConfig(BaseModel):
    """The most that a run may spend, over all its invocations; a limit of 0 means none."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    usd: float | None = Field(default=None, ge=0)
    """Dollars."""
    requests: int | None = Field(default=None, ge=0)
    """Calls that bring a reply."""
    tokens: int | None = Field(default=None, ge=0)
    """Prompt and completion tokens together."""


class RecipeFile(BaseModel):
    """The top level of a recipe."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")
    """Name of the recipe and of its run folder: letters, digits, `_`, `-`, `.`."""
    description: str = ""
    """One sentence for the data card."""
    paper: str | None = None
    """Where the method is from, such as `arXiv:2212.08410`."""
    license: str | None = None
    """License of the data set that the recipe makes, as the Hub names it, such as `apache-2.0`."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything that is drawn."""
    data: dict[str, Any] = Field(min_length=1)
    """Tables to start from, by name."""
    models: dict[str, Any] = Field(default_factory=dict)
    """Models by name."""
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    """What the run may spend."""
    max_failed_share: float = Field(default=0.05, ge=0, le=1)
    """A run ends with exit status 1 when a larger share of a step's rows failed."""
    plugins: list[str] = Field(default_factory=list)
    """Files with steps of your own, relative to the recipe; they run only with `--allow-code`."""
    steps: list[Any] = Field(min_length=1)
    """The chain."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One step of a recipe.

    Args:
        index: position in `steps:`, from 0.
        step: the step.
        config: its checked config.
        line: line in the recipe.
    """

    index: int
    step: Step
    config: StepConfig
    line: int

    @property
    def label(self) -> str:
        """How messages name it: `steps[0] (generate)`."""
        return f"steps[{self.index}] ({self.step.name})"


@dataclass(slots=True)
class Recipe:
    """A recipe whose every field was checked.

    Args:
        file: as messages name it.
        folder: where its relative paths start.
        source: its values and lines, overrides applied.
        head: the top level.
        data: tables to start from.
        models: model configs by name.
        steps: the chain.
        prompts: prompts by the name that steps use.
        registry: the steps it may use.
        allow_code: whether code named by the recipe may run.
    """

    file: str
    folder: Path
    source: Source
    head: RecipeFile
    registry: Registry
    allow_code: bool = False
    data: dict[str, TableSource] = field(default_factory=dict)
    models: dict[str, ModelConfig] = field(default_factory=dict)
    steps: list[Planned] = field(default_factory=list)
    prompts: dict[str, Prompt] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the recipe."""
        return self.head.name


def load(
    path: Path,
    *,
    overrides: Sequence[str] = (),
    allow_code: bool = False,
    teacher: str | None = None,
    env: Mapping[str, str] = os.environ,
) -> Recipe:
    """Reads and checks a recipe file, without running or loading anything.

    Args:
        path: the YAML file.
        overrides: `path=value` assignments, applied before the check.
        allow_code: whether plugins and functions named by the recipe may run.
        teacher: a provider that takes the place of the model called `teacher`, such as `scripted`.
        env: where keys are looked up.

    Raises:
        RecipeError: with every problem at once.
        UserError: the file cannot be read or an override leads nowhere.
    """
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8-sig") if size <= yaml_source.MAX_BYTES else " " * (size + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}\n  fix: name a YAML file in UTF-8") from error
    source = yaml_source.read(text)
    if source.problems:
        raise RecipeError(str(path), source.problems)
    return build(
        source,
        file=str(path),
        folder=path.resolve().parent,
        overrides=overrides,
        allow_code=allow_code,
        teacher=teacher,
        env=env,
    )


def build(
    source: Source,
    *,
    file: str,
    folder: Path,
    overrides: Sequence[str] = (),
    allow_code: bool = False,
    teacher: str | None = None,
    env: Mapping[str, str] = os.environ,
) -> Recipe:
    """The recipe of values that were read already; raises as `load` does."""
    if not isinstance(source.values, dict):
        fix = "start with name:, data:, models:, steps:"
        raise RecipeError(file, [Problem(1, "", "the recipe is not a mapping of fields.", "", fix)])
    try:
        for assignment in overrides:
            yaml_source.override(source, assignment)
        if teacher is not None:
            _replace_teacher(source, teacher)
    except ValueError as error:
        raise UserError(str(error)) from error
    problems: list[Problem] = []
    head = validate(RecipeFile, source.values, (), "", source, problems)
    if head is None:
        head = _salvage(source.values)
    recipe = Recipe(file, folder, source, head, Registry(), allow_code)
    _load_plugins(recipe, problems)
    _load_data(recipe, problems)
    _load_models(recipe, problems)
    _load_steps(recipe, problems)
    recipe_check.check(recipe, problems, env)
    if problems:
        raise RecipeError(file, problems)
    return recipe


def _replace_teacher(source: Source, provider: str) -> None:
    entries = source.values.get("models")
    if not isinstance(entries, dict) or "teacher" not in entries:
        names = sorted(entries) if isinstance(entries, dict) else []
        raise ValueError(f"--teacher {provider}: the recipe has no model called 'teacher'; its models: {names}")
    entries["teacher"] = {"provider": provider, "model": provider}


def _salvage(values: dict[str, Any]) -> RecipeFile:
    """A head to go on with after problems at the top level, so that all other problems are found too."""
    fields: dict[str, Any] = {"name": "unnamed", "data": {}, "models": {}, "steps": []}
    for key, kind in (("data", dict), ("models", dict), ("steps", list), ("plugins", list)):
        if isinstance(values.get(key), kind):
            fields[key] = values[key]
    return RecipeFile.model_construct(**fields)


def _load_plugins(recipe: Recipe, problems: list[Problem]) -> None:
    for index, name in enumerate(recipe.head.plugins):
        line = recipe.source.line(("plugins", index))
        file = recipe.folder / str(name)
        if not file.is_file():
            message = f"plugin {name!r} does not exist."
            problems.append(Problem(line, f"plugins[{index}]", message, f"looked in {recipe.folder}", "name a file"))
        elif not recipe.allow_code:
            message = f"plugin {name!r} is Python code, which a recipe may not run by itself."
            problems.append(Problem(line, f"plugins[{index}]", message, "", "read the file, then add --allow-code"))
        else:
            try:
                recipe.registry.add_plugin(file)
            except SetupError as error:
                problems.append(Problem(line, f"plugins[{index}]", f"{error}.", "", "mend the file"))


def _load_data(recipe: Recipe, problems: list[Problem]) -> None:
    for name, values in recipe.head.data.items():
        path = ("data", name)
        table = validate(TableSource, values, path, f"data.{name}", recipe.source, problems)
        if table is not None:
            recipe.data[name] = table


def _load_models(recipe: Recipe, problems: list[Problem]) -> None:
    for name, values in recipe.head.models.items():
        path = ("models", name)
        line = recipe.source.line(path)
        if not isinstance(values, dict):
            fix = "write {provider: ..., model: ...}"
            problems.append(Problem(line, f"models.{name}", f"{values!r} is not a mapping of fields.", "", fix))
            continue
        if "@" in name:
            message = f"model name {name!r} holds '@', which names versions."
            problems.append(Problem(line, f"models.{name}", message, "", f"rename it: {name.replace('@', '_')}"))
            continue
        provider = values.get("provider")
        if provider not in models.providers():
            message = "field 'provider' is missing." if provider is None else f"unknown provider {provider!r}."
            expected = f"providers: {', '.join(models.providers())}"
            where = recipe.source.line((*path, "provider"))
            fix = did_you_mean(str(provider), models.providers()) or "name one of them"
            problems.append(Problem(where, f"models.{name}", message, expected, fix))
            continue
        config_class: type[ModelConfig] = models.provider(str(provider)).Config
        config = validate(config_class, values, path, f"models.{name}", recipe.source, problems)
        if config is not None:
            recipe.models[name] = config


def _load_steps(recipe: Recipe, problems: list[Problem]) -> None:
    before: list[dict[str, Any]] = []
    for index, values in enumerate(recipe.head.steps):
        path = ("steps", index)
        line = recipe.source.line(path)
        name = values.get("step") if isinstance(values, dict) else None
        if not isinstance(values, dict) or not isinstance(name, str):
            message = f"{values!r} is not a step." if not isinstance(values, dict) else "field 'step' is missing."
            problems.append(Problem(line, f"steps[{index}]", message, "", "write '- step: NAME' and its fields below"))
            continue
        try:
            step = recipe.registry.get(name)
        except KeyError:
            names = recipe.registry.names()
            fix = did_you_mean(name, names) or "name one of them; `blackbox-kd steps` says what each does"
            problems.append(
                Problem(line, f"steps[{index}]", f"unknown step {name!r}.", f"steps: {', '.join(names)}", fix)
            )
            continue
        filled = {**_inherited(step, values, before), **values}
        config = validate(step.config, filled, path, f"steps[{index}] ({name})", recipe.source, problems)
        before.append(values)
        if config is not None:
            recipe.steps.append(Planned(index, step, config, line))


def _inherited(step: Step, values: dict[str, Any], before: list[dict[str, Any]]) -> dict[str, Any]:
    found = {}
    for name, mark in earlier(step.config).items():
        for other in reversed(before):
            if name in other and (not mark.steps or other.get("step") in mark.steps):
                found[name] = other[name]
                break
    return found
