"""What holds the package together: who imports whom, what is loaded when, and how long a thing may be."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import blackbox_kd

ROOT = Path(blackbox_kd.__file__).parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
HEAVY = {
    "accelerate", "aiohttp", "datasets", "gguf", "math_verify", "openai", "pandas", "peft", "pyarrow",
    "rapidfuzz", "reasoning_gym", "scipy", "torch", "transformers", "trl", "vllm",
}  # fmt: skip


def imported(node: ast.AST) -> Iterator[str]:
    """Modules that an import statement names; of `from a import b` both `a` and `a.b`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield str(node.module)
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def our_imports(name: str) -> set[str]:
    """Modules of the package that a module imports, anywhere in it."""
    found = {module for node in ast.walk(TREES[name]) for module in imported(node)}
    ours = {module.removeprefix("blackbox_kd.") for module in found if module.startswith("blackbox_kd.")}
    exact = ours & FILES.keys()
    return {module for module in exact if not any(other.startswith(f"{module}.") for other in exact)}


def group(name: str) -> str:
    """`steps.check` is of the group `steps`, `ledger.file` of `ledger`."""
    return name.partition(".")[0]


MAY_IMPORT = {
    "errors": set(),
    "schema": {"errors"},
    "marks": set(),
    "prompt": {"errors", "sandbox", "schema"},
    "sandbox": {"sizes"},
    "sizes": set(),
    "registry": {"errors", "schema", "marks"},
    "answers": {"errors", "schema", "answers"},
    "ledger": {"errors", "json_text", "schema", "ledger", "processes"},
}
"""Of the modules at the bottom, all that they may import."""

MAY_NOT_IMPORT = {
    "steps": {"steps", "recipe", "runner", "run", "context", "ledger", "models", "calls", "training", "report", "cli"},
    "models": {"steps", "recipe", "registry", "runner", "run", "context", "ledger", "training", "cli"},
    "calls": {"steps", "recipe", "registry", "runner", "run", "context", "training", "cli"},
    "training": {"steps", "recipe", "registry", "runner", "run", "context", "ledger", "models", "calls", "cli"},
    "recipe": {"steps", "runner", "run", "context", "ledger", "calls", "training", "report", "cli"},
    "run": {"steps", "recipe", "runner", "context", "models", "calls", "training", "cli"},
}
"""Of the others, what they may not: `steps` and `training` are reached through the registry and a process."""


@pytest.mark.parametrize("name", FILES)
def test_imports_go_in_one_direction(name: str) -> None:
    used = {group(module) for module in our_imports(name)} - {"blackbox_kd"}
    own = group(name)
    if own in MAY_IMPORT:
        assert used <= MAY_IMPORT[own]
    assert not used & MAY_NOT_IMPORT.get(own, set())
    if own != "cli":
        assert not used & {"cli", "runner"}, "only the command line runs recipes"


def around(name: str) -> set[str]:
    """A module and the packages that it is in: Python runs their `__init__` before it."""
    parts = name.split(".")
    return {".".join(parts[:end]) for end in range(1, len(parts) + 1)} & FILES.keys()


def test_no_module_imports_itself_on_a_way_round() -> None:
    try:
        loaded = {name: set().union(*map(around, our_imports(name))) - around(name) for name in FILES}
        TopologicalSorter(loaded).prepare()
    except CycleError as error:
        pytest.fail(f"imports go in a circle: {' -> '.join(error.args[1])}")


def test_steps_and_providers_are_found_by_their_names_and_imported_by_nobody() -> None:
    for name in FILES:
        for used in our_imports(name):
            assert group(used) != "steps", f"{name} imports {used}"
            is_provider = used.startswith("models.") and not used.startswith("models.local")
            assert not is_provider, f"{name} imports {used}"


@pytest.mark.parametrize("name", FILES)
def test_heavy_libraries_are_imported_where_they_are_used(name: str) -> None:
    if group(name) in ("models", "training"):
        return
    top = {module.partition(".")[0] for node in TREES[name].body for module in imported(node)}
    assert not top & HEAVY


@pytest.mark.parametrize("name", FILES)
def test_a_module_is_under_300_lines_and_a_function_under_50(name: str) -> None:
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) < 300
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 < 50, f"{name}.{node.name}"


def loaded_by(code: str, *, cwd: Path) -> set[str]:
    """Names of the libraries that a process has loaded after `code`."""
    tail = "\nimport json, sys\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    env = {**os.environ, "OPENAI_API_KEY": "sk-0"}
    done = subprocess.run([sys.executable, "-c", code + tail], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


RECIPE = """
name: demo
data:
  train: {path: rows.jsonl}
  test: {path: rows.jsonl, held_out: true}
models:
  teacher: {provider: openai, model: gpt-4.1-mini}
  local: {provider: vllm, model: Qwen/Qwen2.5-1.5B-Instruct}
  student: {provider: transformers, model: HuggingFaceTB/SmolLM2-135M-Instruct}
steps:
  - {step: generate, models: [teacher, local], prompt: rationale/cot}
  - {step: check, answer: number}
  - {step: filter, keep: correct}
  - {step: format}
  - {step: train, model: student}
  - {step: evaluate, input: test, models: [student@base, student]}
"""


@pytest.mark.parametrize(
    "code",
    [
        "import blackbox_kd",
        "from blackbox_kd import registry\nr = registry.Registry()\n[r.get(name) for name in r.names()]",
        "from click.testing import CliRunner\nfrom blackbox_kd import cli\n"
        "assert CliRunner().invoke(cli.app, ['check', 'demo.yaml'], standalone_mode=False).return_value == 0",
    ],
    ids=["import", "every step", "check"],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code: str, tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text(RECIPE)
    (tmp_path / "rows.jsonl").write_text('{"instruction": "What is 2 + 3?", "reference": "5"}\n')
    assert not loaded_by(code, cwd=tmp_path) & HEAVY
