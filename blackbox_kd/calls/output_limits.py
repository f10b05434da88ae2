"""The longest reply that a model may be told to write, where the recipe does not say.

It depends on the model alone, never on what may be spent: a reply that a larger budget would let go on is another one.
"""

import tomllib
from functools import cache
from importlib import resources

UNKNOWN = 16_384
"""Of models that the table does not have: what most endpoints let through by default."""
_ON = "-:@"
"""What a date or a variant begins with: `gpt-5.1` is another model than `gpt-5`."""


@cache
def find_most_tokens(model: str) -> int:
    """The most tokens of a reply of a model, by the table of vendors' limits, or else `UNKNOWN`.

    Args:
        model: its name at the endpoint; what stands before the last `/` is a gateway's.
    """
    name = model.rpartition("/")[2].lower()
    known = [each for each in _read_table() if name == each or name.startswith(tuple(each + sign for sign in _ON))]
    return _read_table()[max(known, key=len)] if known else UNKNOWN


@cache
def _read_table() -> dict[str, int]:
    return tomllib.loads((resources.files("blackbox_kd.calls") / "output_limits.toml").read_text(encoding="utf-8"))
