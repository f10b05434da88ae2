"""The entries of a recipe: plugins, tables, models and steps, each checked by itself."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from blackbox_kd import answers, models
from blackbox_kd.errors import Problem, SetupError, did_you_mean
from blackbox_kd.models import ModelConfig
from blackbox_kd.recipe import misplaced
from blackbox_kd.recipe.answer_kinds import AnswerKinds
from blackbox_kd.recipe.beside import take_in
from blackbox_kd.recipe.forms import StepEntry, choose_form
from blackbox_kd.recipe.loop_config import LoopConfig
from blackbox_kd.recipe.spec import NAME, Loop, PlannedStep, Recipe
from blackbox_kd.recipe.validation import validate
from blackbox_kd.recipe.yaml_source import Path, format_path, quote
from blackbox_kd.sdk.fields import find_answers, find_earlier, find_from_file, find_names, read_field, references
from blackbox_kd.sdk.moved import find_old_imports
from blackbox_kd.sdk.registry import Step
from blackbox_kd.sdk.step_config import StepConfig
from blackbox_kd.tables.sources import TableSource


def load(recipe: Recipe, problems: list[Problem]) -> None:
    """Fills a recipe's data, models and steps; what is wrong with them is appended to `problems`."""
    missing = _load_plugins(recipe, problems)
    _load_data(recipe, problems)
    _load_models(recipe, problems)
    _Steps(recipe, problems, missing).load()


def _load_plugins(recipe: Recipe, problems: list[Problem]) -> set[str]:
    """Loads plugins; returns the names of those that could not be, so that steps need not complain again."""
    missing: set[str] = set()
    for index, name in enumerate(recipe.head.plugins):
        if not isinstance(name, str):
            continue
        found: list[tuple[str, str, str]] = []
        try:
            found = _load_plugin(recipe, recipe.folder / name)
        except SetupError as error:
            found = [(f": {error.what.rstrip('.')}.", error.exists, error.fix or "mend or rename the file")]
        except OSError as error:
            found = [(f" cannot be read: {error.strerror}.", "", "make the file readable")]
        for message, expected, fix in found:
            _add(recipe, problems, ("plugins", index), f"plugin {name!r}{message}", fix, expected=expected)
        if found:
            missing.add((recipe.folder / name).stem)
    return missing


def _load_plugin(recipe: Recipe, file: FilePath) -> list[tuple[str, str, str]]:
    """Loads a plugin; what is wrong with it, what was expected, and the fixes."""
    if not file.is_file():
        return [(" does not exist.", "", "name a file, relative to the recipe")]
    found = [
        (f": line {old.line}: `{old.text}` is of an older version.", "", old.new) for old in find_old_imports(file)
    ]
    if not recipe.allow_code:
        what = " is Python code, which a recipe may not run by itself."
        found.append((what, "", "read the file, then add --allow-code"))
    if not found:
        recipe.registry.add_plugin(file)
    return found


def _add(
    recipe: Recipe, problems: list[Problem], path: Path, message: str, fix: str, label: str = "", expected: str = ""
) -> None:
    label = label or format_path(path[: 5 if "loop" in path else 2])
    expected = "; ".join(filter(None, (expected, recipe.source.note(path))))
    problems.append(Problem(recipe.source.line(path), label, message, expected, fix))


def explain_bad_name(what: str, name: str) -> tuple[str, str] | None:
    """What is wrong with a name, and the fix; None if nothing is."""
    if re.fullmatch(NAME, name):
        return None
    better = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.-")[:80] or "NAME"
    message = f"{quote(name)} cannot be the name of a {what}."
    return message, f"rename it: {better} (letters, digits, '_', '-' and '.' after a letter or digit)"


def _load_data(recipe: Recipe, problems: list[Problem]) -> None:
    for name, values in recipe.head.data.items():
        path, label = ("data", name), f"data.{name}"
        bad = explain_bad_name("table", name)
        if bad:
            _add(recipe, problems, path, *bad, label)
        if isinstance(values, str):
            fix = f"write {{path: {values if len(values) <= 80 else 'FILE'}}}"
            _add(recipe, problems, path, f"{quote(values)} is not a mapping of fields.", fix, label)
            continue
        table = validate(TableSource, values, path, label, recipe.source, problems)
        if table is not None:
            recipe.data[name] = table


