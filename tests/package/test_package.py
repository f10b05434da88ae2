"""What holds the package together: who imports whom, what is loaded when, and how long a thing may be."""

import ast
import functools
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
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
HEAVY = {
    "accelerate", "aiohttp", "datasets", "gguf", "lm_eval", "math_verify", "pandas", "peft", "pyarrow",
    "rapidfuzz", "reasoning_gym", "scipy", "torch", "transformers", "trl", "vllm",
}  # fmt: skip


@functools.cache
def nodes(name: str) -> list[ast.AST]:
    """All nodes of a module's tree."""
    return list(ast.walk(TREES[name]))


def imported(node: ast.AST) -> Iterator[str]:
    """Modules that an import statement names; of `from a import b` both `a` and `a.b`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield str(node.module)
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def our_imports(name: str) -> set[str]:
    """Modules of the package that a module imports, anywhere in it."""
    found = {module for node in nodes(name) for module in imported(node)}
    ours = {module.removeprefix("blackbox_kd.") for module in found if module.startswith("blackbox_kd.")}
    exact = ours & FILES.keys()
    return {module for module in exact if not any(other.startswith(f"{module}.") for other in exact)}


def group(name: str) -> str:
    """`steps.check` is of the group `steps`, `ledger.admin` of `ledger`, `errors` of itself."""
    return name.partition(".")[0]


GROUND = {"errors", "schema", "json_text", "privacy", "paths", "concurrency", "printable", "messages"}
LEVELS = [
    GROUND,
    {"analysis", "ledger"},
    {"sandbox"},
    {"weights", "answers"},
    {"sdk", "tables", "models"},
    {"calls", "steps", "recipe"},
    {"runs"},
    {"engine"},
    {"cli", "api"},
]
"""Who may import whom: a package imports those of lower levels, and no other; the ground imports itself too."""
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}

APART = {"training": GROUND | {"weights"}}
"""Packages that run in a process of their own, and all that they may import."""
STARTS = {
    ("engine", "training.launch"),
    ("engine", "training.artefacts"),
    ("runs", "training.artefacts"),
    ("runs", "training.seen"),
}
"""How others reach them: by starting the process, and by the types of what it is given and of what it leaves."""
NOT_FOR = {"steps": {"ledger", "models"}, "recipe": {"ledger"}, "calls": {"sdk", "answers", "tables"}}
"""Lower packages that are not for everybody: a step asks through its context, and a recipe buys nothing."""


def goes_downwards(name: str, module: str) -> bool:
    """Whether a module may import another one."""
    own, used = group(name), group(module)
    if used in (own, "blackbox_kd") or (own, module) in STARTS:
        return True
    if own in APART:
        return used in APART[own]
    if used in APART or used in NOT_FOR.get(own, set()):  # what is apart runs in a process of its own
        return False
    return (own in GROUND and used in GROUND) or LEVEL[used] < LEVEL[own]


def test_imports_go_downwards() -> None:
    assert our_imports("__init__") == {"api"}, "what Python users find at the top, and nothing else"
    edges = [(name, module) for name in FILES if name != "__init__" for module in our_imports(name)]
    assert [f"{name} imports {module}" for name, module in edges if not goes_downwards(name, module)] == []


def test_every_package_has_a_level_and_the_top_is_not_crowded() -> None:
    top = {path.stem for path in ROOT.iterdir() if not path.name.startswith("__") and path.name != "py.typed"}
    assert top == LEVEL.keys() | APART.keys() | (top & {"prompts", "recipes", "data"}), "the wheel has three more"
    assert len(top) <= 24


def test_no_package_imports_another_on_a_way_round() -> None:
    edges = {group(name): set[str]() for name in FILES}
    for name in FILES:
        edges[group(name)] |= {group(module) for module in our_imports(name)} - {group(name), "blackbox_kd"}
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        pytest.fail(f"packages import each other: {' -> '.join(error.args[1])}")


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
            is_provider = group(used) == "models" and used.count(".") == 1 and FILES[used].name != "__init__.py"
            assert not is_provider, f"{name} imports {used}"


def test_one_module_of_the_command_line_prints_and_makes_printable_what_others_said() -> None:
    for name in FILES:
        if group(name) == "cli" and name != "cli.output":
            calls = {ast.unparse(node.func) for node in nodes(name) if isinstance(node, ast.Call)}
            assert not calls & {"click.echo", "click.secho", "click.confirm", "click.prompt", "print"}, name
            assert not {call for call in calls if call.endswith((".print_exc", "stdout.write", "stderr.write"))}, name


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    tops = {
        (name, module.partition(".")[0])
        for name in FILES
        if group(name) not in ("models", "training")
        for node in TREES[name].body
        for module in imported(node)
    }
    assert {(name, library) for name, library in tops if library in HEAVY} == set()


def test_a_module_is_under_300_lines_and_a_function_under_50() -> None:
    assert [name for name in FILES if len(FILES[name].read_text(encoding="utf-8").splitlines()) >= 300] == []
    functions = [(name, node) for name in FILES for node in nodes(name) if isinstance(node, FUNCTION)]
    lines = {f"{name}.{node.name}": (node.end_lineno or 0) - node.lineno + 1 for name, node in functions}
    assert {function: number for function, number in lines.items() if number >= 50} == {}


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
  test: {path: exam.jsonl, held_out: true}
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
        "from blackbox_kd.sdk.registry import Registry\nr = Registry()\n[r.get(name) for name in r.names()]",
        "from click.testing import CliRunner\nfrom blackbox_kd.cli.app import app\n"
        "assert CliRunner().invoke(app, ['check', 'demo.yaml'], standalone_mode=False).return_value == 0",
    ],
    ids=["import", "every step", "check"],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code: str, tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text(RECIPE)
    (tmp_path / "rows.jsonl").write_text('{"instruction": "What is 2 + 3?", "reference": "5"}\n')
    (tmp_path / "exam.jsonl").write_text('{"instruction": "What is 4 + 3?", "reference": "7"}\n')
    assert not loaded_by(code, cwd=tmp_path) & HEAVY
