"""Prompts: they must be there, their variables must be columns, and none may show a student the right answer."""

from collections.abc import Iterator
from pathlib import Path

from blackbox_kd.errors import UserError, did_you_mean
from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.checks.flow import Columns, Flow
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.recipe.yaml_source import quote
from blackbox_kd.sandbox.prompt import Prompt, find, show_path
from blackbox_kd.schema import ModelRef
from blackbox_kd.sdk.fields import Reference
from blackbox_kd.sdk.values import Computed, find_read

SAID_BESIDE = {"reasoning", "tool_calls", "trace", "verdicts"}
"""Columns for what a model says beside the text that was asked of it."""


def find_places(folder: Path) -> list[Path]:
    """Where a recipe's prompts are looked up, in this order."""
    return [folder, folder / "prompts", find_bundled("prompts")]


def check(flow: Flow, planned: PlannedStep, mention: Reference, columns: Columns) -> None:
    """Reports a prompt that is not there or cannot be used, and its variables that are not among the columns."""
    places = find_places(flow.recipe.folder)
    path = find(mention.value, places)
    if path is None:
        _report_missing(flow, planned, mention, places)
        return
    prompt = flow.recipe.prompts.get(mention.value)
    if prompt is None:
        try:
            prompt = flow.recipe.prompts[mention.value] = Prompt(mention.value, path, places)
        except UserError as error:
            message = f"prompt {mention.value!r} cannot be used: {error.what.rstrip('.')}."
            flow.report(planned, mention.field, message, "", "mend the template")
            return
    if columns is not None:
        for name in sorted(prompt.variables() - columns - planned.config.prompt_variables()):
            what = f"prompt {mention.value!r} uses {name!r}"
            flow.report_missing_column(planned, mention.field, what, name, columns)


def _report_missing(flow: Flow, planned: PlannedStep, mention: Reference, places: list[Path]) -> None:
    *own, ours = places
    files = [path.relative_to(place) for place in own[1:] for path in sorted(place.glob("**/*.jinja"))]
    files += sorted(path.relative_to(ours) for path in ours.glob("**/*.jinja"))
    known = list(dict.fromkeys(path.with_suffix("").as_posix() for path in files))
    name = mention.value
    if any(sign in name for sign in "{\n") or len(name) > 100:
        fix = "put the text into prompts/NAME.jinja beside the recipe and write prompt: NAME"
    else:
        fix = did_you_mean(name, known) or f"write prompts/{name.removesuffix('.jinja')}.jinja beside the recipe"
    message = f"prompt {quote(name)} is neither beside the recipe, nor in its prompts/, nor bundled."
    flow.report(planned, mention.field, message, f"prompts: {', '.join(known)}", fix)


def find_missing_files(flow: Flow, planned: PlannedStep) -> Iterator[tuple[str, str, str]]:
    """Files that a step names and that are not there, or may not be run: triples as of `StepConfig.problems`."""
    for at, name in planned.config.files().items():
        if not (flow.recipe.folder / name).is_file():
            yield (
                at,
                f"{at}: {name!r} does not exist in {show_path(flow.recipe.folder)}.",
                "write its path, relative to the recipe",
            )
        elif at in planned.config.runs_code() and not flow.recipe.allow_code:
            what = f"{at}: {name!r} can run code, which a recipe may not do by itself."
            yield at, what, "read the file, then add --allow-code"


def find_secrets(flow: Flow) -> None:
    """Notes, before the walk, the columns that steps take for the right answer, and the models that are trained."""
    flow.secrets["reference"] = ""
    for planned in flow.recipe.steps:
        answers = planned.config.answer_columns()
        for field, name in ((each.field, each.value) for each in planned.references if each.value in answers):
            flow.secrets.setdefault(name, f"{planned.label} says {field}: {name}")
        flow.students.update(planned.list_names("student"))


