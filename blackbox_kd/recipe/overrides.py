"""Values that do not stand in a recipe's file: those of `--set`, and those of a program."""

from typing import Any

import yaml

from blackbox_kd.errors import UserError
from blackbox_kd.recipe import yaml_source
from blackbox_kd.recipe.yaml_source import Path, Source


def take(values: Any) -> Any:
    """A program's values as YAML would hold them: what is no text, number, list or mapping is refused.

    Raises:
        UserError: it is something else, or too large.
    """
    try:
        source = yaml_source.read(yaml_source.dump(values))
    except (yaml.YAMLError, RecursionError) as error:
        kinds = sorted({type(part).__name__ for part in error.args if not isinstance(part, str)})
        what = f"a recipe cannot hold a {kinds[0]}" if kinds else "the recipe holds itself"
        raise UserError(what, fix="write texts, numbers, true or false, lists and mappings") from error
    for problem in source.problems:
        raise UserError(problem.message, fix=problem.fix)
    return source.values


def override(source: Source, assignment: str | tuple[str, Any]) -> None:
    """Applies one `--set path=value`, or a program's path and value; parts of a path are keys, positions, or steps.

    Fields on the way that do not exist are made, so that a recipe can be given what it lacks.

    Raises:
        UserError: the assignment has no `=`, its path leads nowhere, or its value is not YAML.
    """
    if isinstance(assignment, str):
        text, equals, value = assignment.partition("=")
        if not equals or not text.strip():
            raise _explain_refusal(assignment, "it is not PATH=VALUE")
        parsed = Source(values="") if not value.strip() else yaml_source.read(value)
    else:
        text, parsed = assignment[0], Source(values=take(assignment[1]))
        assignment = f"{text}="
    if parsed.problems:
        why = parsed.problems[0].message.rstrip(".")
        raise _explain_refusal(assignment, f"the value cannot be read: {why}")
    try:
        put(source, text, parsed.values, f"--set {text.strip()}")
    except ValueError as error:
        raise _explain_refusal(assignment, f"{error}") from None


def put(source: Source, text: str, value: Any, given_by: str) -> Path:
    """Puts a value where a path leads, and returns the path; `given_by` is what messages say of where it is from.

    Raises:
        ValueError: the path leads nowhere.
    """
    path = yaml_source.parse_path(text.strip(), source.values)
    here = source.values
    for part in path[:-1]:
        if isinstance(here, dict) and here.get(str(part)) is None:
            here[str(part)] = {}
        here = here[part]
    here[path[-1]] = value
    source.lines = {place: line for place, line in source.lines.items() if place[: len(path)] != path or place == path}
    source.overrides[path] = given_by
    return path


def _explain_refusal(assignment: str, reason: str) -> UserError:
    fix = "write --set PATH=VALUE, such as models.teacher.model=NAME or steps.0.samples=4"
    path, equals, _ = assignment.partition("=")  # the value can be a key, and keys are never shown
    return UserError(f"--set {path}{equals}{'...' if equals else ''}: {reason}.", fix=fix)
