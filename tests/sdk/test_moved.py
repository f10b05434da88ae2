"""A plugin of an earlier version is told where each of its imports leads now, and the new line works."""

import importlib
from pathlib import Path

import pytest

from blackbox_kd.sdk.moved import MOVED, OldImport, find_old_imports


def new_line(text: str, folder: Path) -> str:
    (folder / "plugin.py").write_text(text, encoding="utf-8")
    found = find_old_imports(folder / "plugin.py")
    return found[0].new if found else ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("from blackbox_kd.registry import StepConfig, row_step", "from blackbox_kd.sdk import StepConfig, row_step"),
        ("from blackbox_kd.marks import ModelName", "from blackbox_kd.sdk import ModelName"),
        ("from blackbox_kd.registry import *", "from blackbox_kd.sdk import *"),
        (
            "from blackbox_kd.asking import AskingConfig, named_twice",
            "from blackbox_kd.sdk import SamplingConfig, find_named_twice; and write SamplingConfig in place of "
            "AskingConfig, find_named_twice in place of named_twice",
        ),
        ("from blackbox_kd.asking import AskingConfig as Base", "from blackbox_kd.sdk import SamplingConfig as Base"),
        (
            "from blackbox_kd.registry import Registry, StepConfig",
            "from blackbox_kd.sdk.registry import Registry; from blackbox_kd.sdk import StepConfig",
        ),
        (
            "from blackbox_kd import agreement, answers",
            "from blackbox_kd.analysis import judge_agreement; from blackbox_kd import answers; and write "
            "judge_agreement in place of agreement",
        ),
        ("from blackbox_kd import expressions", "from blackbox_kd.sdk import expressions"),
        ("from blackbox_kd.together import all_of", "from blackbox_kd.sdk import all_of"),
        ("from blackbox_kd.schema import Context, Row", "from blackbox_kd.sdk import Context, Row"),
        ("import blackbox_kd.expressions as e", "import blackbox_kd.sandbox.expressions as e"),
        ("import blackbox_kd.similarity as alike", "import blackbox_kd.analysis.similarity as alike"),
        (
            "import json, blackbox_kd.leaks",
            "import json, blackbox_kd.analysis.leakage; and write blackbox_kd.analysis.leakage in place of "
            "blackbox_kd.leaks",
        ),
        ("if True:\n    from blackbox_kd.bm25 import Bm25", "from blackbox_kd.analysis.bm25 import Bm25"),
    ],
)
def test_an_old_import_has_a_new_line(old: str, new: str, tmp_path: Path) -> None:
    assert new_line(old, tmp_path) == new
    for line in new.partition("; and write")[0].split("; "):
        exec(line, {})


@pytest.mark.parametrize(
    "text",
    [
        "from blackbox_kd.sdk import StepConfig, row_step",
        "from blackbox_kd.schema import Row",
        "from blackbox_kd import answers, sdk",
        "from registry import StepConfig",
        "from .registry import StepConfig",
        "import registry, similarity",
        "def run(:",
        "x = '\\0'\0",
    ],
)
def test_other_files_have_none(text: str, tmp_path: Path) -> None:
    assert new_line(text, tmp_path) == ""


def test_each_of_several_is_found_with_its_line(tmp_path: Path) -> None:
    first = "from blackbox_kd.registry import (\n    StepConfig,\n    row_step,\n)\n"
    (tmp_path / "plugin.py").write_text(f'"""A step."""\n\n{first}from blackbox_kd.marks import Column\n')
    assert find_old_imports(tmp_path / "plugin.py") == [
        OldImport(
            3,
            "from blackbox_kd.registry import StepConfig, row_step",
            "from blackbox_kd.sdk import StepConfig, row_step",
        ),
        OldImport(7, "from blackbox_kd.marks import Column", "from blackbox_kd.sdk import Column"),
    ]


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_what_has_moved_is_where_the_list_says_and_nowhere_else(old: str, new: str) -> None:
    assert is_there(new)
    assert not is_there(old)


def is_there(path: str) -> bool:
    """Whether a path below the package is a module or a name in one."""
    module, _, name = f"blackbox_kd.{path}".rpartition(".")
    try:
        return hasattr(importlib.import_module(module), name) or bool(importlib.import_module(f"{module}.{name}"))
    except ModuleNotFoundError:
        return False
