"""Patterns in .toml files beside the modules that search with them: what languages say changes without code.

In such a file `[words]` has alternatives that several patterns share, and `[patterns]` the patterns, which name them as
`<NAME>` and begin with their flags: `(?ix)`. A pattern may be a list of parts.
"""

import re
from typing import Any

from blackbox_kd.paths import read_table


def read_patterns(module: str) -> dict[str, re.Pattern[str]]:
    """The compiled patterns of the file beside a module, by the module's `__file__`."""
    table = read_table(module)
    words: dict[str, str] = {}

    def fill(value: Any, between: str) -> str:
        text = value if isinstance(value, str) else between.join(value)
        for name, word in words.items():
            text = text.replace(f"<{name}>", word)
        return text

    for name, value in table.get("words", {}).items():
        words[name] = fill(value, "|")
    return {name: re.compile(fill(value, "")) for name, value in table["patterns"].items()}
