"""Which steps of a variant of a recipe do something else than in the recipe: the others are run once for both."""

from dataclasses import dataclass, field

from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.recipe.yaml_source import Path
from blackbox_kd.schema import ModelRef


def find_changed(lead: Recipe, variant: Recipe) -> set[Path]:
    """Where the steps of a variant stand whose rows or models can differ from those of the recipe that it is of."""
    return _Walk(lead, variant).find()


@dataclass(slots=True)
class _Walk:
    """Goes along the steps of a variant.

    Args:
        lead: the recipe that it is of.
        variant: the variant.
        tables: that differ so far.
        models: that differ so far.
        reported: tables of which the report says something else so far.
        changed: steps that differ so far.
        last: the table that the next step reads if it names none.
    """

    lead: Recipe
    variant: Recipe
    tables: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)
    reported: set[str] = field(default_factory=set)
    changed: set[Path] = field(default_factory=set)
    last: str | None = None

    def find(self) -> set[Path]:
        before = {planned.at: planned for planned in self.lead.steps}
        configs = self.variant.models
        self.models = {name for name, config in configs.items() if self.lead.models.get(name) != config}
        self.last = next((name for name, source in self.variant.data.items() if not source.held_out), None)
        for planned in self.variant.steps:
            self._pass(planned, before.get(planned.at))
        # What a round of a loop has changed is there when the next one begins, and its steps are run as one.
        for loop in self.variant.loops.values():
            body = [planned for planned in self.variant.steps if planned.loop == loop]
            own = self.lead.loops.get(loop.index)
            is_other = own is None or (own.config.rounds, own.config.until) != (loop.config.rounds, loop.config.until)
            if (is_other or any(p.at in self.changed for p in body)) and not self.changed >= {p.at for p in body}:
                self.changed |= {planned.at for planned in body}
                return self._find_again()
        return self.changed

    def _find_again(self) -> set[Path]:
        again = _Walk(self.lead, self.variant, changed=self.changed)
        return again.find()

    def _pass(self, planned: PlannedStep, before: PlannedStep | None) -> None:
        read = {planned.config.input or self.last, *planned.merged, *planned.list_names("table")}
        named = {ModelRef.parse(name).name for name in planned.list_names("model", "student", "trained model")}
        if (
            before is None
            or planned.at in self.changed
            or _describe(planned) != _describe(before)
            or read & self.tables
            or named & self.models
            or self.reported & set(planned.list_names("reported table"))
            or (planned.trains and self.lead.training_seed != self.variant.training_seed)
        ):
            self.changed.add(planned.at)
            self.tables |= set(planned.outputs)
            self.models |= set(planned.list_names("student"))
            self.reported |= {name for name in read if name is not None}
        else:
            self.tables -= set(planned.outputs)
        if not planned.step.aside:
            self.last = planned.outputs[0]


def _describe(planned: PlannedStep) -> object:
    return planned.step.name, planned.config.model_dump()
