"""A row in a line, as an example of what became of many."""

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from blackbox_kd.json_text import write_text

SHOWN = (
    "instruction", "prompt", "response", "completion", "answer", "reference", "score", "better", "worse", "nearest",
)  # fmt: skip
"""Columns that tell why a row was dropped."""
LONGEST = 160
"""Characters of a text that are shown."""


def read_lost(file: Path, most: int) -> list[dict[str, Any]]:
    """The first rows of a file of rows that were lost."""
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line)["row"] for line in islice(lines, most)]


def describe_example(row: Mapping[str, Any]) -> str:
    """A row in a line: what it was asked, what came, and what was read of it."""
    parts = [f"{name} {_clip(row[name])}" for name in SHOWN if row.get(name) not in (None, "")]
    if "answer" in row and row["answer"] is None:
        parts.append("no answer could be read")
    return f"row {row.get('id')!r}: {', '.join(parts)}" if parts else f"row {row.get('id')!r}"


def _clip(value: object) -> str:
    """A value in quotes; of a long text its begin and its end, where answers stand."""
    text = " ".join(write_text(value).split())
    half = LONGEST // 2
    return json.dumps(text if len(text) <= LONGEST else f"{text[:half]} [...] {text[-half:]}", ensure_ascii=False)
