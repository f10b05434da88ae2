"""How the steps of a recipe are grouped for a run."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Self

from blackbox_kd.errors import UserError
from blackbox_kd.recipe.spec import Loop, PlannedStep, Recipe


@dataclass(slots=True)
class Stage:
    """Steps that run together: one table step, or a segment of row steps."""

    name: str
    steps: list[PlannedStep]

    @property
    def first(self) -> PlannedStep:
        """The step that it begins with."""
        return self.steps[0]

    @property
    def kind(self) -> str:
        """`row` or `table`."""
        return self.steps[0].step.kind

    @property
    def outputs(self) -> list[str]:
        """Names of the tables that it writes; `#3` is what steps[3] writes without giving it a name."""
        return self.steps[-1].outputs

    def in_round(self, number: int) -> Self:
        """The stage as a round of its loop runs it."""
        end = self.steps[-1]
        name = f"{end.index + 1:02}_round{number}_{end.inner + 1:02}_{end.step.name}"
        return type(self)(name, [replace(planned, round=number) for planned in self.steps])


@dataclass(slots=True)
class LoopStages:
    """A loop.

    Args:
        loop: the loop.
        stages: those of one round.
        is_whole: whether `--until` leaves all steps of the loop in.
    """

    loop: Loop
    stages: list[Stage]
    is_whole: bool = True

    @property
    def first(self) -> PlannedStep:
        """The step that a round begins with."""
        return self.stages[0].first


def plan(recipe: Recipe, steps: list[PlannedStep]) -> Iterator[Stage | LoopStages]:
    """What a run does, in order."""
    for loop, group in groupby(steps, key=lambda planned: planned.loop):
        if loop is None:
            yield from group_steps(list(group))
        else:
            body = list(group)
            yield LoopStages(loop, group_steps(body), len(body) == sum(p.loop is loop for p in recipe.steps))


def group_steps(steps: list[PlannedStep]) -> list[Stage]:
    """Groups steps: row steps that follow each other are one segment, unless a table between them is needed."""
    found: list[Stage] = []
    for planned in steps:
        last = found[-1].steps[-1] if found else None
        joins = (
            last is not None
            and last.step.kind == planned.step.kind == "row"
            and last.loop is planned.loop
            and last.config.output is None
            and planned.config.input is None
            and planned.config.rows_to_draw() is None
        )
        if joins:
            found[-1].steps.append(planned)
        else:
            found.append(Stage("", [planned]))
    for stage in found:
        end = stage.steps[-1]
        stage.name = f"{end.index + 1:02}_{end.step.name}"
    return found


def plan_until(recipe: Recipe, until: str | None, given: str = "") -> list[PlannedStep]:
    """The steps up to `until`, a step's name or its position from 0 (`5` is a whole loop, `5.0` its first step).

    Args:
        recipe: the recipe.
        until: the step; None for all.
        given: what the user has written, for the message; `--until` if left out.

    Raises:
        UserError: there is no such step.
    """
    if until is None:
        return recipe.steps
    last = [number for number, planned in enumerate(recipe.steps) if until == str(planned.index)]
    first = [number for number, planned in enumerate(recipe.steps) if until in (planned.step.name, planned.key)]
    found = last[-1:] or first[:1]
    if found:
        return recipe.steps[: found[0] + 1]
    names = ", ".join(f"{p.key} ({p.step.name})" for p in recipe.steps)
    raise UserError(
        f"{given or f'--until {until!r}'}: the recipe has no such step",
        exists=f"steps: {names}",
        fix="name one of them",
    )
