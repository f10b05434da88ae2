import ast
import re
import sys
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, Field

from blackbox_kd import answers
from blackbox_kd.analysis.well_formed import FAULTS
from blackbox_kd.errors import SetupError
from blackbox_kd.schema import Row
from blackbox_kd.sdk.context import Context
from blackbox_kd.sdk.fields import (
    Answer,
    Column,
    Expression,
    FromEarlier,
    ModelName,
    NewColumn,
    NewTable,
    PromptName,
    Reference,
    StudentName,
    TableName,
    find_earlier,
    references,
    resolve,
)
from blackbox_kd.sdk.registry import Registry, Step, row_step, table_step
from blackbox_kd.sdk.step_config import StepConfig

REGISTRY = Registry()
NAMES = REGISTRY.names()


def block(step: Step) -> dict[str, str]:
    """The lines `Reads`, `Writes`, ... of a step's docstring."""
    return dict(re.findall(r"^(\w+)  +(.+(?:\n {4,}.+)*)", step.doc, re.MULTILINE))


def entries(text: str) -> list[str]:
    """The columns that a line of a docstring names; what is said in several words is none."""
    return [part for part in text.split(", ") if re.fullmatch(r"\{?\w+\}?", part) and part != "nothing"]


def kinds(step: Step) -> set[str]:
    """What the fields of a step's config name."""
    return {mark.kind for form in step.all_forms for mark in _marks(form)}


def _marks(annotation: object) -> list[object]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        parts = [part for field in annotation.model_fields.values() for part in (field.annotation, *field.metadata)]
    else:
        parts = [*getattr(annotation, "__args__", ()), *getattr(annotation, "__metadata__", ())]
    return [part for part in parts if type(part).__name__ == "Refers"] + [
        mark for part in parts for mark in _marks(part)
    ]


def declared(step: Step, what: str) -> list[str]:
    """What the decorators of a step declare, of all its kinds together."""
    return list(dict.fromkeys(each for kind in step.kinds for each in getattr(kind, what)))


NAMED = {"fault": set(FAULTS)}
"""Reasons that another module gives, by the name of the variable that holds one."""


def read_text(node: ast.expr) -> str:
    """A text as it stands in the code, with the braces of an f-string."""
    return str(eval(ast.unparse(node).removeprefix("f")))


def reasons(step: Step) -> set[str]:
    """The reasons that stand in a step's code: the second argument of every `Dropped(...)`."""
    tree = ast.parse(step.file.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Dropped":
            given = node.args[1]
            for reason in (given.body, given.orelse) if isinstance(given, ast.IfExp) else (given,):
                found |= NAMED.get(ast.unparse(reason)) or {read_text(reason).replace("{config.", "{")}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_steps_docstring_says_what_its_decorator_declares(name: str) -> None:
    step = REGISTRY.get(name)
    said = block(step)
    assert list(said) == ["Reads", "Writes", "Drops", "Calls", "Source"]
    assert entries(said["Reads"]) == declared(step, "reads")
    assert entries(said["Writes"]) == declared(step, "writes")
    assert said["Drops"].split(", ") == (declared(step, "drops") or ["nothing"])
    assert ("the prompt's variables" in said["Reads"]) == ("prompt" in kinds(step))
    assert bool(re.search("the expressions?'s? columns", said["Reads"])) == ("expression" in kinds(step))
    assert (said["Calls"] == "none") == ("model" not in kinds(step))


@pytest.mark.parametrize("name", NAMES)
def test_a_step_drops_rows_for_declared_reasons_only(name: str) -> None:
    assert reasons(REGISTRY.get(name)) == set(declared(REGISTRY.get(name), "drops"))


@pytest.mark.parametrize("name", NAMES)
def test_a_step_opens_with_one_sentence_and_explains_each_of_its_fields(name: str) -> None:
    step = REGISTRY.get(name)
    assert re.fullmatch(r"[A-Z][^.]+(\.[^.\s][^.]*)*\.", step.doc.split("\n\n")[0].replace("\n", " "))
    for form in step.all_forms:
        for field, entry in form.model_fields.items():
            assert entry.description, f"{name}.{field} has no docstring"


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_called_as_its_file(name: str) -> None:
    step = REGISTRY.get(name)
    assert (step.name, step.file.name) == (name, f"{name}.py")


def test_a_step_that_does_not_exist_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="filtre"):
        REGISTRY.get("filtre")


class Shots(BaseModel):
    table: TableName
    like: Column | None = None


