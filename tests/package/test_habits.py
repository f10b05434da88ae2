"""What the code does in one place only, so that nothing that it has written is parsed again."""

import ast
from collections.abc import Iterable, Iterator

from tests.package.test_package import FILES, FUNCTION, TREES, group, nodes

BY_NAME = {
    "sdk.fields": "the one place that reads a field of a config by its name",
    "sdk.registry": "a module of a step may have `run_table`, or no `run` at all",
    "recipe.field_types": "limits are attributes of pydantic's marks",
    "recipe.yaml_errors": "pyyaml's errors have marks or have none",
    "calls.tariff": "tiers of genai-prices' objects",
    "engine.signals": "signals that Windows does not have",
}
"""Modules that look an attribute up by its name, and of what; of a config or a model only the first one does."""
LOOKED_AT = {"steps", "sdk", "recipe", "answers", "models", "calls", "runs", "engine", "cli"}


def calls(name: str) -> Iterator[ast.Call]:
    return (node for node in nodes(name) if isinstance(node, ast.Call))


def show(name: str, found: Iterable[ast.expr]) -> list[str]:
    """Where in a module expressions stand, and what they are."""
    return [f"{name}, line {node.lineno}: {ast.unparse(node)}" for node in found]


def look_ups(name: str) -> list[ast.Call]:
    """Calls that look an attribute up by its name."""
    return [call for call in calls(name) if ast.unparse(call.func) in ("getattr", "hasattr", "setattr", "vars")]


def test_what_a_config_or_a_model_can_do_is_declared_and_not_looked_up_by_name() -> None:
    looked_at = [name for name in FILES if group(name) in LOOKED_AT]
    assert [line for name in looked_at if name not in BY_NAME for line in show(name, look_ups(name))] == []
    assert [name for name in BY_NAME if not look_ups(name)] == [], "need not be in the list any more"
    for name in BY_NAME.keys() - {"sdk.fields"}:
        of_ours = [
            call
            for call in look_ups(name)
            if any(word in ast.unparse(call.args[0]) for word in ("config", "planned", "opened", "self", "cls"))
        ]
        assert show(name, of_ours) == []


AT = {
    "schema": "a model's name and its version",
    "weights.load": "a model of the Hub and its commit",
    "models.http.status": "the user in a URL",
}
"""Modules that split a text at `@`, and what stands there."""


def is_at(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == "@"


def test_the_version_of_a_model_is_parsed_in_one_place() -> None:
    splits = {
        name: [
            call
            for call in calls(name)
            if isinstance(call.func, ast.Attribute)
            and call.func.attr in ("partition", "rpartition", "split", "rsplit", "find", "index")
            and call.args
            and is_at(call.args[0])
        ]
        for name in FILES
    }
    looks = {
        name: [
            node
            for node in nodes(name)
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In) and is_at(node.left)
        ]
        for name in FILES
    }
    assert [line for name, found in looks.items() for line in show(name, found)] == []
    assert {name: len(found) for name, found in splits.items() if found} == dict.fromkeys(AT, 1)


def test_no_label_and_no_id_is_taken_apart() -> None:
    cuts = ("partition", "rpartition", "split", "rsplit", "removesuffix", "removeprefix")
    parts = (", round", ".draw", ".copy", ".from_", "steps[")
    for name in FILES:
        taken = [
            call
            for call in calls(name)
            if isinstance(call.func, ast.Attribute)
            and call.func.attr in cuts
            and call.args
            and ast.unparse(call.args[0]).strip("'").startswith(parts)
        ]
        assert show(name, taken) == []


def errors_of(name: str) -> set[str]:
    """Names that stand for an exception: those that `except` binds, and arguments that are called so."""
    bound = {node.name for node in nodes(name) if isinstance(node, ast.ExceptHandler) and node.name}
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


def texts_of_errors(name: str) -> list[ast.Call]:
    """Where a module takes the text of an error and neither shows nor raises it."""
    named = errors_of(name)
    told = {id(argument) for call in calls(name) if ast.unparse(call.func).startswith(SAYS) for argument in call.args}
    raised = {
        id(part)
        for node in nodes(name)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
        for part in node.exc.args
    }
    return [
        call
        for call in calls(name)
        if isinstance(call.func, ast.Name)
        and call.func.id == "str"
        and call.args
        and ast.unparse(call.args[0]) in named
        and id(call) not in told | raised
    ]


def test_the_text_of_an_error_is_for_people_alone() -> None:
    found = {name: texts_of_errors(name) for name in FILES}
    others = [line for name, texts in found.items() if name not in TEXTS for line in show(name, texts)]
    assert others == [], "an error has `what`, `exists`, `fix` and `kind`"
    assert {name: len(found[name]) for name in TEXTS} == dict.fromkeys(TEXTS, 1), "need not be in the list any more"


def test_one_function_writes_the_lines_of_a_message() -> None:
    for name in FILES.keys() - {"errors"}:
        texts = [node for node in nodes(name) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        assert show(name, [text for text in texts if "\n  fix:" in str(text.value)]) == [], "give the error its fix="


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
    for node in nodes(name):
        if isinstance(node, FUNCTION) and not any(
            "property" in ast.unparse(decorator) for decorator in node.decorator_list
        ):
            yield node.name


def is_done(function: str) -> bool:
    """Whether a function is called by a participle."""
    first = function.strip("_").partition("_")[0]
    return first in PARTICIPLES or (first.endswith("ed") and first not in NO_PARTICIPLE)


def test_a_function_is_called_by_what_it_does_and_not_by_what_was_done() -> None:
    called = [(name, function) for name in FILES for function in functions(name) if function not in OF_AUTHORS]
    assert [f"{name}.{function}" for name, function in called if is_done(function)] == []


VAGUE = {
    "text", "texts", "number", "value", "values", "words", "part", "parts", "fields", "columns", "counts", "status",
    "file", "files", "line", "lines", "fix", "items", "entries", "problem", "keys", "size", "points", "query",
    "weights", "usage", "message", "body", "verdict", "interval", "share", "groups", "limits", "calls",
}  # fmt: skip
"""Names that a function of any module could have; what is done with the text or the number is missing."""
OF_RECIPES = {"sandbox.functions": "a function is called as expressions and operators call it"}


def test_a_function_is_not_called_by_a_noun_that_fits_any_other() -> None:
    tops = [
        f"{name}.{node.name}"
        for name in FILES.keys() - OF_RECIPES.keys()
        for node in TREES[name].body
        if isinstance(node, FUNCTION) and node.name.strip("_") in VAGUE
    ]
    assert tops == []
