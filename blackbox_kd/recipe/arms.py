"""The arms and seeds of a recipe: each is the recipe once more, with some fields changed or another seed of training.

Each is checked as a recipe of its own. What it has in common with the chain as it stands is run once, for all of them.
"""

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

from blackbox_kd.analysis.accuracy import MAIN
from blackbox_kd.errors import Problem
from blackbox_kd.recipe import entries
from blackbox_kd.recipe.changed import find_changed
from blackbox_kd.recipe.checks import chain
from blackbox_kd.recipe.loop_config import UntilMetric, UntilRows
from blackbox_kd.recipe.notes import Notes
from blackbox_kd.recipe.overrides import put
from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.recipe.yaml_source import Path, quote
from blackbox_kd.schema import ModelRef
from blackbox_kd.sdk.registry import Registry

PARTS = ("steps", "models")
"""What an arm can change: it is another way through the same chain, from the same data."""


def spread(recipe: Recipe, problems: list[Problem]) -> None:
    """Fills the variants of a recipe; what is wrong with their fields is appended to `problems`."""
    head = recipe.head
    seeds: list[int | None] = [*head.seeds] if head.seeds else [None]
    recipe.arm = MAIN if head.arms else None
    recipe.training_seed = seeds[0]
    arms = [recipe]
    for name in head.arms:
        found: list[Problem] = []
        arms.append(_make_arm(recipe, name, found))
        problems += _tell_arm(name, found, problems)
    recipe.variants = [
        replace(arm, training_seed=seed, suffix=arm.suffix + (f".seed{seed}" if number else ""), variants=[])
        for arm in arms
        for number, seed in enumerate(seeds)
        if number or arm is not recipe
    ]


def check(recipe: Recipe, problems: list[Problem], env: Mapping[str, str]) -> None:
    """Appends to `problems` what is wrong between the fields of the arms, and what could not be compared."""
    if not recipe.variants:
        return
    is_sound = not problems
    for arm in _list_arms(recipe):
        found: list[Problem] = []
        chain.check(arm, found, env, notes=Notes())
        # The copy of the recipe that a run leaves has what its arms show.
        recipe.prompts |= {name: prompt for name, prompt in arm.prompts.items() if name not in recipe.prompts}
        if not found and is_sound:
            _compare(recipe, arm, found)
        problems += _tell_arm(str(arm.arm), found, problems)
    if recipe.head.seeds and is_sound:
        _check_seeds(recipe, problems)


def _list_arms(recipe: Recipe) -> list[Recipe]:
    """The other arms, each with the first seed."""
    own = [variant for variant in recipe.variants if variant.arm != recipe.arm]
    return [variant for variant in own if variant.training_seed == recipe.training_seed]


def _tell_arm(name: str, found: list[Problem], known: list[Problem]) -> list[Problem]:
    """Problems of an arm alone, each with its name."""
    told = {(problem.path, problem.message) for problem in known}
    own = [problem for problem in found if (problem.path, problem.message) not in told]
    at = f"arms.{name}"
    return [p if p.path.startswith(at) else replace(p, path=", ".join(filter(None, (at, p.path)))) for p in own]


def _make_arm(recipe: Recipe, name: str, found: list[Problem]) -> Recipe:
    """The recipe with the fields of an arm in it."""
    source = deepcopy(recipe.source)
    here: Path = ("arms", name)
    if name == MAIN or not re.fullmatch(r"(?!seed\d+$)[a-z][a-z0-9_]{0,39}", name):
        what = f"{quote(name)} cannot be the name of an arm."
        fix = f"rename it: small letters, digits and '_', and neither {MAIN} nor seed1"
        found.append(Problem(source.line(here), f"arms.{name}", what, "", fix))
    for text, value in recipe.head.arms[name].set.items():
        at = (*here, "set", text)
        line, label = source.line(at), f"arms.{name}.set"
        try:
            if not text.startswith(tuple(f"{part}{end}" for part in PARTS for end in ".[")):
                raise ValueError(f"an arm changes what stands below {' and '.join(PARTS)}")
            path = put(source, text, deepcopy(value), f"arms.{name}")
        except ValueError as error:
            fix = "write a path of --set, such as steps.4.input"
            found.append(Problem(line, label, f"{quote(text)}: {error}.", "", fix))
        else:
            source.lines[path] = line
    values = {part: source.values[part] for part in PARTS if part in source.values}
    arm = replace(
        recipe,
        source=source,
        head=recipe.head.model_copy(update=values),
        registry=Registry(),
        data={},
        models={},
        steps=[],
        loops={},
        prompts={},
        written={},
        terms={},
        arm=name,
        suffix=f".{name}",
    )
    entries.load(arm, found)
    return arm


