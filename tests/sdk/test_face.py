"""The one import of those who write a step: it is complete, explained, and the example that explains it runs."""

import ast
import re
from pathlib import Path

import pytest

import blackbox_kd
from blackbox_kd import sdk
from blackbox_kd.recipe.load import load_recipe
from tests.support.runs import execute, rows_of, write_rows

ROOT = Path(__file__).parents[2]
STEPS = sorted((Path(blackbox_kd.__file__).parent / "steps").glob("[a-z]*.py"))


def test_all_that_the_face_offers_is_there_and_explained() -> None:
    assert sdk.__all__ == sorted(sdk.__all__)
    explained = set(re.findall(r"`@?(\w+)`", sdk.__doc__ or ""))
    for name in sdk.__all__:
        assert hasattr(sdk, name)
        assert name in explained, f"the docstring of blackbox_kd.sdk does not say what {name} is for"


@pytest.mark.parametrize("file", STEPS, ids=lambda file: file.stem)
def test_a_bundled_step_imports_as_a_plugin_would(file: Path) -> None:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module != "blackbox_kd.sdk":
            named = {alias.name for alias in node.names} & set(sdk.__all__)
            assert not named, f"line {node.lineno}: from blackbox_kd.sdk import {', '.join(sorted(named))}"
            assert not str(node.module).startswith("blackbox_kd.sdk."), f"line {node.lineno}: not on the face"


def block(language: str, heading: str = "A step of your own") -> str:
    """The example of a language in one of CONTRIBUTING's sections."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert len(found) == 1
    return str(found[0])


SHORTENED = "Step by step, from what is given to what is asked.\nThat is the answer."
"""What a scripted teacher says."""


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The files of the example, and rows: a short text, and one that is too long."""
    for name, language in (("shorten.py", "python"), ("brief.jinja", "jinja"), ("short.yaml", "yaml")):
        (tmp_path / name).write_text(block(language), encoding="utf-8")
    drafts = {"short": "Two apples.", "long": "So " * 30}
    write_rows(tmp_path / "drafts.jsonl", [{"name": name, "response": text} for name, text in drafts.items()])
    return tmp_path


@pytest.mark.parametrize(
    ("words", "kept", "dropped"),
    [
        (
            20,
            {"short": "Two apples.", "long": SHORTENED},
            {},
        ),
        (5, {"short": "Two apples."}, {"long": "too long"}),
    ],
)
def test_the_example_of_a_step_of_ones_own_runs(
    words: int, kept: dict[str, str], dropped: dict[str, str], example: Path
) -> None:
    assignments = (f"steps.0.words={words}",)
    recipe = load_recipe(example / "short.yaml", allow_code=True, teacher="scripted", overrides=assignments)
    run = execute(example, recipe.source.values, allow_code=True)
    assert {row["name"]: row["response"] for row in rows_of(run.path / "tables" / "01_shorten.jsonl")} == kept
    assert {each["row"]["name"]: each["reason"] for each in rows_of(run.path / "dropped.jsonl")} == dropped


def test_the_example_of_a_kind_of_answer_of_ones_own_runs(tmp_path: Path) -> None:
    (tmp_path / "article.py").write_text(block("python", "A kind of answer of your own"), encoding="utf-8")
    said = {"AB1234": "It is AB1234.", "CD5678": "I see ABC1234.", "EF0000": "No idea."}
    write_rows(tmp_path / "train.jsonl", [{"reference": number, "response": text} for number, text in said.items()])
    values = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "plugins": ["article.py"],
        "steps": [
            {"step": "check", "answer": "article"},
            {"step": "check", "answer": {"article": {"letters": 3}}, "answer_as": "long", "correct_as": "is_long"},
        ],
    }
    run = execute(tmp_path, values, allow_code=True)
    found = [(row["answer"], row["correct"], row["long"]) for row in rows_of(run.path / "tables" / "02_check.jsonl")]
    assert found == [("AB1234", True, None), (None, False, "ABC1234"), (None, False, None)]


def test_the_example_says_where_its_rows_went_when_none_is_left(example: Path) -> None:
    recipe = load_recipe(example / "short.yaml", allow_code=True, teacher="scripted", overrides=("steps.0.words=1",))
    with pytest.raises(blackbox_kd.errors.StepError, match=r"no row is left of 2: 2 dropped at steps\[0\] \(shorten\)"):
        execute(example, recipe.source.values, allow_code=True)
    dropped = {each["row"]["name"]: each["reason"] for each in rows_of(example / "run" / "dropped.jsonl")}
    assert rows_of(example / "run" / "tables" / "01_shorten.jsonl") == []
    assert dropped == {"short": "too long", "long": "too long"}


def test_what_the_example_names_is_checked(example: Path) -> None:
    overrides = ("steps.0.of=text", "steps.0.prompt=brief.jinja", "steps.0.model=tutor")
    with pytest.raises(blackbox_kd.errors.RecipeError) as caught:
        load_recipe(example / "short.yaml", allow_code=True, teacher="scripted", overrides=overrides)
    said = [problem.message for problem in caught.value.problems]
    assert said == [
        "unknown model 'tutor'.",
        "reads column 'text', which no earlier step writes.",
    ]
