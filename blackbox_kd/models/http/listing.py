"""What an endpoint's own list says of a model: whether it is there, and when it ends."""

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from blackbox_kd.models.http.names import is_moving, is_same, normalise

_ENDS = ("shutdown_date", "retires_at", "expiration_date")
"""What OpenAI, Anthropic and OpenRouter call the day (openai 3.54, anthropic 2.14, openrouter 1.3)."""
_MORE = ("has_more", "nextPageToken", "next_page_token")
"""Signs of a list that goes on elsewhere, in which the model may be, too."""
_RETIRED = "retired"
"""What Anthropic calls a model that it lists as history alone."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A model in a list.

    Args:
        ends: the day on which it ends or has ended; None if there is none.
        is_gone: whether it is listed though it is gone.
    """

    ends: datetime.date | None = None
    is_gone: bool = False


def find(value: Any, model: str) -> Listed | None:
    """A model in a decoded list; None if it is not there.

    Raises:
        ValueError: it is no list of models, or one that goes on elsewhere and lacks it so far.
    """
    entries = list(_read_entries(value))
    named = [(names, entry) for entry in entries for names in [_list_names(entry)]]
    if not any(names for names, _ in named):
        raise ValueError("it is no list of models")
    exact = [entry for names, entry in named if normalise(model) in map(normalise, names)]
    near = [entry for names, entry in named if any(is_same(model, name) for name in names)]
    found = exact or ([] if is_moving(model) else near)
    if not found and isinstance(value, Mapping) and any(value.get(sign) for sign in _MORE):
        raise ValueError("the list goes on elsewhere")
    return _read_end(found[0]) if found else None


def _read_entries(value: Any) -> Iterator[Mapping[str, Any]]:
    listed = next((value[at] for at in ("data", "models") if at in value), ()) if isinstance(value, Mapping) else value
    yield from (entry for entry in listed if isinstance(entry, Mapping)) if isinstance(listed, list) else ()


def _list_names(entry: Mapping[str, Any]) -> list[str]:
    aliases = entry.get("aliases")
    names = [entry.get("id"), entry.get("name"), *(aliases if isinstance(aliases, list) else ())]
    return [name for name in names if isinstance(name, str) and name]


def _read_end(entry: Mapping[str, Any]) -> Listed:
    said = next((entry[at] for at in _ENDS if isinstance(entry.get(at), str)), "")
    try:
        ends = datetime.date.fromisoformat(said[:10])
    except ValueError:
        ends = None
    return Listed(ends, entry.get("lifecycle") == _RETIRED)
