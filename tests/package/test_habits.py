"""What the code does in one place only, so that nothing that it has written is parsed again."""

import ast
from collections.abc import Iterator

import pytest

from tests.package.test_package import FILES, TREES, group

BY_NAME = {
    "sdk.fields": "the one place that reads a field of a config by its name",
    "sdk.registry": "a module of a step may have `run_table`, or no `run` at all",
    "recipe.field_types": "limits are attributes of pydantic's marks",
    "recipe.yaml_errors": "pyyaml's errors have marks or have none",
    "models.scripted": "a function of a user's module",
    "calls.tariff": "tiers of genai-prices' objects",
    "engine.signals": "signals that Windows does not have",
}
"""Modules that look an attribute up by its name, and of what; of a config or a model only the first one does."""
LOOKED_AT = {"steps", "sdk", "recipe", "answers", "models", "calls", "runs", "engine", "cli"}


def calls(name: str) -> Iterator[ast.Call]:
    return (node for node in ast.walk(TREES[name]) if isinstance(node, ast.Call))


@pytest.mark.parametrize("name", [name for name in FILES if group(name) in LOOKED_AT])
def test_what_a_config_or_a_model_can_do_is_declared_and_not_looked_up_by_name(name: str) -> None:
    found = [call for call in calls(name) if ast.unparse(call.func) in ("getattr", "hasattr", "setattr", "vars")]
    if name not in BY_NAME:
        assert not found, f"line {found[0].lineno}: {ast.unparse(found[0])}"
        return
    assert found, f"{name} need not be in the list any more"
    for call in found if name != "sdk.fields" else []:
        of = ast.unparse(call.args[0])
        assert not any(word in of for word in ("config", "planned", "opened", "self", "cls")), (
            f"line {call.lineno}: {of}"
        )


AT = {
    "schema": "a model's name and its version",
    "weights.load": "a model of the Hub and its commit",
    "models.http.status": "the user in a URL",
}
"""Modules that split a text at `@`, and what stands there."""


@pytest.mark.parametrize("name", FILES)
def test_the_version_of_a_model_is_parsed_in_one_place(name: str) -> None:
    splits = [
        call
        for call in calls(name)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in ("partition", "rpartition", "split", "rsplit", "find", "index")
        and call.args
        and ast.unparse(call.args[0]) == "'@'"
    ]
    looks = [
        node
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In) and ast.unparse(node.left) == "'@'"
    ]
    assert not looks
    assert len(splits) == (1 if name in AT else 0)


@pytest.mark.parametrize("name", FILES)
def test_no_label_and_no_id_is_taken_apart(name: str) -> None:
    cuts = ("partition", "rpartition", "split", "rsplit", "removesuffix", "removeprefix")
    for call in calls(name):
        if isinstance(call.func, ast.Attribute) and call.func.attr in cuts and call.args:
            cut = ast.unparse(call.args[0]).strip("'")
            assert not cut.startswith((", round", ".draw", ".copy", ".from_", "steps[")), f"line {call.lineno}: {cut}"


def errors_of(tree: ast.AST) -> set[str]:
    """Names that stand for an exception: those that `except` binds, and arguments that are called so."""
    bound = {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name}
    return bound | {"error", "fault"}


TEXTS = {
    "errors": "quotes what another library says",
    "models.http.status": "quotes what a connection's error says, without the key",
    "sandbox.mistakes": "Python says which types do not go together, and in words only",
    "recipe.validation": "the words of a validator that raises a ValueError of its own",
}
"""Modules that take the text of an error of others; of our own ones all have `what`, `exists` and `fix`."""
SAYS = ("logger.", "say", "_fail", "print", "Failed", "sys.stderr.write")
"""Calls that show a text to somebody, or keep it for somebody to read."""


@pytest.mark.parametrize("name", FILES)
def test_the_text_of_an_error_is_for_people_alone(name: str) -> None:
    told = {
        id(argument)
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Call)
        for argument in node.args
        if ast.unparse(node.func).startswith(SAYS)
    }
    raised = {
        id(part)
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
        for part in node.exc.args
    }
    found = [
        call
        for call in calls(name)
        if ast.unparse(call.func) == "str"
        and call.args
        and ast.unparse(call.args[0]) in errors_of(TREES[name])
        and id(call) not in told | raised
    ]
    if name in TEXTS:
        assert len(found) == 1, f"{name} need not be in the list any more"
    else:
        assert not found, f"line {found[0].lineno}: an error has `what`, `exists`, `fix` and `kind`"


@pytest.mark.parametrize("name", [name for name in FILES if name != "errors"])
def test_one_function_writes_the_lines_of_a_message(name: str) -> None:
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert "\n  fix:" not in node.value, f"line {node.lineno}: give the error its fix="


PARTICIPLES = (
    "told", "said", "came", "left", "made", "shown", "known", "kept", "sent", "lost", "written", "seen",
    "spent", "taken", "begun", "drawn", "grown", "spoken", "broken", "chosen", "unseen", "bought",
)  # fmt: skip
NO_PARTICIPLE = ("need", "feed", "heed", "embed", "seed", "exceed", "proceed", "succeed")
OF_AUTHORS = {
    "unwritten",
    "said_by_student",
    "shown_to_student",
    "shown_to_asked",
    "told_values",
    "reported",
    "reported_in_round",
}
"""What authors of steps know by these names."""


def functions(name: str) -> Iterator[str]:
    """Functions and methods; properties are what they are called."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not any(
            "property" in ast.unparse(decorator) for decorator in node.decorator_list
        ):
            yield node.name


@pytest.mark.parametrize("name", FILES)
def test_a_function_is_called_by_what_it_does_and_not_by_what_was_done(name: str) -> None:
    for function in functions(name):
        first = function.strip("_").partition("_")[0]
        is_done = first in PARTICIPLES or (first.endswith("ed") and first not in NO_PARTICIPLE)
        assert not is_done or function in OF_AUTHORS, f"{name}.{function}"


VAGUE = {
    "text", "texts", "number", "value", "values", "words", "part", "parts", "fields", "columns", "counts", "status",
    "file", "files", "line", "lines", "fix", "items", "entries", "problem", "keys", "size", "points", "query",
    "weights", "usage", "message", "body", "verdict", "interval", "share", "groups", "limits", "calls",
}  # fmt: skip
"""Names that a function of any module could have; what is done with the text or the number is missing."""
OF_RECIPES = {"sandbox.functions": "a function is called as expressions and operators call it"}


@pytest.mark.parametrize("name", FILES)
def test_a_function_is_not_called_by_a_noun_that_fits_any_other(name: str) -> None:
    tops = {node.name for node in TREES[name].body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in OF_RECIPES or not {top.strip("_") for top in tops} & VAGUE
