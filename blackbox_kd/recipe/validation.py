"""Pydantic's findings -> problems with a line, what was expected, and a fix."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from blackbox_kd.errors import FieldError, Problem, did_you_mean
from blackbox_kd.recipe import field_types, misplaced
from blackbox_kd.recipe.yaml_source import Path, Source, format_path, quote

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
    entry = _Entry(kind, values, path, label, source)
    flags = list(entry.flags(values))
    problems += flags
    try:
        found = kind.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems += entry.problems([d for d in details if not (d["loc"] and d["loc"][0] in inherited)])
        return None
    return None if flags else found


@dataclass(frozen=True, slots=True)
class _Entry:
    """What was validated: a mapping of a recipe, as a model."""

    kind: type[BaseModel]
    values: Any
    path: Path
    label: str
    source: Source

    def flags(self, value: Any, place: Path = ()) -> Iterator[Problem]:
        """Problems of `true` and `false` where a number should be, which Python takes for 1 and 0."""
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, part in parts:
            yield from self.flags(part, (*place, key))
        if isinstance(value, bool) and field_types.takes_numbers(field_types.find_spot(self.kind, place).annotation):
            yield self._explain_wrong(place, {"type": "int_type", "loc": place, "msg": "", "input": value})

    def problems(self, details: list[ErrorDetails]) -> list[Problem]:
        """One problem for each place; the branches of a union fail at the same place."""
        wrong: dict[Path, ErrorDetails] = {}
        found: dict[Path, Problem] = {}
        for detail in details:
            place = self._find_place(detail["loc"])
            if detail["type"] == "missing":
                name = str(detail["loc"][-1])
                found[(*place, name)] = self._explain_missing(place, name)
            elif detail["type"] == "extra_forbidden":
                found[place] = self._explain_unknown(place, detail["loc"])
            else:
                wrong.setdefault(place, detail)
        for place, detail in wrong.items():
            if not any(other[: len(place)] == place != other for other in (*wrong, *found)):
                found[place] = self._explain_wrong(place, detail)
        return list(found.values())

    def _find_place(self, location: tuple[int | str, ...]) -> Path:
        """The part of pydantic's location that stands in the recipe; the rest names branches of a union."""
        here: Any = self.values
        found: list[str | int] = []
        for part in location:
            if part in (here if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()):
                here = here[part]
                found.append(part)
        return tuple(found)

    def _make_problem(self, place: Path, message: str, expected: str, fix: str) -> Problem:
        at = (*self.path, *place)
        if note := self.source.note(at):
            expected = f"{expected.rstrip('.')}; {note}" if expected else note
        return Problem(self.source.line(at), self.label, message, expected, fix)

    def _explain_missing(self, place: Path, name: str) -> Problem:
        at = field_types.find_spot(self.kind, (*place, name))
        fix = f"add {name}: {field_types.write_example(at, None)}"
        return self._make_problem(place, f"field {format_path((*place, name))!r} is missing.", at.about, fix)

    def _explain_unknown(self, place: Path, location: tuple[int | str, ...]) -> Problem:
        branches = list(field_types.find_inner_models(field_types.find_spot(self.kind, place[:-1]).annotation))
        meant = [branch for branch in branches if branch.__name__ in location]
        model = next(iter(meant or branches), None)
        names = sorted(field_types.list_fields(model)) if model else []
        name = str(place[-1])
        if rest := self._find_rest(place):
            message = f"field {name!r} is the rest of a value: inside of {{ }} a comma ends it."
            return self._make_problem(place, message, "", f"put the whole value into quotes: {rest}")
        fix = did_you_mean(name, names) or misplaced.find_place(name, names) or "take it out"
        if "key_env" in names and re.search("key|token|secret", str(place[-1])):
            fix = "keep the key in an environment variable and write key_env: VARIABLE"
        return self._make_problem(
            place, f"unknown field {format_path(place)!r}.", f"fields here: {', '.join(names)}", fix
        )

    def _find_rest(self, place: Path) -> str:
        """The value that a comma has cut in two, as it should stand, where a field is the second half of one."""
        around: Any = self.values
        for part in place[:-1]:
            around = around[part]
        names = list(around)
        at = names.index(place[-1])
        if around[place[-1]] is not None or not at or not re.search(r"[()\[\]\"']", str(place[-1])):
            return ""
        whole = f"{around[names[at - 1]]}, {place[-1]}".replace("'", "''")
        return f"{names[at - 1]}: '{whole}'"

    def _explain_wrong(self, place: Path, detail: ErrorDetails) -> Problem:
        if detail["type"] in ("value_error", "assertion_error"):
            error = detail.get("ctx", {}).get("error")
            refusal = (
                error
                if isinstance(error, FieldError)
                else FieldError((str(error) if error else detail["msg"]).rstrip("."))
            )
            return self._explain_refusal(place, refusal, detail["input"])
        at = field_types.find_spot(self.kind, place)
        value = detail["input"]
        if not place:
            fields = ", ".join(field_types.list_fields(self.kind))
            fix = "write FIELD: VALUE for each field"
            return self._make_problem(place, f"{quote(value)} is not a mapping of fields.", f"fields: {fields}", fix)
        field, better = format_path(place), field_types.write_example(at, value)
        message = f"field {field!r} must be {field_types.describe_type(at.annotation)}, not {_quote(place, value)}."
        if detail["type"] == "string_pattern_mismatch":
            message = f"field {field!r} is {_quote(place, value)}, which does not have the right form."
        elif value is None:
            message = f"field {field!r} is empty; it must be {field_types.describe_type(at.annotation)}."
        choices = re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))
        fix = (
            f"write {better} in {format_path(place[:-1])}" if isinstance(place[-1], int) else f"write {field}: {better}"
        )
        return self._make_problem(place, message, at.about, did_you_mean(str(value), choices) or fix)

    def _explain_refusal(self, place: Path, error: FieldError, value: Any) -> Problem:
        """What a validator says: see `FieldError`."""
        what, fix = error.what, error.fix
        if place:
            speaks = what.startswith(f"{place[-1]}:") or quote(value) in what
            why = f": {what}" if what else ", whose fields do not go together"
            message = what if speaks else f"field {format_path(place)!r} is {_quote(place, value)}{why}"
            return self._make_problem(place, f"{message}.", error.exists, fix or f"change {format_path(place)}")
        reason = f"{what} {fix}"
        named = [name for name in field_types.list_fields(self.kind) if re.search(rf"\b{re.escape(name)}:", reason)]
        given = [name for name in named if isinstance(self.values, dict) and self.values.get(name) is not None]
        last = max(given, key=lambda name: self.source.line((*self.path, name)), default=None)
        if not what:
            have = ", ".join(f"{name}: {quote(self.values[name])}" for name in given)
            what = "a field is missing" if named and not given else "the fields do not go together"
            what = f"{what}: {have}" if len(given) > 1 else f"{have} is not enough" if given else what
        return self._make_problem(
            (last,) if last else (),
            f"{what}.",
            error.exists,
            fix or _suggest_fix(given, [n for n in named if n not in given]),
        )


def _quote(place: Path, value: Any) -> str:
    """A value, unless its field's name says that it may be a secret."""
    kinds: dict[type, str] = {str: "text", list: "a list", dict: "a mapping"}
    if type(value) in kinds and re.search("key|secret|password", format_path(place)):
        return f"{kinds[type(value)]} (not shown)"
    return quote(value)


def _suggest_fix(given: list[str], lacking: list[str]) -> str:
    have, lack = (" and ".join(f"{name}:" for name in names) for names in (given, lacking))
    if have and lack:
        return f"add {lack}, or take {have} out"
    return f"take one of {have} out" if have else f"add {lack}" if lack else "change the fields of this entry"
