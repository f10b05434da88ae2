"""Steps with several forms, a config class for each: which one a recipe means, and what is wrong with the choice."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from blackbox_kd.errors import Problem, did_you_mean
from blackbox_kd.recipe import field_types
from blackbox_kd.recipe.validation import validate
from blackbox_kd.recipe.yaml_source import Path, Source, quote
from blackbox_kd.sdk.step_config import StepConfig


def choose_form(forms: Sequence[type[StepConfig]], values: dict[str, Any]) -> type[StepConfig] | None:
    """The form that the fields of a step mean; None if they do not say."""
    return next((form for form in forms if form.is_meant(values)), None)


@dataclass(frozen=True, slots=True)
class StepEntry:
    """The fields of a step where they stand in a recipe.

    Args:
        values: the fields.
        path: where they stand.
        label: under which messages speak of them.
        source: knows the lines.
        problems: is added to.
    """

    values: dict[str, Any]
    path: Path
    label: str
    source: Source
    problems: list[Problem]

    def read(self, forms: Sequence[type[StepConfig]], inherited: Collection[str]) -> StepConfig | None:
        """The config that the fields make.

        Args:
            forms: the config classes that they can be of.
            inherited: fields whose values were taken from a step that is itself wrong; it says so already.
        """
        form = choose_form(forms, self.values)
        if form is None:
            self._explain_choice(forms)
            base = _find_base(forms)
            # What the base leaves to its forms to fill in is not missing.
            filled = {name for name in base.model_fields if any(not _is_needed(form, name) for form in forms)}
            self._validate(base, {*inherited, *(filled - self.values.keys())})
            return None
        for name in self.values:
            others = [other for other in forms if name in field_types.list_fields(other)]
            if others and form not in others:
                self._explain_stray(name, form, others)
        return self._validate(form, inherited, beside=forms)

    def _validate(
        self, form: type[StepConfig], inherited: Collection[str], beside: Sequence[type[StepConfig]] = ()
    ) -> StepConfig | None:
        """What is wrong with the fields of a form; those of other forms are left out, as it is said of them."""
        known = field_types.list_fields(form)
        theirs = {name for other in beside for name in field_types.list_fields(other)} if beside else self.values.keys()
        values = {name: value for name, value in self.values.items() if name in known or name not in theirs}
        return validate(form, values, self.path, self.label, self.source, self.problems, inherited)

    def _explain_choice(self, forms: Sequence[type[StepConfig]]) -> None:
        by = forms[0].told_by
        if not forms[0].told_values():
            fix = f"give one of {', '.join(f'{form.told_by}:' for form in forms)}"
            self._add((), "a field is missing.", "", fix)
            return
        told = [value for form in forms for value in form.told_values()]
        about = " ".join(_describe(form) for form in forms)
        given = self.values.get(by)
        message = f"field {by!r} must be {field_types.list_choices(told)}, not {quote(given)}."
        fix = did_you_mean(str(given), told) or f"write {by}: {told[0]}"
        if by not in self.values:
            message, fix = f"field {by!r} is missing.", f"add {by}: {told[0]}"
        self._add((by,) if by in self.values else (), message, f"{by}: {about}", fix)

    def _explain_stray(self, name: str, form: type[StepConfig], others: Sequence[type[StepConfig]]) -> None:
        """A field that only other forms have."""
        by, theirs = form.told_by, others[0].told_by
        if form.told_values():
            chosen = self.values.get(by, form.told_values()[0])
            wanted = " or ".join(str(value) for other in others for value in other.told_values())
            message = f"{name}: means nothing with {by}: {chosen}."
            self._add((name,), message, f"{by}: {_describe(form)}", f"take {name}: out, or write {by}: {wanted}")
        elif name == theirs:
            self._add((name,), f"{by}: and {name}: stand in one {self.values['step']}.", "", "write a step for each")
        else:
            fix = f"take {name}: out, or write {theirs}: in place of {by}:"
            self._add((name,), f"{name}: means nothing with {by}:.", "", fix)

    def _add(self, place: Path, message: str, expected: str, fix: str) -> None:
        at = (*self.path, *place)
        expected = "; ".join(filter(None, (expected, self.source.note(at))))
        self.problems.append(Problem(self.source.line(at), self.label, message, expected, fix))


def _find_base(forms: Sequence[type[StepConfig]]) -> type[StepConfig]:
    """What all forms have in common."""
    bases = (base for base in forms[0].__mro__ if all(issubclass(form, base) for form in forms))
    return next(base for base in bases if issubclass(base, StepConfig))


def _is_needed(form: type[StepConfig], name: str) -> bool:
    return form.model_fields[name].is_required()


def _describe(form: type[StepConfig]) -> str:
    """What the field says by which a form is told."""
    return " ".join((form.find_told().description or "").split())
