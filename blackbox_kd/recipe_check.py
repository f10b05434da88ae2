"""What is wrong between the fields of a recipe: names that lead nowhere, columns nobody writes, leaks.

The check walks the chain as a run would, with the columns of each table in place of its rows. It knows no step:
what a step's fields name is said by their marks, and what it reads and writes by its decorator.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from blackbox_kd import answers, expressions, models, sources
from blackbox_kd.errors import Problem, UserError
from blackbox_kd.marks import Mention, mentions, resolve
from blackbox_kd.prompt import Prompt, find
from blackbox_kd.validation import did_you_mean

if TYPE_CHECKING:
    from blackbox_kd.recipe import Planned, Recipe

Columns = set[str] | None
"""Columns of a table; None when they are known only once it is loaded."""


def bundled(folder: str) -> Path:
    """Where the package keeps its `prompts`, `recipes` or `data`: inside the wheel, or beside it in a checkout."""
    inside = Path(__file__).parent / folder
    return inside if inside.is_dir() else Path(__file__).parent.parent / folder


def prompt_places(folder: Path) -> list[Path]:
    """Where a recipe's prompts are looked up, in this order."""
    return [folder, folder / "prompts", bundled("prompts")]


@dataclass(slots=True)
class _Flow:
    """The state of the walk: tables seen so far, and what the recipe never used."""

    recipe: "Recipe"
    problems: list[Problem]
    tables: dict[str, Columns] = field(default_factory=dict)
    held_out: set[str] = field(default_factory=set)
    used_models: set[str] = field(default_factory=set)
    used_tables: set[str] = field(default_factory=set)
    trained: dict[str, int] = field(default_factory=dict)
    last: str | None = None

    def names(self) -> str:
        """Tables that have a name, for messages."""
        return ", ".join(name for name in self.tables if not name.startswith("#"))

    def report(self, planned: "Planned", at: str, message: str, expected: str, fix: str) -> None:
        """Adds a problem of a step; `at` is the field that it stands in."""
        keys: list[str | int] = [int(p) if p.isdigit() else p for p in at.replace("]", "").replace("[", ".").split(".")]
        line = self.recipe.source.line(("steps", planned.index, *(k for k in keys if k != "")))
        self.problems.append(Problem(line, planned.label, message, expected, fix))


def check(recipe: "Recipe", problems: list[Problem], env: Mapping[str, str] = os.environ) -> None:
    """Appends to `problems` all that is wrong between the fields of a recipe, and fills its prompts."""
    flow = _Flow(recipe, problems)
    _check_data(flow)
    _check_models(flow, env)
    for planned in recipe.steps:
        _check_step(flow, planned)
    complete = len(recipe.steps) == len(recipe.head.steps)
    if complete:
        _check_unused(flow)


def _check_data(flow: _Flow) -> None:
    for name, table in flow.recipe.data.items():
        line = flow.recipe.source.line(("data", name))
        flow.tables[name] = None
        if table.held_out:
            flow.held_out.add(name)
        try:
            columns = sources.columns(table, flow.recipe.folder)
        except UserError as error:
            message, _, fix = str(error).partition("\n  fix: ")
            flow.problems.append(Problem(line, f"data.{name}", message, "", fix or "mend the file or the entry"))
            continue
        flow.tables[name] = None if columns is None else {*columns, "id"}
    first = [name for name in flow.recipe.data if name not in flow.held_out]
    flow.last = first[0] if first else None


def _check_models(flow: _Flow, env: Mapping[str, str]) -> None:
    for name, config in flow.recipe.models.items():
        missing = getattr(models.provider(config.provider), "missing", None)
        if missing is None:
            continue
        setup = models.Setup(name, flow.recipe.folder, Path(), env, flow.recipe.allow_code)
        for at, message, fix in missing(config, setup):
            line = flow.recipe.source.line(("models", name, at))
            flow.problems.append(Problem(line, f"models.{name}", message, "", fix))