def _load_models(recipe: Recipe, problems: list[Problem]) -> None:
    known = models.providers()
    for name, values in recipe.head.models.items():
        path, label = ("models", name), f"models.{name}"
        bad = explain_bad_name("model", name)
        if bad:
            _add(recipe, problems, path, *bad, label)
        elif not isinstance(values, dict):
            fix = "write {provider: NAME, model: NAME}"
            _add(recipe, problems, path, f"{quote(values)} is not a mapping of fields.", fix, label)
        elif values.get("provider") not in known:
            given = values.get("provider")
            message = "field 'provider' is missing." if given is None else f"unknown provider {quote(given)}."
            fix = did_you_mean(str(given), known) or "write provider: and one of them"
            _add(recipe, problems, (*path, "provider"), message, fix, label, f"providers: {', '.join(known)}")
        else:
            config_class: type[ModelConfig] = models.provider(str(values["provider"])).Config
            config = validate(config_class, values, path, label, recipe.source, problems)
            if config is not None:
                recipe.models[name] = config


@dataclass(slots=True)
class _Seen:
    """A step that was read; `step` and `config` are None if they are wrong."""

    name: str
    step: Step | None
    config: StepConfig | None
    values: dict[str, Any]


@dataclass(slots=True)
class _Steps:
    """Reads the steps in order.

    Args:
        recipe: is filled.
        problems: is added to.
        missing: names of steps whose plugin could not be loaded.
    """

    recipe: Recipe
    problems: list[Problem]
    missing: set[str]
    seen: list[_Seen] = field(default_factory=list)

    def load(self) -> None:
        """Reads all steps."""
        for index, values in enumerate(self.recipe.head.steps):
            if isinstance(values, dict) and "loop" in values:
                self._load_loop(index, values)
            else:
                self._load_step(("steps", index), values)

    def _load_loop(self, index: int, values: dict[str, Any]) -> None:
        path = ("steps", index)
        label = f"steps[{index}] (loop)"
        if beside := [name for name in values if name != "loop"]:
            what = f"{quote(beside[0])} stands beside loop:, where nothing else can stand."
            _add(
                self.recipe,
                self.problems,
                (*path, beside[0]),
                what,
                "write it inside of the loop, or take it out",
                label,
            )
        inside = values["loop"]
        if not isinstance(inside, dict):
            fix = "write loop: {rounds: N, steps: [...]}"
            _add(self.recipe, self.problems, (*path, "loop"), f"{quote(inside)} is not a loop.", fix, label)
            return
        source = self.recipe.source
        config = validate(LoopConfig, inside, (*path, "loop"), label, source, self.problems)
        if config is not None:
            loop = self.recipe.loops[index] = Loop(index, config, source.line(path))
            for inner, step in enumerate(config.steps):
                if isinstance(step, dict) and "loop" in step:
                    at = (*path, "loop", "steps", inner)
                    fix = "put the steps of the inner loop into the outer one, or into a recipe of its own"
                    _add(self.recipe, self.problems, at, "a loop cannot hold another loop.", fix, label)
                else:
                    self._load_step((*path, "loop", "steps", inner), step, loop)

    def _load_step(self, path: Path, values: Any, loop: Loop | None = None) -> None:
        name = values.get("step") if isinstance(values, dict) else None
        if not isinstance(values, dict) or not isinstance(name, str):
            self._refuse(path, values)
        elif name not in self.recipe.registry.names():
            if name not in self.missing:
                self._report_unknown(path, name)
            self.seen.append(_Seen(name, None, None, values))
        else:
            step = self.recipe.registry.get(name)
            form, label = choose_form(step.all_forms, values), f"{format_path(path)} ({name})"
            inherited, suspect = self._inherit(form, values)
            files = find_from_file(form) if form is not None else {}
            at = (path, label, self.recipe.source)
            suspect |= take_in(files, values, self.recipe.folder, at, self.problems)
            asked = find_answers(form) if form is not None else []
            given, wrong = AnswerKinds(self.recipe, at, self._find_earlier, self.problems).complete(asked, values)
            # What is taken from a step that is itself wrong is told of there.
            inherited, lost = AnswerKinds(self.recipe, at, self._find_earlier, []).complete(asked, inherited)
            suspect |= wrong | lost
            entry = StepEntry({**inherited, **given}, path, label, self.recipe.source, self.problems)
            config = entry.read(step.all_forms, suspect)
            self.seen.append(_Seen(name, step, config, values))
            if config is not None:
                index, inner = int(path[1]), int(path[-1]) if loop else 0
                named, line = tuple(references(config)), self.recipe.source.line(path)
                self.recipe.steps.append(PlannedStep(index, step.of(config), config, named, line, loop, inner))

    def _refuse(self, path: Path, values: Any) -> None:
        fix = "write '- step: NAME' and its fields below"
        if not isinstance(values, dict):
            message = f"{quote(values)} is not a step: a step is a mapping of fields."
        elif values.get("step") is None:
            message = "field 'step' is missing."
            known = [name for name in self.recipe.registry.names() if name in values]
            fix = f"write '- step: {known[0]}' and its fields below" if known else fix
        else:
            message, path = f"field 'step' must be the name of a step, not {quote(values['step'])}.", (*path, "step")
        _add(self.recipe, self.problems, path, message, fix)

    def _report_unknown(self, path: Path, name: str) -> None:
        names = self.recipe.registry.names()
        other = misplaced.STEPS.get(name.lower())
        fix = f"write {other}" if other else did_you_mean(name, names)
        fix = fix or "name one of them; `blackbox-kd steps` says what each does"
        expected = f"steps: {', '.join(names)}"
        _add(self.recipe, self.problems, (*path, "step"), f"unknown step {quote(name)}.", fix, expected=expected)

    def _inherit(self, form: type[StepConfig] | None, values: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
        """Values that a step takes from earlier ones, and those of its fields whose origin is itself wrong."""
        found: dict[str, Any] = {}
        suspect: set[str] = set()
        for name, (key, mark) in (find_earlier(form) if form is not None else {}).items():
            if key in values:
                continue
            origin = self._find_origin(name, key, mark.steps)
            if origin is None and mark.otherwise and mark.unless not in values:
                origin = self._find_origin(name, key, mark.otherwise)
            if origin is None:
                continue
            if origin.config is None:
                suspect.add(key)
                found |= {key: origin.values[key]} if key in origin.values else {}
            else:
                found[key] = read_field(origin.config, name)
        return found, suspect

    def _find_origin(self, name: str, key: str, steps: tuple[str, ...]) -> _Seen | None:
        """The nearest earlier step that has a field, of those named, or of all."""
        for origin in reversed(self.seen):
            if _has(origin, name, key) and not (origin.step and steps and origin.name not in steps):
                return origin
        return None

    def _find_earlier(self, key: str) -> tuple[Any, bool]:
        """What the nearest earlier step says of a field, or of one of its kind of answer; whether the step is wrong."""
        for origin in reversed(self.seen):
            if origin.config is None:
                if key in origin.values:
                    return None, True
                continue
            found = next((read_field(origin.config, name) for name in find_names(origin.config, key)), None)
            kind = origin.config.answer_kind()
            found = answers.split(kind)[1].get(key) if found is None and kind is not None else found
            if found is not None:
                return found, False
        return None, False


def _has(origin: _Seen, name: str, key: str) -> bool:
    if origin.step is None:
        return key in origin.values
    forms = origin.step.all_forms if origin.config is None else [type(origin.config)]
    return any(name in form.model_fields for form in forms)


def collect_texts(values: Any) -> Iterable[str]:
    """Every key and text inside of values."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, dict):
        for key, value in values.items():
            yield key
            yield from collect_texts(value)
    elif isinstance(values, list):
        for value in values:
            yield from collect_texts(value)
