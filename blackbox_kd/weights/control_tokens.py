"""Control tokens of a chat template inside somebody's text: they are text there, not control.

A teacher's reply that holds `<|im_end|>` would end the turn in the middle of a training row, and a seed row could
open a system turn of its own. A space behind the first character keeps the text readable and the tokenizer from
taking it for the token.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from blackbox_kd.messages import map_texts, open_arguments
from blackbox_kd.schema import Message


def find_pattern(tokenizer: Any) -> re.Pattern[str] | None:
    """What matches the control tokens of a tokenizer, longest first; None if it has none."""
    # `all_special_tokens` has only those that the config names; Llama 3's <|eot_id|> is not among them.
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    named = {str(token) for token in tokenizer.all_special_tokens}
    tokens = sorted((token for token in added | named if len(token) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, tokens))) if tokens else None


def neutralise(
    messages: Iterable[Message], control: re.Pattern[str] | None, found: Counter[str] | None = None
) -> list[Message]:
    """Messages as a chat template takes them, with every control token in any text of theirs made harmless.

    Arguments of calls are opened first: JSON text can hide a token behind an escape.

    Args:
        messages: the conversation.
        control: what matches a control token.
        found: is added to: how often each token was there.
    """
    return [neutralise_value(open_arguments(message), control, found) for message in messages]


def neutralise_value(value: Any, control: re.Pattern[str] | None, found: Counter[str] | None = None) -> Any:
    """The same for a part of a message, or for tools."""

    def space_out(match: re.Match[str]) -> str:
        if found is not None:
            found[match[0]] += 1
        return f"{match[0][0]} {match[0][1:]}"

    return value if control is None else map_texts(value, lambda text: control.sub(space_out, text))