def _check_step(flow: _Flow, planned: "Planned") -> None:
    named = list(mentions(planned.config))
    for at, message, fix in planned.config.problems():
        flow.report(planned, at, message, "", fix)
    for mention in named:
        if mention.kind in ("model", "student"):
            _check_model_name(flow, planned, mention)
        elif mention.kind == "table":
            _check_table_name(flow, planned, mention)
        elif mention.kind == "answer" and mention.value not in answers.kinds():
            message = f"unknown kind of answer {mention.value!r}."
            fix = did_you_mean(mention.value, answers.kinds()) or "name one of them"
            flow.report(planned, mention.field, message, f"answers: {', '.join(answers.kinds())}", fix)
    source = planned.config.input or (None if planned.step.merges else flow.last)
    if source is None and not planned.step.merges:
        fix = "add input: NAME, or a table without held_out under data:"
        flow.report(planned, "step", "there is no table to read.", f"tables: {flow.names()}", fix)
        return
    columns = _columns_read(flow, planned, source)
    _check_columns(flow, planned, columns, named)
    _write_tables(flow, planned, source, columns, named)


def _check_model_name(flow: _Flow, planned: "Planned", mention: Mention) -> None:
    name, _, version = mention.value.partition("@")
    if name not in flow.recipe.head.models:
        names = list(flow.recipe.head.models)
        fix = did_you_mean(name, names) or f"add {name}: {{provider: ..., model: ...}} under models:"
        flow.report(planned, mention.field, f"unknown model {mention.value!r}.", f"models: {', '.join(names)}", fix)
        return
    flow.used_models.add(name)
    rounds = flow.trained.get(name, 0)
    if version and version != "base" and not (version.isdigit() and 1 <= int(version) <= rounds):
        have = ", ".join([f"{name}@base", *(f"{name}@{i + 1}" for i in range(rounds))])
        message = f"model {mention.value!r} does not exist at this point of the chain."
        flow.report(planned, mention.field, message, f"versions: {have}", "name one of them, or train it before")
    if mention.kind == "student":
        config = flow.recipe.models.get(name)
        if version:
            fix = f"write model: {name}"
            flow.report(
                planned, mention.field, f"{mention.value!r} is a version; training makes the next one.", "", fix
            )
        elif config is not None and not getattr(config, "trainable", False):
            message = f"model {name!r} cannot be trained: provider {config.provider!r} reaches it from outside."
            flow.report(planned, mention.field, message, "", "train a model with provider: transformers")
        flow.trained[name] = rounds + 1


def _check_table_name(flow: _Flow, planned: "Planned", mention: Mention) -> None:
    name = mention.value
    flow.used_tables.add(name)
    if name not in flow.tables:
        later = [p.label for p in flow.recipe.steps if p.index >= planned.index and name in _outputs(p)]
        if later:
            message = f"table {name!r} is read here, but written only by {later[0]}: each would wait for the other."
            fix = f"move {later[0]} before this step, or read another table"
            flow.report(planned, mention.field, message, f"tables here: {flow.names()}", fix)
        else:
            fix = did_you_mean(name, list(flow.tables)) or f"add it under data:, or output: {name} to an earlier step"
            flow.report(planned, mention.field, f"unknown table {name!r}.", f"tables here: {flow.names()}", fix)
    elif name in flow.held_out and not planned.step.held_out:
        message = f"table {name!r} is held out: only evaluate may read it, or the evidence would be worthless."
        flow.report(planned, mention.field, message, "", "read another table, or take held_out: true away")


def _columns_read(flow: _Flow, planned: "Planned", source: str | None) -> Columns:
    if source is not None:
        flow.used_tables.add(source)
        return flow.tables.get(source)
    merged: Columns = None
    for index, name in enumerate(getattr(planned.config, planned.step.merges or "")):
        columns = flow.tables.get(name)
        if columns is None:
            return None
        merged = columns if index == 0 else (merged or set()) & columns
    return merged


def _check_columns(flow: _Flow, planned: "Planned", columns: Columns, named: list[Mention]) -> None:
    for mention in named:
        if mention.kind == "prompt":
            _check_prompt(flow, planned, mention, columns)
        elif mention.kind == "expression":
            _check_expression(flow, planned, mention, columns)
    if columns is None:
        return
    fields = {mention.value: mention.field for mention in named if mention.kind == "column"}
    for name in dict.fromkeys([*resolve(planned.step.reads, planned.config), *fields]):
        if name not in columns:
            _missing_column(flow, planned, fields.get(name, "step"), f"reads column {name!r}", name, columns)


