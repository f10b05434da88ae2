"""How the steps of a recipe are grouped for a run."""

from dataclasses import dataclass

from blackbox_kd.errors import UserError
from blackbox_kd.marks import mentions
from blackbox_kd.recipe import Planned, Recipe


@dataclass(slots=True)
class Stage:
    """Steps that run together: one table step, or a segment of row steps."""

    name: str
    steps: list[Planned]

    @property
    def kind(self) -> str:
        """`row` or `table`."""
        return self.steps[0].step.kind

    @property
    def outputs(self) -> list[str]:
        """Names of the tables that it writes; `#3` is what steps[3] writes without giving it a name."""
        last = self.steps[-1]
        return [m.value for m in mentions(last.config) if m.kind == "new table"] or [f"#{last.index}"]


def stages(steps: list[Planned]) -> list[Stage]:
    """Groups steps: row steps that follow each other are one segment, unless a table between them is named."""
    found: list[Stage] = []
    for planned in steps:
        last = found[-1].steps[-1] if found else None
        joins = (
            last is not None
            and last.step.kind == planned.step.kind == "row"
            and last.config.output is None
            and planned.config.input is None
        )
        if joins:
            found[-1].steps.append(planned)
        else:
            found.append(Stage("", [planned]))
    for stage in found:
        end = stage.steps[-1]
        stage.name = f"{end.index + 1:02}_{end.step.name}"
    return found


def planned_until(recipe: Recipe, until: str | None) -> list[Planned]:
    """The steps up to `until`, a step's name or its position from 0.

    Raises:
        UserError: there is no such step.
    """
    if until is None:
        return recipe.steps
    for number, planned in enumerate(recipe.steps):
        if until in (planned.step.name, str(planned.index)):
            return recipe.steps[: number + 1]
    names = ", ".join(f"{p.index} ({p.step.name})" for p in recipe.steps)
    raise UserError(f"--until {until!r}: the recipe has no such step\n  steps: {names}\n  fix: name one of them")