class Config(StepConfig):
    asked: list[ModelName] = Field(min_length=1)
    trained: StudentName | None = None
    either: ModelName | list[ModelName] | None = None
    groups: list[list[ModelName]] = Field(default_factory=list)
    prompt: Annotated[PromptName, FromEarlier(("format",))] = "plain"
    kind: Annotated[Answer | None, FromEarlier()] = None
    into: NewColumn = Field(default="response", alias="as")
    branches: dict[NewTable, Expression | float] = Field(default_factory=dict)
    weights: dict[TableName, float] = Field(default_factory=dict)
    shots: Shots | None = None
    more: list[Shots] = Field(default_factory=list)
    by: list[Column] = Field(default_factory=list)
    free: str = "no name of anything"


def config(**fields: object) -> Config:
    return Config.model_validate({"step": "x", "asked": ["a"], **fields})


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"asked": ["a", "b"]}, [("asked[0]", "model", "a"), ("asked[1]", "model", "b")]),
        ({"trained": "s"}, [("trained", "student", "s")]),
        ({"either": "b"}, [("either", "model", "b")]),
        ({"either": ["b"]}, [("either[0]", "model", "b")]),
        ({"groups": [["b"], ["c"]]}, [("groups[0][0]", "model", "b"), ("groups[1][0]", "model", "c")]),
        ({"kind": "number"}, [("kind", "answer", "number")]),
        ({"as": "reply"}, [("as", "new column", "reply")]),
        (
            {"branches": {"good": "correct", "rest": "not correct"}},
            [
                ("branches.good", "new table", "good"),
                ("branches.good", "expression", "correct"),
                ("branches.rest", "new table", "rest"),
                ("branches.rest", "expression", "not correct"),
            ],
        ),
        ({"branches": {"dev": 0.1}}, [("branches.dev", "new table", "dev")]),
        ({"weights": {"a": 1, "b": 2}}, [("weights.a", "table", "a"), ("weights.b", "table", "b")]),
        ({"shots": {"table": "t", "like": "c"}}, [("shots.table", "table", "t"), ("shots.like", "column", "c")]),
        ({"more": [{"table": "t"}]}, [("more[0].table", "table", "t")]),
        ({"by": ["c"]}, [("by[0]", "column", "c")]),
        ({"input": "t", "output": "u"}, [("input", "table", "t"), ("output", "new table", "u")]),
    ],
)
def test_everything_that_a_config_names_is_found_where_it_stands(fields: dict[str, object], found: object) -> None:
    always = {("asked[0]", "model", "a"), ("prompt", "prompt", "plain"), ("as", "new column", "response")}
    said = [(mention.field, mention.kind, mention.value) for mention in references(config(**fields))]
    assert [entry for entry in said if entry not in always or entry in found] == found
    assert all(isinstance(mention, Reference) for mention in references(config(**fields)))


def test_fields_that_take_an_earlier_steps_value_are_marked() -> None:
    assert find_earlier(Config) == {"prompt": ("prompt", FromEarlier(("format",))), "kind": ("kind", FromEarlier())}


def test_patterns_stand_for_the_values_of_fields() -> None:
    patterns = ["id", "{into}", "{by}", "{trained}", "{weights}"]
    assert resolve(patterns, config(by=["x", "y"], weights={"t": 1})) == ["id", "response", "x", "y", "t"]


PLUGIN = '''"""Keeps short replies."""

from blackbox_kd.sdk import Column, Context, Dropped, Row, StepConfig, row_step


class Config(StepConfig):
    of: Column = "response"
    """Column that is measured."""


@row_step(reads=["{of}"], drops=["too long"])
async def run(row: Row, config: Config, ctx: Context) -> Row | Dropped:
    return row if len(row[config.of]) < 10 else Dropped(row, "too long")
'''


NEITHER = (
    "keep.py: a step needs a function `run` of its own under @row_step or @table_step, a metric one under @metric, "
    "a kind of answer a class under @answer"
)
KIND = '''"""A number of an article: two letters and four digits."""

import re
from collections.abc import Mapping
from typing import Any

from blackbox_kd.sdk import AnswerKind, answer


@answer
class Article(AnswerKind):
    """A number of an article."""

    letters: int = 2
    """Letters that it begins with."""

    def read(self, text: str, row: Mapping[str, Any]) -> str | None:
        found = re.findall(rf"\\b[A-Z]{{{self.letters}}}\\d{{4}}\\b", text)
        return found[-1] if found else None

    def same(self, answer: str, reference: str, row: Mapping[str, Any]) -> bool:
        return answer == reference
'''


