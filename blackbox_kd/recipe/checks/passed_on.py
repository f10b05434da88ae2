"""Fields of TRL and PEFT that a recipe passes on: a name or a value that they would refuse is found before the run.

The dataclasses are read from the libraries' files and not imported: a check takes no seconds for torch, and says what
can be said where they are not installed.
"""

import ast
from collections import ChainMap
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from blackbox_kd.errors import did_you_mean
from blackbox_kd.paths import read_table
from blackbox_kd.recipe.checks import adapters, vocabularies
from blackbox_kd.recipe.checks.flow import Flow
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.recipe.yaml_source import quote

_TABLE = read_table(__file__)
OURS: Mapping[str, Mapping[str, str]] = _TABLE["ours"]
"""Fields of the libraries that the step has itself, by its own names."""
REFUSED: Mapping[str, Mapping[str, str]] = {
    field: {name: why for why, names in reasons.items() for name in names}
    for field, reasons in _TABLE["refused"].items()
}
"""Fields that cannot be passed on, and why."""
ALIASES: Mapping[str, str] = _TABLE["aliases"]
"""What other tools call the fields, or what they were called in earlier versions."""
KINDS: Mapping[str, tuple[type, ...]] = {
    "int": (int,), "float": (int, float), "bool": (bool,), "str": (str,), "None": (type(None),),
    "list": (list,), "dict": (dict,),
}  # fmt: skip


def check(flow: Flow, planned: PlannedStep) -> None:
    """Reports values that a library would not take, those that the step has a field for, and an adapter's new shape."""
    for field, (kind, values) in planned.config.passes_on().items():
        known = read_fields(kind) if values else {}
        for name, value in values.items():
            for what, expected, fix in _find_wrong(field, kind, name, value, known):
                flow.report(planned, f"{field}.{name}", what, expected, fix)
    if planned.trains:
        adapters.check(flow, planned)
        vocabularies.check(flow, planned)


def _find_wrong(
    field: str, kind: str, name: str, value: Any, known: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """What is wrong with a field that is passed on: what, what was expected, and the fix."""
    dataclass = kind.rpartition(":")[2]
    meant = ALIASES.get(name, name)
    if (name not in known and meant in OURS[field]) or name in OURS[field]:
        ours = OURS[field][meant]
        what = f"{field}: {{{name}: ...}} is what the step has a field of its own for."
        yield what, "", f"write {ours}: at the step, beside {field}:"
    elif name in REFUSED[field]:
        yield f"{field}: {{{name}: ...}} cannot be passed on: {REFUSED[field][name]}.", "", "take it out"
    elif known and name not in known:
        fix = f"did you mean {meant!r}?" if meant in known else did_you_mean(name, sorted(known)) or "take it out"
        yield f"{dataclass} has no field {name!r}.", "", fix
    elif known and not _fits(value, known[name]):
        yield f"{field}: {{{name}: {quote(value)}}} is not what {dataclass} takes: {known[name]}.", "", "change it"


@cache
def read_fields(kind: str) -> Mapping[str, str]:
    """The fields of a dataclass and of those under it, each with the text of its type; none if it cannot be read.

    Args:
        kind: `peft.tuners.lora.config:LoraConfig`.
    """
    module, _, name = kind.partition(":")
    package, *parts = module.split(".")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return {}
    path = Path(spec.origin).parent.joinpath(*parts)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else ast.Module([], [])
    origins = dict(_list_imports(tree, [package, *parts] if path.is_dir() else [package, *parts[:-1]]))
    written = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if written is None:  # a package gives it on
        return read_fields(f"{origins[name]}:{name}") if name in origins else {}
    bases = [ast.unparse(base) for base in written.bases]
    found = [read_fields(f"{origins.get(base, module)}:{base}") for base in bases if base != name]
    lines = [line for line in written.body if isinstance(line, ast.AnnAssign)]
    own = {ast.unparse(line.target): ast.unparse(line.annotation) for line in lines}
    return dict(ChainMap(own, *map(dict, found)))


def _list_imports(tree: ast.Module, package: list[str]) -> Iterator[tuple[str, str]]:
    """Names that a module of a package imports, and the modules that they come from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            around = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                yield alias.name, ".".join([*around, *([node.module] if node.module else [])])


def _fits(value: Any, annotation: str) -> bool:
    """Whether a value may be of a type; of types that are not written plainly nothing is said."""
    return any(_fits_one(value, branch) for branch in _list_branches(ast.parse(annotation, mode="eval").body))


def _list_branches(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp):
        yield from (*_list_branches(node.left), *_list_branches(node.right))
    elif isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("Optional", "Union"):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        yield from (branch for part in parts for branch in _list_branches(part))
        if ast.unparse(node.value) == "Optional":
            yield ast.Constant(None)
    else:
        yield node


def _fits_one(value: Any, node: ast.expr) -> bool:
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
        return value in ast.literal_eval(node.slice if isinstance(node.slice, ast.Tuple) else ast.List([node.slice]))
    kinds = KINDS.get(ast.unparse(node.value if isinstance(node, ast.Subscript) else node))
    return kinds is None or (isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)))
