"""Pydantic's findings -> problems with a line, what was expected, and a fix."""

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from blackbox_kd import field_words
from blackbox_kd.errors import Problem
from blackbox_kd.yaml_source import Path, Source, dotted, shown

M = TypeVar("M", bound=BaseModel)


def validate(
    kind: type[M],
    values: Any,
    path: Path,
    label: str,
    source: Source,
    problems: list[Problem],
    inherited: Collection[str] = (),
) -> M | None:
    """Values as a model; what is wrong is appended to `problems`.

    Args:
        kind: the model.
        values: mapping of fields.
        path: where the values stand in the recipe.
        label: under which messages speak of them.
        source: knows the lines.
        problems: is added to.
        inherited: fields whose values were taken from a step that is itself wrong; it says so already.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        entry = _Entry(kind, values, path, label, source)
        details = error.errors(include_url=False)
        problems += entry.problems([d for d in details if not (d["loc"] and d["loc"][0] in inherited)])
        return None


@dataclass(frozen=True, slots=True)
class _Entry:
    """What was validated: a mapping of a recipe, as a model."""

    kind: type[BaseModel]
    values: Any
    path: Path
    label: str
    source: Source

    def problems(self, details: list[ErrorDetails]) -> list[Problem]:
        """One problem for each place; the branches of a union fail at the same place."""
        places: dict[Path, ErrorDetails] = {}
        found = []
        for detail in details:
            place = self._real(detail["loc"])
            if detail["type"] == "missing":
                found.append(self._missing(place, str(detail["loc"][-1])))
            elif detail["type"] == "extra_forbidden":
                found.append(self._unknown(place))
            else:
                places.setdefault(place, detail)
        deeper = [place for place in places if any(other[: len(place)] == place != other for other in places)]
        return found + [self._wrong(place, detail) for place, detail in places.items() if place not in deeper]

    def _real(self, location: tuple[int | str, ...]) -> Path:
        """The part of pydantic's location that stands in the recipe; the rest names branches of a union."""
        here: Any = self.values
        found: list[str | int] = []
        for part in location:
            if part in (here if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()):
                here = here[part]
                found.append(part)
        return tuple(found)

    def _problem(self, place: Path, message: str, expected: str, fix: str) -> Problem:
        at = (*self.path, *place)
        expected = "; ".join(filter(None, (expected, self.source.note(at))))
        return Problem(self.source.line(at), self.label, message, expected, fix)

    def _missing(self, place: Path, name: str) -> Problem:
        annotation, about = field_words.inside(self.kind, (*place, name))
        fix = f"add {name}: {field_words.example(annotation, None, None)}"
        field = dotted((*place, name))
        return self._problem(place, f"field {field!r} is missing.", f"{name}: {about}" if about else "", fix)

    def _unknown(self, place: Path) -> Problem:
        model = field_words.model_at(self.kind, place[:-1])
        names = sorted(field_words.fields(model)) if model else []
        fix = did_you_mean(str(place[-1]), names) or "remove the field"
        if "key_env" in names and re.search("key|token|secret", str(place[-1])):
            fix = "keep the key in an environment variable and write key_env: VARIABLE"
        return self._problem(place, f"unknown field {dotted(place)!r}.", f"fields here: {', '.join(names)}", fix)

    def _wrong(self, place: Path, detail: ErrorDetails) -> Problem:
        if detail["type"] in ("value_error", "assertion_error"):
            reason = str(detail.get("ctx", {}).get("error", detail["msg"]))
            return self._refused(place, reason, detail["input"])
        annotation, about = field_words.inside(self.kind, place)
        value = detail["input"]
        if not place:
            fields = ", ".join(field_words.fields(self.kind))
            fix = "write FIELD: VALUE for each field"
            return self._problem(place, f"{shown(value)} is not a mapping of fields.", f"fields: {fields}", fix)
        field, default = dotted(place), self._default(place)
        message = f"field {field!r} must be {field_words.words(annotation)}, not {shown(value)}."
        if detail["type"] == "string_pattern_mismatch":
            message = f"field {field!r} is {shown(value)}, which does not have the right form."
        choices = re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))
        fix = did_you_mean(str(value), choices) or f"write {field}: {field_words.example(annotation, value, default)}"
        return self._problem(place, message, f"{_name_of(place)}: {about}" if about else "", fix)

    def _refused(self, place: Path, reason: str, value: Any) -> Problem:
        """A validator's own words: `what is wrong; what to do`, or `give ...` alone."""
        what, _, fix = reason.rstrip(".").partition("; ")
        if place:
            message = f"field {dotted(place)!r} is {shown(value)}: {what}."
            return self._problem(place, message, "", fix or f"change {dotted(place)}")
        named = [name for name in field_words.fields(self.kind) if re.search(rf"\b{re.escape(name)}:", reason)]
        given = [name for name in named if isinstance(self.values, dict) and self.values.get(name) is not None]
        last = max(given, key=lambda name: self.source.line((*self.path, name)), default=None)
        if what.startswith("give "):
            have = ", ".join(f"{name}: {shown(self.values[name])}" for name in given)
            what, fix = f"these fields do not go together: {have}" if given else "a field is missing", what
        fix = fix or (f"change {' or '.join(given or named)}" if named else "change the fields of this entry")
        return self._problem((last,) if last else (), f"{what}.", "", fix)

    def _default(self, place: Path) -> Any:
        model = field_words.model_at(self.kind, place[:-1])
        entries = model.model_fields.items() if model else ()
        return next((entry.default for name, entry in entries if (entry.alias or name) == place[-1]), None)


def _name_of(place: Path) -> str:
    """The last field's name of a path: its positions left out."""
    return next((part for part in reversed(place) if isinstance(part, str)), "")


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """`did you mean 'x'?` for the closest of `names`, or nothing."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""