def plugin(folder: Path, text: str, name: str = "keep_short.py") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_plugin_is_a_step_like_any_other(tmp_path: Path) -> None:
    registry = Registry()
    step = registry.add_plugin(plugin(tmp_path, PLUGIN))
    assert registry.get("keep_short") is step
    assert (step.name, step.kind, step.reads, step.drops) == ("keep_short", "row", ("{of}",), ("too long",))
    assert step.doc == "Keeps short replies."
    assert step.forms[0].model_fields["of"].description == "Column that is measured."
    assert "keep_short" not in Registry().names(), "a plugin belongs to one recipe"


def test_two_recipes_may_have_plugins_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one = Registry().add_plugin(plugin(tmp_path, PLUGIN))
    two = Registry().add_plugin(plugin(tmp_path / "other", PLUGIN.replace("too long", "long")))
    assert (one.drops, two.drops) == (("too long",), ("long",))
    assert one.run.__module__ != two.run.__module__


def test_a_plugin_may_be_a_kind_of_answer(tmp_path: Path) -> None:
    registry = Registry()
    assert registry.add_plugin(plugin(tmp_path, KIND, "article.py")) is None
    assert "article" in registry.answers()
    assert "article" not in Registry().answers(), "a plugin belongs to one recipe"
    assert answers.judge("article", "It is AB1234.", "AB1234", {}) == ("AB1234", True)
    assert answers.judge({"article": {"letters": 3}}, "It is AB1234.", "ABC1234", {}) == (None, False)


def test_a_file_may_declare_a_step_and_a_kind_of_answer(tmp_path: Path) -> None:
    registry = Registry()
    step = registry.add_plugin(plugin(tmp_path, f"{KIND}\n\n{PLUGIN}", "both.py"))
    assert step is not None
    assert step.name == "both"
    assert "both" in registry.names()
    assert "both" in registry.answers()


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        (KIND, "number.py", "there is a kind of answer 'number' already; a file's name is the name of its kind"),
        (
            KIND.replace("def same", "def equal"),
            "keep.py",
            "cannot be loaded: line 10: TypeError: Article must be an AnswerKind with read() and same()",
        ),
        (
            KIND + KIND.replace("class Article", "class Other"),
            "keep.py",
            "cannot be loaded: line 32: TypeError: Article is the kind of answer of this file: give each its own",
        ),
        (PLUGIN, "filter.py", "there is a step 'filter' already; a file's name is the name of its step"),
        (PLUGIN, "keep_short.txt", "not a Python file (.py)"),
        ("x = 1\ny = x / 0\n", "keep.py", "cannot be loaded: line 2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", "keep.py", "cannot be loaded: line 2: SystemExit: 3"),
        ("def run(:\n", "keep.py", "cannot be loaded: SyntaxError: invalid syntax (keep.py, line 1)"),
        ("x = 1\n", "keep.py", NEITHER),
        (
            "from blackbox_kd.steps.filter import run\n",
            "keep.py",
            NEITHER,
        ),
        (
            PLUGIN.replace("async def", "def"),
            "keep.py",
            "cannot be loaded: line 11: TypeError: run() must be `async def`",
        ),
        (
            PLUGIN.replace("config: Config", "config: dict"),
            "keep.py",
            "cannot be loaded: line 11: TypeError: run() must annotate `config` with a subclass of StepConfig",
        ),
        (
            PLUGIN.replace('"{of}"', '"{off}"'),
            "keep.py",
            "cannot be loaded: line 11: TypeError: {off} names no field of Config",
        ),
        (
            PLUGIN.replace("row_step", "table_step"),
            "keep.py",
            "cannot be loaded: line 11: TypeError: run() of a table step must be `async def` and yield its outcomes",
        ),
    ],
)
def test_a_plugin_that_is_no_step_says_why(text: str, name: str, reason: str, tmp_path: Path) -> None:
    before = set(sys.modules)
    with pytest.raises(SetupError) as caught:
        Registry().add_plugin(plugin(tmp_path, text, name))
    assert str(caught.value) == reason
    assert not [new for new in set(sys.modules) - before if "cannot be loaded" in reason and "plugin" in new]


async def test_a_decorated_function_stays_an_ordinary_one() -> None:
    @row_step(writes=["seen"])
    async def run(row: Row, config: StepConfig, ctx: Context) -> Row:
        return row | {"seen": True}

    @table_step(merges="input", aside=True, held_out=True)
    async def together(table: object, config: StepConfig, ctx: Context):  # type: ignore[no-untyped-def]
        yield table

    assert await run(Row(id="1"), StepConfig(step="x"), None) == {"id": "1", "seen": True}
    assert together.__dict__["step"].aside
    assert together.__dict__["step"].held_out


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_field_takes_a_number_that_is_none(value: float) -> None:
    with pytest.raises(ValueError, match="finite number"):
        config(weights={"a": value})