def _missing_column(flow: _Flow, planned: "Planned", at: str, what: str, name: str, columns: set[str]) -> None:
    writers = [s for s in flow.recipe.registry.names() if name in flow.recipe.registry.get(s).writes]
    fix = did_you_mean(name, sorted(columns))
    if not fix and writers:
        fix = f"put a step that writes {name!r} before it ({', '.join(writers)})"
    fix = fix or f"rename a column of the data to {name!r} (rename:), or write it with as: {name}"
    expected = f"columns here: {', '.join(sorted(columns - {'id'}))}"
    flow.report(planned, at, f"{what}, which no earlier step writes.", expected, fix)


def _check_prompt(flow: _Flow, planned: "Planned", mention: Mention, columns: Columns) -> None:
    places = prompt_places(flow.recipe.folder)
    path = find(mention.value, places)
    if path is None:
        known = sorted(str(p.relative_to(places[2]).with_suffix("")) for p in places[2].glob("**/*.jinja"))
        expected = f"looked in {', '.join(str(place) for place in places)}; bundled: {', '.join(known)}"
        fix = did_you_mean(mention.value, known) or f"write {mention.value}.jinja beside the recipe"
        flow.report(planned, mention.field, f"prompt {mention.value!r} does not exist.", expected, fix)
        return
    try:
        prompt = Prompt(mention.value, path, places)
        variables = prompt.variables()
    except UserError as error:
        flow.report(planned, mention.field, f"prompt {mention.value!r}: {error}.", "", "mend the template")
        return
    flow.recipe.prompts[mention.value] = prompt
    if columns is not None:
        for name in sorted(variables - columns - planned.config.prompt_variables()):
            _missing_column(flow, planned, mention.field, f"prompt {mention.value!r} uses {name!r}", name, columns)


def _check_expression(flow: _Flow, planned: "Planned", mention: Mention, columns: Columns) -> None:
    try:
        names = expressions.parse(mention.value).names
    except ValueError as error:
        flow.report(planned, mention.field, f"expression {mention.value!r}: {error}.", "", "mend the expression")
        return
    for name in sorted(names - columns) if columns is not None else ():
        _missing_column(
            flow, planned, mention.field, f"expression {mention.value!r} uses {name!r}", name, columns or set()
        )


def _outputs(planned: "Planned") -> list[str]:
    return [mention.value for mention in mentions(planned.config) if mention.kind == "new table"]


def _write_tables(flow: _Flow, planned: "Planned", source: str | None, columns: Columns, named: list[Mention]) -> None:
    written: Columns = None
    if columns is not None:
        written = columns | set(resolve(planned.step.writes, planned.config))
        written |= {mention.value for mention in named if mention.kind == "new column"}
    leaks = source in flow.held_out
    names = [(mention.value, mention.field) for mention in named if mention.kind == "new table"]
    for name, at in names:
        if name in flow.tables:
            message = f"table {name!r} exists already; the second would hide the first."
            flow.report(planned, at, message, f"tables here: {flow.names()}", "choose another name")
        flow.tables[name] = written
        if leaks:
            flow.held_out.add(name)
    if planned.step.aside:
        return
    own = f"#{planned.index}"
    flow.tables[own] = written
    flow.last = planned.config.output or (names[0][0] if names else own)


def _check_unused(flow: _Flow) -> None:
    unused_models = set(flow.recipe.head.models) - flow.used_models
    for name in sorted(unused_models):
        line = flow.recipe.source.line(("models", name))
        fix = "remove it, or name it in a step"
        flow.problems.append(Problem(line, f"models.{name}", f"model {name!r} is used by no step.", "", fix))
    for name in flow.recipe.data:
        if name not in flow.used_tables:
            line = flow.recipe.source.line(("data", name))
            fix = "remove it, or name it in a step (input:)"
            flow.problems.append(Problem(line, f"data.{name}", f"table {name!r} is read by no step.", "", fix))
