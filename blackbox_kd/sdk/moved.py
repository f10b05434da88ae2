"""Where a plugin of an earlier version finds what it imports: its author is told the new line, word for word."""

import ast
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from blackbox_kd import sdk

PACKAGE = "blackbox_kd"
MOVED = {
    "agreement": "analysis.judge_agreement",
    "agreement.entry": "analysis.judge_agreement.summarise",
    "arithmetic": "analysis.equations",
    "asking": "sdk.sampling",
    "asking.AskingConfig": "sdk.sampling.SamplingConfig",
    "asking.Reading": "sdk.reading.Reading",
    "asking.after_mark": "sdk.reading.read_after_mark",
    "asking.named_twice": "sdk.sampling.find_named_twice",
    "asking.shortened": "sdk.reading.shorten",
    "bm25": "analysis.bm25",
    "drawing": "tables.sampling",
    "draws": "tables.sampling",
    "draws.quotas": "tables.sampling.share_out",
    "embeddings": "analysis.embeddings",
    "evidence": "analysis.statistics",
    "expression_functions": "sandbox.functions",
    "expressions": "sandbox.expressions",
    "leaks": "analysis.leakage",
    "marks": "sdk.fields",
    "marks.Mention": "sdk.fields.Reference",
    "marks.Names": "sdk.fields.Refers",
    "marks.mentions": "sdk.fields.references",
    "measures": "analysis.accuracy",
    "overlap": "analysis.contamination",
    "overlap.asked": "analysis.contamination.take_question",
    "prompt": "sandbox.prompt",
    "registry": "sdk.registry",
    "sandbox.Sandbox": "sandbox.jinja.Sandbox",
    "shapes": "tables.formats",
    "shown_rows": "sdk.few_shot",
    "shown_rows.Pool": "sdk.few_shot.ExamplePool",
    "shown_rows.context": "sdk.few_shot.find_context",
    "shown_rows.examples": "sdk.few_shot.choose_examples",
    "similarity": "analysis.similarity",
    "similarity.Pool": "analysis.similarity.SimilarityIndex",
    "sizes": "sandbox.limits",
    "sources": "tables.sources",
    "streaming": "concurrency",
    "table_files": "tables.readers",
    "together": "concurrency",
    "vectors": "analysis.kcenter",
    "verdicts": "analysis.verdicts",
    "verdicts.labelled": "analysis.verdicts.read_labelled",
    "versus": "analysis.pairwise",
    "versus.entry": "analysis.pairwise.summarise",
}
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
    module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
    if isinstance(node, ast.ImportFrom) and node.level:
        return ""
    places = [(alias, f"{module}{alias.name}") for alias in node.names]
    if not any(_find_place(path) for _, path in places):
        return ""
    lines: dict[str, list[str]] = defaultdict(list)
    renamed = []
    for alias, path in places:
        home, _, name = (_find_place(path) or path).rpartition(".")
        if isinstance(node, ast.Import):
            home, name = "", f"{home}.{name}".lstrip(".")
        lines[home].append(f"{name} as {alias.asname}" if alias.asname else name)
        if name != alias.name and not alias.asname:
            renamed.append(f"{name} in place of {alias.name}")
    new = "; ".join(f"{f'from {home} ' if home else ''}import {', '.join(names)}" for home, names in lines.items())
    return f"{new}; and write {', '.join(renamed)}" if renamed else new


def _find_place(path: str) -> str | None:
    """The path of a module or a name now, on the face for authors where it is there; None where it has not moved."""
    old = path.removeprefix(f"{PACKAGE}.")
    module, _, name = old.rpartition(".")
    new = MOVED.get(old) or (f"{MOVED[module]}.{name}" if module in MOVED else None)
    if old == path or new is None:
        return None
    name = new.rpartition(".")[2]
    is_on_face = name in sdk.__all__ or (name == "*" and new.startswith("sdk."))
    return f"{PACKAGE}.sdk.{name}" if is_on_face else f"{PACKAGE}.{new}"
