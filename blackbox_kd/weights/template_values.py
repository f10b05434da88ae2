"""Values for a chat template, such as `enable_thinking: false`, written into it as its defaults.

So the model that is trained is asked as the recipe asks it by whoever loads it, whether or not they know of the values.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

_DEFAULTS = re.compile(r"(?:\{% if (\w+) is not defined %\}\{% set \1 = .* %\}\{% endif %\}\n)*")


def set_values(template: str, values: Mapping[str, Any]) -> str:
    """A template with values as its defaults; those that were set in it before stay where they have other names."""
    before, bare = split_values(template)
    kept = [line for line in before.splitlines(keepends=True) if line.split()[2] not in values]
    # The line's end belongs to it: chat templates are rendered with `trim_blocks`.
    defaults = (
        f"{{% if {name} is not defined %}}{{% set {name} = {_write_literal(value)} %}}{{% endif %}}\n"
        for name, value in sorted(values.items())
    )
    return "".join([*kept, *defaults]) + bare


def split_values(template: str) -> tuple[str, str]:
    """The defaults that `set_values` has written, and the template without them."""
    found = _DEFAULTS.match(template)
    cut = found.end() if found else 0
    return template[:cut], template[cut:]


def _write_literal(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(str(key))}: {_write_literal(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_write_literal, value))}]"
    return "none" if value is None else json.dumps(value)
