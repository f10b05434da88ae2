"""Asks about the items of a list one after the other, with the replies so far in view."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.json_text import quote_value
from blackbox_kd.sandbox import expressions, parts
from blackbox_kd.schema import Reply, Row

MOST_TURNS = 1000
"""Items of a list: a model that writes on and on shall not be asked about all of it."""
Asking = Callable[[Mapping[str, Any]], Awaitable[Reply[dict[str, Any]]]]
"""Asks with variables of the prompt beside those of the row."""


async def ask_in_turn(turns: str, row: Row, into: str, ask: Asking) -> list[Reply[dict[str, Any]]]:
    """The replies, one for each item.

    Args:
        turns: expression that gives the items.
        row: over which.
        into: column of the text of a reply.
        ask: is given the item as `turn`, and as `earlier` each one before it, `{question, answer}`.

    Raises:
        DataError: there is no list, or it is too long.
    """
    items = expressions.parse(turns)(row)
    if not isinstance(items, list):
        raise DataError(f"turns: {turns!r} gives {quote_value(items)}, which is no list", fix=parts.HOW_TO_LIST)
    if len(items) > MOST_TURNS:
        raise DataError(f"turns: {len(items):,} items are more than {MOST_TURNS:,}")
    replies: list[Reply[dict[str, Any]]] = []
    for item in items:
        pairs = zip(items, replies, strict=False)
        earlier = [{"question": before, "answer": reply.value[into]} for before, reply in pairs]
        replies.append(await ask({"turn": item, "earlier": earlier}))
    return replies
