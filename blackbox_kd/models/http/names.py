"""Names of models, as vendors and gateways write them, and what a table holds of one."""

import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

_ON = "-:@"
"""What a date or a variant begins with: `gpt-5.1` is another model than `gpt-5`."""
_CLOUD = re.compile(r"(?:[a-z]{2,6}\.)?(?:openai|anthropic|meta|mistral|qwen|deepseek|google|amazon)\.")
"""What Amazon puts before a model's name: a region and whose it is."""
_SNAPSHOT = re.compile(r"[-@](\d{4}-\d\d-\d\d|\d{8}|\d{6}|\d{4}|\d{3})(?:-v\d+)?$")
"""A date, or a vendor's number of a version, at the end of a name."""
_ANY_VERSION = "-latest"


def normalise(model: str) -> str:
    """A name as tables have it: in small letters, without what a gateway puts before it, Claude's with dashes."""
    name = model.rpartition("/")[2].lower()
    name = name[found.end() :] if (found := _CLOUD.match(name)) else name
    return name.replace(".", "-") if name.startswith("claude") else name


def look_up(name: str, known: Mapping[str, T]) -> T | None:
    """What is known of the longest of the names that stands for a model: itself, with a date, or a variant."""
    found = [each for each in known if name == each or name.startswith(tuple(each + sign for sign in _ON))]
    return known[max(found, key=len)] if found else None


def is_same(asked: str, served: str) -> bool:
    """Whether an endpoint that names `served` has answered as the model that was asked for.

    A date or a tag that only one of the names has does not make it another model. Of a name that means the latest
    version, or leaves the choice to a gateway, none is another one.
    """
    one, other = normalise(asked), normalise(served)
    if one == other or is_moving(one):
        return True
    (name, tag, date), (other_name, other_tag, other_date) = _take_apart(one), _take_apart(other)
    return name == other_name and not _differ(tag, other_tag) and not _differ(date, other_date)


def is_moving(model: str) -> bool:
    """Whether a name means another model from time to time: the latest one, or the one that a gateway likes."""
    name = normalise(model)
    return name == "auto" or name.endswith(_ANY_VERSION)


def is_a_file(served: str) -> bool:
    """Whether a server names a model by the file or the folder that it has loaded."""
    return served.startswith((".", "/", "~")) or "\\" in served or served.lower().endswith(".gguf")


def _take_apart(name: str) -> tuple[str, str, str]:
    """A name without its tag and its date, the tag, and the date."""
    name, _, tag = name.partition(":")
    found = _SNAPSHOT.search(name)
    return (name[: found.start()], tag, found[1]) if found else (name, tag, "")


def _differ(one: str, other: str) -> bool:
    return bool(one and other) and one.replace("-", "") != other.replace("-", "")
