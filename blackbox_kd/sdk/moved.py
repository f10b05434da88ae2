"""Where a plugin of an earlier version finds what it imports: its author is told the new line, word for word."""

import ast
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from blackbox_kd import sdk
from blackbox_kd.paths import read_table

PACKAGE = "blackbox_kd"
MOVED: dict[str, str] = read_table(__file__)["moved"]
"""Modules of 0.1 that steps could import, and those of their names that are called otherwise now."""


@dataclass(frozen=True, slots=True)
class OldImport:
    """An import of an earlier version.

    Args:
        line: where it stands.
        text: how it stands there.
        new: what to write in its place.
    """

    line: int
    text: str
    new: str


def find_old_imports(file: Path) -> list[OldImport]:
    """The imports of a Python file that lead to where things were; of a file that is not Python, none."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return []  # loading it says more
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    found = [(node, _rewrite(node)) for node in statements]
    return [OldImport(node.lineno, ast.unparse(node), new) for node, new in found if new]


def _rewrite(node: ast.Import | ast.ImportFrom) -> str:
    """What to write in place of an import; empty where it leads to what is there."""
    if isinstance(node, ast.ImportFrom):
        return "" if node.level else _rewrite_names(str(node.module), node.names)
    places = [(alias, _find_place(alias.name) or alias.name) for alias in node.names]
    if all(alias.name == place for alias, place in places):
        return ""
    return _write([("import", places)])


def _rewrite_names(module: str, names: list[ast.alias]) -> str:
    """The same for `from module import names`: what the face for authors has is taken from there."""
    if not any(_find_place(f"{module}.{alias.name}") for alias in names):
        return ""
    homes: dict[str, list[tuple[ast.alias, str]]] = defaultdict(list)
    for alias in names:
        path = f"{module}.{alias.name}"
        home, _, name = (_find_place(path) or path).rpartition(".")
        is_on_face = name in sdk.__all__ or (name == "*" and home.startswith(f"{PACKAGE}.sdk."))
        homes[f"{PACKAGE}.sdk" if is_on_face else home].append((alias, name))
    return _write([(f"from {home} import", found) for home, found in homes.items()])


def _write(statements: list[tuple[str, list[tuple[ast.alias, str]]]]) -> str:
    """Import statements on one line, and which names the rest of the file has to use now."""
    lines, renamed = [], []
    for start, names in statements:
        lines.append(f"{start} {', '.join(f'{new} as {old.asname}' if old.asname else new for old, new in names)}")
        renamed += [f"{new} in place of {old.name}" for old, new in names if new != old.name and not old.asname]
    return "; ".join(lines) + (f"; and write {', '.join(renamed)}" if renamed else "")


def _find_place(path: str) -> str | None:
    """The path of a module or a name now; None where it has not moved."""
    if not path.startswith(f"{PACKAGE}."):
        return None
    old = path.removeprefix(f"{PACKAGE}.")
    module, _, name = old.rpartition(".")
    new = MOVED.get(old) or (f"{MOVED[module]}.{name}" if module in MOVED else None)
    return new and f"{PACKAGE}.{new}"