def _compare(recipe: Recipe, arm: Recipe, found: list[Problem]) -> None:
    """Reports an arm that could not be compared with the chain as it stands."""
    changed = find_changed(recipe, arm)
    lead = {planned.at: planned for planned in recipe.steps}
    here: Path = ("arms", str(arm.arm))

    def report(what: str, fix: str, at: Path = here) -> None:
        found.append(Problem(arm.source.line(at), f"arms.{arm.arm}", what, "", fix))

    trainings = [planned for planned in arm.steps if planned.trains and planned.at in changed]
    if not trainings:
        report("no training differs, so that there is nothing to compare.", "change a step before a train step")
    for planned in trainings:
        before = lead[planned.at]
        told = before.config.amounts()
        other = [name for name, value in planned.config.amounts().items() if value != told.get(name)]
        if other:
            what = f"{planned.label}: {', '.join(other)} would be other than in the chain as it stands."
            report(what, "take it out: arms are trained on equal rows and with equal updates", (*planned.at, other[0]))
        if planned.loop is not None and isinstance(planned.loop.config.until, UntilMetric | UntilRows):
            what = (
                f"{planned.label}: its loop ends by what it finds, so that arms would train in other numbers of rounds."
            )
            report(what, "take until: out of the loop, or arms: out of the recipe")
    for planned in arm.steps:
        before = lead[planned.at]
        if planned.step.held_out and before.step.held_out and _describe_exam(planned) != _describe_exam(before):
            report(f"{planned.label}: the exam is another one.", "change what is trained on, not how it is measured")


def _describe_exam(planned: PlannedStep) -> object:
    exam = planned.config.exam()
    told = None if exam is None else (exam.models, exam.metrics, exam.against, exam.is_checked)
    return planned.step.name, planned.config.input, planned.config.answer_kind(), told


def _check_seeds(recipe: Recipe, problems: list[Problem]) -> None:
    """Reports seeds that would repeat nothing, or that would pay teachers once more."""
    seeds = recipe.head.seeds or []
    where = recipe.source.line(("seeds",))
    if (twice := [seed for seed in dict.fromkeys(seeds) if seeds.count(seed) > 1]) or min(seeds) < 0:
        what = f"{twice[0]} stands there twice." if twice else f"{min(seeds)} is below 0."
        problems.append(Problem(where, "seeds", what, "", "write different numbers from 0 on"))
    if not any(planned.trains for planned in recipe.steps):
        problems.append(Problem(where, "seeds", "no step trains a model.", "", "take seeds: out, or write seed:"))
    for first in [recipe, *_list_arms(recipe)]:
        label = f"arms.{first.arm}, " if first is not recipe else ""
        students = {name for planned in first.steps for name in planned.list_names("student")}
        for planned in first.steps:
            if planned.trains and planned.config.training_seed() is not None:
                what, fix = "seed: would be the same for all of seeds:.", "take it out"
                problems.append(
                    Problem(recipe.source.line((*planned.at, "seed")), label + planned.label, what, "", fix)
                )
        other = replace(first, training_seed=None)
        for planned in [p for p in other.steps if p.at in find_changed(first, other) and not p.step.held_out]:
            paid = [name for name in planned.config.calls_by_model() if ModelRef.parse(name).name not in students]
            paid = [name for name in paid if not first.models[ModelRef.parse(name).name].local]
            if paid:
                what = f"asks {quote(paid[0])} about what a trained model decides, which each of seeds: would pay for."
                fix = "take seeds: out; they repeat training and evaluation alone"
                problems.append(Problem(planned.line, label + planned.label, what, "", fix))