def check_leaks(flow: Flow, planned: PlannedStep, source: str | None) -> None:
    """Reports prompts through which the student would see the right answer, in training, in an exam or before it.

    What a model wrote with the answer before it can hold the answer, too.
    """
    shown_there = {name: _find_secrets_of(flow, planned, name) for name in planned.list_names("prompt")}
    for at, name, is_declared in [*planned.config.shown_to_student(), *_find_shown_to_students(flow, planned)]:
        if shown_there.get(name) and not is_declared:
            secret = shown_there[name][0]
            what = f"prompt {name!r} shows the student {secret!r}, which holds the right answer"
            what += f": {flow.secrets[secret]}." if flow.secrets[secret] else "."
            who = "a task" if at.startswith("tasks") else "a step"
            declared = type(planned.config).model_fields.get("hint")
            may = who == "a task" or (declared is not None and declared.annotation is bool)
            fix = f"; {who} that means to show it says hint: true" if may else ""
            other = "; or compare with another column there" if "says against:" in what else ""
            flow.report(planned, at, what, "", f"use a prompt without it{fix}{other}")
    _check_held_out(flow, planned, source, shown_there)
    spread_secrets(flow, planned)


def _check_held_out(flow: Flow, planned: PlannedStep, source: str | None, shown_there: dict[str, list[str]]) -> None:
    """Reports prompts that show the right answer of held-out rows, and columns made of it that are measured."""
    for mention in planned.references:
        secret = next(iter(shown_there.get(mention.value, [])), "") if mention.kind == "prompt" else ""
        if secret and source in flow.held_out and not planned.step.held_out:
            what = f"prompt {mention.value!r} shows {secret!r}, and the rows of {source!r} are held out: "
            what += "what is written with the right answer in view measures nobody."
            flow.report(planned, mention.field, what, "", "use a prompt without it")
        elif mention.kind == "expression" and source in flow.held_out and not planned.step.held_out:
            _check_choice(flow, planned, mention)
    for column in sorted(planned.config.said_by_student()) if planned.step.held_out else ():
        at = next((each.field for each in planned.references if each.value == column), "step")
        if column in flow.secrets:
            why = flow.secrets[column] or "it is the right answer"
            what = f"column {column!r} is no reply that could be measured: {why}."
            fix = "measure a column that was written without the right answer, by another name"
            flow.report(planned, at, what, "", fix)
        for answer in sorted(planned.config.answer_columns()):
            if column in flow.derived.get(answer, ()):
                what = f"column {column!r} would be measured against {answer!r}, which is made of it."
                flow.report(planned, at, what, "", "compare it with a right answer that stood there before")


def _check_choice(flow: Flow, planned: PlannedStep, mention: Reference) -> None:
    """Reports an expression that picks held-out rows, or replies to them, by their right answer."""
    names = find_read(Computed(expr=mention.value)) & flow.secrets.keys()
    made = planned.config.list_derived().keys() & mention.field.split(".")[1:]
    if names and not made:
        what = f"{mention.field}: {quote(mention.value)} picks by {min(names)!r}, and the rows are held out: "
        what += "those that it keeps measure nobody."
        flow.report(planned, mention.field, what, "", "write it without the right answer")


def spread_secrets(flow: Flow, planned: PlannedStep) -> None:
    """Notes what a step makes of the right answer, or has models write with it in view."""
    shown_there = {name: _find_secrets_of(flow, planned, name) for name in planned.list_names("prompt")}
    for made, of in planned.config.list_derived().items():
        flow.derived[made] = of.union(*(flow.derived.get(each, ()) for each in of))
        if held := sorted(of & flow.secrets.keys()):
            flow.secrets.setdefault(made, f"{planned.label} makes it of {held[0]!r}")
    shown = [name for names in shown_there.values() for name in names]
    if shown and not planned.config.begins_rows():
        why = f"{planned.label} writes it with {shown[0]!r} in view"
        beside = SAID_BESIDE.intersection(planned.step.writes) - planned.config.unwritten()
        flow.secrets = dict.fromkeys([*planned.list_names("new column"), *sorted(beside)], why) | flow.secrets


def _find_shown_to_students(flow: Flow, planned: PlannedStep) -> list[tuple[str, str, bool]]:
    """What the step shows the models that it asks, if the recipe trains one of them."""
    asked = {ModelRef.parse(name).name for name in planned.config.calls_by_model()}
    return planned.config.shown_to_asked() if flow.students & asked else []


def _find_secrets_of(flow: Flow, planned: PlannedStep, name: str) -> list[str]:
    """The right answers that a prompt shows, in its row's columns and in what the step makes of them."""
    prompt = flow.recipe.prompts.get(name)
    if prompt is None:
        return []
    names, made = prompt.names(), planned.config.variables_made_of()
    return sorted((names - made.keys()).union(*(made[each] for each in names & made.keys())) & flow.secrets.keys())
